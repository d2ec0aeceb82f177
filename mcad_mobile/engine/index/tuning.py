"""What an index chooses for itself when it is committed, from a sample of its photos: which bits a
scan reads, whether cells are worth their while, and how far a search looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, log
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import codes
from mcad_mobile.engine.index.bit_weights import estimates, fit_lens, moments
from mcad_mobile.engine.index.cells import cells_of, fit_centroids, nearest_first
from mcad_mobile.engine.index.codes import F32, split

# How far a search looks: measured on a sample of the photos, with photos as queries.
#
# How many photos have to be looked at so that hardly any of the best is missed depends on the
# student. So queries are photos of the sample, each as it is, and once more turned by 45 degrees in
# a random direction, since words are further from photos than photos are; and what counts is the
# rank up to which an estimate has to be followed to meet the best of them. Where photos lie about
# evenly in all directions, words are further still: queries are turned by 76 degrees, and fewer may
# be missed.

Ranks = npt.NDArray[np.intp]
# Of queries [B, D], what the photos of a sample score [B, M].
Scores = Callable[[F32], codes.Floats]

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
        directions = np.asarray(rests / np.maximum(lengths, codes.UNIT), np.float32)
        evenly = evenness(directions) > _EVENLY
        self._held = _HELD_EVENLY if evenly else _HELD
        lengths *= _TURNED_FURTHER if evenly else _TURNED
        random = np.random.default_rng(0).integers(0, 2, chosen.shape) * np.float32(2) - 1
        turned = chosen + lengths * random / np.float32(np.sqrt(chosen.shape[1]))
        turned /= codes.lengths(turned).astype(np.float32)[:, None]
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

    def _of_others(self, of: Scores) -> Iterator[tuple[slice, codes.Floats]]:
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
    whole = codes.units(directions)
    squares = np.square(whole @ whole.T * codes.UNIT**2)
    np.fill_diagonal(squares, 0)
    mean = squares.sum() / max(count * (count - 1), 1)
    return float(1 / (dim * mean)) if mean else 1.0


def _scores(sample: Sample, queries: F32) -> npt.NDArray[np.float64]:
    whole = codes.units(queries)
    scores = np.empty((len(queries), len(sample)))
    for some in codes.blocks(len(sample)):
        scores[:, some] = whole @ codes.units(sample[some]).T
    return scores


def _best(scores: codes.Floats, step: int, k: int) -> Ranks:
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


# Fewer photos are all scored by their bytes.
LEAST = 256
# Fewer are scanned before cells are in order.
_LEAST_IN_CELLS = 1 << 17

# Numbers in a sample of photos, and photos at least where that many are there.
_SAMPLE, _LEAST_SAMPLE = 1 << 22, 4096
# Photos of it that lenses are fitted to.
_FIT_SAMPLE = 4096
_MOST_SCANNED = 1024
# What a search costs, in ns on a server's core: a byte scanned, a photo scored and its bytes.
_NS_BYTE, _NS_PHOTO, _NS_PHOTO_BYTE = 0.1, 1500.0, 0.6
# And to say which cells to look into, and a number of a centroid.
_NS_CELLS, _NS_NUMBER = 150_000.0, 0.1
# And a photo looked at once more, and a word of it, each somewhere else.
_NS_LOOK, _NS_WORD = 40.0, 60.0
# A first look loses some of what the second would find: it looks at more.
_WIDER = 1.5
# Words may be harder to place than photos, and what pass 2 leaves out (rescore.py) costs little.
_SPARE = 2
# Nor do photos in a cell or two more.
_MORE_CELLS = 1.5
_WORTH, _WORTH_CELLS = 1.05, 1.1


@dataclass(frozen=True)
class Cells:
    """Centroids [C, D] int16, see cells.py, and how many photos the cells that are looked into
    hold."""

    centroids: npt.NDArray[np.int16]
    reach: Reach


@dataclass(frozen=True)
class Settings:
    """lens [S, D] float32, S the bits that are in columns, the reach for them, a scan of fewer
    where that pays, and cells where they do."""

    lens: F32
    reach: Reach
    first: First | None = None
    cells: Cells | None = None


def no_settings(dim: int) -> Settings:
    """Return those of an index whose photos are all scored."""
    return Settings(np.zeros((0, dim), np.float32), Reach(1.0, 1.0, 1.0))


def sample_size(dim: int) -> int:
    """Return how many photos of so many dimensions `choose` wants at most."""
    return max(_SAMPLE // dim, _LEAST_SAMPLE)


def worth_cells(photos: int) -> bool:
    """Say whether a segment of so many may have cells."""
    return photos >= _LEAST_IN_CELLS


def choose(sample: Sample, axis: F32, photos: int) -> Settings:
    """Choose settings for an index of `photos` from a sample of about sample_size(D) at most."""
    dim = len(axis)
    if len(sample) < LEAST or dim < 64:
        return no_settings(dim)
    bits = np.empty((len(sample), dim), np.uint8)
    for some in codes.blocks(len(sample)):
        bits[some] = split(sample[some], axis)[1] > 0
    trial = Trial(sample, axis)
    ways: list[tuple[Cells | None, float, float]] = [(None, photos, 0.0)]
    if worth_cells(photos) and (cells := _cells(split(sample[:], axis)[1], trial)):
        held = cells.reach.candidates(photos, K)
        ways.append((cells, held, _NS_CELLS + cells.centroids.size * _NS_NUMBER))
    found: list[tuple[float, Settings]] = []
    firsts: list[First] = []
    most = min(dim, _MOST_SCANNED) // 64 * 64
    to_fit = slice(0, len(sample), -(-len(sample) // _FIT_SAMPLE))
    fitted = moments(sample[to_fit], bits[to_fit, :most])
    for scanned in sorted({64 * max(most * quarters // 256, 1) for quarters in (1, 2, 3, 4)}):
        lens = fit_lens(fitted, scanned)
        reach = trial.by_estimates(partial(estimates, lens, bits[:, :scanned]))
        scores = reach.candidates(photos, K) * (_NS_PHOTO + dim * _NS_PHOTO_BYTE)
        for cells, looked_into, cost_of_cells in ways:
            worth = _WORTH_CELLS if cells else 1.0
            for first in (None, *firsts):
                bytes_read = (first.bits if first else scanned) / 8
                cost = looked_into * bytes_read * _NS_BYTE + scores + cost_of_cells
                if first:
                    words = (scanned - first.bits) // 64
                    looks = first.reach.candidates(photos, K)
                    cost += looks * (_NS_LOOK + words * _NS_WORD)
                found.append((worth * cost, Settings(lens, reach.times(_SPARE), first, cells)))
        firsts.append(First(scanned, reach.times(_WIDER)))
    least = min(cost for cost, _ in found)
    return next(
        settings
        for cost, settings in sorted(found, key=lambda one: (len(one[1].lens), one[0]))
        if cost <= _WORTH * least
    )


def _cells(rests: F32, trial: Trial) -> Cells | None:
    centroids = fit_centroids(rests)
    if not len(centroids):
        return None
    orders = nearest_first(trial.queries, centroids.astype(np.float32))
    return Cells(centroids, trial.by_cells(orders, cells_of(rests, centroids)).times(_MORE_CELLS))
