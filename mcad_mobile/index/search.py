"""Search in two passes: estimate all cosines from the codes, then score the best with the bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, estimate, quantize_query, score
from mcad_mobile.index.format import Segment, path_from_bytes

Rows = npt.NDArray[np.intp]

# Photos scored at a time, in dimensions: what stays in a phone's level 2 cache as float32.
_BLOCK = 65536


@dataclass(frozen=True)
class LiveSegment:
    """A segment as of one commit: `deleted` are its tombstones, ascending row numbers."""

    segment: Segment
    deleted: Rows

    @property
    def live(self) -> int:
        return self.segment.photos - len(self.deleted)

    def live_rows(self) -> Rows:
        """Return the rows that are not deleted, ascending."""
        alive = np.ones(self.segment.photos, np.bool_)
        alive[self.deleted] = False
        return np.flatnonzero(alive)


@dataclass(frozen=True)
class Hits:
    """Best photos first: paths, and their cosines [len(paths)] float32; times in ms."""

    paths: list[str]
    scores: F32
    scan_ms: float
    rescore_ms: float


def candidates(photos: int, k: int) -> int:
    """Say how many photos of `photos` go to the second pass, for `k` results.

    500 and one in a hundred, or 20 a result if that is more: measured on real embeddings, see
    the end of docs/index-format.md. An index of up to 500 photos is thus scored whole.
    """
    return max(500 + photos // 100, 20 * k)


def search_segments(segments: Sequence[LiveSegment], query: F32, k: int, *, exact: bool) -> Hits:
    """Return the `k` live photos of `segments` with the highest cosine to `query`, or all if fewer.

    `query` is [D] float32, L2-normalized. `exact` scores every photo with its bytes.
    """
    started = time.perf_counter()
    total = sum(live.segment.photos for live in segments)
    wanted = candidates(total, k)
    chosen: list[Rows | None] = [None] * len(segments)
    if not exact and wanted < total:
        chosen = [*_scan(segments, query, wanted, total)]
    scanned = time.perf_counter()

    scores = np.concatenate(
        [
            np.empty(0, np.float32),
            *(_score(live, query, rows) for live, rows in zip(segments, chosen, strict=True)),
        ]
    )
    best = _top(scores, k)
    paths = _paths(segments, chosen, best)
    finished = time.perf_counter()
    return Hits(paths, scores[best], (scanned - started) * 1e3, (finished - scanned) * 1e3)


def _scan(segments: Sequence[LiveSegment], query: F32, wanted: int, total: int) -> list[Rows]:
    """Return, for each segment, its rows among the `wanted` best estimates of all segments."""
    estimates = np.empty(total, np.float32)
    bounds = np.cumsum([0, *(live.segment.photos for live in segments)])
    for live, start, stop in zip(segments, bounds, bounds[1:], strict=False):
        part = estimates[start:stop]
        segment = live.segment
        quantized = quantize_query(query, segment.axis)
        estimate(quantized, segment.codes, segment.along, segment.factors, part)
        part[live.deleted] = -np.inf
    picked = np.sort(np.argpartition(estimates, total - wanted)[total - wanted :])
    picked = picked[estimates[picked] > -np.inf]
    cuts = np.searchsorted(picked, bounds)
    return [
        picked[low:high] - start for low, high, start in zip(cuts, cuts[1:], bounds, strict=False)
    ]


def _score(live: LiveSegment, query: F32, rows: Rows | None) -> F32:
    segment = live.segment
    chosen = np.arange(segment.photos) if rows is None else rows
    scores = np.empty(len(chosen), np.float32)
    step = _BLOCK // len(query)
    for start in range(0, len(chosen), step):
        block = segment.encoded_rows(chosen[start : start + step])
        scores[start : start + step] = score(query, segment.axis, block)
    if rows is None:
        scores[live.deleted] = -np.inf
    return scores


def _top(scores: F32, k: int) -> Rows:
    """Return positions of the `k` highest finite scores, best first; equal ones in row order."""
    if k < len(scores):
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero((scores >= floor) & (scores > -np.inf))
    else:
        kept = np.flatnonzero(scores > -np.inf)
    return kept[np.argsort(-scores[kept], kind="stable")][:k]


def _paths(
    segments: Sequence[LiveSegment], chosen: Sequence[Rows | None], positions: Rows
) -> list[str]:
    counts = [
        live.segment.photos if rows is None else len(rows)
        for live, rows in zip(segments, chosen, strict=True)
    ]
    starts = np.cumsum([0, *counts])
    paths = []
    for position in positions:
        which = int(np.searchsorted(starts, position, side="right")) - 1
        row = int(position - starts[which])
        rows = chosen[which]
        segment = segments[which].segment
        paths.append(path_from_bytes(segment.path_at(row if rows is None else int(rows[row]))))
    return paths
