"""The kernels of native/kernel.h that tests call by themselves, at every instruction level."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index.core import Count
from mcad_mobile.engine.index.manifest import CandidateCount, Prescan
from mcad_mobile.engine.native import TYPES, TuningLimits, address, fields, load_kernel

Array = npt.NDArray[Any]

_BLOCK = 2048
_SIGNATURES = {
    "mcad_scan": ("s", "pi"),
    "mcad_probe_cells": ("l", "ppssi"),
    "mcad_filter_times": ("", "pssuupi"),
    "mcad_rescore": ("i", "psspi"),
    "mcad_rotate": ("i", "pssi"),
    "mcad_encode": ("i", "psspppi"),
    "mcad_decode": ("", "psspp"),
    "mcad_add_covariance": ("i", "pssppi"),
    "mcad_feedback": ("i", "pspi"),
    "mcad_assign_cells": ("i", "pssppspi"),
    "mcad_plan_merge": ("i", "ppsllpp"),
    "mcad_count": ("s", "pss"),
    "mcad_count_in_cells": ("s", "pss"),
    "mcad_shrink": ("", "psp"),
    "mcad_tune": ("i", "ppi"),
    "mcad_page": ("s", ""),
}


def _load() -> Any:
    library = ctypes.CDLL(load_kernel().library._name)
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype = TYPES.get(result)
        function.argtypes = [TYPES[letter] for letter in arguments]
    return library


LIBRARY = _load()
# The instruction levels of this processor.
LEVELS = range(load_kernel().level + 1)
BEST = LEVELS[-1]


class Scan(ctypes.Structure):
    _fields_ = fields(
        "p:columns s:stride p:spans s:span_count p:query p:allowed s:words s:wanted p:rows "
        "p:distances p:histogram"
    )


class Candidates(ctypes.Structure):
    _fields_ = fields(
        "i:file l:offset s:size s:dim s:words s:stride p:columns p:residual d:projection_step "
        "p:rows p:distances s:count d:step p:cosines"
    )


class Filter(ctypes.Structure):
    _fields_ = fields(
        "p:rows p:starts p:row_bits p:place_bits p:cell_starts p:cell_ends p:counts s:photos "
        "s:first s:end"
    )


class Tune(ctypes.Structure):
    _fields_ = [
        *fields("p:sample s:count s:dim p:axis s:photos p:bit_weights p:centroids s:scan_bits"),
        *fields("s:prescan_bits s:cells"),
        ("candidates", Count),
        ("prescan", Count),
        ("in_cells", Count),
    ]


def nearest(
    columns: Array,
    query: Array,
    spans: Sequence[range],
    wanted: int,
    allowed: Array | None = None,
    level: int = BEST,
) -> tuple[Array, Array]:
    """Return the `wanted` photos of `columns` [W, N] uint64, in `spans`, with the least distances
    to a query [3, W], ascending, and these distances."""
    wanted = min(wanted, sum(map(len, spans)))
    if wanted <= 0:
        return np.empty(0, np.intp), np.empty(0, np.uint16)
    words, photos = columns.shape
    query = np.ascontiguousarray(query)
    ends = np.array([(span.start, span.stop) for span in spans], np.uint64)
    rows = np.empty(wanted + 2 * _BLOCK, np.uint32)
    distances = np.empty(len(rows), np.uint16)
    histogram = np.zeros(3 * 64 * words + 1, np.uint32)
    task = Scan(
        columns=address(columns),
        stride=photos,
        spans=address(ends),
        span_count=len(ends),
        query=address(query),
        allowed=None if allowed is None else address(allowed),
        words=words,
        wanted=wanted,
        rows=address(rows),
        distances=address(distances),
        histogram=address(histogram),
    )
    count = LIBRARY.mcad_scan(ctypes.byref(task), level)
    return rows[:count].astype(np.intp), distances[:count]


def rescore(tasks: Sequence[Candidates], k: int, limits: TuningLimits, level: int = BEST) -> None:
    together = (Candidates * len(tasks))(*tasks)
    assert LIBRARY.mcad_rescore(together, len(tasks), k, ctypes.byref(limits), level) == 0


def rotate(rows: Array, *, back: bool = False) -> Array:
    """Return rows [..., D] rotated, as an index rotates them."""
    turned = np.array(rows, np.float32, order="C")
    dim = turned.shape[-1]
    assert LIBRARY.mcad_rotate(address(turned), turned.size // dim, dim, back)
    return turned


def encode(rows: Array, axis: Array, shares: Array | None = None, level: int = BEST) -> Array:
    """Return whole records [B, R] of rotated rows [B, D]."""
    rows, axis = np.ascontiguousarray(rows), np.ascontiguousarray(axis)
    count, dim = rows.shape
    records = np.empty((count, dim + dim // 8 + 4), np.uint8)
    given = None if shares is None else address(shares)
    assert LIBRARY.mcad_encode(
        *(address(rows), count, dim, address(axis), given, address(records), level)
    )
    return records


def decode(records: Array, axis: Array) -> Array:
    """Return the rotated rows [B, D] float32 that whole records stand for."""
    records, axis = np.ascontiguousarray(records), np.ascontiguousarray(axis)
    rows = np.empty((len(records), len(axis)), np.float32)
    LIBRARY.mcad_decode(address(records), *rows.shape, address(axis), address(rows))
    return rows


def error_feedback(rows: Array, axis: Array, level: int = BEST) -> Array | None:
    """Return the shares [D, D] of errors of rotated rows, or None where they lie evenly."""
    rows, dim = np.ascontiguousarray(rows), len(axis)
    covariance, shares = np.zeros((dim, dim)), np.empty((dim, dim), np.float32)
    assert LIBRARY.mcad_add_covariance(
        *(address(rows), len(rows), dim, address(axis), address(covariance), level)
    )
    useful = LIBRARY.mcad_feedback(address(covariance), dim, address(shares), level)
    assert useful >= 0
    return shares if useful else None


def plan_merge(
    live: Sequence[int], deleted: Sequence[int], added: int, axis_photos: int
) -> tuple[list[int], bool]:
    """Return the segments that merge, and whether the axis is computed anew."""
    counts, gone = np.array(live, np.int64), np.array(deleted, np.int64)
    merged, limits = np.zeros(len(live), np.uint8), TuningLimits()
    anew = LIBRARY.mcad_plan_merge(
        *(address(counts), address(gone), len(live), added, axis_photos),
        *(ctypes.byref(limits), address(merged)),
    )
    return np.flatnonzero(merged).tolist(), bool(anew)


@dataclass(frozen=True)
class Cells:
    """Centroids [C, D], and how many photos the scanned ones hold."""

    centroids: Array
    candidates: CandidateCount


@dataclass(frozen=True)
class Tuning:
    """How an index is searched: bit weights [S, D], and how many photos each step passes on."""

    bit_weights: Array
    candidates: CandidateCount
    prescan: Prescan | None
    cells: Cells | None


def tune(
    rows: Array, axis: Array, photos: int, limits: TuningLimits | None = None, level: int = BEST
) -> Tuning:
    """Choose a tuning for an index of `photos` photos by rotated rows [M, D]."""
    rows, (count, dim) = np.ascontiguousarray(rows), rows.shape
    sample = np.empty((count, dim), np.int16)
    LIBRARY.mcad_shrink(address(rows), rows.size, address(sample))
    bit_weights = np.empty((min(dim, 1024), dim), np.float32)
    centroids = np.empty((256, dim), np.int16)
    task = Tune(
        sample=address(sample),
        count=count,
        dim=dim,
        axis=address(axis),
        photos=photos,
        bit_weights=address(bit_weights),
        centroids=address(centroids),
    )
    assert LIBRARY.mcad_tune(ctypes.byref(task), ctypes.byref(limits or TuningLimits()), level)
    of = CandidateCount.of_core
    prescan = Prescan(task.prescan_bits, of(task.prescan)) if task.prescan_bits else None
    cells = Cells(centroids[: task.cells].copy(), of(task.in_cells)) if task.cells else None
    return Tuning(bit_weights[: task.scan_bits].copy(), of(task.candidates), prescan, cells)
