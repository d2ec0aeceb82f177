"""How many photos each step of a search looks at: the scan, and the second pass after it.

`choose_tuning` measures the counts on a sample when a commit tunes an index: how many bits a scan
reads, whether a shorter scan or cells come first, and how many candidates go on (`CandidateCount`).
`RescoreBudget` says how many of those candidates the second pass scores.

The counts depend on the student. Queries are photos of the sample, each as it is and once more
turned by 45 degrees in a random direction, since words are further from photos than photos are. A
count is the rank, by an estimate, at which nearly all of a query's best photos have been met. Where
photos lie about evenly in all directions, words are further still: queries are turned by 76 degrees
there, and fewer photos may be missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from math import ceil, log
from typing import Annotated, Protocol

import numpy as np
from msgspec import Meta

from mcad_mobile.base.documents import Record
from mcad_mobile.engine.arrays import F32, F64, I16, U8, Floats, Rows
from mcad_mobile.engine.index.bit_weights import estimates, fit_bit_weights, moments
from mcad_mobile.engine.index.cells import assign_cells, fit_centroids, order_cells
from mcad_mobile.engine.index.codes import MAX_DIM, split
from mcad_mobile.engine.index.deterministic import UNIT, blocks, lengths, units

# Scores [B, M] that the photos of a sample have with queries [B, D].
Scores = Callable[[F32], Floats]

# An index of fewer photos is not tuned: pass 2 scores all of them.
MIN_TUNED = 256

# Results, and a larger number that shows how candidates grow with the results.
K, _LARGE_K = 10, 80
# One photo in this many of the sample shows how candidates grow with the photos.
_SUBSAMPLE_STEP = 8
# What is measured: (one photo in how many, results).
_MEASURED = ((1, K), (_SUBSAMPLE_STEP, K), (1, _LARGE_K))
_QUERIES = 192
# Queries per block: their scores with all photos of a sample take megabytes.
_BLOCK = 32
# Share of the best ten that a sample's candidates hold, and the same if photos lie evenly.
_RECALL, _EVEN_RECALL = 0.997, 0.999
# The evenness from which photos lie evenly (the default student has 0.12, whitened 0.5), and the
# tangents of both angles.
_MIN_EVENNESS, _TANGENT, _EVEN_TANGENT = 0.4, 1, 4
# How candidates grow with the photos: the exponent for small samples, the least one, and the sample
# from which it is measured. Beyond the sample it is steeper, as measured at a million photos.
_EXPONENT, _MIN_EXPONENT, _EXPONENT_FROM = 0.5, 0.45, 4096
_EXPONENT_MARGIN = 0.05
_MIN_GROWTH = 0.5
# Growth is measured at these shares of the ranks: the last few are chance.
_GROWTH_SHARES = (0.9, 0.95, 0.98)
# With fewer photos all cells are scanned: an eighth of a sample, the least measured, has as many.
_CELLS_MEASURED_FROM = 2048

# Photos times dimensions in a sample, and its least number of photos.
_SAMPLE, _MIN_SAMPLE = 1 << 22, 4096
# Photos of the sample that bit weights are fitted to.
_FIT_SAMPLE = 4096
_MAX_SCAN_BITS = 1024
# Costs in ns on a server's core: a scanned byte, a scored photo, and each of its bytes.
_NS_BYTE, _NS_PHOTO, _NS_PHOTO_BYTE = 0.1, 1500.0, 0.6
# Choosing the cells to scan, and each number of a centroid.
_NS_CELLS, _NS_NUMBER = 150_000.0, 0.1
# A photo that a prescan passes on, and each further word, a scattered read.
_NS_PRESCANNED, _NS_WORD = 40.0, 60.0
# A prescan loses some photos that the scan would find, so it passes more on.
_PRESCAN_FACTOR = 1.5
# Words may be harder to place than photos, and candidates that pass 2 skips cost little.
_CANDIDATE_FACTOR = 2
# A few more cells cost little, too.
_CELLS_FACTOR = 1.5
# A shorter scan may cost this much more.
_COST_TOLERANCE = 1.05


class CandidateCount(Record, frozen=True):
    """Of n photos, `factor` * n ^ `exponent` * k ^ `growth` are candidates for k results."""

    factor: Annotated[float, Meta(ge=0, le=1e6)]
    exponent: Annotated[float, Meta(ge=0, le=1)]
    growth: Annotated[float, Meta(ge=0, le=1)]

    def of(self, photos: int, k: int) -> int:
        """Return how many of `photos` are candidates for `k` results: 2 `k` or more, or all."""
        if photos <= k:
            return photos
        wanted = float(self.factor * photos**self.exponent * k**self.growth)
        return min(photos, ceil(max(wanted, 2 * k)))

    def in_cells(self, photos: int, k: int) -> int:
        """Return how many of `photos` the scanned cells must hold."""
        return self.of(photos, k) if photos >= _CELLS_MEASURED_FROM else photos

    def times(self, factor: float) -> CandidateCount:
        """Return a count of `factor` times as many candidates."""
        return CandidateCount(round(factor * self.factor, 3), self.exponent, self.growth)


class Prescan(Record, frozen=True):
    """A scan of the first `bits` alone, and how many candidates it passes on to the scan."""

    bits: Annotated[int, Meta(ge=64, le=MAX_DIM, multiple_of=64)]
    candidates: CandidateCount


@dataclass(frozen=True)
class RescoreBudget:
    """How many of a segment's candidates pass 2 reads.

    It scores the nearest `at_least`, `per_result` * k, or one candidate in `part`, whichever is
    most: these show how large errors are. Then it goes on until at most `missed` photos per result
    are expected among the rest, or `missed_of_many` if more than one photo in `many` is a
    candidate.
    """

    at_least: int = 128
    per_result: int = 4
    part: int = 8
    missed: float = 1 / 64
    missed_of_many: float = 1 / 512
    many: int = 8

    def minimum(self, candidates: int, k: int) -> int:
        """Return how many of `candidates` pass 2 scores whatever it finds."""
        return min(candidates, max(self.at_least, self.per_result * k, candidates // self.part))

    def may_miss(self, candidates: int, photos: int) -> float:
        """Return how many photos per result may be left out, of a segment of `photos`."""
        return self.missed_of_many if candidates > photos / self.many else self.missed


@dataclass(frozen=True)
class TuningLimits:
    """When an index is tuned, and what a search may leave out: the axis and the tuning are computed
    anew when the photos have grown `axis_growth` times; cells need `cells_from` photos and must
    make a search `cells_gain` times cheaper, by the costs above (ADR 16); `photos_per_cell` of the
    sample share a centroid."""

    axis_growth: int = 8
    cells_from: int = 1 << 16
    cells_gain: float = 1.0
    photos_per_cell: int = 50
    rescore: RescoreBudget = RescoreBudget()


LIMITS = TuningLimits()


@dataclass(frozen=True)
class Cells:
    """Centroids [C, D] int16, see cells.py, and how many photos the scanned cells must hold."""

    centroids: I16
    candidates: CandidateCount


@dataclass(frozen=True)
class Tuning:
    """How a segment is searched: bit weights [S, D] float32 for the S bits in columns; how many
    candidates the scan passes on; a prescan and cells if they make it cheaper."""

    bit_weights: F32
    candidates: CandidateCount
    prescan: Prescan | None = None
    cells: Cells | None = None


class Sample(Protocol):
    """Rotated photos [M, D] float32, which may be read from a file, block by block."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> F32: ...


def untuned(dim: int) -> Tuning:
    """Return the tuning of an index whose photos are all scored."""
    return Tuning(np.zeros((0, dim), np.float32), CandidateCount(1.0, 1.0, 1.0))


def sample_size(dim: int) -> int:
    """Return how many photos of `dim` dimensions `choose_tuning` needs at most."""
    return max(_SAMPLE // dim, _MIN_SAMPLE)


def choose_tuning(sample: Sample, axis: F32, photos: int, limits: TuningLimits = LIMITS) -> Tuning:
    """Choose the cheapest tuning for an index of `photos` photos, from a rotated `sample` and
    `axis` [D], the direction of their mean."""
    dim = len(axis)
    if len(sample) < MIN_TUNED or dim < 64:
        return untuned(dim)
    bits = np.empty((len(sample), dim), np.uint8)
    for block in blocks(len(sample)):
        bits[block] = split(sample[block], axis)[1] > 0
    queries = SampleQueries(sample, axis)
    cells = None
    if photos >= limits.cells_from:
        cells = _fit_cells(split(sample[:], axis)[1], queries, limits.photos_per_cell)
    with_cells = (None, cells) if cells else (None,)
    costs: list[tuple[float, Tuning]] = []
    prescans: list[Prescan] = []
    for bit_weights in _fit_each(sample, bits):
        scan_bits = len(bit_weights)
        count = queries.fit_to_estimates(partial(estimates, bit_weights, bits[:, :scan_bits]))
        for tried_cells, prescan in product(with_cells, (None, *prescans)):
            tuning = Tuning(bit_weights, count, prescan, tried_cells)
            cost = _cost(tuning, photos) * (limits.cells_gain if tried_cells else 1.0)
            costs.append((cost, replace(tuning, candidates=count.times(_CANDIDATE_FACTOR))))
        prescans.append(Prescan(scan_bits, count.times(_PRESCAN_FACTOR)))
    least = min(cost for cost, _ in costs)
    by_size = sorted(costs, key=lambda entry: (len(entry[1].bit_weights), entry[0]))
    return next(tuning for cost, tuning in by_size if cost <= _COST_TOLERANCE * least)


def _fit_each(sample: Sample, bits: U8) -> Iterator[F32]:
    """Yield bit weights for a quarter, a half, three quarters and all of the bits."""
    most = min(bits.shape[1], _MAX_SCAN_BITS) // 64 * 64
    fitted = slice(0, len(sample), -(-len(sample) // _FIT_SAMPLE))
    photo_moments = moments(sample[fitted], bits[fitted, :most])
    for scan_bits in sorted({64 * max(most * quarters // 256, 1) for quarters in (1, 2, 3, 4)}):
        yield fit_bit_weights(photo_moments, scan_bits)


def _fit_cells(residuals: F32, queries: SampleQueries, photos_per_cell: int) -> Cells | None:
    centroids = fit_centroids(residuals, photos_per_cell)
    if not len(centroids):
        return None
    order = order_cells(queries.queries, centroids.astype(np.float32))
    count = queries.fit_to_cells(order, assign_cells(residuals, centroids))
    return Cells(centroids, count.times(_CELLS_FACTOR))


def _cost(tuning: Tuning, photos: int) -> float:
    """Return what a search costs, in ns."""
    scan_bits, dim = tuning.bit_weights.shape
    cost = tuning.candidates.of(photos, K) * (_NS_PHOTO + dim * _NS_PHOTO_BYTE)
    scanned, scanned_bits = photos, scan_bits
    if tuning.cells:
        scanned = tuning.cells.candidates.of(photos, K)
        cost += _NS_CELLS + tuning.cells.centroids.size * _NS_NUMBER
    if tuning.prescan:
        scanned_bits = tuning.prescan.bits
        words = (scan_bits - scanned_bits) // 64
        cost += tuning.prescan.candidates.of(photos, K) * (_NS_PRESCANNED + words * _NS_WORD)
    return float(cost + scanned * scanned_bits / 8 * _NS_BYTE)


class SampleQueries:
    """Queries [Q, D] made from a sample [M, D], and the best photos for each."""

    def __init__(self, sample: Sample, axis: F32) -> None:
        self.photos = len(sample)
        step = -(-len(sample) // _QUERIES)
        rows = np.arange(0, len(sample), step)
        chosen = sample[::step]
        residuals = split(chosen, axis)[1]
        sizes = np.sqrt(np.square(residuals).sum(axis=1, keepdims=True))
        directions = np.asarray(residuals / np.maximum(sizes, UNIT), np.float32)
        is_even = evenness(directions) > _MIN_EVENNESS
        self._recall = _EVEN_RECALL if is_even else _RECALL
        sizes *= _EVEN_TANGENT if is_even else _TANGENT
        random = np.random.default_rng(0).integers(0, 2, chosen.shape) * np.float32(2) - 1
        turned = chosen + sizes * random / np.float32(np.sqrt(chosen.shape[1]))
        turned /= lengths(turned).astype(np.float32)[:, None]
        self.queries = np.concatenate([chosen, turned])
        self._source_rows = np.concatenate([rows, rows])
        best: list[list[Rows]] = [[] for _ in _MEASURED]
        for _, scores in self._blocks(partial(_true_scores, sample)):
            for rows_of, (step, k) in zip(best, _MEASURED, strict=True):
                rows_of.append(_best(scores, step, k))
        self._best = [np.concatenate(rows_of) for rows_of in best]

    def fit_to_estimates(self, estimate: Scores) -> CandidateCount:
        """Return how many photos to take by `estimate`, which returns scores [B, M] for queries [B,
        D]."""
        ranks: list[list[Rows]] = [[] for _ in _MEASURED]
        for block, scores in self._blocks(estimate):
            for ranks_of, best, (step, _) in zip(ranks, self._best, _MEASURED, strict=True):
                best_scores = np.take_along_axis(scores, best[block], axis=1)
                for row, own in zip(scores[:, ::step], best_scores, strict=True):
                    ranks_of.append(len(row) - np.sort(row).searchsorted(own))
        return self._fit([np.concatenate(ranks_of) for ranks_of in ranks])

    def fit_to_cells(self, order: Rows, cells: Rows) -> CandidateCount:
        """Return how many photos a query's first cells must hold to include its best photos;
        `order` [Q, C] are the cells of queries, `cells` [M] those of photos."""
        ranks = []
        for best, (step, _) in zip(self._best, _MEASURED, strict=True):
            counts = np.bincount(cells[::step], minlength=order.shape[1])[order].cumsum(axis=1)
            up_to = np.empty_like(counts)
            np.put_along_axis(up_to, order, counts, axis=1)
            ranks.append(np.take_along_axis(up_to, cells[best], axis=1).ravel())
        return self._fit(ranks)

    def _blocks(self, score: Scores) -> Iterator[tuple[slice, Floats]]:
        """Yield blocks of queries and the scores of photos; a query does not find the photo that it
        was made from."""
        for start in range(0, len(self._source_rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            scores = score(self.queries[block])
            scores[np.arange(len(scores)), self._source_rows[block]] = -np.inf
            yield block, scores

    def _fit(self, ranks: Sequence[Rows]) -> CandidateCount:
        shares = (self._recall, *_GROWTH_SHARES)
        needed = [[_rank_at(np.sort(measured), share) for share in shares] for measured in ranks]
        (whole, *typical), (_, *of_part), (_, *of_many) = needed
        exponent = _EXPONENT
        if self.photos >= _EXPONENT_FROM:
            exponent = min(
                max(_slope(of_part, typical, _SUBSAMPLE_STEP) + _EXPONENT_MARGIN, _MIN_EXPONENT),
                1.0,
            )
        exponent = round(exponent, 3)
        growth = round(min(max(_slope(typical, of_many, _LARGE_K / K), _MIN_GROWTH), 1.0), 3)
        factor = round(whole / (self.photos**exponent * K**growth), 3)
        return CandidateCount(factor, exponent, growth)


def evenness(directions: F32) -> float:
    """Return the share of dimensions that unit vectors [Q, D] effectively use: (sum l)^2 / (D * sum
    l^2) of their covariance's eigenvalues l, estimated from the cosines between pairs, whose mean
    square is sum l^2 / (sum l)^2."""
    count, dim = directions.shape
    whole = units(directions)
    squares = np.square(whole @ whole.T * UNIT**2)
    np.fill_diagonal(squares, 0)
    mean = squares.sum() / max(count * (count - 1), 1)
    return float(1 / (dim * mean)) if mean else 1.0


def _true_scores(sample: Sample, queries: F32) -> F64:
    whole = units(queries)
    scores = np.empty((len(queries), len(sample)))
    for block in blocks(len(sample)):
        scores[:, block] = whole @ units(sample[block]).T
    return scores


def _best(scores: Floats, step: int, k: int) -> Rows:
    """Return the `k` best [Q, k] of one photo in every `step`."""
    rows = np.arange(scores.shape[1])[::step]
    k = min(k, len(rows) - 1)
    return rows[np.argpartition(-scores[:, ::step], k - 1, axis=1)[:, :k]]


def _rank_at(ranks: Rows, share: float) -> int:
    """Return the rank that a share of sorted ranks does not exceed."""
    return int(ranks[ceil(share * len(ranks)) - 1])


def _slope(small: list[int], large: list[int], times: float) -> float:
    """Return the mean e by which numbers grow as `times` ^ e."""
    return sum(log(b / a) for a, b in zip(small, large, strict=True)) / (len(small) * log(times))
