"""What onnxruntime's quantizer is told: calibration inputs, ranges, and weights per channel.

Weights are quantized per channel everywhere: depthwise convolutions and MiniLM's outlier
channels lose everything per tensor (measured: docs/targets.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType

from mcad_mobile.quantize.ranges import Ranges
from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one
from mcad_mobile.runtimes.muted import advice_muted

# onnxruntime advises of opset bumps, and of preprocessing that our graphs do not need.
quiet = partial(advice_muted, logging.ERROR)

# By tensor, as onnxruntime's quantizer takes them
Overrides = dict[str, list[dict[str, Any]]]


def given_ranges(ranges: Ranges | None) -> Overrides:
    return {
        name: [{"rmin": np.float32(least), "rmax": np.float32(largest)}]
        for name, (least, largest) in (ranges or {}).items()
    }


def weights_per_channel(model: onnx.ModelProto) -> Overrides:
    """Of each MatMul with a constant [in, out]: per output channel."""
    constants = {tensor.name for tensor in model.graph.initializer}
    settings = {"quant_type": QuantType.QInt8, "axis": 1, "symmetric": True}
    return {
        node.input[1]: [dict(settings)]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    }


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, inputs: Inputs) -> None:
        self._left: Iterator[Inputs] = iter(one_by_one(inputs))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._left, None)
