"""The table of a segment's paths: sorted, in blocks of sixteen, each path without the prefix that
it shares with the path before it. Bisection finds a path, and a folder is a range of rows."""

from __future__ import annotations

import os
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from mcad_mobile.errors import PhotoIndexError

BLOCK = 16
MAX_LENGTH = 65535

_ENTRY = struct.Struct("<BH")
_START = struct.Struct("<Q")
_TWO_STARTS = struct.Struct("<QQ")
_MAX_SHARED = 255
_READ_BLOCKS = 512


def path_to_bytes(path: str) -> bytes:
    """Return the path's bytes in the file system, whatever the locale. PhotoIndexError for
    characters that no file name can contain here."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError as error:
        raise PhotoIndexError(
            f"The path {path!r} holds {path[error.start]!r}, which no file name here can contain.",
            "Give paths as the system gives them (os.listdir, os.fsdecode).",
        ) from None


class PathPacker:
    """Packs paths that come in ascending order; `starts` has the offset of each block."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._count = 0
        self._size = 0
        self._last = b""

    def pack(self, paths: Iterable[bytes]) -> bytes:
        """Return the next bytes of the table. ValueError when a path does not ascend."""
        packed = bytearray()
        for path in paths:
            if path <= self._last:
                raise ValueError(f"{path!r} does not come after {self._last!r}")
            shared = 0
            if self._count % BLOCK:
                shared = min(_shared(self._last, path), _MAX_SHARED)
            else:
                self.starts.append(self._size + len(packed))
            packed += _ENTRY.pack(shared, len(path) - shared)
            packed += path[shared:]
            self._last = path
            self._count += 1
        self._size += len(packed)
        return bytes(packed)


@dataclass(frozen=True)
class PathTable:
    """Reads the paths of `count` rows: `read(offset, length)` reads the `size` bytes of paths,
    `read_starts` the starts of blocks, uint64 each; `damaged(detail)` makes an error."""

    count: int
    size: int
    read: Callable[[int, int], bytes]
    read_starts: Callable[[int, int], bytes]
    damaged: Callable[[str], PhotoIndexError]

    def at(self, row: int) -> bytes:
        return self.in_block(row, self.span(row // BLOCK))

    def in_block(self, row: int, span: tuple[int, int]) -> bytes:
        """The path of a row, whose block has this `span`."""
        (number, entry), (start, stop) = divmod(row, BLOCK), span
        return self._unpack(number, self.read(start, stop - start), entry + 1)[-1]

    def span(self, number: int) -> tuple[int, int]:
        """Where a block starts and stops, in bytes."""
        if (number + 1) * BLOCK < self.count:
            start, stop = _TWO_STARTS.unpack(self.read_starts(number * 8, 16))
        else:
            ((start,), stop) = _START.unpack(self.read_starts(number * 8, 8)), self.size
        if not start < stop <= self.size:
            raise self.damaged(f"block {number} of its paths is at bytes {start} to {stop}")
        return start, stop

    def slice(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the paths of rows `start` to `stop`, reading many blocks at once."""
        last = -(-stop // BLOCK)
        for first in range(start // BLOCK, last, _READ_BLOCKS):
            until = min(first + _READ_BLOCKS, last)
            for block, paths in enumerate(self._blocks(first, until), start=first):
                row = block * BLOCK
                yield from paths[max(start - row, 0) : stop - row]

    def find(self, paths: Sequence[bytes]) -> list[tuple[int, int]]:
        """Return (position in `paths`, row) of every path that is found."""
        first, block = self._cached_readers()
        found = []
        for position, path in enumerate(paths):
            row = self._lower_bound(path, first, block)
            if row < self.count and block(row // BLOCK)[row % BLOCK] == path:
                found.append((position, row))
        return found

    def below(self, folder: bytes) -> range:
        """Return the rows whose paths start with `folder`, which ends with an ASCII character."""
        after = folder[:-1] + bytes([folder[-1] + 1])
        readers = self._cached_readers()
        return range(self._lower_bound(folder, *readers), self._lower_bound(after, *readers))

    def _cached_readers(self) -> tuple[Callable[[int], bytes], Callable[[int], list[bytes]]]:
        """Cached readers of a block's first path and of all its paths, for one lookup."""
        first = cache(lambda number: self.at(number * BLOCK))
        return first, cache(lambda number: next(self._blocks(number, number + 1)))

    def _lower_bound(
        self, path: bytes, first: Callable[[int], bytes], block: Callable[[int], list[bytes]]
    ) -> int:
        """Return the first row whose path is not before `path`."""
        after = bisect_right(range(-(-self.count // BLOCK)), path, key=first)
        return (after - 1) * BLOCK + bisect_left(block(after - 1), path) if after else 0

    def _blocks(self, first: int, until: int) -> Iterator[list[bytes]]:
        """Yield the paths of blocks `first` to `until`, which are read at once."""
        # The end of the last block is the start of the next, or the end of all.
        block_starts = min(until + 1, -(-self.count // BLOCK)) - first
        raw = self.read_starts(first * _START.size, block_starts * _START.size)
        starts = [start for (start,) in _START.iter_unpack(raw)]
        if block_starts == until - first:
            starts.append(self.size)
        if starts[-1] > self.size or any(a >= b for a, b in pairwise(starts)):
            raise self.damaged(f"blocks of its paths from {first} start at bytes {starts[:17]}")
        data = self.read(starts[0], starts[-1] - starts[0])
        for number, (start, stop) in enumerate(pairwise(starts), start=first):
            count = min(BLOCK, self.count - number * BLOCK)
            yield self._unpack(number, data[start - starts[0] : stop - starts[0]], count)

    def _unpack(self, number: int, data: bytes, count: int) -> list[bytes]:
        """Return the first `count` paths of a block from its bytes."""
        paths: list[bytes] = []
        path, offset, size = b"", 0, len(data)
        entry, width = _ENTRY.unpack_from, _ENTRY.size
        try:
            for _ in range(count):
                shared, length = entry(data, offset)
                begin = offset + width
                offset = begin + length
                if offset > size or shared > len(path) or shared + length == 0:
                    raise self.damaged(f"block {number} of its paths has a path that can't be")
                path = path[:shared] + data[begin:offset]
                paths.append(path)
        except struct.error:
            raise self.damaged(f"block {number} of its paths ends too soon") from None
        return paths


def _shared(a: bytes, b: bytes) -> int:
    length = min(len(a), len(b))
    differ = int.from_bytes(a[:length], "big") ^ int.from_bytes(b[:length], "big")
    return length - -(-differ.bit_length() // 8)
