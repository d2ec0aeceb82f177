"""Search in two passes: the nearest by some bits of their codes, in the cells that the query
points at, then those by their bytes."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.cells import nearest_first
from mcad_mobile.index.codes import F32, split_query
from mcad_mobile.index.kernel import Kernel, Rows
from mcad_mobile.index.lens import query_words
from mcad_mobile.index.passing import LiveSegment, Passing, RowFilter
from mcad_mobile.index.paths import path_from_bytes
from mcad_mobile.index.rescore import Candidates, rescore
from mcad_mobile.index.rotation import rotate
from mcad_mobile.index.segment import Segment

# How many cells do for fewer photos than an eighth of a sample was not measured (reach.py): all of
# them are looked at then.
_TELLS_FROM = 2048


@dataclass(frozen=True)
class Hits:
    """Best photos first: paths, and their cosines [len(paths)] float32; times in ms."""

    paths: list[str]
    scores: F32
    scan_ms: float
    rescore_ms: float


def search_segments(
    segments: Sequence[LiveSegment],
    query: F32,
    k: int,
    *,
    wanted: RowFilter,
    exact: bool,
    kernel: Kernel,
) -> Hits:
    """Return the `k` photos of `segments` that are `wanted` with the highest cosine to `query`, or
    all if fewer.

    `query` is [D] float32, L2-normalized. `exact` scores every such photo with its bytes.
    """
    started = time.perf_counter()
    rotated = rotate(query)
    opened = [live.segment for live in segments]
    passing = [live.passing(wanted, kernel) for live in segments]
    candidates = [
        Candidates(some.places(kernel)) if exact else _scan(live, some, rotated, k, kernel)
        for live, some in zip(segments, passing, strict=True)
    ]
    scanned_at = time.perf_counter()

    queries = [split_query(rotated, segment.axis) for segment in opened]
    scored = rescore(opened, queries, candidates, k, kernel)
    scores = np.concatenate([np.empty(0, np.float32), *(some for _, some in scored)])
    best = top(scores, k)
    paths = _paths(opened, [rows for rows, _ in scored], best)
    finished = time.perf_counter()
    return Hits(paths, scores[best], (scanned_at - started) * 1e3, (finished - scanned_at) * 1e3)


def _scan(live: LiveSegment, passing: Passing, rotated: F32, k: int, kernel: Kernel) -> Candidates:
    """Return the places of a segment that the second pass may score."""
    columns, count = live.segment.columns, live.reach.candidates(passing.count, k)
    if count >= passing.count or not len(columns):
        return Candidates(passing.places(kernel))
    words, step = query_words(live.lens, rotated)
    spans = looked_into(live, passing, rotated, k, kernel)
    if live.first is None:
        return Candidates(*kernel.nearest(columns, words, spans, count, passing.allowed), step)
    first = live.first.bits // 64
    looked_at = max(count, live.first.reach.candidates(passing.count, k))
    places, _ = kernel.nearest(columns[:first], words[:, :first], spans, looked_at, passing.allowed)
    again = np.take(columns, places, axis=1)
    kept, distances = kernel.nearest(again, words, [range(len(places))], count)
    return Candidates(places[kept], distances, step)


def looked_into(
    live: LiveSegment, passing: Passing, rotated: F32, k: int, kernel: Kernel
) -> list[range]:
    """Return which places a scan reads: those of the cells nearest to the query that hold enough
    photos that pass, or all."""
    if live.cells is None:
        return [passing.span]
    enough = passing.count
    if enough >= _TELLS_FROM:
        enough = live.cells.candidates(passing.count, k)
    order = nearest_first(rotated[None], live.segment.directions)[0]
    return passing.look_into(order, enough, kernel)


def top(scores: F32, k: int) -> Rows:
    """Return positions of the `k` highest scores, best first; equal ones in row order."""
    kept = np.arange(len(scores))
    if len(scores) > k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return kept[np.argsort(-scores[kept], kind="stable")][:k]


def _paths(
    segments: Sequence[Segment], chosen: Sequence[Rows], positions: npt.NDArray[np.intp]
) -> list[str]:
    ends = list(accumulate(map(len, chosen)))
    owners = [bisect_right(ends, position) for position in positions.tolist()]
    places = np.concatenate([np.empty(0, np.intp), *chosen])[positions]
    paths = [""] * len(owners)
    for owner in set(owners):
        own = [at for at, one in enumerate(owners) if one == owner]
        segment = segments[owner]
        for at, row in zip(own, segment.rows_at(places[own]).tolist(), strict=True):
            paths[at] = path_from_bytes(segment.paths.at(row))
    return paths
