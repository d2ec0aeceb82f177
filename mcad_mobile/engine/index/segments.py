"""The bytes of a segment on disk (docs/index-format.md), and an open segment: mapped arrays, and
reads by position."""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.base.files import UnusualFileError, open_regular
from mcad_mobile.engine.arrays import F32, I16, U8, U32, Rows, Stamps, Times, Words
from mcad_mobile.engine.index.codes import MAX_DIM, NORM_TOLERANCE, record_size
from mcad_mobile.engine.index.paths import BLOCK, PathTable
from mcad_mobile.errors import PhotoIndexError, Remedy, update_hint

ALIGNMENT = 4096
MAGIC = b"MCADSEG1"
PARTS = (
    *("axis", "bit_weights", "centroids", "starts", "rows"),
    *("columns", "records", "times", "stamps", "path_blocks", "paths"),
)
MAX_CELLS = 65535
# A fit to photos of length 1, whose regularization keeps weights below 4.
_MOST_BIT_WEIGHT = 100
# The time of a photo whose time is not known.
NO_TIME = -(2**31)

CHUNK = 1 << 20
# Magic, dimensions, parts, photos, photos of the axis, bits of a photo that a scan reads, cells.
HEAD = struct.Struct("<8sIIQQII")
PART = struct.Struct("<QQII")
CRC = struct.Struct("<I")
_NEWER_MAGIC = re.compile(rb"MCADSEG[2-9]")


class PositionedFile:
    """Reads at offsets, from any thread; the file stays readable after it is deleted."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._descriptor = open_regular(file)
        except UnusualFileError as error:
            raise damaged(file, str(error)) from None
        if hasattr(os, "posix_fadvise"):
            # A search reads scattered records: reading ahead is not worth it.
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self) -> None:
        # Absent when os.open raised.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def fetch(self, spans: Iterable[tuple[int, int]]) -> None:
        """Have the system fetch the bytes from start to stop of each span at once: uncached reads
        would wait one after the other."""
        if hasattr(os, "posix_fadvise"):
            for start, stop in spans:
                os.posix_fadvise(self._descriptor, start, stop - start, os.POSIX_FADV_WILLNEED)

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes; PhotoIndexError if the file is too short."""
        return self._whole(os.pread(self._descriptor, length, offset), offset, length)

    def read_each(self, offsets: Sequence[int], length: int) -> bytes:
        """Read `length` bytes at each of the offsets, joined; errors as `read`."""
        data = b"".join(map(os.pread, repeat(self._descriptor), repeat(length), offsets))
        return self._whole(data, max(offsets), length * len(offsets))

    def _whole(self, data: bytes, last: int, wanted: int) -> bytes:
        if len(data) != wanted:
            raise damaged(self._file, f"it ends inside the data that starts at byte {last}")
        return data


@dataclass(frozen=True)
class Part:
    """Where a part lies in its segment: offset and length in bytes, and its checksum."""

    offset: int
    length: int
    crc32: int


def record_bytes(dim: int, scan_bits: int) -> int:
    """Bytes of a stored record: a whole one less the bits in columns."""
    return record_size(dim) - scan_bits // 8


def pack_records(whole: U8, dim: int, scan_bits: int) -> tuple[U8, Words]:
    """Return stored records [B, R] uint8 and columns [S/64, B] uint64 of whole records, S =
    `scan_bits`."""
    head = slice(dim, dim + scan_bits // 8)
    records = np.concatenate([whole[:, : head.start], whole[:, head.stop :]], axis=1)
    return records, np.ascontiguousarray(whole[:, head]).view("<u8").T


def unpack_records(records: U8, dim: int, columns: Words) -> U8:
    """Invert `pack_records`."""
    head = np.ascontiguousarray(columns.T).view(np.uint8).reshape(len(records), -1)
    return np.concatenate([records[:, :dim], head, records[:, dim:]], axis=1)


def damaged(file: Path, detail: str) -> PhotoIndexError:
    return PhotoIndexError(
        f"The index file {file} is damaged: {detail}.", Remedy.REPAIR_INDEX(index=file.parent)
    )


def _check_header(header: bytes, file: Path) -> bytes:
    magic = header[: len(MAGIC)]
    if _NEWER_MAGIC.fullmatch(magic):
        raise PhotoIndexError(
            f"The index file {file} starts with {magic!r}, of a newer mcad-mobile; this version "
            f"reads {MAGIC!r}.",
            update_hint(),
        )
    if magic != MAGIC:
        raise damaged(file, f"it starts with {magic!r}, not with {MAGIC!r}")
    if len(header) < ALIGNMENT:
        raise damaged(file, f"it ends at byte {len(header)}, inside its header")
    crc = zlib.crc32(header[: -CRC.size])
    if crc != CRC.unpack(header[-CRC.size :])[0]:
        raise damaged(file, f"its header has CRC-32 {crc:08x}, not the one in its last bytes")
    _, dim, parts, photos, _, scan_bits, cells = HEAD.unpack_from(header)
    if dim % 8 or not 8 <= dim <= MAX_DIM or parts != len(PARTS) or photos < 1:
        raise damaged(file, f"its header says {dim} dimensions, {parts} parts, {photos} photos")
    if scan_bits % 64 or scan_bits > dim:
        raise damaged(file, f"its header says {scan_bits} of {dim} bits to scan")
    if cells > MAX_CELLS:
        raise damaged(file, f"its header says {cells} cells")
    return header


def part_lengths(dim: int, scan_bits: int, cells: int, photos: int) -> dict[str, int]:
    """Bytes of each part, in order; 0 for paths, which come last and have any length."""
    return {
        "axis": dim * 4,
        "bit_weights": scan_bits * dim * 4,
        "centroids": cells * dim * 2,
        "starts": (cells + 1) * 4 if cells else 0,
        "rows": photos * 4 if cells else 0,
        "columns": photos * scan_bits // 8,
        "records": photos * record_bytes(dim, scan_bits),
        "times": photos * 4,
        "stamps": photos * 8,
        "path_blocks": -(-photos // BLOCK) * 8,
        "paths": 0,
    }


def aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Segment:
    """One open segment of N photos by ascending path; the arrays are read-only memory maps.

    Rows are in the order of paths; columns and records are in the order of places. With C cells
    (native/cells.c), places are in the order of cells; without (C = 0), places are rows.

    Records, stamps and paths are read by position: a search needs few of them, but as a page fault
    maps 16 pages, nearly all (27 MB at 100,000 photos) would count as the process's memory.

    Attributes:
        axis: [D] float32, the direction of the mean of `axis_photos` photos.
        bit_weights: [S, D] float32, see native/bit_weights.c.
        centroids: [C, D] int16 in steps of 2^-11.
        starts: [C + 1] uint32, the first place of each cell, and N.
        rows: [N] uint32, the row of each place; empty without cells.
        columns: [S/64, N] uint64, the first S bits of all codes.
        times: [N] int32, minutes since 1970 (UTC), or NO_TIME.
    """

    file: Path
    header_crc32: int
    axis_photos: int
    axis: F32
    bit_weights: F32
    centroids: I16
    starts: U32
    rows: U32
    columns: Words
    times: Times
    paths: PathTable
    parts: dict[str, Part]
    opened: PositionedFile

    @property
    def photos(self) -> int:
        """Rows of this segment, deleted ones included."""
        return len(self.times)

    @property
    def cut_off(self) -> bool:
        """Whether the file is shorter than when it was opened."""
        part = self.parts["paths"]
        return os.fstat(self.opened.fileno()).st_size < part.offset + part.length

    def check_size(self) -> None:
        """PhotoIndexError if the file is shorter than when it was opened."""
        if self.cut_off:
            raise damaged(self.file, "it was cut off while it was open")

    @property
    def record_size(self) -> int:
        return record_bytes(len(self.axis), len(self.bit_weights))

    @cached_property
    def _places(self) -> Rows:
        places = np.full(self.photos, -1, np.intp)
        places[self.rows_at(np.arange(self.photos))] = np.arange(self.photos)
        if len(places) and np.min(places) < 0:
            raise damaged(self.file, "some of its photos have no place")
        return places

    def places_of(self, rows: Rows) -> Rows:
        return self._places[rows] if len(self.centroids) else rows

    def rows_at(self, places: Rows) -> Rows:
        if not len(self.centroids):
            return places
        rows = self.rows[places].astype(np.intp)
        if len(rows) and np.max(rows) >= self.photos:
            raise damaged(self.file, f"its place {places[np.argmax(rows)]} is row {np.max(rows)}'s")
        return rows

    def paths_at(self, places: Rows) -> list[bytes]:
        """The paths of the photos at a few places."""
        self._fetch("rows", ((4 * place, 4 * place + 4) for place in places.tolist()))
        rows = self.rows_at(places).tolist()
        blocks = {row // BLOCK for row in rows}
        self._fetch("path_blocks", ((8 * block, 8 * block + 16) for block in blocks))
        spans = {block: self.paths.span(block) for block in blocks}
        self._fetch("paths", spans.values())
        return [self.paths.in_block(row, spans[row // BLOCK]) for row in rows]

    def _fetch(self, part: str, spans: Iterable[tuple[int, int]]) -> None:
        """Have the system fetch spans of a part, if it has any bytes."""
        offset, length = self.parts[part].offset, self.parts[part].length
        if length:
            self.opened.fetch((offset + start, offset + stop) for start, stop in spans)

    def cells_of(self, rows: Rows) -> Rows:
        return self.starts.searchsorted(self.places_of(rows), side="right") - 1

    def records_of(self, rows: Rows) -> U8:
        """Read the whole records of `rows`, at least one, from the file."""
        places = self.places_of(rows)
        base, size = self.parts["records"].offset, self.record_size
        first, count = int(places[0]), len(places)
        if int(places[-1]) - first == count - 1 and (np.diff(places) == 1).all():
            raw = self.opened.read(base + first * size, count * size)
        else:
            raw = self.opened.read_each((base + places * size).tolist(), size)
        records = np.frombuffer(raw, np.uint8).reshape(count, size)
        return unpack_records(records, len(self.axis), self.columns[:, places])

    def stamps(self, rows: Rows) -> Stamps:
        """Read the stamps [B, 2] uint32 of `rows`, ascending and at least one."""
        first, count = int(rows[0]), int(rows[-1] - rows[0]) + 1
        raw = self.opened.read(self.parts["stamps"].offset + first * 8, count * 8)
        return np.frombuffer(raw, "<u4").reshape(-1, 2)[rows - first]

    def verify(self) -> None:
        """Read the whole file and check the CRC-32 of header and parts, zeros in the gaps, and the
        order of paths and places. PhotoIndexError names the file and the part."""
        _check_header(self.opened.read(0, ALIGNMENT), self.file)
        end = ALIGNMENT
        for name, part in self.parts.items():
            gap = self.opened.read(end, part.offset - end)
            if gap.strip(b"\0"):
                raise damaged(self.file, f"there are bytes other than zero before its {name}")
            end = part.offset + part.length
            crc = 0
            for start in range(part.offset, end, CHUNK):
                crc = zlib.crc32(self.opened.read(start, min(CHUNK, end - start)), crc)
            if crc != part.crc32:
                raise damaged(
                    self.file, f"the CRC-32 of its {name} is {crc:08x}, not {part.crc32:08x}"
                )
        for before, path in pairwise(self.paths.slice(0, self.photos)):
            if before >= path:
                raise damaged(self.file, f"its path {path!r} comes after {before!r}")
        if len(self.centroids):
            self._check_places()

    def _check_places(self) -> None:
        """Check that each row has a place, and rows ascend in a cell."""
        rows = self.rows_at(np.arange(self.photos))
        self.places_of(rows)
        falling = np.flatnonzero(rows[1:] <= rows[:-1]) + 1
        inside = falling[~np.isin(falling, self.starts)]
        if len(inside):
            raise damaged(self.file, f"its place {inside[0]} is not in the order of paths")


def open_segment(file: Path) -> Segment:
    """Map a segment and check its header; only `Segment.verify` checks the parts.
    FileNotFoundError if it is gone, PhotoIndexError if this version cannot read it."""
    opened = PositionedFile(file)
    size = os.fstat(opened.fileno()).st_size
    header = _check_header(opened.read(0, min(size, ALIGNMENT)), file)
    _, dim, _, photos, axis_photos, scan_bits, cells = HEAD.unpack_from(header)
    parts = {}
    end = ALIGNMENT
    for i, (name, length) in enumerate(part_lengths(dim, scan_bits, cells, photos).items()):
        offset, found, crc, _ = PART.unpack_from(header, HEAD.size + i * PART.size)
        if name != "paths" and found != length:
            raise damaged(file, f"its {name} are {found} bytes, not {length}")
        if offset != aligned(end) or offset + found > size:
            raise damaged(file, f"its {name} are at bytes {offset} to {offset + found} of {size}")
        parts[name] = Part(offset, found, crc)
        end = offset + found
    if end != size:
        raise damaged(file, f"it has {size} bytes, not {end}")
    mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    # Each search reads all of the first parts and little of the others; scans prefetch what they
    # read.
    mapped.madvise(mmap.MADV_RANDOM)
    mapped.madvise(mmap.MADV_WILLNEED, 0, parts["rows"].offset)
    buffer = memoryview(mapped)

    def view(name: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
        part = parts[name]
        return np.frombuffer(buffer[part.offset : part.offset + part.length], dtype).reshape(shape)

    paths_at, blocks_at = parts["paths"].offset, parts["path_blocks"].offset
    starts = view("starts", "<u4", cells + 1 if cells else 0)
    if cells and (starts[0] or starts[-1] != photos or (starts[1:] < starts[:-1]).any()):
        raise damaged(file, f"its {cells} cells do not hold its {photos} photos")
    axis, bit_weights = view("axis", "<f4", dim), view("bit_weights", "<f4", scan_bits, dim)
    norm = float(np.linalg.norm(axis.astype(np.float64)))
    if not (norm == 0 or abs(norm - 1) <= NORM_TOLERANCE):  # NaN is refused, too
        raise damaged(file, f"its axis has length {norm}, not 1")
    least, most = bit_weights.min(initial=0), bit_weights.max(initial=0)
    if not -_MOST_BIT_WEIGHT <= least <= most <= _MOST_BIT_WEIGHT:
        raise damaged(file, f"its bit weights go from {least} to {most}")
    return Segment(
        file=file,
        header_crc32=CRC.unpack_from(header, ALIGNMENT - CRC.size)[0],
        axis_photos=axis_photos,
        axis=axis,
        bit_weights=bit_weights,
        centroids=view("centroids", "<i2", cells, dim),
        starts=starts,
        rows=view("rows", "<u4", photos if cells else 0),
        columns=view("columns", "<u8", scan_bits // 64, photos),
        times=view("times", "<i4", photos),
        paths=PathTable(
            count=photos,
            size=parts["paths"].length,
            read=lambda offset, length: opened.read(paths_at + offset, length),
            read_starts=lambda offset, length: opened.read(blocks_at + offset, length),
            damaged=lambda detail: damaged(file, detail),
        ),
        parts=parts,
        opened=opened,
    )
