"""How an index is searched: how many bits a scan reads, and how many photos each step looks at.

native/tune.c decides; a phone's index is tuned by the same code.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from mcad_mobile.base.documents import Record
from mcad_mobile.engine.arrays import F32, I16, U16
from mcad_mobile.engine.index.codes import MAX_DIM
from mcad_mobile.engine.native import Count, TuneTask, TuningLimits, load_kernel, require_memory

# The most bits that a scan reads, and the most cells.
_MAX_SCAN_BITS, _MAX_CELLS = 1024, 256


class CandidateCount(Record, frozen=True):
    """Of n photos, `factor` * n ^ `exponent` * k ^ `growth` are candidates for k results."""

    factor: Annotated[float, Meta(ge=0, le=1e6)]
    exponent: Annotated[float, Meta(ge=0, le=1)]
    growth: Annotated[float, Meta(ge=0, le=1)]

    def of(self, photos: int, k: int) -> int:
        """Return how many of `photos` are candidates for `k` results: 2 `k` or more, or all."""
        return int(load_kernel().library.mcad_count(ctypes.byref(self._as_c()), photos, k))

    def in_cells(self, photos: int, k: int) -> int:
        """Return how many of `photos` the scanned cells must hold."""
        return int(load_kernel().library.mcad_count_in_cells(ctypes.byref(self._as_c()), photos, k))

    def _as_c(self) -> Count:
        return Count(self.factor, self.exponent, self.growth)


class Prescan(Record, frozen=True):
    """A scan of the first `bits` alone, and how many candidates it passes on to the scan."""

    bits: Annotated[int, Meta(ge=64, le=MAX_DIM, multiple_of=64)]
    candidates: CandidateCount


@dataclass(frozen=True)
class Cells:
    """Centroids [C, D] int16 in steps of 2^-11, and how many photos the scanned cells must hold."""

    centroids: I16
    candidates: CandidateCount


@dataclass(frozen=True)
class Tuning:
    """How a segment is searched: bit weights [S, D] float32 for the S bits in columns; how many
    candidates the scan passes on; a prescan and cells if they make it cheaper."""

    bit_weights: F32
    candidates: CandidateCount
    prescan: Prescan | None = None
    cells: Cells | None = None


def untuned(dim: int) -> Tuning:
    """Return the tuning of an index whose photos are all scored."""
    return Tuning(np.zeros((0, dim), np.float32), CandidateCount(1.0, 1.0, 1.0))


def plan_merge(
    live: Sequence[int],
    deleted: Sequence[int],
    added: int,
    axis_photos: int,
    limits: TuningLimits | None = None,
) -> tuple[list[int], bool]:
    """Decide which segments, of `live` and `deleted` rows each, merge with the `added` new photos,
    and whether the axis is computed anew."""
    rows, gone = np.array(live, np.int64), np.array(deleted, np.int64)
    merged = np.empty(len(rows), np.bool_)
    new_axis = load_kernel().library.mcad_plan_merge(
        rows.ctypes.data,
        gone.ctypes.data,
        len(rows),
        added,
        axis_photos,
        ctypes.byref(limits or TuningLimits()),
        merged.ctypes.data,
    )
    return np.flatnonzero(merged).tolist(), bool(new_axis)


def sample_step(photos: int, dim: int) -> int:
    """Return the step between the photos of the sample that `choose_tuning` needs."""
    return int(load_kernel().library.mcad_sample_step(photos, dim))


def feedback_step(photos: int, dim: int) -> int:
    """Return the step between the photos of the sample that `error_feedback` needs; 0 if it is not
    worthwhile."""
    return int(load_kernel().library.mcad_feedback_step(photos, dim))


def choose_tuning(
    blocks: Iterable[F32],
    count: int,
    axis: F32,
    photos: int,
    limits: TuningLimits | None = None,
) -> Tuning:
    """Choose the cheapest tuning for an index of `photos` photos, from `count` of them, rotated, in
    blocks [B, D], and `axis` [D], the direction of their mean."""
    dim, kernel = len(axis), load_kernel()
    sample, filled = np.empty((count, dim), np.int16), 0
    for rows in blocks:
        kernel.library.mcad_shrink(rows.ctypes.data, rows.size, sample[filled:].ctypes.data)
        filled += len(rows)
    bit_weights = np.empty((min(dim, _MAX_SCAN_BITS), dim), np.float32)
    centroids = np.empty((_MAX_CELLS, dim), np.int16)
    task = TuneTask(
        sample=sample.ctypes.data,
        count=filled,
        dim=dim,
        axis=axis.ctypes.data,
        photos=photos,
        bit_weights=bit_weights.ctypes.data,
        centroids=centroids.ctypes.data,
    )
    limits = limits or TuningLimits()
    require_memory(kernel.library.mcad_tune(ctypes.byref(task), ctypes.byref(limits), kernel.level))
    prescan = Prescan(task.prescan_bits, _count(task.prescan)) if task.prescan_bits else None
    cells = Cells(centroids[: task.cells].copy(), _count(task.in_cells)) if task.cells else None
    return Tuning(bit_weights[: task.scan_bits].copy(), _count(task.candidates), prescan, cells)


def _count(count: Count) -> CandidateCount:
    return CandidateCount(count.factor, count.exponent, count.growth)


def assign_cells(rows: F32, axis: F32, centroids: I16) -> U16:
    """Return the cells [B] uint16 of rotated embeddings [B, D]; ties go to the first."""
    cells, kernel = np.empty(len(rows), np.uint16), load_kernel()
    done = kernel.library.mcad_assign_cells(
        rows.ctypes.data,
        *rows.shape,
        axis.ctypes.data,
        centroids.ctypes.data,
        len(centroids),
        cells.ctypes.data,
        kernel.level,
    )
    require_memory(done)
    return cells
