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

from mcad_mobile.engine.index.bit_weights import query_words
from mcad_mobile.engine.index.cells import nearest_first
from mcad_mobile.engine.index.codes import F32, Query, rotate, split_query
from mcad_mobile.engine.index.filters import LiveSegment, Passing, RowFilter
from mcad_mobile.engine.index.paths import path_from_bytes
from mcad_mobile.engine.index.segments import Segment, damaged
from mcad_mobile.engine.native import Distances, Kernel, Rows, Task, address

# Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best.
#
# Bits that differ tell a cosine, up to a constant and an error. The nearest rows are scored
# first: they tell that constant, how large errors are, and which cosine is to be beaten. Then
# more, nearest first, as long as one of the rest is likely to beat it; each time that is known
# better. So a query costs what it needs, and at most what the index allows (reach.py). rescore.c
# does so.

# Rows that are scored in any case, more for many results or candidates. The nearest err a little
# less than all.
_SURE, _SURE_A_RESULT, _SURE_PART = 128, 4, 8
# Of each result, how much may be expected to be missed among the rows that are left out; and where
# bits tell so little that more than one photo of so many is a candidate, and misses add up.
_MISSED, _MISSED_OF_MANY, _MANY = 1 / 64, 1 / 512, 8


@dataclass(frozen=True)
class Candidates:
    """Places of a segment, ascending, and how far each is from the query in bits, of which one more
    takes 2 * `step` from the cosine; without distances all are scored."""

    places: Rows
    distances: Distances | None = None
    step: float = 0.0


def rescore(
    segments: Sequence[Segment],
    queries: Sequence[Query],
    candidates: Sequence[Candidates],
    k: int,
    kernel: Kernel,
) -> list[tuple[Rows, F32]]:
    """Return of each segment the places that were scored, ascending, and their cosines float32. Of
    the `k` best of all candidates hardly one is missing."""
    tasks, arrays = [], []
    for segment, query, chosen in zip(segments, queries, candidates, strict=True):
        rows, cosines = chosen.places.astype(np.uint32), np.empty(len(chosen.places), np.float32)
        arrays.append((rows, cosines))
        tasks.append(
            Task(
                file=segment.opened.fileno(),
                offset=segment.parts["records"].offset,
                size=segment.record,
                dim=len(query.steps),
                words=len(segment.columns),
                stride=segment.photos,
                columns=segment.columns.ctypes.data,
                steps=address(query.steps),
                along=query.along_step,
                rows=address(rows),
                distances=None if chosen.distances is None else address(chosen.distances),
                count=len(rows),
                sure=_sure(chosen, k),
                fall=-2 * chosen.step,
                missed=_missed(chosen, segment) * k / len(segments),
                cosines=address(cosines),
            )
        )
    failed = kernel.rescore(tasks, k)
    if failed is not None:
        raise damaged(segments[failed].file, "it ends before all of its records")
    known = [~np.isnan(cosines) for _, cosines in arrays]
    return [
        (chosen.places[scored], cosines[scored])
        for chosen, (_, cosines), scored in zip(candidates, arrays, known, strict=True)
    ]


def _sure(candidates: Candidates, k: int) -> int:
    """Return how many candidates are scored in any case."""
    count = len(candidates.places)
    if candidates.distances is None:
        return count
    return min(count, max(_SURE, _SURE_A_RESULT * k, count // _SURE_PART))


def _missed(candidates: Candidates, segment: Segment) -> float:
    """Return how much of a result may be expected among the candidates that are left out."""
    many = len(candidates.places) > segment.photos / _MANY
    return _MISSED_OF_MANY if many else _MISSED


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
