"""What pass 1 reads, and how far it has to look: both taken from the photos of the index.

A photo's code has a bit per dimension. Students put most of what they know into some tens of
directions, so that the first S bits of a rotated code say nearly as much as all: of these a scan
reads. A query is weighed by what the bits say of photos: the `lens` is the least-squares estimate
of a photo (less the mean) from its S bits, L [S, D], so (L q) . bits is the best guess at q.x that
is a sum over bits. What a query has in directions where photos don't differ falls away, as it does
not when the bits of the query are compared: this matters for every student whose words lie in
another cone than its photos.

L q goes into three words of bits: its signs, and |L q| in four levels, 0 to 3.

How many photos pass 2 has to score so that hardly any of the best is missed depends on the student.
So it is measured, on a sample of the photos, with photos as queries: each as it is, and once more
turned by 45 degrees in a random direction, since words are further from photos than photos are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.codes import F32, U8, split

Words = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

# Fewer photos are all scored by their bytes.
LEAST = 256

# Numbers in a sample of photos, and photos at least where that many are there.
_SAMPLE, _LEAST_SAMPLE = 1 << 22, 4096
_MOST_SCANNED = 1024
_FIT_SAMPLE = 4096
_RIDGE = 0.02  # of a bit's variance, as a sample knows little of each photo
_UNIT = 2.0**-16
_WHOLE = 2.0**-20  # of what is summed: exact.py
_LARGEST = 3
# Steps of |L q| in units of its root mean square, among which the best four levels are looked for.
_STEPS = np.arange(0.25, 0.9, 0.05)[:, None]
_QUERIES = 192
# Results, and as many more as tell how candidates grow with them.
_K, _MANY = 10, 80
# Share of the best ten that the candidates hold, in the sample.
_HELD = 0.997
# Candidates grow with the root of the photos where a sample is too small to tell, and never less.
# Beyond the sample growth gets steeper: by what it took at a million.
_EXPONENT, _LEAST_EXPONENT, _TELLS_FROM = 0.5, 0.45, 4096
_STEEPER = 0.05
_LEAST_GROWTH = 0.5
# Where growth is looked at: the last few ranks would tell more of chance.
_TYPICAL = (0.9, 0.95, 0.98)
# A sample of the sample, for how they grow.
_EVERY = 8
# Every so many photos, and results: what is measured.
_TRIALS = ((1, _K), (_EVERY, _K), (1, _MANY))
# What a search costs, in ns on a server's core: a byte scanned, a photo scored and its bytes.
_NS_BYTE, _NS_PHOTO, _NS_PHOTO_BYTE = 0.1, 1500.0, 0.6
# And a photo looked at once more, and a word of it, each somewhere else.
_NS_LOOK, _NS_WORD = 40.0, 60.0
# A first look loses some of what the second would find: it looks at more.
_WIDER = 1.5
# Words may be harder to place than photos, and what pass 2 leaves out (rescore.py) costs little.
_SPARE = 2
_WORTH = 1.05


@dataclass(frozen=True)
class Reach:
    """Of `n` photos, `factor` * n ^ `exponent` * k ^ `growth` go on to pass 2 for k results."""

    factor: float
    exponent: float
    growth: float

    def candidates(self, photos: int, k: int) -> int:
        """Return how many of `photos`, all of them at most."""
        if photos <= k:
            return photos
        wanted = float(self.factor * photos**self.exponent * k**self.growth)
        return min(photos, ceil(max(wanted, 2 * k)))


@dataclass(frozen=True)
class First:
    """A scan of the first `bits` alone: how many photos are looked at by all S bits."""

    bits: int
    reach: Reach


@dataclass(frozen=True)
class Settings:
    """lens [S, D] float32, S the bits that are in columns, the reach for them, and a scan of fewer
    where that pays."""

    lens: F32
    reach: Reach
    first: First | None = None


def query_words(lens: F32 | F64, query: F32) -> tuple[Words, float]:
    """Return the words [3, S/64] uint64 of a rotated query [D], see scan.nearest, and what one of
    a distance is of L q: twice that much less is the estimate of q.x with each."""
    weights = lens.astype(np.float64, copy=False) @ exact.units(query)
    signs, levels = _levels(weights[None])
    bits = np.stack([signs[0], levels[0] & 1, levels[0] >> 1]).astype(np.uint8)
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    squares = np.square(levels, dtype=np.float64).sum()
    return words, float(levels[0] @ np.abs(weights) / max(squares, 1.0)) * exact.UNIT


def no_settings(dim: int) -> Settings:
    """Return those of an index whose photos are all scored."""
    return Settings(np.zeros((0, dim), np.float32), Reach(1.0, 1.0, 1.0))


def sample_size(dim: int) -> int:
    """Return how many photos of so many dimensions `choose` wants at most."""
    return max(_SAMPLE // dim, _LEAST_SAMPLE)


def choose(sample: F32, codes: U8, axis: F32, photos: int) -> Settings:
    """Choose settings for an index of `photos` from a sample of them: rotated [M, D] float32, M
    about sample_size(D) at most, and their codes [M, D/8]."""
    dim = len(axis)
    if len(sample) < LEAST or dim < 64:
        return no_settings(dim)
    bits = np.unpackbits(codes, axis=1, bitorder="little")
    found: list[tuple[float, Settings]] = []
    firsts: list[First] = []
    asked = _sample_queries(sample, axis)
    best = [_best(sample, *asked, step, k) for step, k in _TRIALS]
    most = min(dim, _MOST_SCANNED) // 64 * 64
    moments = _moments(sample, bits[:, :most])
    for scanned in sorted({64 * max(most * quarters // 256, 1) for quarters in (1, 2, 3, 4)}):
        lens = _lens(moments, scanned)
        reach = _reach(lens, bits[:, :scanned], *asked, best, len(sample))
        scores = reach.candidates(photos, _K) * (_NS_PHOTO + dim * _NS_PHOTO_BYTE)
        cost = photos * scanned / 8 * _NS_BYTE + scores
        allowed = replace(reach, factor=round(_SPARE * reach.factor, 3))
        found.append((cost, Settings(lens, allowed)))
        for first in firsts:
            words = (scanned - first.bits) // 64
            looks = first.reach.candidates(photos, _K) * (_NS_LOOK + words * _NS_WORD)
            cost = photos * first.bits / 8 * _NS_BYTE + looks + scores
            found.append((cost, Settings(lens, allowed, first)))
        firsts.append(First(scanned, replace(reach, factor=round(_WIDER * reach.factor, 3))))
    least = min(cost for cost, _ in found)
    return next(
        settings
        for cost, settings in sorted(found, key=lambda one: (len(one[1].lens), one[0]))
        if cost <= _WORTH * least
    )


def _moments(sample: F32, bits: U8) -> tuple[F64, F64]:
    """Return what lenses are fitted to, of rotated photos [M, D] and their bits [M, B]: products of
    bits (1 or -1) with bits [B, B] and with photos less their mean [B, D], both per photo."""
    some = slice(None, None, -(-len(sample) // _FIT_SAMPLE))
    signs = bits[some].astype(np.float64) * 2 - 1
    whole = exact.units(sample[some], _WHOLE)
    whole -= np.rint(whole.mean(axis=0))
    return signs.T @ signs / len(signs), signs.T @ whole * (_WHOLE / len(signs))


def _lens(moments: tuple[F64, F64], scanned: int) -> F32:
    """Return L [S, D] float32 for the first S bits."""
    gram, cross = (moment[:scanned] for moment in moments)
    ridge = _RIDGE * np.eye(scanned)
    lens = np.linalg.solve(gram[:, :scanned] + ridge, cross)
    return np.asarray(np.rint(lens / _UNIT) * _UNIT, np.float32)


def _levels(weights: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.bool_], U8]:
    """Return signs and levels [Q, S] of weights [Q, S]: the step whose levels point most nearly
    where the weights do."""
    sizes = np.abs(weights)
    mean = np.sqrt(np.square(sizes).mean(axis=1))
    levels = np.zeros(weights.shape, np.uint8)
    for query, (row, typical) in enumerate(zip(sizes, mean, strict=True)):
        if typical > 0:
            tried = np.minimum(np.rint(row / (_STEPS * typical)), _LARGEST)
            lengths = np.maximum(np.square(tried).sum(axis=1), 1)
            levels[query] = tried[np.argmax(tried @ row / np.sqrt(lengths))]
    return weights > 0, levels


def _sample_queries(sample: F32, axis: F32) -> tuple[F32, npt.NDArray[np.intp]]:
    """Return queries [2 Q, D] and the row of the sample that each comes from."""
    rows = np.arange(len(sample))[:: -(-len(sample) // _QUERIES)]
    chosen = sample[rows]
    lengths = np.sqrt(np.square(split(chosen, axis)[1]).sum(axis=1, keepdims=True))
    random = np.random.default_rng(0).integers(0, 2, chosen.shape) * np.float32(2) - 1
    turned = chosen + lengths * random / np.float32(np.sqrt(chosen.shape[1]))
    turned /= exact.lengths(turned).astype(np.float32)[:, None]
    return np.concatenate([chosen, turned]), np.concatenate([rows, rows])


def _best(
    sample: F32, queries: F32, own: npt.NDArray[np.intp], step: int, k: int
) -> npt.NDArray[np.intp]:
    """Return the k best of every so many photos [Q, k], without the query's own."""
    some = np.arange(len(sample))[::step]
    scores = exact.units(queries) @ exact.units(sample[some]).T
    scores[own[:, None] == some] = -np.inf
    k = min(k, len(some) - 1)
    return some[np.argpartition(-scores, k - 1, axis=1)[:, :k]]


def _reach(
    lens: F32,
    bits: U8,
    queries: F32,
    own: npt.NDArray[np.intp],
    best: list[npt.NDArray[np.intp]],
    photos: int,
) -> Reach:
    signs, levels = _levels(exact.units(queries) @ lens.astype(np.float64).T)
    weights = np.where(signs, levels, -levels.astype(np.int8)).astype(np.float32)
    estimates = weights @ (bits.astype(np.float32) * 2 - 1).T
    estimates[np.arange(len(own)), own] = -np.inf
    needed = []
    for of, (step, _) in zip(best, _TRIALS, strict=True):
        some = estimates[:, ::step]
        at = np.take_along_axis(estimates, of, axis=1)
        better = [np.sort(row).searchsorted(a) for row, a in zip(some, at, strict=True)]
        ranks = np.sort(some.shape[1] - np.concatenate(better))
        needed.append([_at(ranks, share) for share in (_HELD, *_TYPICAL)])
    (whole, *typical), (_, *of_part), (_, *of_many) = needed
    exponent = _EXPONENT
    if photos >= _TELLS_FROM:
        exponent = min(max(_slope(of_part, typical, _EVERY) + _STEEPER, _LEAST_EXPONENT), 1.0)
    exponent = round(exponent, 3)
    growth = round(min(max(_slope(typical, of_many, _MANY / _K), _LEAST_GROWTH), 1.0), 3)
    return Reach(round(whole / (photos**exponent * _K**growth), 3), exponent, growth)


def _at(ranks: npt.NDArray[np.intp], share: float) -> int:
    """Return the rank up to which a share of sorted ranks is."""
    return int(ranks[ceil(share * len(ranks)) - 1])


def _slope(small: list[int], large: list[int], times: float) -> float:
    """Return e where numbers grow as `times` ^ e, on average."""
    return sum(log(b / a) for a, b in zip(small, large, strict=True)) / (len(small) * log(times))
