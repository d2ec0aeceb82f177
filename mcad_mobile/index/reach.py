"""How far a search looks: measured on a sample of the photos, with photos as queries.

How many photos have to be looked at so that hardly any of the best is missed depends on the
student. So queries are photos of the sample, each as it is, and once more turned by 45 degrees in
a random direction, since words are further from photos than photos are; and what counts is the
rank up to which an estimate has to be followed to meet the best of them. Where photos lie about
evenly in all directions, words are further still: queries are turned by 76 degrees, and fewer may
be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.codes import F32, split

Ranks = npt.NDArray[np.intp]
# Of queries [B, D], what the photos of a sample score [B, M].
Scores = Callable[[F32], exact.Floats]

# Results, and as many more as tell how candidates grow with them.
K, _MANY = 10, 80
# A sample of the sample, for how they grow with the photos.
_EVERY = 8
# Every so many photos, and results: what is measured.
_TRIALS = ((1, K), (_EVERY, K), (1, _MANY))
_QUERIES = 192
# Queries at a time: their scores with all photos of a sample are megabytes.
_BLOCK = 32
# Share of the best ten that the candidates hold, in the sample; and where photos lie evenly.
_HELD, _HELD_EVENLY = 0.997, 0.999
# How evenly photos lie: of the default student 0.12, whitened 0.5. The tangents of both angles.
_EVENLY, _TURNED, _TURNED_FURTHER = 0.4, 1, 4
# Candidates grow with the root of the photos where a sample is too small to tell, and never less.
# Beyond the sample growth gets steeper: by what it took at a million.
_EXPONENT, _LEAST_EXPONENT, _TELLS_FROM = 0.5, 0.45, 4096
_STEEPER = 0.05
_LEAST_GROWTH = 0.5
# Where growth is looked at: the last few ranks would tell more of chance.
_TYPICAL = (0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Reach:
    """Of `n` photos, `factor` * n ^ `exponent` * k ^ `growth` are looked at for k results."""

    factor: float
    exponent: float
    growth: float

    def candidates(self, photos: int, k: int) -> int:
        """Return how many of `photos`, all of them at most."""
        if photos <= k:
            return photos
        wanted = float(self.factor * photos**self.exponent * k**self.growth)
        return min(photos, ceil(max(wanted, 2 * k)))

    def times(self, factor: float) -> Reach:
        return replace(self, factor=round(factor * self.factor, 3))


@dataclass(frozen=True)
class First:
    """A scan of the first `bits` alone: how many photos are looked at by all S bits."""

    bits: int
    reach: Reach


class Sample(Protocol):
    """Rotated photos [M, D] float32, which may be read from a file, some at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> F32: ...


class Trial:
    """Queries [Q, D] out of a sample [M, D], and the best photos for each."""

    def __init__(self, sample: Sample, axis: F32) -> None:
        self.photos = len(sample)
        step = -(-len(sample) // _QUERIES)
        rows = np.arange(0, len(sample), step)
        chosen = sample[::step]
        rests = split(chosen, axis)[1]
        lengths = np.sqrt(np.square(rests).sum(axis=1, keepdims=True))
        directions = np.asarray(rests / np.maximum(lengths, exact.UNIT), np.float32)
        evenly = evenness(directions) > _EVENLY
        self._held = _HELD_EVENLY if evenly else _HELD
        lengths *= _TURNED_FURTHER if evenly else _TURNED
        random = np.random.default_rng(0).integers(0, 2, chosen.shape) * np.float32(2) - 1
        turned = chosen + lengths * random / np.float32(np.sqrt(chosen.shape[1]))
        turned /= exact.lengths(turned).astype(np.float32)[:, None]
        self.queries = np.concatenate([chosen, turned])
        self._own = np.concatenate([rows, rows])
        best: list[list[Ranks]] = [[] for _ in _TRIALS]
        for _, scores in self._of_others(partial(_scores, sample)):
            for found, (step, k) in zip(best, _TRIALS, strict=True):
                found.append(_best(scores, step, k))
        self._best = [np.concatenate(found) for found in best]

    def by_estimates(self, estimates: Scores) -> Reach:
        """Return how far to go down `estimates`, which says of queries [B, D] what photos score
        [B, M]."""
        ranks: list[list[Ranks]] = [[] for _ in _TRIALS]
        for some, scores in self._of_others(estimates):
            for found, best, (step, _) in zip(ranks, self._best, _TRIALS, strict=True):
                at = np.take_along_axis(scores, best[some], axis=1)
                for row, a in zip(scores[:, ::step], at, strict=True):
                    found.append(len(row) - np.sort(row).searchsorted(a))
        return self._fitted([np.concatenate(found) for found in ranks])

    def _of_others(self, of: Scores) -> Iterator[tuple[slice, exact.Floats]]:
        """Yield some of the queries at a time, and what `of` says that photos score; a query does
        not find the photo that it was."""
        for start in range(0, len(self._own), _BLOCK):
            some = slice(start, start + _BLOCK)
            scores = of(self.queries[some])
            scores[np.arange(len(scores)), self._own[some]] = -np.inf
            yield some, scores

    def by_cells(self, orders: Ranks, cells: Ranks) -> Reach:
        """Return how many photos are in the first cells of each query, `orders` [Q, C], up to that
        of the last of its best; `cells` [M] are those of photos."""
        ranks = []
        for best, (step, _) in zip(self._best, _TRIALS, strict=True):
            held = np.bincount(cells[::step], minlength=orders.shape[1])[orders].cumsum(axis=1)
            up_to = np.empty_like(held)
            np.put_along_axis(up_to, orders, held, axis=1)
            ranks.append(np.take_along_axis(up_to, cells[best], axis=1).ravel())
        return self._fitted(ranks)

    def _fitted(self, ranks: Sequence[Ranks]) -> Reach:
        needed = [
            [_at(np.sort(some), share) for share in (self._held, *_TYPICAL)] for some in ranks
        ]
        (whole, *typical), (_, *of_part), (_, *of_many) = needed
        exponent = _EXPONENT
        if self.photos >= _TELLS_FROM:
            exponent = min(max(_slope(of_part, typical, _EVERY) + _STEEPER, _LEAST_EXPONENT), 1.0)
        exponent = round(exponent, 3)
        growth = round(min(max(_slope(typical, of_many, _MANY / K), _LEAST_GROWTH), 1.0), 3)
        return Reach(round(whole / (self.photos**exponent * K**growth), 3), exponent, growth)


def evenness(directions: F32) -> float:
    """Return how many of the dimensions of unit vectors [Q, D] have a part in where they point, as
    a share: (sum l)^2 / (D * sum l^2) of their covariance's eigenvalues l, estimated from the
    cosines between two of them, whose mean square is sum l^2 / (sum l)^2."""
    count, dim = directions.shape
    whole = exact.units(directions)
    squares = np.square(whole @ whole.T * exact.UNIT**2)
    np.fill_diagonal(squares, 0)
    mean = squares.sum() / max(count * (count - 1), 1)
    return float(1 / (dim * mean)) if mean else 1.0


def _scores(sample: Sample, queries: F32) -> npt.NDArray[np.float64]:
    whole = exact.units(queries)
    scores = np.empty((len(queries), len(sample)))
    for some in exact.blocks(len(sample)):
        scores[:, some] = whole @ exact.units(sample[some]).T
    return scores


def _best(scores: exact.Floats, step: int, k: int) -> Ranks:
    """Return the `k` best of every so many photos [Q, k]."""
    some = np.arange(scores.shape[1])[::step]
    k = min(k, len(some) - 1)
    return some[np.argpartition(-scores[:, ::step], k - 1, axis=1)[:, :k]]


def _at(ranks: Ranks, share: float) -> int:
    """Return the rank up to which a share of sorted ranks is."""
    return int(ranks[ceil(share * len(ranks)) - 1])


def _slope(small: list[int], large: list[int], times: float) -> float:
    """Return e where numbers grow as `times` ^ e, on average."""
    return sum(log(b / a) for a, b in zip(small, large, strict=True)) / (len(small) * log(times))
