"""Search in two passes: the nearest codes, then the cosines of the best by their bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import F32, Query, estimate, score, split_query
from mcad_mobile.index.format import Segment
from mcad_mobile.index.paths import path_from_bytes
from mcad_mobile.index.rotation import rotate
from mcad_mobile.index.scan import Rows, nearest_codes

# Photos scored at a time, in dimensions: 1 MiB as float64, so that it stays in the level 2 cache.
_BLOCK = 1 << 17
# Codes scanned at a time. What a scan notes down grows with the number of rows that it is asked
# for: stretches keep that in the level 2 cache and off the process's memory.
_STRETCH = 1 << 18


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


def scanned(photos: int, k: int) -> int:
    """Say how many of `photos` neighbours on disk go on by their codes alone, for `k` results.

    1250 and one in 1500, or 100 a result if that is more: measured on real embeddings, see the end
    of docs/index-format.md.
    """
    return max(1250 + photos // 1500, 100 * k)


def rescored(photos: int, k: int, dim: int) -> int:
    """Say how many of those of all `photos`, the best by estimate, are scored by their bytes.

    240 and one in 1600, or 20 a result if that is more; below 256 dimensions more of them,
    since an estimate from D signs errs by 1 / sqrt(D).
    """
    return max(240 + photos // 1600, 20 * k) * max(256, dim) // dim


def search_segments(
    segments: Sequence[LiveSegment], query: F32, k: int, *, exact: bool, faiss: bool
) -> Hits:
    """Return the `k` live photos of `segments` with the highest cosine to `query`, or all if fewer.

    `query` is [D] float32, L2-normalized. `exact` scores every photo with its bytes;
    `faiss` allows to scan with it.
    """
    started = time.perf_counter()
    rotated = rotate(query)
    queries = [split_query(rotated, live.segment.axis) for live in segments]
    total = sum(live.live for live in segments)
    if exact or total <= rescored(total, k, len(query)):
        chosen = [live.live_rows() for live in segments]
    else:
        chosen = _scan(segments, queries, total, k, faiss)
    scanned_at = time.perf_counter()

    scores = np.concatenate(
        [
            np.empty(0, np.float32),
            *(
                _score(live.segment, split, rows)
                for live, split, rows in zip(segments, queries, chosen, strict=True)
            ),
        ]
    )
    best = top(scores, k)
    paths = _paths(segments, chosen, best)
    finished = time.perf_counter()
    return Hits(paths, scores[best], (scanned_at - started) * 1e3, (finished - scanned_at) * 1e3)


def _scan(
    segments: Sequence[LiveSegment], queries: Sequence[Query], total: int, k: int, faiss: bool
) -> list[Rows]:
    """Return, for each segment, its rows among those that the second pass should score."""
    owners: list[Rows] = []
    candidates: list[Rows] = []
    estimates: list[F32] = []
    for number, (live, query) in enumerate(zip(segments, queries, strict=True)):
        for rows in _nearest_live(live, query, k, faiss):
            owners.append(np.full(len(rows), number, np.intp))
            candidates.append(rows)
            codes, along = live.segment.codes.take(rows, axis=0), live.segment.along.take(rows)
            estimates.append(estimate(query, codes, along))
    joined, owner, row = (
        np.concatenate(estimates),
        np.concatenate(owners),
        np.concatenate(candidates),
    )
    wanted = min(rescored(total, k, len(queries[0].rest)), len(joined))
    picked = top(joined, wanted)
    return [np.sort(row[picked[owner[picked] == number]]) for number in range(len(segments))]


def _nearest_live(live: LiveSegment, query: Query, k: int, faiss: bool) -> Iterator[Rows]:
    """Yield the live rows nearest by code, so many of each stretch of the segment."""
    for start in range(0, live.segment.photos, _STRETCH):
        codes = live.segment.codes[start : start + _STRETCH]
        dead = live.deleted[slice(*np.searchsorted(live.deleted, (start, start + len(codes))))]
        wanted = min(scanned(len(codes), k), len(codes) - len(dead))
        if not wanted:
            continue
        # Deleted rows are near, too: asked for more until enough live ones are among them.
        asked = wanted + min(len(dead), wanted // 4)
        while True:
            near = nearest_codes(codes, query.code, asked, faiss=faiss)
            rows = _without(near, dead - start)
            if len(rows) >= wanted:
                break
            asked *= 2
        yield rows + start


def _without(rows: Rows, deleted: Rows) -> Rows:
    """Return those of `rows` that are not in `deleted`, which ascends."""
    if not len(deleted):
        return rows
    at = np.minimum(np.searchsorted(deleted, rows), len(deleted) - 1)
    kept: Rows = rows[deleted[at] != rows]
    return kept


def _score(segment: Segment, query: Query, rows: Rows) -> F32:
    scores = np.empty(len(rows), np.float32)
    step = _BLOCK // len(query.rest)
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
    segments: Sequence[LiveSegment], chosen: Sequence[Rows], positions: npt.NDArray[np.intp]
) -> list[str]:
    ends = np.cumsum([len(rows) for rows in chosen])
    owners = np.searchsorted(ends, positions, side="right").tolist()
    rows = np.concatenate([np.empty(0, np.intp), *chosen])[positions].tolist()
    return [
        path_from_bytes(segments[owner].segment.paths.at(row))
        for owner, row in zip(owners, rows, strict=True)
    ]
