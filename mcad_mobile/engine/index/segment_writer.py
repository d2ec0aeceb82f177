"""Writes one segment, front to back but for its columns, which grow side by side, and what is in
the order of cells."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index.codes import F32, Encoded
from mcad_mobile.engine.index.paths import PathPacker
from mcad_mobile.engine.index.segments import (
    ALIGNMENT,
    CHUNK,
    CRC,
    HEAD,
    MAGIC,
    PART,
    PARTS,
    Rows,
    Stamps,
    Taken,
    aligned,
    packed,
    part_lengths,
)


@dataclass(frozen=True)
class Batch:
    """B photos on their way into a segment, by ascending path; stamps [B, 2] uint32, taken [B]
    int32, minutes since 1970 or NO_TIME; the cells [B] they belong to, if there are any."""

    encoded: Encoded
    stamps: Stamps
    taken: Taken
    paths: Sequence[bytes]
    cells: Rows | None = None


@dataclass(frozen=True)
class CellSizes:
    """Centroids [C, D] int16, and how many photos are in the cell of each [C]."""

    centroids: npt.NDArray[np.int16]
    photos: Rows


def write_segment(
    file: Path,
    *,
    axis: F32,
    lens: F32,
    axis_photos: int,
    photos: int,
    batches: Iterable[Batch],
    cells: CellSizes | None = None,
) -> int:
    """Write `photos` >= 1 rows to a new file, flush them to the disk, return the header's CRC-32.

    Only where blocks of paths start (half a byte a photo) is held in memory, and with cells whose
    place is whose (four bytes); all else streams through.
    """
    dim, scanned, count = len(axis), len(lens), len(cells.photos) if cells else 0
    lengths = part_lengths(dim, scanned, count, photos)
    offsets = _offsets(lengths)
    crcs = dict.fromkeys(lengths, 0)
    written = dict.fromkeys(lengths, 0)
    packer = PathPacker()
    places = _Places(cells, photos) if cells else None

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
            for chosen, at in _runs(batch, row, places):
                out.seek(offsets["records"] + at * records.shape[1])
                out.write(records[chosen].tobytes())
                for number, column in enumerate(columns):
                    out.seek(offsets["columns"] + 8 * (number * photos + at))
                    out.write(column[chosen].tobytes())
            put("taken", batch.taken.astype("<i4"))
            put("stamps", batch.stamps.astype("<u4"))
            put("paths", packer.pack(batch.paths))
            row += len(records)
        put("path_blocks", np.array(packer.starts, "<u8"))
        if cells and places:
            put("centroids", cells.centroids.astype("<i2"))
            put("starts", places.starts)
            put("rows", places.rows)
        # Checksums go from front to back.
        for part in ("columns", "records"):
            written[part] = lengths[part]
            out.seek(offsets[part])
            for start in range(0, written[part], CHUNK):
                chunk = out.read(min(CHUNK, written[part] - start))
                crcs[part] = zlib.crc32(chunk, crcs[part])

        head = HEAD.pack(MAGIC, dim, len(PARTS), photos, axis_photos, scanned, count)
        table = b"".join(PART.pack(offsets[p], written[p], crcs[p], 0) for p in PARTS)
        header = (head + table).ljust(ALIGNMENT - CRC.size, b"\0")
        crc = zlib.crc32(header)
        out.seek(0)
        out.write(header + CRC.pack(crc))
        out.flush()
        os.fsync(out.fileno())
    return crc


class _Places:
    """Where photos go that come in the order of their rows: behind those of their cell."""

    def __init__(self, cells: CellSizes, photos: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(cells.photos)]).astype("<u4")
        self.rows = np.empty(photos, "<u4")
        self._next = self.starts[:-1].astype(np.intp)

    def runs(self, cells: Rows, row: int) -> Iterator[tuple[Rows, int]]:
        """Yield which of a batch, whose first is `row`, go side by side to which place on."""
        by_cell = np.argsort(cells, kind="stable")
        for chosen in np.split(by_cell, np.flatnonzero(np.diff(cells[by_cell])) + 1):
            cell = cells[chosen[0]]
            at = int(self._next[cell])
            self.rows[at : at + len(chosen)] = row + chosen
            self._next[cell] += len(chosen)
            yield chosen, at


def _runs(batch: Batch, row: int, places: _Places | None) -> Iterator[tuple[Rows, int]]:
    if places is None or batch.cells is None:
        return iter([(np.arange(len(batch.paths)), row)])
    return places.runs(batch.cells, row)


def _offsets(lengths: dict[str, int]) -> dict[str, int]:
    """Place each part at the next multiple of 4096 after the one before it; paths come last."""
    offsets = {}
    end = ALIGNMENT
    for part, length in lengths.items():
        offsets[part] = aligned(end)
        end = offsets[part] + length
    return offsets
