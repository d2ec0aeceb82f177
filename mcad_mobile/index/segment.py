"""One open segment: its arrays, mapped, and what is read of it by position."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, Encoded
from mcad_mobile.index.format import (
    ALIGNMENT,
    CRC,
    HEAD,
    PART,
    Part,
    PositionedFile,
    Rows,
    Stamps,
    Taken,
    aligned,
    checked_header,
    checksum,
    damaged,
    part_lengths,
    record_bytes,
    unpacked,
)
from mcad_mobile.index.paths import PathTable


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
