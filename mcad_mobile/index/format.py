"""Bytes on disk of one segment: written once, then only read.

docs/index-format.md is the same layout in words, exact enough to write a reader from.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import MAX_DIM, U8, Encoded
from mcad_mobile.index.paths import BLOCK
from mcad_mobile.typed import UPDATE

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
