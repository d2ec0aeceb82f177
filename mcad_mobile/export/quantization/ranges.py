"""Ranges of activations, from the values in calibration samples.

Headroom: a few dozen samples do not show the extremes of all inputs. 16 bits have a bit to spare
for a wider range. 8 bits do not, but a convolutional tower gains from a little headroom; rare large
values make a transformer's ranges wide enough.

Methods: with 8 bits, a narrower range can gain more by finer steps than it loses by cutting values
off. Which method is best depends on the tower; recall decides (precision "auto").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch, without_padding

CalibrationMethod = Literal["min-max", "percentile", "entropy", "mse"]
METHODS: tuple[CalibrationMethod, ...] = ("min-max", "percentile", "entropy", "mse")

Range = tuple[float, float]  # from the least value to the largest
Ranges = dict[str, Range]  # by tensor

_BINS = 8192
_LEVELS = 256  # of 8 bits
_BEYOND = 1e-4  # the share of values that `percentile` cuts off, half of it on each side
_SHARES = np.linspace(0.1, 1.0, 91)  # of the largest magnitude, where mse and entropy try to cut
# By bits; chosen on Flickr8k's split val for the default student (docs/targets.md).
HEADROOM = {8: 1.4, 16: 2.0}

# Operators with bounded outputs. Quantizing the output of Clip and Relu clips their inputs too, so
# headroom there would let more through.
_BOUNDED = ("Clip", "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Tanh")
_LEFT_TO_ROUNDING = ("Clip", "Relu")

# The tensors of a model for one input, by their names
Observe = Callable[[Inputs], Mapping[str, NDArray[np.float32]]]


def singles(model: onnx.ModelProto, samples: Inputs) -> list[Inputs]:
    """Return the samples one by one, texts without their padding if the model takes any length."""
    singles = split_batch(samples)
    shapes = [value.type.tensor_type.shape for value in model.graph.input]
    if any(size.dim_param for shape in shapes for size in shape.dim):
        singles = [without_padding(single) for single in singles]
    return singles


def activations(model: onnx.ModelProto) -> Observe:
    """Return a function that returns a model's inputs and all float tensors that it computes."""
    read = reader(model, {name for node in model.graph.node for name in node.output})

    def observe(single: Inputs) -> dict[str, NDArray[np.float32]]:
        return {name: value for name, value in read(single).items() if value.dtype == np.float32}

    return observe


def reader(model: onnx.ModelProto, tensors: set[str]) -> Observe:
    """Return a function that returns a model's inputs and these tensors."""
    wanted = sorted(tensors.difference(value.name for value in model.graph.input))
    if not wanted:
        return lambda single: single
    session = ort.InferenceSession(
        _part(model, wanted).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda single: {**single, **dict(zip(wanted, session.run(wanted, single), strict=True))}


def _part(model: onnx.ModelProto, wanted: list[str]) -> onnx.ModelProto:
    made_by = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop()
        if name in made_by and name not in needed:
            left += made_by[name].input
        needed.add(name)
    graph = helper.make_graph(
        [node for node in model.graph.node if needed.intersection(node.output)],
        "part",
        list(model.graph.input),
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


@dataclass(frozen=True)
class Histogram:
    """The counts [bins] of a tensor's values in equal bins from `least` to `largest`."""

    counts: NDArray[np.int64]
    least: float
    largest: float

    @cached_property
    def values(self) -> NDArray[np.float64]:
        """The middle of each bin, [bins]."""
        edges = np.linspace(self.least, self.largest, len(self.counts) + 1)
        return (edges[:-1] + edges[1:]) / 2


def extremes(observe: Observe, inputs: Sequence[Inputs]) -> Ranges:
    """Return the least and the largest value, 0 included, of each tensor over `inputs`."""
    whole: Ranges = {}
    for single in inputs:
        for name, value in observe(single).items():
            least, largest = whole.get(name, (0.0, 0.0))
            whole[name] = min(least, float(np.min(value))), max(largest, float(np.max(value)))
    return whole


def histograms(observe: Observe, inputs: Sequence[Inputs]) -> dict[str, Histogram]:
    """Return a histogram of each tensor over `inputs`; a first run finds the ends."""
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
    """Return the range of a tensor, which includes 0. percentile keeps all but one value in ten
    thousand, mse minimizes the squared error, entropy the divergence (Migacz, "8-bit inference
    with TensorRT", GTC 2017)."""
    if method == "min-max" or found.largest <= found.least:
        return found.least, found.largest
    if method == "percentile":
        return _percentile(found)
    cost = {"mse": _squared_error, "entropy": _divergence}[method]
    size = max(-found.least, found.largest)
    ranges = [(max(found.least, -end), min(found.largest, end)) for end in size * _SHARES]
    return min(ranges, key=lambda ends: cost(found, *ends))


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
    """Return the divergence of the values, cut to the range, from their rounding to 256 levels."""
    values = found.values
    inside = np.flatnonzero((values >= least) & (values <= largest))
    reference = found.counts[inside].astype(np.float64)
    inner = reference.copy()  # levels are made of the values that are not cut
    reference[0] += found.counts[: inside[0]].sum()
    reference[-1] += found.counts[inside[-1] + 1 :].sum()
    levels = np.minimum(
        ((values[inside] - least) * (_LEVELS / (largest - least))).astype(np.intp), _LEVELS - 1
    )
    filled = reference > 0
    sums = np.bincount(levels, inner, minlength=_LEVELS)
    parts = np.bincount(levels, filled, minlength=_LEVELS)
    rounded = np.where(filled, sums[levels] / np.maximum(parts[levels], 1), 0.0)
    p, q = reference / reference.sum(), rounded / max(rounded.sum(), 1e-12)
    return float((p[filled] * np.log(p[filled] / np.maximum(q[filled], 1e-9))).sum())


def ranges_with_headroom(model: onnx.ModelProto, samples: Inputs, bits: int) -> Ranges:
    """Return the ranges of activations without bounds of their own, `HEADROOM` times as wide."""
    bounded, factor = _bounded(model), HEADROOM[bits]
    return {
        name: (least * factor, largest * factor)
        for name, (least, largest) in extremes(activations(model), singles(model, samples)).items()
        if name not in bounded
    }


def is_photo(shape: Sized) -> bool:
    """Whether an input of this shape is pixels, whose full range a few photos already show."""
    return len(shape) == 4


def _bounded(model: onnx.ModelProto) -> set[str]:
    found = {
        value.name for value in model.graph.input if is_photo(value.type.tensor_type.shape.dim)
    }
    for node in model.graph.node:
        if node.op_type in _BOUNDED:
            found.update(node.output)
        if node.op_type in _LEFT_TO_ROUNDING:
            found.update(node.input)
    return found
