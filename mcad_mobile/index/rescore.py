"""Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best.

Bits that differ tell a cosine, up to a constant and an error. The nearest rows are scored first:
they tell that constant, how large errors are, and which cosine is to be beaten. Then more, nearest
first, as long as one of the rest is likely to beat it; each time that is known better. So a query
costs what it needs, and at most what the index allows (reach.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.codes import F32, Query, score
from mcad_mobile.index.format import damaged
from mcad_mobile.index.kernel import Kernel, Task, address
from mcad_mobile.index.scan import Distances, Rows
from mcad_mobile.index.segment import Segment

# Photos scored at a time, in dimensions: 1 MiB as float64, so that it stays in the level 2 cache.
_BLOCK = 1 << 17
# Rows that are scored in any case, more for many results or candidates. The nearest err a little
# less than all.
_SURE, _SURE_A_RESULT, _SURE_PART = 128, 4, 8
# Of each result, how much may be expected to be missed among the rows that are left out; and where
# bits tell so little that more than one photo of so many is a candidate, and misses add up.
_MISSED, _MISSED_OF_MANY, _MANY = 1 / 64, 1 / 512, 8
# Each time, so many times as many as are scored already.
_MORE = 2
# Of errors, so that their sums do not round: exact.py.
_UNIT = 2.0**-18


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
    kernel: Kernel | None,
) -> list[tuple[Rows, F32]]:
    """Return of each segment the places that were scored, ascending, and their cosines float32. Of
    the `k` best of all candidates hardly one is missing."""
    bounds = [
        (_sure(some, k), _missed(some, segment) * k / len(segments))
        for segment, some in zip(segments, candidates, strict=True)
    ]
    if kernel is not None:
        return _by_kernel(segments, queries, candidates, bounds, k, kernel)
    nearing = [_Nearing(*one) for one in zip(segments, queries, candidates, bounds, strict=True)]
    while True:
        for one in nearing:
            one.score_wanted()
        beaten = kth(np.concatenate([np.empty(0, np.float32), *(one.scores for one in nearing)]), k)
        wanted = [one.wants_more(beaten) for one in nearing]
        if not any(wanted):
            return [one.found() for one in nearing]


def _sure(some: Candidates, k: int) -> int:
    """Return how many candidates are scored in any case."""
    count = len(some.places)
    if some.distances is None:
        return count
    return min(count, max(_SURE, _SURE_A_RESULT * k, count // _SURE_PART))


def _missed(some: Candidates, segment: Segment) -> float:
    """Return how much of a result may be expected among the candidates that are left out."""
    return _MISSED_OF_MANY if len(some.places) > segment.photos / _MANY else _MISSED


def _by_kernel(
    segments: Sequence[Segment],
    queries: Sequence[Query],
    candidates: Sequence[Candidates],
    bounds: Sequence[tuple[int, float]],
    k: int,
    kernel: Kernel,
) -> list[tuple[Rows, F32]]:
    tasks, arrays = [], []
    for segment, query, some, (sure, missed) in zip(
        segments, queries, candidates, bounds, strict=True
    ):
        rows, cosines = some.places.astype(np.uint32), np.empty(len(some.places), np.float32)
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
                distances=None if some.distances is None else address(some.distances),
                count=len(rows),
                sure=sure,
                fall=-2 * some.step,
                missed=missed,
                cosines=address(cosines),
            )
        )
    failed = kernel.rescore(tasks, k)
    if failed is not None:
        raise damaged(segments[failed].file, "it ends before all of its records")
    known = [~np.isnan(cosines) for _, cosines in arrays]
    return [
        (some.places[scored], cosines[scored])
        for some, (_, cosines), scored in zip(candidates, arrays, known, strict=True)
    ]


class _Nearing:
    """The candidates of a segment, nearest first, of which so many are scored: `scores`."""

    def __init__(
        self, segment: Segment, query: Query, some: Candidates, bounds: tuple[int, float]
    ) -> None:
        self._of = segment, query
        self._places, (self._wanted, self._missed) = some.places, bounds
        self._estimates = np.empty(0)
        self.scores = np.empty(0, np.float32)
        if some.distances is not None:
            nearest_first = np.argsort(some.distances, kind="stable")
            self._places = some.places[nearest_first]
            distances = some.distances[nearest_first].astype(np.float64)
            self._estimates = distances * (-2 * some.step)

    def score_wanted(self) -> None:
        segment, query = self._of
        some = self._places[len(self.scores) : self._wanted]
        if len(some):
            ascending = np.argsort(some)
            scores = np.empty(len(some), np.float32)
            scores[ascending] = cosines(segment, query, some[ascending])
            self.scores = np.concatenate([self.scores, scores])

    def wants_more(self, beaten: float) -> bool:
        """Whether more of the rest than may be missed are expected to have a cosine above `beaten`;
        so many are wanted then, within bounds."""
        scored = len(self.scores)
        if scored < len(self._places):
            mean, deviation = _spread(self.scores - self._estimates[:scored])
            expected = _above((beaten - mean - self._estimates[scored:]) / deviation)
            beyond = np.cumsum(expected[::-1])[::-1]
            self._wanted = scored + min(
                _MORE * scored, int(np.count_nonzero(beyond > self._missed))
            )
        return self._wanted > scored

    def found(self) -> tuple[Rows, F32]:
        """Return the places that were scored, ascending, and their cosines."""
        places = self._places[: len(self.scores)]
        ascending = np.argsort(places)
        return places[ascending], self.scores[ascending]


def _spread(errors: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return their mean and standard deviation, above 0: the same whatever the order of sums."""
    whole = exact.units(errors, _UNIT)
    mean = float(whole.sum()) / len(whole)
    variance = float(np.square(whole).sum()) / len(whole) - mean * mean
    return mean * _UNIT, max(sqrt(max(variance, 0.0)), 1.0) * _UNIT


def _above(deviations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how probable it is at most that a normal error is above so many deviations: half of
    exp(-z^2 / 2), and 1 below 0."""
    bound = np.exp(np.square(deviations) * -0.5) * 0.5
    return np.where(deviations < 0, 1.0, bound)


def kth(scores: F32, k: int) -> float:
    """Return the `k`-th highest score, -inf where there are fewer."""
    if len(scores) < k:
        return -np.inf
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def cosines(segment: Segment, query: Query, places: Rows) -> F32:
    """Score photos of a segment by their bytes [len(places)] float32; places ascend."""
    scores = np.empty(len(places), np.float32)
    step = _BLOCK // len(query.steps)
    for start in range(0, len(places), step):
        block = segment.encoded_at(places[start : start + step])
        scores[start : start + step] = score(query, block)
    return scores
