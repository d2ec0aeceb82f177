"""The words of a photo, and the records in which the index takes and gives them: mcad_index.h says
how these are laid out."""

from __future__ import annotations

import struct

import msgspec
import numpy as np

from mcad_mobile.engine.words.folding import fold

SOURCES = ("text", "name", "place")
_PHOTO = struct.Struct("<5I")
_LINE_NUMBERS, _SCALE = 8, 10_000
_MOST_TEXT, _MOST_LINES, _MOST_PLACES = (1 << 20) - (1 << 16) - 1, 65_535, 64


class Line(msgspec.Struct, frozen=True, gc=False):
    """A line of text in a photo.

    Attributes:
        text: what it says.
        confidence: 0 to 1; an index does not keep it.
        box: x and y of its four corners, from the start of the text clockwise, in ten-thousandths
            of the upright photo's width and height; an index rounds them to 50 of these.
    """

    text: str
    confidence: float = 1.0
    box: tuple[int, ...] = ()


class PhotoWords(msgspec.Struct, frozen=True, gc=False):
    """The lines that were read in a photo, the names of its place, and whether it was read."""

    lines: tuple[Line, ...] = ()
    places: tuple[str, ...] = ()
    read: bool = False


def to_record(photo: PhotoWords) -> bytes:
    """Return the record of a photo's words, with the terms of its texts and places."""
    lines, text, left = [], bytearray(), _MOST_TEXT
    for line in photo.lines[:_MOST_LINES]:
        raw = _plain(line.text)[:left]
        left -= len(raw) + 1
        lines.append(line.box or (0,) * _LINE_NUMBERS)
        text += raw + b"\n"
        if left <= 0:
            break
    places = photo.places[:_MOST_PLACES]
    for place in places:
        text += _plain(place)[: (1 << 16) // _MOST_PLACES - 1] + b"\n"
    numbers = np.array(lines).reshape(-1, _LINE_NUMBERS).clip(0, _SCALE).round().astype("<i2")
    terms = b"".join(
        bytes([SOURCES.index(source), len(term)]) + term
        for source, words in (
            ("text", " \n".join(line.text for line in photo.lines)),
            ("place", "\n".join(places)),
        )
        for term in _terms(words)
    )
    head = _PHOTO.pack(photo.read, len(lines), len(places), len(text), len(terms))
    return head + numbers.tobytes() + text + terms


def from_record(record: bytes) -> PhotoWords:
    """Invert `to_record`, but for what an index does not keep."""
    is_read, lines, places, text_size, _ = _PHOTO.unpack_from(record)
    count = lines * _LINE_NUMBERS
    numbers = np.frombuffer(record, "<i2", count, _PHOTO.size).reshape(-1, _LINE_NUMBERS)
    at = _PHOTO.size + numbers.nbytes
    texts = record[at : at + text_size].decode("utf-8", "replace").split("\n")
    in_lines = tuple(
        Line(text, box=tuple(box) if any(box) else ())
        for text, box in zip(texts, numbers.tolist(), strict=False)
    )
    return PhotoWords(in_lines, tuple(texts[lines : lines + places]), bool(is_read))


def name_terms(path: str) -> bytes:
    """Return the terms of a file's name and folders, each its bytes in one byte, then these."""
    return b"".join(bytes([len(term)]) + term for term in _terms(path))


def _terms(text: str) -> list[bytes]:
    return [term.encode("utf-8", "replace") for term in dict.fromkeys(fold(text))]


def _plain(text: str) -> bytes:
    return text.replace("\n", " ").encode("utf-8", "replace")
