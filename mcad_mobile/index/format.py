"""Bytes on disk of one segment: written once, then only read.

docs/index-format.md is the same layout in words, exact enough to write a reader from.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import F32, MAX_DIM, U8, Encoded
from mcad_mobile.index.paths import BLOCK, PathTable

MAGIC = b"MCADSEG3"
ALIGNMENT = 4096
PARTS = ("axis", "lens", "columns", "records", "taken", "stamps", "path_blocks", "paths")
# Of a photo that nobody has told the time of.
NO_TIME = -(2**31)

CHUNK = 1 << 20
HEAD = struct.Struct("<8sIIQQ")
# Bits a photo that a scan reads: behind the table of parts.
SCANNED = struct.Struct("<I")
SCANNED_AT = HEAD.size + len(PARTS) * 24
PART = struct.Struct("<QQII")
CRC = struct.Struct("<I")
_REBUILD = (
    "Restore the file from a backup, or delete the index directory and index the photos again."
)

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


@dataclass(frozen=True)
class Segment:
    """One open segment of N photos by ascending path; the arrays are read-only memory maps.

    axis [D] float32, taken over `axis_photos` photos; lens [S, D] float32; columns [S/64, N]
    uint64, the first S bits of all codes; taken [N] int32.

    All else is read by position instead. A search wants few of them, from all over
    the file, and a page fault maps 16 pages at once (fault_around_bytes of Linux): through the map
    nearly all records, 27 MB at 100,000 photos, would count as memory of the process.
    """

    file: Path
    header_crc32: int
    axis_photos: int
    axis: F32
    lens: F32
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

    def encoded_rows(self, rows: npt.NDArray[np.intp]) -> Encoded:
        """Copy the numbers of `rows`, ascending and at least one, out of the file."""
        base, size = self.parts["records"].offset, self.record
        first, count = int(rows[0]), len(rows)
        if int(rows[-1]) - first == count - 1:
            raw = self.opened.read(base + first * size, count * size)
        else:
            raw = self.opened.read_each((base + rows * size).tolist(), size)
        return unpacked(np.frombuffer(raw, np.uint8).reshape(count, size), self.columns[:, rows])

    def stamps(self, rows: npt.NDArray[np.intp]) -> Stamps:
        """Copy the stamps [B, 2] uint32 of `rows`, ascending and at least one."""
        first, width = int(rows[0]), 8
        raw = self.opened.read(
            self.parts["stamps"].offset + first * width, (int(rows[-1]) + 1 - first) * width
        )
        return np.frombuffer(raw, "<u4").reshape(-1, 2)[rows - first]

    def verify(self) -> None:
        """See verify_segment."""
        verify_segment(self)


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


def open_segment(file: Path) -> Segment:
    """Map a segment and check its header; the parts are checked by `verify_segment` only.

    FileNotFoundError when there is no such file, PhotoIndexError when it is not a segment that
    this version reads, or is shorter than its header says.
    """
    opened = PositionedFile(file)
    size = os.fstat(opened.fileno()).st_size
    header = _checked_header(opened.read(0, min(size, ALIGNMENT)), file)
    _, dim, _, photos, axis_photos = HEAD.unpack_from(header)
    (scanned,) = SCANNED.unpack_from(header, SCANNED_AT)
    parts = {}
    end = ALIGNMENT
    for i, (name, length) in enumerate(part_lengths(dim, scanned, photos).items()):
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

    return Segment(
        file=file,
        header_crc32=CRC.unpack_from(header, ALIGNMENT - CRC.size)[0],
        axis_photos=axis_photos,
        axis=view("axis", "<f4", dim),
        lens=view("lens", "<f4", scanned, dim),
        columns=view("columns", "<u8", scanned // 64, photos),
        taken=view("taken", "<i4", photos),
        paths=path_table(file, opened, parts, photos),
        parts=parts,
        opened=opened,
    )


def path_table(
    file: Path, opened: PositionedFile, parts: dict[str, Part], photos: int
) -> PathTable:
    """Return what reads the paths of a segment, of this format or the one before."""
    paths_at, blocks_at = parts["paths"].offset, parts["path_blocks"].offset
    return PathTable(
        count=photos,
        size=parts["paths"].length,
        read=lambda offset, length: opened.read(paths_at + offset, length),
        read_starts=lambda offset, length: opened.read(blocks_at + offset, length),
        damaged=lambda detail: damaged(file, detail),
    )


def check_order(segment: Segment) -> None:
    """PhotoIndexError when the paths of a segment do not ascend."""
    for before, path in pairwise(segment.paths.slice(0, segment.photos)):
        if before >= path:
            raise damaged(segment.file, f"its path {path!r} comes after {before!r}")


def checksum(opened: PositionedFile, part: Part) -> int:
    """Read a part whole and return its CRC-32."""
    crc = 0
    for start in range(0, part.length, CHUNK):
        length = min(CHUNK, part.length - start)
        crc = zlib.crc32(opened.read(part.offset + start, length), crc)
    return crc


def verify_segment(segment: Segment) -> None:
    """Read the whole file: check its header and parts against their CRC-32, that all else is
    zeros, and the order of the paths. PhotoIndexError names the file and the part.
    """
    _checked_header(segment.opened.read(0, ALIGNMENT), segment.file)
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
    check_order(segment)


def _checked_header(header: bytes, file: Path) -> bytes:
    if not header.startswith(MAGIC):
        raise damaged(file, f"it starts with {header[:8]!r}, not with {MAGIC!r}")
    if len(header) < ALIGNMENT:
        raise damaged(file, f"it ends at byte {len(header)}, inside its header")
    crc = zlib.crc32(header[: -CRC.size])
    if crc != CRC.unpack(header[-CRC.size :])[0]:
        raise damaged(file, f"its header has CRC-32 {crc:08x}, another one than it says")
    _, dim, parts, photos, _ = HEAD.unpack_from(header)
    if dim % 8 or not 8 <= dim <= MAX_DIM or parts != len(PARTS) or photos < 1:
        raise damaged(file, f"its header says {dim} dimensions, {parts} parts, {photos} photos")
    (scanned,) = SCANNED.unpack_from(header, SCANNED_AT)
    if scanned % 64 or scanned > dim:
        raise damaged(file, f"its header says {scanned} of {dim} bits to scan")
    return header


def part_lengths(dim: int, scanned: int, photos: int) -> dict[str, int]:
    """Bytes of each part, in their order; paths, which come last, have any length."""
    return {
        "axis": dim * 4,
        "lens": scanned * dim * 4,
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
