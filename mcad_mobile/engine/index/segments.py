"""One open segment: its arrays, mapped, and what is read of it by position."""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.base.documents import UPDATE
from mcad_mobile.engine.index.codes import F32, MAX_DIM, U8, Encoded
from mcad_mobile.engine.index.paths import BLOCK, PathTable
from mcad_mobile.errors import PhotoIndexError

# Bytes on disk of one segment: written once, then only read.
#
# docs/index-format.md is the same layout in words, exact enough to write a reader from.

ALIGNMENT = 4096
MAGIC = b"MCADSEG1"
PARTS = (
    *("axis", "lens", "centroids", "starts", "rows"),
    *("columns", "records", "taken", "stamps", "path_blocks", "paths"),
)
MOST_CELLS = 65535
# Of a photo that nobody has told the time of.
NO_TIME = -(2**31)

CHUNK = 1 << 20
# Magic, dimensions, parts, photos, photos of the axis, bits a photo that a scan reads, cells.
HEAD = struct.Struct("<8sIIQQII")
PART = struct.Struct("<QQII")
CRC = struct.Struct("<I")
_NEWER_MAGIC = re.compile(rb"MCADSEG[2-9]")
_REBUILD = (
    "Restore the file from a backup, or delete the index directory and index the photos again."
)

Rows = npt.NDArray[np.intp]
Stamps = npt.NDArray[np.uint32]
Taken = npt.NDArray[np.int32]


class PositionedFile:
    """Reads at offsets, from any thread; the file stays readable after it is deleted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = os.open(file, os.O_RDONLY)

    def __del__(self) -> None:
        # Absent when os.open raised.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes; PhotoIndexError when the file ends before."""
        return self._whole(os.pread(self._descriptor, length, offset), offset, length)

    def read_each(self, offsets: Sequence[int], length: int) -> bytes:
        """Read `length` bytes at each of the offsets, joined; errors as `read`."""
        data = b"".join(map(os.pread, repeat(self._descriptor), repeat(length), offsets))
        return self._whole(data, max(offsets), length * len(offsets))

    def _whole(self, data: bytes, last: int, wanted: int) -> bytes:
        if len(data) != wanted:
            raise damaged(self._file, f"it ends before all of what starts at byte {last}")
        return data


@dataclass(frozen=True)
class Part:
    """Where a part lies in its segment: offset and length in bytes, and its checksum."""

    offset: int
    length: int
    crc32: int


def record_bytes(dim: int, scanned: int) -> int:
    """Magnitudes, the bits of the code that no column holds, along and scale."""
    return dim + (dim - scanned) // 8 + 4


def packed(encoded: Encoded, scanned: int) -> tuple[U8, npt.NDArray[np.uint64]]:
    """Return records [B, R] uint8 and columns [S/64, B] uint64 of B photos, S = `scanned`."""
    head, tail = encoded.codes[:, : scanned // 8], encoded.codes[:, scanned // 8 :]
    numbers = [
        part.astype(kind).view(np.uint8).reshape(-1, 2)
        for part, kind in ((encoded.along, "<i2"), (encoded.scales, "<u2"))
    ]
    records = np.concatenate([encoded.magnitudes, tail, *numbers], axis=1)
    return records, np.ascontiguousarray(head).view("<u8").T


def unpacked(records: U8, columns: npt.NDArray[np.uint64]) -> Encoded:
    """Inverse of `packed`."""
    head = np.ascontiguousarray(columns.T).view(np.uint8).reshape(len(records), -1)
    rest = records.shape[1] - 4
    dim = (rest + head.shape[1]) * 8 // 9
    numbers = records[:, rest:].copy()
    return Encoded(
        codes=np.concatenate([head, records[:, dim:rest]], axis=1),
        along=numbers[:, :2].view("<i2")[:, 0],
        scales=numbers[:, 2:].copy().view("<u2")[:, 0],
        magnitudes=records[:, :dim],
    )


def damaged(file: Path, detail: str) -> PhotoIndexError:
    """Make the error for a file whose bytes are not what was written."""
    return PhotoIndexError(f"The index file {file} is damaged: {detail}.", _REBUILD)


def checksum(opened: PositionedFile, part: Part) -> int:
    """Read a part whole and return its CRC-32."""
    crc = 0
    for start in range(0, part.length, CHUNK):
        length = min(CHUNK, part.length - start)
        crc = zlib.crc32(opened.read(part.offset + start, length), crc)
    return crc


def checked_header(header: bytes, file: Path) -> bytes:
    """Return it; PhotoIndexError when it is not that of a segment."""
    magic = header[: len(MAGIC)]
    if _NEWER_MAGIC.fullmatch(magic):
        raise PhotoIndexError(
            f"The index file {file} starts with {magic!r}, of a newer mcad-mobile; this version "
            f"reads {MAGIC!r}.",
            UPDATE,
        )
    if magic != MAGIC:
        raise damaged(file, f"it starts with {magic!r}, not with {MAGIC!r}")
    if len(header) < ALIGNMENT:
        raise damaged(file, f"it ends at byte {len(header)}, inside its header")
    crc = zlib.crc32(header[: -CRC.size])
    if crc != CRC.unpack(header[-CRC.size :])[0]:
        raise damaged(file, f"its header has CRC-32 {crc:08x}, another one than it says")
    _, dim, parts, photos, _, scanned, cells = HEAD.unpack_from(header)
    if dim % 8 or not 8 <= dim <= MAX_DIM or parts != len(PARTS) or photos < 1:
        raise damaged(file, f"its header says {dim} dimensions, {parts} parts, {photos} photos")
    if scanned % 64 or scanned > dim:
        raise damaged(file, f"its header says {scanned} of {dim} bits to scan")
    if cells > MOST_CELLS:
        raise damaged(file, f"its header says {cells} cells")
    return header


def part_lengths(dim: int, scanned: int, cells: int, photos: int) -> dict[str, int]:
    """Bytes of each part, in their order; paths, which come last, have any length."""
    return {
        "axis": dim * 4,
        "lens": scanned * dim * 4,
        "centroids": cells * dim * 2,
        "starts": (cells + 1) * 4 if cells else 0,
        "rows": photos * 4 if cells else 0,
        "columns": photos * scanned // 8,
        "records": photos * record_bytes(dim, scanned),
        "taken": photos * 4,
        "stamps": photos * 8,
        "path_blocks": -(-photos // BLOCK) * 8,
        "paths": 0,
    }


def aligned(offset: int) -> int:
    """Return the next place where a part may start."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Segment:
    """One open segment of N photos by ascending path; the arrays are read-only memory maps.

    axis [D] float32, taken over `axis_photos` photos; lens [S, D] float32; columns [S/64, N]
    uint64, the first S bits of all codes; taken [N] int32. Rows are in the order of paths. Columns
    and records are in the order of places: with C cells (cells.py) these have centroids [C, D]
    int16, are at places `starts` [C + 1] uint32, and `rows` [N] uint32 says whose place it is;
    without cells, C = 0, places are rows.

    All else is read by position instead. A search wants few of them, from all over
    the file, and a page fault maps 16 pages at once (fault_around_bytes of Linux): through the map
    nearly all records, 27 MB at 100,000 photos, would count as memory of the process.
    """

    file: Path
    header_crc32: int
    axis_photos: int
    axis: F32
    lens: F32
    centroids: npt.NDArray[np.int16]
    starts: npt.NDArray[np.uint32]
    rows: npt.NDArray[np.uint32]
    columns: npt.NDArray[np.uint64]
    taken: Taken
    paths: PathTable
    parts: dict[str, Part]
    opened: PositionedFile

    @property
    def photos(self) -> int:
        """Rows of this segment, deleted ones included."""
        return len(self.taken)

    @property
    def record(self) -> int:
        """Bytes of a record."""
        return record_bytes(len(self.axis), len(self.lens))

    @cached_property
    def directions(self) -> F32:
        """The centroids, as they are multiplied."""
        return self.centroids.astype(np.float32)

    @cached_property
    def _places(self) -> npt.NDArray[np.intp]:
        places = np.full(self.photos, -1, np.intp)
        places[self.rows_at(np.arange(self.photos))] = np.arange(self.photos)
        if len(places) and np.min(places) < 0:
            raise damaged(self.file, "some of its photos have no place")
        return places

    def places_of(self, rows: Rows) -> Rows:
        """Return the places of rows."""
        return self._places[rows] if len(self.centroids) else rows

    def rows_at(self, places: Rows) -> Rows:
        """Return the rows at places."""
        if not len(self.centroids):
            return places
        rows = self.rows[places].astype(np.intp)
        if len(rows) and np.max(rows) >= self.photos:
            raise damaged(self.file, f"its place {places[np.argmax(rows)]} is row {np.max(rows)}'s")
        return rows

    def cells_of(self, rows: Rows) -> Rows:
        """Return the cells that rows are in."""
        return self.starts.searchsorted(self.places_of(rows), side="right") - 1

    def encoded_rows(self, rows: Rows) -> Encoded:
        """Copy the numbers of `rows`, at least one, out of the file."""
        return self.encoded_at(self.places_of(rows))

    def encoded_at(self, places: Rows) -> Encoded:
        """The same of photos by their places."""
        base, size = self.parts["records"].offset, self.record
        first, count = int(places[0]), len(places)
        if int(places[-1]) - first == count - 1 and (np.diff(places) == 1).all():
            raw = self.opened.read(base + first * size, count * size)
        else:
            raw = self.opened.read_each((base + places * size).tolist(), size)
        return unpacked(np.frombuffer(raw, np.uint8).reshape(count, size), self.columns[:, places])

    def stamps(self, rows: Rows) -> Stamps:
        """Copy the stamps [B, 2] uint32 of `rows`, ascending and at least one."""
        first, width = int(rows[0]), 8
        raw = self.opened.read(
            self.parts["stamps"].offset + first * width, (int(rows[-1]) + 1 - first) * width
        )
        return np.frombuffer(raw, "<u4").reshape(-1, 2)[rows - first]

    def verify(self) -> None:
        """See verify_segment."""
        verify_segment(self)


def open_segment(file: Path) -> Segment:
    """Map a segment and check its header; the parts are checked by `verify_segment` only.

    FileNotFoundError when there is no such file, PhotoIndexError when it is not a segment that
    this version reads, or is shorter than its header says.
    """
    opened = PositionedFile(file)
    size = os.fstat(opened.fileno()).st_size
    header = checked_header(opened.read(0, min(size, ALIGNMENT)), file)
    _, dim, _, photos, axis_photos, scanned, cells = HEAD.unpack_from(header)
    parts = {}
    end = ALIGNMENT
    for i, (name, length) in enumerate(part_lengths(dim, scanned, cells, photos).items()):
        offset, found, crc, _ = PART.unpack_from(header, HEAD.size + i * PART.size)
        if name != "paths" and found != length:
            raise damaged(file, f"its {name} are {found} bytes, not {length}")
        if offset != aligned(end) or offset + found > size:
            raise damaged(file, f"its {name} are at bytes {offset} to {offset + found} of {size}")
        parts[name] = Part(offset, found, crc)
        end = offset + found
    if end != size:
        raise damaged(file, f"it has {size} bytes, not {end}")
    buffer = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))

    def view(name: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
        part = parts[name]
        return np.frombuffer(buffer[part.offset : part.offset + part.length], dtype).reshape(shape)

    starts = view("starts", "<u4", cells + 1 if cells else 0)
    if cells and (starts[0] or starts[-1] != photos or (starts[1:] < starts[:-1]).any()):
        raise damaged(file, f"its {cells} cells do not hold its {photos} photos")
    return Segment(
        file=file,
        header_crc32=CRC.unpack_from(header, ALIGNMENT - CRC.size)[0],
        axis_photos=axis_photos,
        axis=view("axis", "<f4", dim),
        lens=view("lens", "<f4", scanned, dim),
        centroids=view("centroids", "<i2", cells, dim),
        starts=starts,
        rows=view("rows", "<u4", photos if cells else 0),
        columns=view("columns", "<u8", scanned // 64, photos),
        taken=view("taken", "<i4", photos),
        paths=_path_table(file, opened, parts, photos),
        parts=parts,
        opened=opened,
    )


def _path_table(
    file: Path, opened: PositionedFile, parts: dict[str, Part], photos: int
) -> PathTable:
    """Return what reads the paths of a segment."""
    paths_at, blocks_at = parts["paths"].offset, parts["path_blocks"].offset
    return PathTable(
        count=photos,
        size=parts["paths"].length,
        read=lambda offset, length: opened.read(paths_at + offset, length),
        read_starts=lambda offset, length: opened.read(blocks_at + offset, length),
        damaged=lambda detail: damaged(file, detail),
    )


def _check_order(segment: Segment) -> None:
    """PhotoIndexError when the paths of a segment do not ascend."""
    for before, path in pairwise(segment.paths.slice(0, segment.photos)):
        if before >= path:
            raise damaged(segment.file, f"its path {path!r} comes after {before!r}")


def verify_segment(segment: Segment) -> None:
    """Read the whole file: check its header and parts against their CRC-32, that all else is
    zeros, and the order of the paths. PhotoIndexError names the file and the part.
    """
    checked_header(segment.opened.read(0, ALIGNMENT), segment.file)
    end = ALIGNMENT
    for name, part in segment.parts.items():
        gap = segment.opened.read(end, part.offset - end)
        if gap.strip(b"\0"):
            raise damaged(segment.file, f"there is something before its {name}")
        end = part.offset + part.length
        crc = checksum(segment.opened, part)
        if crc != part.crc32:
            detail = f"its {name} have CRC-32 {crc:08x}, not {part.crc32:08x}"
            raise damaged(segment.file, detail)
    _check_order(segment)
    if len(segment.centroids):
        _check_places(segment)


def _check_places(segment: Segment) -> None:
    """Each row has a place, and within a cell they ascend."""
    rows = segment.rows_at(np.arange(segment.photos))
    segment.places_of(rows)
    falling = np.flatnonzero(rows[1:] <= rows[:-1]) + 1
    inside = falling[~np.isin(falling, segment.starts)]
    if len(inside):
        raise damaged(segment.file, f"its place {inside[0]} is not in the order of paths")
