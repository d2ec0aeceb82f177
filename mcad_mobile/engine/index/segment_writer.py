"""Writes a segment from front to back, except columns and parts ordered by cell."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.arrays import F32, I16, U8, Rows, Stamps, Times
from mcad_mobile.engine.index.paths import PathPacker
from mcad_mobile.engine.index.segments import (
    ALIGNMENT,
    CHUNK,
    CRC,
    HEAD,
    MAGIC,
    PART,
    PARTS,
    aligned,
    pack_records,
    part_lengths,
)


@dataclass(frozen=True)
class Batch:
    """B photos of a new segment, by ascending path: whole records [B, R] uint8, stamps [B, 2]
    uint32, times [B] int32, minutes since 1970 or NO_TIME; cells [B], if there are any."""

    records: U8
    stamps: Stamps
    times: Times
    paths: Sequence[bytes]
    cells: Rows | None = None


@dataclass(frozen=True)
class CellSizes:
    """Centroids [C, D] int16, and how many photos each cell has [C]."""

    centroids: I16
    photos: Rows


def write_segment(
    file: Path,
    *,
    axis: F32,
    bit_weights: F32,
    axis_photos: int,
    photos: int,
    batches: Iterable[Batch],
    cells: CellSizes | None = None,
) -> int:
    """Write `photos` >= 1 rows to a new file, flush it to disk and return the header's CRC-32.
    Memory holds half a byte per photo, with cells four more; everything else is streamed."""
    dim, scan_bits, count = len(axis), len(bit_weights), len(cells.photos) if cells else 0
    packer = PathPacker()
    places = _Places(cells, photos) if cells else None
    with open(file, "x+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        parts = _Parts(out, part_lengths(dim, scan_bits, count, photos))
        parts.append("axis", axis.astype("<f4"))
        parts.append("bit_weights", bit_weights.astype("<f4"))
        row = 0
        for batch in batches:
            records, columns = pack_records(batch.records, dim, scan_bits)
            runs: Iterable[tuple[Rows, int]] = [(np.arange(len(records)), row)]
            if places and batch.cells is not None:
                runs = places.runs(batch.cells, row)
            for chosen, at in runs:
                parts.put("records", at * records.shape[1], records[chosen])
                for number, column in enumerate(columns):
                    parts.put("columns", 8 * (number * photos + at), column[chosen])
            parts.append("times", batch.times.astype("<i4"))
            parts.append("stamps", batch.stamps.astype("<u4"))
            parts.append("paths", packer.pack(batch.paths))
            row += len(records)
        parts.append("path_blocks", np.array(packer.starts, "<u8"))
        if cells and places:
            parts.append("centroids", cells.centroids.astype("<i2"))
            parts.append("starts", places.starts)
            parts.append("rows", places.rows)
        head = HEAD.pack(MAGIC, dim, len(PARTS), photos, axis_photos, scan_bits, count)
        return parts.finish(head)


class _Parts:
    """The parts of an open file: each at the next multiple of 4096 after the one before it."""

    def __init__(self, out: BinaryIO, lengths: dict[str, int]) -> None:
        self._out = out
        self._lengths = lengths
        self._offsets: dict[str, int] = {}
        end = ALIGNMENT
        for part, length in lengths.items():
            self._offsets[part] = aligned(end)
            end = self._offsets[part] + length
        self._crcs = dict.fromkeys(lengths, 0)
        self._written = dict.fromkeys(lengths, 0)

    def put(self, part: str, at: int, data: npt.NDArray[Any]) -> None:
        """Write to byte `at` of a part."""
        self._out.seek(self._offsets[part] + at)
        self._out.write(data.tobytes())

    def append(self, part: str, data: bytes | npt.NDArray[Any]) -> None:
        """Write the next bytes of a part that is written in order."""
        raw = data if isinstance(data, bytes) else data.tobytes()
        self._out.seek(self._offsets[part] + self._written[part])
        self._out.write(raw)
        self._crcs[part] = zlib.crc32(raw, self._crcs[part])
        self._written[part] += len(raw)

    def finish(self, head: bytes) -> int:
        """Write the header, flush the file and return the header's CRC-32."""
        # Checksums go from front to back, so these parts are read again.
        for part in ("columns", "records"):
            length = self._written[part] = self._lengths[part]
            self._out.seek(self._offsets[part])
            for start in range(0, length, CHUNK):
                chunk = self._out.read(min(CHUNK, length - start))
                self._crcs[part] = zlib.crc32(chunk, self._crcs[part])
        table = b"".join(
            PART.pack(self._offsets[part], self._written[part], self._crcs[part], 0)
            for part in PARTS
        )
        header = (head + table).ljust(ALIGNMENT - CRC.size, b"\0")
        crc = zlib.crc32(header)
        self._out.seek(0)
        self._out.write(header + CRC.pack(crc))
        self._out.flush()
        os.fsync(self._out.fileno())
        return crc


class _Places:
    """Assigns places to photos, which come by row: each gets the next one in its cell."""

    def __init__(self, cells: CellSizes, photos: int) -> None:
        self.starts = np.concatenate([[0], np.cumsum(cells.photos)]).astype("<u4")
        self.rows = np.empty(photos, "<u4")
        self._next = self.starts[:-1].astype(np.intp)

    def runs(self, cells: Rows, row: int) -> Iterator[tuple[Rows, int]]:
        """Yield groups of a batch that lie side by side, and their first places; the batch starts
        at `row`."""
        by_cell = np.argsort(cells, kind="stable")
        for chosen in np.split(by_cell, np.flatnonzero(np.diff(cells[by_cell])) + 1):
            cell = cells[chosen[0]]
            at = int(self._next[cell])
            self.rows[at : at + len(chosen)] = row + chosen
            self._next[cell] += len(chosen)
            yield chosen, at
