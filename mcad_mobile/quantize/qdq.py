"""ONNX quantization: w8a16 for Hexagon NPUs, 8 bits for CPUs.

Weights are quantized per channel everywhere: depthwise convolutions and MiniLM's outlier
channels lose everything per tensor (measured: docs/targets.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one

WHOLE_FACTORS_FROM = 73
_SIGNED = {"quant_type": QuantType.QInt16, "symmetric": True}
_PRODUCTS = ("Conv", "MatMul", "Gemm")


def quantize_w8a16(
    model: Path, out: Path, inputs: Inputs, htp_arch: int = WHOLE_FACTORS_FROM
) -> None:
    """8-bit weights, 16-bit activations with ranges from `inputs`: what the HTP of this
    architecture, or of a later one with the same form (`w8a16_form`), compiles."""
    with _quiet():
        config = get_qnn_qdq_config(
            str(model),
            _Reader(inputs),
            activation_type=QuantType.QUInt16,
            weight_type=QuantType.QInt8,
            per_channel=True,
            init_overrides=_overrides(onnx.load(model), w8a16_form(htp_arch)),
        )
        quantize(str(model), str(out), config)


def quantize_static_int8(
    model: Path, out: Path, inputs: Inputs, *, only_products: bool = False
) -> None:
    """8-bit weights and activations with ranges from `inputs`: convolutional towers on CPUs.
    `only_products`: of the matrix products and of the convolutions over all channels, and floats
    between them."""
    settings = {}
    if only_products:
        nodes = onnx.load(model, load_external_data=False).graph.node
        depthwise = [node.name for node in nodes if node.op_type == "Conv" and _groups(node) > 1]
        settings = {"op_types_to_quantize": list(_PRODUCTS), "nodes_to_exclude": depthwise}
    with _quiet():
        quantize_static(
            str(model),
            str(out),
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            **settings,
        )


def quantize_dynamic_int8(model: Path, out: Path) -> None:
    """8-bit weights, activations quantized at run time: transformer towers on CPUs."""
    with _quiet():
        quantize_dynamic(str(model), str(out), per_channel=True, weight_type=QuantType.QInt8)


def _groups(convolution: onnx.NodeProto) -> int:
    return next((one.i for one in convolution.attribute if one.name == "group"), 1)


def w8a16_form(htp_arch: int) -> int:
    """The first architecture that takes what this one takes: graphs of one form are the same."""
    return WHOLE_FACTORS_FROM if htp_arch >= WHOLE_FACTORS_FROM else 68


def _overrides(model: onnx.ModelProto, form: int) -> dict[str, list[dict[str, object]]]:
    """What get_qnn_qdq_config leaves undone: MatMul weights [in, out] per output channel, and the
    types that the HTP takes beside 16-bit activations.

    Until v69 it takes LayerNormalization scales of uint8 alone, and rounds the second factor of
    two activations to 8 bits. From v73 on it does so only where that is unsigned: signed ones, and
    scales, are multiplied whole. Found by compiling and on the simulator (QAIRT 2.51).
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    whole = form >= WHOLE_FACTORS_FROM
    overrides: dict[str, list[dict[str, object]]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            settings = {"quant_type": QuantType.QInt8, "axis": 1, "symmetric": True}
            overrides[node.input[1]] = [settings]
        elif node.op_type == "MatMul" and whole:
            signed = {**_SIGNED, "recv_nodes": {node.name}}
            overrides[node.input[1]] = [{"quant_type": QuantType.QUInt16, "convert": signed}]
        elif node.op_type == "LayerNormalization":
            scale = _SIGNED if whole else {"quant_type": QuantType.QUInt8}
            overrides[node.input[1]] = [scale]
    return overrides


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Inputs) -> None:
        self._left: Iterator[Inputs] = iter(one_by_one(inputs))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute onnxruntime's advice to the root logger (opset bumps, preprocessing that our graphs
    do not need)."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
