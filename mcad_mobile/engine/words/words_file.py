"""The words of a segment's photos on disk, row by row, in one file; numbers are little endian.

    "MCADWRD1", the segment's header_crc32, photos, terms, blocks, and the bytes of terms,
    postings and texts: uint32
    CRC-32 of all that follows: uint32
    read            [ceil(photos / 8)] uint8: a bit for each photo whose text was read
    term_ends       [terms] uint32: where each term ends, in bytes
    posting_ends    [terms] uint32: where its photos end
    reversed        [terms] uint32: the terms by their letters from last to first
    block_ends      [blocks] uint32: where each block of texts ends
    terms           each in UTF-8, a zero byte and its source (0 text, 1 name, 2 place), ascending
    postings        the rows of each term's photos, ascending: differences, the first to -1, less 1,
                    as LEB128
    texts           per 16 photos zlib's stream of JSON: [[lines, places, was read], ...], a line
                    is [text, confidence, box]

A term that a photo has from two sources is there twice.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from mcad_mobile.base.files import open_regular
from mcad_mobile.engine.arrays import U8, U32
from mcad_mobile.engine.words.folding import fold
from mcad_mobile.errors import PhotoIndexError, Remedy

SOURCES = ("text", "name", "place")
_HEAD = struct.Struct("<8s7I")
_CRC = struct.Struct("<I")
_MAGIC = b"MCADWRD1"
_BLOCK = 16  # photos
_MOST_BLOCK_BYTES = 1 << 24


class Line(msgspec.Struct, frozen=True, array_like=True):
    """A line of text in a photo.

    Attributes:
        text: what it says.
        confidence: 0 to 1.
        box: x and y of its four corners, from the start of the text clockwise, in ten-thousandths
            of the upright photo's width and height.
    """

    text: str
    confidence: float = 1.0
    box: tuple[int, ...] = ()


class PhotoWords(msgspec.Struct, frozen=True, array_like=True):
    """The lines that were read in a photo, the names of its place, and whether it was read."""

    lines: tuple[Line, ...] = ()
    places: tuple[str, ...] = ()
    read: bool = False


def write_words(
    file: Path, segment_crc32: int, paths: Sequence[bytes], words: Sequence[PhotoWords]
) -> None:
    """Write the words of a segment's photos, in the order of its rows, and flush them to disk."""
    rows: defaultdict[bytes, list[int]] = defaultdict(list)
    for row, (path, photo) in enumerate(zip(paths, words, strict=True)):
        name = os.fsdecode(path).encode("utf-8", "replace").decode()
        of_sources = (" \n".join(line.text for line in photo.lines), name, "\n".join(photo.places))
        for source, text in enumerate(of_sources):
            for term in {*fold(text)}:
                rows[term.encode("utf-8", "replace") + bytes([0, source])].append(row)
    terms = sorted(rows)
    postings = [_pack(np.array(rows[term], np.uint32)) for term in terms]
    blocks = [
        zlib.compress(msgspec.json.encode(words[at : at + _BLOCK]))
        for at in range(0, len(words), _BLOCK)
    ]
    texts = [b"".join(parts) for parts in (terms, postings, blocks)]
    ends = [np.cumsum([*map(len, parts)], dtype="<u4") for parts in (terms, postings, blocks)]
    order = sorted(range(len(terms)), key=lambda at: terms[at][-3::-1])
    parts: list[bytes | U8 | U32] = [
        np.packbits([photo.read for photo in words], bitorder="little"),
        *ends[:2],
        np.array(order, "<u4"),
        ends[2],
        *texts,
    ]
    body = b"".join(bytes(part) for part in parts)
    head = _HEAD.pack(_MAGIC, segment_crc32, len(words), len(terms), len(blocks), *map(len, texts))
    with file.open("xb") as out:
        out.write(head + _CRC.pack(zlib.crc32(body)) + body)
        out.flush()
        os.fsync(out.fileno())


def _pack(rows: U32) -> bytes:
    """Return the differences of ascending rows, less 1, as LEB128."""
    gaps = rows.astype(np.int64) - np.concatenate([[0], rows[:-1].astype(np.int64) + 1])
    digits = np.right_shift(gaps[:, None], np.arange(0, 35, 7))
    is_used = (digits > 0) | (np.arange(5) == 0)
    is_last = is_used & ~np.pad(is_used, ((0, 0), (0, 1)))[:, 1:]
    packed = (digits & 127) | np.where(is_last, 0, 128)
    return bytes(packed[is_used].astype(np.uint8))


class WordsFile:
    """The words of a segment's photos, memory-mapped. PhotoIndexError if the file is damaged, or of
    another segment; FileNotFoundError if it is gone."""

    def __init__(self, file: Path, photos: int, segment_crc32: int) -> None:
        self.file = file
        with os.fdopen(open_regular(file), "rb") as opened:
            try:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
                magic, crc, rows, terms, blocks, *sizes = _HEAD.unpack_from(self._map)
            except (ValueError, struct.error):
                raise self._damaged("it ends too early") from None
        lengths = [-(-rows // 8), 4 * terms, 4 * terms, 4 * terms, 4 * blocks, *sizes]
        starts = np.cumsum([_HEAD.size + _CRC.size, *lengths]).tolist()
        if (magic, crc, rows, blocks) != (_MAGIC, segment_crc32, photos, -(-rows // _BLOCK)):
            raise self._damaged("it is not of its segment")
        if starts[-1] != len(self._map):
            raise self._damaged(f"it has {len(self._map)} bytes, not {starts[-1]}")
        self.photos, self._terms = photos, terms
        self._read = np.frombuffer(self._map, np.uint8, lengths[0], starts[0])
        self._term_ends, self._posting_ends, self._reversed, self._block_ends = (
            np.frombuffer(self._map, "<u4", count, start)
            for count, start in zip((terms, terms, terms, blocks), starts[1:5], strict=True)
        )
        self._at, self._ends = starts[5:8], starts[6:9]

    def verify(self) -> None:
        """Compare the file with its checksum. PhotoIndexError if it is damaged."""
        start = _HEAD.size + _CRC.size
        (crc,) = _CRC.unpack_from(self._map, _HEAD.size)
        if zlib.crc32(memoryview(self._map)[start:]) != crc:
            raise self._damaged("its checksum is another one")

    @property
    def read(self) -> U8:
        """For each photo, 1 if its text was read, else 0."""
        return np.unpackbits(self._read, count=self.photos, bitorder="little")

    def whole(self, term: str) -> range:
        """Return the numbers of a term, of each source that has it."""
        return self._starting(term.encode("utf-8", "replace") + b"\0")

    def beginning(self, term: str) -> range:
        """Return the numbers of the terms that begin with `term`."""
        return self._starting(term.encode("utf-8", "replace"))

    def with_wrong_letter(self, term: str) -> Iterator[int]:
        """Yield the numbers of terms that differ from `term` by a letter: another one, one that is
        missing or one too many. The half without it is whole."""
        half = len(term) // 2
        for number in self._starting(term[:half].encode("utf-8", "replace")):
            if differ_by_letter(term, self.term(number)[0]):
                yield number
        end = term[half:].encode("utf-8", "replace")[::-1]
        first = bisect_left(range(self._terms), end, key=self._backwards)
        for number in self._reversed[first:].tolist():
            if not (word := self.term(number)[0]).endswith(term[half:]):
                break
            if not word.startswith(term[:half]) and differ_by_letter(term, word):
                yield number

    def term(self, number: int) -> tuple[str, str]:
        """Return a term and its source."""
        raw = self._bytes(number)
        try:
            return raw[:-2].decode("utf-8"), SOURCES[raw[-1]]
        except (IndexError, UnicodeDecodeError):
            raise self._damaged("a term is no text, or of no source") from None

    def rows(self, number: int) -> U32:
        """Return the rows of the photos that have a term, ascending."""
        packed = np.frombuffer(self._part(1, self._posting_ends, number), np.uint8)
        is_last = packed < 128
        ends = np.flatnonzero(is_last)
        lengths = np.diff(ends, prepend=-1)
        if not len(packed) or not is_last[-1] or lengths.max() > 5:
            raise self._damaged("a term has no photos")
        starts = ends - lengths + 1
        shifts = 7 * (np.arange(len(packed)) - np.repeat(starts, lengths))
        gaps = np.add.reduceat((packed & 127).astype(np.int64) << shifts, starts)
        rows = np.cumsum(gaps + 1) - 1
        if rows[-1] >= self.photos:
            raise self._damaged("a term is of a photo that is not there")
        return rows.astype(np.uint32)

    def photo(self, row: int) -> PhotoWords:
        """Return what is known of a photo."""
        block = self._part(2, self._block_ends, row // _BLOCK)
        try:
            text = zlib.decompressobj().decompress(block, _MOST_BLOCK_BYTES)
            return msgspec.json.decode(text, type=list[PhotoWords])[row % _BLOCK]
        except (zlib.error, msgspec.DecodeError, IndexError) as error:
            raise self._damaged(f"the texts of a photo cannot be read ({error})") from None

    def _starting(self, start: bytes) -> range:
        every = range(self._terms)
        first = bisect_left(every, start, key=self._bytes)
        return range(first, bisect_left(every, start + b"\xff", lo=first, key=self._bytes))

    def _bytes(self, number: int) -> bytes:
        return self._part(0, self._term_ends, number)

    def _backwards(self, place: int) -> bytes:
        return self._bytes(int(self._reversed[place]))[-3::-1]

    def _part(self, part: int, ends: U32, number: int) -> bytes:
        if number >= len(ends):
            raise self._damaged("a term is missing")
        start = int(ends[number - 1]) if number else 0
        at, end = self._at[part], self._at[part] + int(ends[number])
        if not at + start <= end <= self._ends[part]:
            raise self._damaged("its offsets do not ascend within it")
        return self._map[at + start : end]

    def _damaged(self, why: str) -> PhotoIndexError:
        return PhotoIndexError(
            f"The index file {self.file} is damaged: {why}.",
            Remedy.REPAIR_INDEX(index=self.file.parent),
        )


def differ_by_letter(a: str, b: str) -> bool:
    """Say whether two words differ by one letter: another one, or one more."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    pairs = enumerate(zip(a, b, strict=False))
    at = next((at for at, (x, y) in pairs if x != y), min(len(a), len(b)))
    return a[at + 1 :] in (b[at + 1 :], b[at:]) or a[at:] == b[at + 1 :]
