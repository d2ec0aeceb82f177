"""Reads segments of the format before this one, mcad-index/2, so that they can be converted.

Its header is that of today without S; its parts are axis, codes [N, D/8], along [N] int16, scales
[N] uint16, magnitudes [N, D], stamps, path_blocks and paths: the same numbers, elsewhere.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import MAX_DIM, Encoded
from mcad_mobile.index.format import ALIGNMENT, NO_TIME, Part, PositionedFile, checksum, damaged
from mcad_mobile.index.segment import Segment, check_order, path_table

_MAGIC = b"MCADSEG2"
_PARTS = ("axis", "codes", "along", "scales", "magnitudes", "stamps", "path_blocks", "paths")
_HEAD = struct.Struct("<8sIIQQ")
_PART = struct.Struct("<QQII")


@dataclass(frozen=True)
class PreviousSegment(Segment):
    """As a segment of today of which nothing is scanned, and no time is known."""

    def encoded_at(self, rows: npt.NDArray[np.intp]) -> Encoded:
        """Copy the numbers of `rows`, ascending and at least one, out of the file."""
        first, until = int(rows[0]), int(rows[-1]) + 1
        dim = len(self.axis)

        def some(name: str, dtype: str, width: int) -> npt.NDArray[Any]:
            size = np.dtype(dtype).itemsize * width
            raw = self.opened.read(self.parts[name].offset + first * size, (until - first) * size)
            return np.frombuffer(raw, dtype).reshape(-1, width)[rows - first]

        return Encoded(
            codes=some("codes", "u1", dim // 8),
            along=some("along", "<i2", 1)[:, 0],
            scales=some("scales", "<u2", 1)[:, 0],
            magnitudes=some("magnitudes", "u1", dim),
        )

    def verify(self) -> None:
        """Check the parts against their CRC-32, and the order of the paths."""
        for name, part in self.parts.items():
            if checksum(self.opened, part) != part.crc32:
                raise damaged(self.file, f"its {name} have another CRC-32 than it says")
        check_order(self)


def open_previous(file: Path) -> PreviousSegment:
    """Errors as format.open_segment."""
    opened = PositionedFile(file)
    size = os.fstat(opened.fileno()).st_size
    if size < ALIGNMENT:
        raise damaged(file, f"it ends at byte {size}, inside its header")
    header = opened.read(0, ALIGNMENT)
    magic, dim, count, photos, axis_photos = _HEAD.unpack_from(header)
    crc = zlib.crc32(header[:-4])
    if magic != _MAGIC or crc != int.from_bytes(header[-4:], "little"):
        raise damaged(file, f"it starts with {magic!r}, and its header has CRC-32 {crc:08x}")
    if dim % 8 or not 8 <= dim <= MAX_DIM or count != len(_PARTS) or photos < 1:
        raise damaged(file, f"its header says {dim} dimensions, {count} parts, {photos} photos")
    widths = (0, dim // 8, 2, 2, dim, 8)
    lengths = [4 * dim, *(photos * width for width in widths[1:]), -(-photos // 16) * 8]
    parts = {}
    for i, name in enumerate(_PARTS):
        offset, length, part_crc, _ = _PART.unpack_from(header, _HEAD.size + i * _PART.size)
        if offset + length > size or (name != "paths" and length != lengths[i]):
            raise damaged(file, f"its {name} are {length} bytes from {offset} on")
        parts[name] = Part(offset, length, part_crc)
    return PreviousSegment(
        file=file,
        header_crc32=crc,
        axis_photos=axis_photos,
        axis=np.frombuffer(opened.read(parts["axis"].offset, 4 * dim), "<f4"),
        lens=np.empty((0, dim), np.float32),
        centroids=np.empty((0, dim), np.int16),
        starts=np.empty(0, np.uint32),
        rows=np.empty(0, np.uint32),
        columns=np.empty((0, photos), np.uint64),
        taken=np.full(photos, NO_TIME, np.int32),
        paths=path_table(file, opened, parts, photos),
        parts=parts,
        opened=opened,
    )
