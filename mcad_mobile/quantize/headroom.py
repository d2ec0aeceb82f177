"""Headroom: how much wider an activation's range is than what calibration samples show of it.

Some dozens of photos and captions do not show the extremes of all others, and what lies beyond a
range is cut. 16 bits have a bit to spare for it. 8 bits have not, and a convolutional tower still
gains by a little; a transformer's ranges, which rare loud values stretch, have room as they are.
"""

from __future__ import annotations

from collections.abc import Sized

import onnx

from mcad_mobile.quantize.observed import activations, singles
from mcad_mobile.quantize.ranges import Ranges, extremes
from mcad_mobile.runtimes import Inputs

# By bits; chosen on Flickr8k's split val for the default student (docs/targets.md).
HEADROOM = {8: 1.4, 16: 2.0}

# What puts out numbers within bounds of its own. Clip and Relu are left to the rounding of the
# tensor behind them, which would let more through.
_BOUNDED = ("Clip", "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Tanh")
_LEFT_TO_ROUNDING = ("Clip", "Relu")


def ranges_with_headroom(model: onnx.ModelProto, samples: Inputs, bits: int) -> Ranges:
    """Of the activations of a float model that have no bounds of their own: wider than `samples`
    show."""
    bounded, factor = _bounded(model), HEADROOM[bits]
    return {
        name: (least * factor, largest * factor)
        for name, (least, largest) in extremes(activations(model), singles(model, samples)).items()
        if name not in bounded
    }


def is_photo(shape: Sized) -> bool:
    """Whether an input of this shape is pixels, which any few photos show from black to white."""
    return len(shape) == 4


def _bounded(model: onnx.ModelProto) -> set[str]:
    found = {
        taken.name for taken in model.graph.input if is_photo(taken.type.tensor_type.shape.dim)
    }
    for node in model.graph.node:
        if node.op_type in _BOUNDED:
            found.update(node.output)
        if node.op_type in _LEFT_TO_ROUNDING:
            found.update(node.input)
    return found
