"""Search in two passes: the nearest by some bits of their codes, then those by their bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, Query, score, split_query
from mcad_mobile.index.format import Segment, damaged
from mcad_mobile.index.kernel import Kernel
from mcad_mobile.index.lens import query_words
from mcad_mobile.index.passing import LiveSegment, Passing, RowFilter
from mcad_mobile.index.paths import path_from_bytes
from mcad_mobile.index.rotation import rotate
from mcad_mobile.index.scan import Rows, distances_of, least, nearest

# Photos scored at a time, in dimensions: 1 MiB as float64, so that it stays in the level 2 cache.
_BLOCK = 1 << 17
# Where fewer pass, their bits are gathered first: else nearly all rows near enough are looked up in
# vain.
_GATHERED = 1 / 16


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
    kernel: Kernel | None,
) -> Hits:
    """Return the `k` photos of `segments` that are `wanted` with the highest cosine to `query`, or
    all if fewer.

    `query` is [D] float32, L2-normalized. `exact` scores every such photo with its bytes.
    """
    started = time.perf_counter()
    rotated = rotate(query)
    opened = [live.segment for live in segments]
    passing = [live.passing(wanted) for live in segments]
    if exact:
        chosen = [some.rows for some in passing]
    else:
        chosen = [
            _scan(live, some, rotated, k, kernel)
            for live, some in zip(segments, passing, strict=True)
        ]
    scanned_at = time.perf_counter()

    scores = np.concatenate(
        [
            np.empty(0, np.float32),
            *(
                _score(segment, split_query(rotated, segment.axis), rows, kernel)
                for segment, rows in zip(opened, chosen, strict=True)
            ),
        ]
    )
    best = top(scores, k)
    paths = _paths(opened, chosen, best)
    finished = time.perf_counter()
    return Hits(paths, scores[best], (scanned_at - started) * 1e3, (finished - scanned_at) * 1e3)


def _scan(live: LiveSegment, passing: Passing, rotated: F32, k: int, kernel: Kernel | None) -> Rows:
    """Return the rows of a segment that the second pass should score, ascending."""
    columns, count = live.segment.columns, live.reach.candidates(passing.count, k)
    if count >= passing.count or not len(columns):
        return passing.rows
    words = query_words(live.lens, rotated)
    some, looked_at = len(columns), count
    if live.first is not None:
        some = live.first.bits // 64
        looked_at = max(count, live.first.reach.candidates(passing.count, k))
    if passing.count < _GATHERED * len(passing.span):
        gathered = np.take(columns[:some], passing.rows, axis=1)
        at, distances = nearest(
            gathered, words[:, :some], range(passing.count), looked_at, kernel=kernel
        )
        rows = passing.rows[at]
    else:
        rows, distances = nearest(
            columns[:some],
            words[:, :some],
            passing.span,
            looked_at,
            allowed=passing.allowed,
            kernel=kernel,
        )
    if some < len(columns):
        others = np.take(columns[some:], rows, axis=1)
        distances = distances + distances_of(others, words[:, some:], range(len(rows)))
        rows = rows[least(distances, count)]
    return rows


def _score(segment: Segment, query: Query, rows: Rows, kernel: Kernel | None) -> F32:
    if kernel is not None:
        found = kernel.scores(
            segment.opened.fileno(),
            segment.parts["records"].offset,
            segment.record,
            segment.columns,
            query.steps,
            query.along_step,
            rows,
        )
        if found is None:
            raise damaged(segment.file, "it ends before all of its records")
        return found
    scores = np.empty(len(rows), np.float32)
    step = _BLOCK // len(query.steps)
    for start in range(0, len(rows), step):
        block = segment.encoded_rows(rows[start : start + step])
        scores[start : start + step] = score(query, block)
    return scores


def top(scores: F32, k: int) -> Rows:
    """Return positions of the `k` highest scores, best first; equal ones in row order."""
    kept = np.arange(len(scores))
    if k < len(scores):
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= floor)
    return kept[np.argsort(-scores[kept], kind="stable")][:k]


def _paths(
    segments: Sequence[Segment], chosen: Sequence[Rows], positions: npt.NDArray[np.intp]
) -> list[str]:
    ends = np.cumsum([len(rows) for rows in chosen])
    owners = np.searchsorted(ends, positions, side="right").tolist()
    rows = np.concatenate([np.empty(0, np.intp), *chosen])[positions].tolist()
    return [
        path_from_bytes(segments[owner].paths.at(row))
        for owner, row in zip(owners, rows, strict=True)
    ]
