"""The ranges of activations that 8 bits are given, by what samples show of them.

A range that holds every value is as wide as a rare extreme is far, and its steps with it. What a
narrower one cuts off is an error, too, and there are several ways to weigh the two against each
other. Which is best depends on the tower: recall decides (`--precision auto`). 16 bits have steps
enough for all values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.quantize.observed import Observe
from mcad_mobile.runtimes import Inputs

CalibrationMethod = Literal["min-max", "percentile", "entropy", "mse"]
METHODS: tuple[CalibrationMethod, ...] = ("min-max", "percentile", "entropy", "mse")

Range = tuple[float, float]  # from the least value to the largest
Ranges = dict[str, Range]  # by tensor

_BINS = 8192
_LEVELS = 256  # of 8 bits
_BEYOND = 1e-4  # the share of values that `percentile` cuts off, half of it on each side
_SHARES = np.linspace(0.1, 1.0, 91)  # of the largest size, that the others try to cut at


@dataclass(frozen=True)
class Histogram:
    """How many values of a tensor lie in each of `counts` [bins] equal parts of `least` to
    `largest`, which hold 0."""

    counts: NDArray[np.int64]
    least: float
    largest: float

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The middle of each part [bins]."""
        edges = np.linspace(self.least, self.largest, len(self.counts) + 1)
        return (edges[:-1] + edges[1:]) / 2


def extremes(observe: Observe, inputs: Sequence[Inputs]) -> Ranges:
    """The least and the largest value of each tensor that `observe` gives, or 0, over `inputs`."""
    whole: Ranges = {}
    for single in inputs:
        for name, value in observe(single).items():
            least, largest = whole.get(name, (0.0, 0.0))
            whole[name] = min(least, float(np.min(value))), max(largest, float(np.max(value)))
    return whole


def histograms(observe: Observe, inputs: Sequence[Inputs]) -> dict[str, Histogram]:
    """Of all tensors that `observe` gives, over all `inputs`: each is observed twice, as nobody
    knows where the parts of a histogram begin before all have been seen."""
    whole = extremes(observe, inputs)
    counts = {name: np.zeros(_BINS, np.int64) for name in whole}
    for single in inputs:
        for name, value in observe(single).items():
            least, largest = whole[name]
            places = (value.ravel() - least) * (_BINS / max(largest - least, 1e-12))
            inside = np.minimum(places.astype(np.intp), _BINS - 1)
            counts[name] += np.bincount(inside, minlength=_BINS)
    return {name: Histogram(counts[name], *whole[name]) for name in whole}


def cut(found: Histogram, method: CalibrationMethod) -> Range:
    """Where a tensor's values are cut; 0 is kept.

    min-max: nowhere.
    percentile: all but one value in ten thousand.
    mse: of sizes to cut at, that with the least squared error of what it cuts and rounds.
    entropy: that whose rounded values tell least from the values, by the Kullback-Leibler
    divergence (Migacz, "8-bit inference with TensorRT", GTC 2017, pages 20 to 29).
    """
    if method == "min-max" or found.largest <= found.least:
        return found.least, found.largest
    if method == "percentile":
        return _percentile(found)
    cost = {"mse": _squared_error, "entropy": _divergence}[method]
    size = max(-found.least, found.largest)
    ranges = [(max(found.least, -end), min(found.largest, end)) for end in size * _SHARES]
    return min(ranges, key=lambda one: cost(found, *one))


def _percentile(found: Histogram) -> Range:
    edges = np.linspace(found.least, found.largest, len(found.counts) + 1)
    below = np.cumsum(found.counts) / found.counts.sum()
    first = int(np.searchsorted(below, _BEYOND / 2, "right"))
    last = int(np.searchsorted(below, 1 - _BEYOND / 2, "left"))
    return min(float(edges[first]), 0.0), max(float(edges[last + 1]), 0.0)


def _squared_error(found: Histogram, least: float, largest: float) -> float:
    values = found.values
    step = (largest - least) / (_LEVELS - 1)
    rounded = np.clip(np.rint((values - least) / step), 0, _LEVELS - 1) * step + least
    return float(((values - rounded) ** 2 * found.counts).sum())


def _divergence(found: Histogram, least: float, largest: float) -> float:
    """Of values, those beyond the range counted to its ends, to the same as levels tell them."""
    values = found.values
    inside = np.flatnonzero((values >= least) & (values <= largest))
    reference = found.counts[inside].astype(np.float64)
    given = reference.copy()  # what levels are made of: without what was cut
    reference[0] += found.counts[: inside[0]].sum()
    reference[-1] += found.counts[inside[-1] + 1 :].sum()
    levels = np.minimum(
        ((values[inside] - least) * (_LEVELS / (largest - least))).astype(np.intp), _LEVELS - 1
    )
    filled = reference > 0
    sums = np.bincount(levels, given, minlength=_LEVELS)
    parts = np.bincount(levels, filled, minlength=_LEVELS)
    told = np.where(filled, sums[levels] / np.maximum(parts[levels], 1), 0.0)
    p, q = reference / reference.sum(), told / max(told.sum(), 1e-12)
    return float((p[filled] * np.log(p[filled] / np.maximum(q[filled], 1e-9))).sum())
