"""Writes one segment, front to back but for its columns, which grow side by side."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, Encoded
from mcad_mobile.index.format import (
    ALIGNMENT,
    CHUNK,
    CRC,
    HEAD,
    MAGIC,
    PART,
    PARTS,
    SCANNED,
    Stamps,
    Taken,
    aligned,
    packed,
    part_lengths,
)
from mcad_mobile.index.paths import PathPacker


@dataclass(frozen=True)
class Batch:
    """B photos on their way into a segment, by ascending path; stamps [B, 2] uint32, taken [B]
    int32, minutes since 1970 or NO_TIME."""

    encoded: Encoded
    stamps: Stamps
    taken: Taken
    paths: Sequence[bytes]


def write_segment(
    file: Path,
    *,
    axis: F32,
    lens: F32,
    axis_photos: int,
    photos: int,
    batches: Iterable[Batch],
) -> int:
    """Write `photos` >= 1 rows to a new file, flush them to the disk, return the header's CRC-32.

    Only where blocks of paths start (half a byte a photo) is held in memory; all else streams
    through.
    """
    dim, scanned = len(axis), len(lens)
    offsets = _offsets(dim, scanned, photos)
    crcs = dict.fromkeys(PARTS, 0)
    written = dict.fromkeys(PARTS, 0)
    packer = PathPacker()

    with file.open("x+b") as out:

        def put(part: str, data: bytes | npt.NDArray[Any]) -> None:
            raw = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
            out.seek(offsets[part] + written[part])
            out.write(raw)
            crcs[part] = zlib.crc32(raw, crcs[part])
            written[part] += len(raw)

        put("axis", axis.astype("<f4"))
        put("lens", lens.astype("<f4"))
        row = 0
        for batch in batches:
            records, columns = packed(batch.encoded, scanned)
            put("records", records)
            for number, column in enumerate(columns):
                out.seek(offsets["columns"] + 8 * (number * photos + row))
                out.write(column.tobytes())
            put("taken", batch.taken.astype("<i4"))
            put("stamps", batch.stamps.astype("<u4"))
            put("paths", packer.pack(batch.paths))
            row += len(records)
        put("path_blocks", np.array(packer.starts, "<u8"))
        # Columns grow side by side, and a checksum from front to back.
        written["columns"] = photos * scanned // 8
        out.seek(offsets["columns"])
        for start in range(0, written["columns"], CHUNK):
            chunk = out.read(min(CHUNK, written["columns"] - start))
            crcs["columns"] = zlib.crc32(chunk, crcs["columns"])

        head = HEAD.pack(MAGIC, dim, len(PARTS), photos, axis_photos)
        table = b"".join(PART.pack(offsets[p], written[p], crcs[p], 0) for p in PARTS)
        header = (head + table + SCANNED.pack(scanned)).ljust(ALIGNMENT - CRC.size, b"\0")
        crc = zlib.crc32(header)
        out.seek(0)
        out.write(header + CRC.pack(crc))
        out.flush()
        os.fsync(out.fileno())
    return crc


def _offsets(dim: int, scanned: int, photos: int) -> dict[str, int]:
    """Place each part at the next multiple of 4096 after the one before it; paths come last."""
    lengths = part_lengths(dim, scanned, photos)
    offsets = {PARTS[0]: ALIGNMENT}
    for before, part in pairwise(PARTS):
        offsets[part] = aligned(offsets[before] + lengths[before])
    return offsets
