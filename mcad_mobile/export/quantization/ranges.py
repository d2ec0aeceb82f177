"""Ranges of activations, from the values in calibration samples.

Headroom: a few dozen samples do not show the extremes of all inputs. 16 bits have a bit to spare
for a wider range. 8 bits do not, but a convolutional tower gains from a little headroom; rare large
values make a transformer's ranges wide enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch, without_padding

Range = tuple[float, float]  # from the least value to the largest
Ranges = dict[str, Range]  # by tensor

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


def extremes(observe: Observe, inputs: Sequence[Inputs]) -> Ranges:
    """Return the least and the largest value, 0 included, of each tensor over `inputs`."""
    whole: Ranges = {}
    for single in inputs:
        for name, value in observe(single).items():
            least, largest = whole.get(name, (0.0, 0.0))
            whole[name] = min(least, float(np.min(value))), max(largest, float(np.max(value)))
    return whole


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
