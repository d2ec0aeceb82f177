"""Search in two passes: a scan of bits in the cells nearest to the query, then cosines by bytes."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mcad_mobile.engine.arrays import F32, Distances, Rows
from mcad_mobile.engine.index.codes import Query, rotate, split_query
from mcad_mobile.engine.index.filters import FilteredRows, LiveSegment, RowFilter
from mcad_mobile.engine.index.segments import Segment, damaged
from mcad_mobile.engine.native import Kernel, RescoreTask, TuningLimits, address
from mcad_mobile.errors import PhotoIndexError


@dataclass(frozen=True)
class Hits:
    """What a search by embedding found.

    Attributes:
        paths: K paths in the index, best first.
        scores: their cosines with the query, [K] float32.
        scan_ms: milliseconds of the scan, which chooses candidates by bits.
        rescore_ms: milliseconds of scoring the candidates.
    """

    paths: list[str]
    scores: F32
    scan_ms: float
    rescore_ms: float


@dataclass(frozen=True)
class Candidates:
    """Places of a segment, ascending, and their bit distances to the query, each unit of which
    lowers the cosine by 2 * `step`; without distances all are scored."""

    places: Rows
    distances: Distances | None = None
    step: float = 0.0


def search_segments(
    segments: Sequence[LiveSegment],
    query: F32,
    k: int,
    *,
    rows: RowFilter,
    exact: bool,
    kernel: Kernel,
    limits: TuningLimits,
) -> Hits:
    """Return the `k` photos that pass `rows` with the highest cosine to `query` [D] float32,
    L2-normalized; `exact` scores every such photo by its bytes."""
    started = time.perf_counter()
    rotated = rotate(query)
    opened = [live.segment for live in segments]
    filtered = [live.filtered(rows, kernel) for live in segments]
    candidates = [
        Candidates(passed.places(kernel)) if exact else scan(live, passed, rotated, k, kernel)
        for live, passed in zip(segments, filtered, strict=True)
    ]
    scanned_at = time.perf_counter()

    queries = [split_query(rotated, segment.axis) for segment in opened]
    scored = rescore(opened, queries, candidates, k, kernel, limits)
    scores = np.concatenate([np.empty(0, np.float32), *(cosines for _, cosines in scored)])
    best = top_positions(scores, k)
    paths = _paths(opened, [places for places, _ in scored], best)
    finished = time.perf_counter()
    return Hits(paths, scores[best], (scanned_at - started) * 1e3, (finished - scanned_at) * 1e3)


def scan(
    live: LiveSegment, filtered: FilteredRows, rotated: F32, k: int, kernel: Kernel
) -> Candidates:
    """Pass 1: return the places of a segment that pass 2 may score."""
    columns, count = live.segment.columns, live.candidates.of(filtered.count, k)
    if count >= filtered.count or not len(columns):
        return Candidates(filtered.places(kernel))
    words, step = kernel.quantize(live.segment.bit_weights, rotated)
    spans = places_to_scan(live, filtered, rotated, k, kernel)
    if live.prescan is None:
        return Candidates(*kernel.nearest(columns, words, spans, count, filtered.allowed), step)
    first = live.prescan.bits // 64
    passed_on = max(count, live.prescan.candidates.of(filtered.count, k))
    places, _ = kernel.nearest(
        columns[:first], words[:, :first], spans, passed_on, filtered.allowed
    )
    chosen = np.take(columns, places, axis=1)
    kept, distances = kernel.nearest(chosen, words, [range(len(places))], count)
    return Candidates(places[kept], distances, step)


def places_to_scan(
    live: LiveSegment, filtered: FilteredRows, rotated: F32, k: int, kernel: Kernel
) -> list[range]:
    """Return the places of the cells nearest to the query that hold enough photos that pass; all
    without cells."""
    if live.cells is None:
        return [filtered.span]
    order = kernel.order_cells(rotated, live.segment.centroids)
    return filtered.probe(order, live.cells.in_cells(filtered.count, k), kernel)


def rescore(
    segments: Sequence[Segment],
    queries: Sequence[Query],
    candidates: Sequence[Candidates],
    k: int,
    kernel: Kernel,
    limits: TuningLimits,
) -> list[tuple[Rows, F32]]:
    """Pass 2: score candidates by their bytes while one may be among the best, see rescore.c;
    return for each segment the places that were scored, ascending, and their cosines float32."""
    tasks, arrays = [], []
    for segment, query, chosen in zip(segments, queries, candidates, strict=True):
        count = len(chosen.places)
        rows, cosines = chosen.places.astype(np.uint32), np.empty(count, np.float32)
        arrays.append((rows, cosines))
        tasks.append(
            RescoreTask(
                file=segment.opened.fileno(),
                offset=segment.parts["records"].offset,
                size=segment.record_size,
                dim=len(query.residual),
                words=len(segment.columns),
                stride=segment.photos,
                columns=segment.columns.ctypes.data,
                residual=address(query.residual),
                projection_step=query.projection_step,
                rows=address(rows),
                distances=None if chosen.distances is None else address(chosen.distances),
                count=count,
                step=chosen.step,
                cosines=address(cosines),
            )
        )
    failed = kernel.rescore(tasks, k, limits)
    if failed is not None:
        segment = segments[failed]
        if segment.cut_off:
            raise damaged(segment.file, "it ends before all of its records")
        raise PhotoIndexError(
            f"The index file {segment.file} could not be read.",
            "Check the disk that it is on, then search again.",
        )
    known = [~np.isnan(cosines) for _, cosines in arrays]
    return [
        (chosen.places[scored], cosines[scored])
        for chosen, (_, cosines), scored in zip(candidates, arrays, known, strict=True)
    ]


def top_positions(scores: F32, k: int) -> Rows:
    """Return positions of the `k` highest scores, best first; ties in row order."""
    kept = np.arange(len(scores))
    if len(scores) > k:
        kept = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return kept[np.argsort(-scores[kept], kind="stable")][:k]


def _paths(segments: Sequence[Segment], scored: Sequence[Rows], positions: Rows) -> list[str]:
    """Return the paths of photos by their positions among the scored places of all segments."""
    ends = list(accumulate(map(len, scored)))
    owners = [bisect_right(ends, position) for position in positions.tolist()]
    places = np.concatenate([np.empty(0, np.intp), *scored])[positions]
    paths = [""] * len(owners)
    for owner in set(owners):
        own = [at for at, number in enumerate(owners) if number == owner]
        for at, path in zip(own, segments[owner].paths_at(places[own]), strict=True):
            paths[at] = os.fsdecode(path)
    return paths
