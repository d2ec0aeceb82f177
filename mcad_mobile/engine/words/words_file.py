"""The words of a segment's photos on disk, row by row, in one file. words_write.c and words.c, in
native/, write and read it; docs/index-format.md describes it."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from pathlib import Path
from threading import Lock

import msgspec
import numpy as np

from mcad_mobile.base.files import open_regular
from mcad_mobile.engine.arrays import I32, U8
from mcad_mobile.engine.native import OldWords, WordQuery, load_kernel, require_memory
from mcad_mobile.engine.words.folding import fold
from mcad_mobile.errors import PhotoIndexError, Remedy

SOURCES = ("text", "name", "place")
TERMS = 4  # that are found at once
_BEGINS, _NEAR = 1, 2
_START_LETTERS, _NEAR_LETTERS = 3, 5
_HEAD = struct.Struct("<8s8I")
_CRC = struct.Struct("<I")
_CRC_AT = slice(8, 12)
_MAGIC = b"MCADWRD1"
_BLOCK_BYTES, _GROUP = 8, 16
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


def write_words(
    file: Path,
    segment_crc32: int,
    photos: int,
    new: Mapping[int, tuple[bytes, PhotoWords]],
    old: Sequence[tuple[WordsFile, I32]],
) -> None:
    """Write the words of a segment's photos and flush them to disk: of `new` rows, with the path of
    each, and of rows that older files have, with the new row of each of their photos, or -1."""
    records = b"".join(_record(path, words) for path, words in new.values())
    rows = np.array([*new], np.uint32)
    sources = (OldWords * len(old))(*(words.source(new_rows) for words, new_rows in old))
    library, out = load_kernel().library, ctypes.c_void_p()
    size = library.mcad_words_build(
        *(sources, len(old), records, len(records), rows.ctypes.data, len(rows)),
        *(photos, segment_crc32, ctypes.byref(out)),
    )
    require_memory(size != -1)
    if size < 0:
        raise old[-2 - size][0]._damaged("its words cannot be read")
    data = bytearray(ctypes.string_at(out, size))
    library.mcad_words_free(out)
    data[_CRC_AT] = _CRC.pack(zlib.crc32(memoryview(data)[_CRC_AT.stop :]))
    with file.open("xb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _record(path: bytes, photo: PhotoWords) -> bytes:
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
    of_sources = (
        " \n".join(line.text for line in photo.lines),
        os.fsdecode(path),
        "\n".join(places),
    )
    terms = bytearray()
    for source, of_source in enumerate(of_sources):
        for term in dict.fromkeys(fold(of_source)):
            raw = term.encode("utf-8", "replace")
            terms += bytes([source, len(raw)]) + raw
    head = _PHOTO.pack(photo.read, len(lines), len(places), len(text), len(terms))
    return head + numbers.tobytes() + text + terms


def _plain(text: str) -> bytes:
    return text.replace("\n", " ").encode("utf-8", "replace")


class WordsFile:
    """The words of a segment's photos, memory-mapped. PhotoIndexError if the file is damaged, or of
    another segment; FileNotFoundError if it is gone."""

    def __init__(self, file: Path, photos: int, segment_crc32: int) -> None:
        self.file, self.photos = file, photos
        with os.fdopen(open_regular(file), "rb") as opened:
            try:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
                magic, self._crc, *of_segment, blocks, a, b, c, d = _HEAD.unpack_from(self._map)
            except (ValueError, struct.error):
                raise self._damaged("it ends too early") from None
        if magic != _MAGIC or of_segment != [segment_crc32, photos]:
            raise self._damaged("it is not of its segment")
        bits, groups = -(-photos // 8), -(-photos // _GROUP)
        size = _HEAD.size + bits + _BLOCK_BYTES * blocks + a + b + c + 4 * groups + d
        if len(self._map) != size:
            raise self._damaged(f"it has {len(self._map)} bytes, not {size}")
        self._data = np.frombuffer(self._map, np.uint8)
        self._read = self._data[_HEAD.size :][:bits]
        self._model, self._lock = ctypes.c_void_p(), Lock()
        self.release()

    def verify(self) -> None:
        """Compare the file with its checksum. PhotoIndexError if it is damaged."""
        if zlib.crc32(memoryview(self._map)[_CRC_AT.stop :]) != self._crc:
            raise self._damaged("its checksum is another one")

    @property
    def read(self) -> U8:
        """For each photo, 1 if its text was read, else 0."""
        return np.unpackbits(self._read, count=self.photos, bitorder="little")

    def release(self) -> None:
        """Count no page that was read as memory of this process."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def source(self, new_rows: I32) -> OldWords:
        """Return the photos for a new file; neither array may go before it is written."""
        return OldWords(self._data.ctypes.data, len(self._data), new_rows.ctypes.data)

    def find(self, terms: Sequence[str], best: U8, source: str | None = None) -> list[int]:
        """Find at most `TERMS` terms; in a `source`, only as wholes. Set `best` [N] uint8, zeros,
        to how each photo matches them, in two bits for each; return how many photos do."""
        queries = _queries(terms, source)
        failed = load_kernel().library.mcad_words_find(
            *(self._data.ctypes.data, len(self._data)),
            *(queries, len(terms), best.ctypes.data),
        )
        if failed:
            raise self._damaged("its dictionary cannot be read")
        return [query.found for query in queries]

    def photos_of(self, rows: Sequence[int]) -> list[PhotoWords]:
        """Return what is known of photos; together they take hardly longer than one."""
        library, out = load_kernel().library, ctypes.c_void_p()
        size = library.mcad_words_records(
            *(self._data.ctypes.data, len(self._data), self._texts()),
            *((ctypes.c_uint32 * len(rows))(*rows), len(rows), ctypes.byref(out)),
        )
        require_memory(size != -2)
        if size < 0:
            raise self._damaged("the texts of a photo cannot be read")
        records = ctypes.string_at(out, size)
        library.mcad_words_free(out)
        found, at = [], 0
        for _ in rows:
            is_read, lines, places, text_size, _ = _PHOTO.unpack_from(records, at)
            count, start = lines * _LINE_NUMBERS, at + _PHOTO.size
            numbers = np.frombuffer(records, "<i2", count, start).reshape(-1, _LINE_NUMBERS)
            at = start + numbers.nbytes + text_size
            texts = records[at - text_size : at].decode("utf-8", "replace").split("\n")
            in_lines = tuple(
                Line(text, box=tuple(box) if any(box) else ())
                for text, box in zip(texts, numbers.tolist(), strict=False)
            )
            found.append(PhotoWords(in_lines, tuple(texts[lines : lines + places]), bool(is_read)))
        return found

    def _texts(self) -> ctypes.c_void_p:
        """Return what texts are coded by; it is read once."""
        library = load_kernel().library
        with self._lock:
            if not self._model:
                model = ctypes.c_void_p()
                done = library.mcad_words_open(
                    self._data.ctypes.data, len(self._data), ctypes.byref(model)
                )
                weakref.finalize(self, library.mcad_words_close, model)
                require_memory(done >= 0)
                if not done:
                    raise self._damaged("the codes of its texts cannot be read")
                self._model = model
            return self._model

    def _damaged(self, why: str) -> PhotoIndexError:
        return PhotoIndexError(
            f"The index file {self.file} is damaged: {why}.",
            Remedy.REPAIR_INDEX(index=self.file.parent),
        )


def matcher(terms: Sequence[str]) -> Callable[[Iterable[str]], set[str]]:
    """Return what returns those of some folded words that match one of a query's terms."""
    library, queries = load_kernel().library, _queries(terms)

    def alike(words: Iterable[str]) -> set[str]:
        distinct = [*set(words)]
        raw = [word.encode("utf-8", "replace") for word in distinct]
        given = (b"".join(raw), bytes(map(len, raw)), len(raw))
        flags = ctypes.create_string_buffer(len(raw))
        library.mcad_words_alike(queries, len(queries), *given, flags)
        return {*compress(distinct, flags.raw)}

    return alike


def _queries(terms: Sequence[str], source: str | None = None) -> ctypes.Array[WordQuery]:
    queries = (WordQuery * len(terms))()
    for query, term in zip(queries, terms, strict=True):
        raw = term.encode("utf-8", "replace")
        query.term, query.size = raw, len(raw)
        query.sources = 7
        if source:
            query.sources = 1 << SOURCES.index(source)
            continue
        if len(term) >= _START_LETTERS:
            query.modes |= _BEGINS
        if len(term) >= _NEAR_LETTERS and term.isalpha():
            query.modes |= _NEAR
    return queries
