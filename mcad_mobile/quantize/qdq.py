"""ONNX quantization: w8a16 for Hexagon NPUs, 8 bits for CPUs.

Weights are quantized per channel everywhere: depthwise convolutions and MiniLM's outlier
channels lose everything per tensor (measured: docs/targets.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
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

from mcad_mobile.quantize.four_bits import FourBits, pack, with_weights
from mcad_mobile.quantize.ranges import Ranges
from mcad_mobile.quantize.residual_stream import even_channels, find_stream, readers
from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one

# By tensor, as onnxruntime's quantizer takes them
Overrides = dict[str, list[dict[str, object]]]

WHOLE_FACTORS_FROM = 73
_SIGNED = {"quant_type": QuantType.QInt16, "symmetric": True}
_WIDE: dict[str, object] = {"quant_type": QuantType.QUInt16}
_NARROW: dict[str, object] = {"quant_type": QuantType.QUInt8}
_PRODUCTS = ("Conv", "MatMul", "Gemm")


def quantize_w8a16(
    model: Path, out: Path, inputs: Inputs, htp_arch: int = WHOLE_FACTORS_FROM
) -> None:
    """8-bit weights, 16-bit activations with ranges from `inputs`: what the HTP of this
    architecture, or of a later one with the same form (`w8a16_form`), compiles."""
    with _quiet():
        overrides = _overrides(onnx.load(model), w8a16_form(htp_arch))
        _quantize_for_htp(str(model), out, inputs, QuantType.QUInt16, overrides)


def quantize_w8a8(
    model: Path,
    out: Path,
    inputs: Inputs,
    htp_arch: int = WHOLE_FACTORS_FROM,
    ranges: Ranges | None = None,
) -> None:
    """8-bit weights, and 8-bit activations in every product, with ranges from `inputs`, but for
    the tensors that have one of `ranges`, for the HTP; a transformer's residual stream has 16 bits,
    and what joins it even channels."""
    with _quiet():
        even = even_channels(onnx.load(model), inputs)
        given = _given_ranges(ranges)
        wide = _stream_overrides(even, w8a16_form(htp_arch), given)
        overrides = {**given, **weights_per_channel(even), **wide}
        # All conversions are named: the tool's own would give the products 16 bits, too.
        _quantize_for_htp(even, out, inputs, QuantType.QUInt8, overrides, converts=False)


def quantize_w4a16(
    model: Path,
    out: Path,
    inputs: Inputs,
    four: Mapping[str, FourBits],
    htp_arch: int = WHOLE_FACTORS_FROM,
) -> None:
    """As `quantize_w8a16`, with the weights `four` in 4 bits."""
    with _quiet():
        floats = with_weights(onnx.load(model), four)
        overrides = {
            **_overrides(floats, w8a16_form(htp_arch)),
            **{name: weight.overrides(QuantType.QInt4) for name, weight in four.items()},
        }
        _quantize_for_htp(floats, out, inputs, QuantType.QUInt16, overrides)


def _quantize_for_htp(
    model: str | onnx.ModelProto,
    out: Path,
    inputs: Inputs,
    activations: QuantType,
    overrides: Overrides,
    *,
    converts: bool = True,
) -> None:
    config = get_qnn_qdq_config(
        model,
        Reader(inputs),
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=overrides,
        add_qtype_converts=converts,
    )
    quantize(model, str(out), config)


def quantize_static_int8(
    model: Path,
    out: Path,
    inputs: Inputs,
    *,
    only_products: bool = False,
    four: Mapping[str, FourBits] | None = None,
    ranges: Ranges | None = None,
) -> None:
    """8-bit weights and activations with ranges from `inputs`, or these `ranges`: convolutional
    towers on CPUs. `only_products`: of the matrix products and of the convolutions over all
    channels, and floats between them. The weights `four` have 4 bits."""
    graph = onnx.load(model, load_external_data=False).graph
    operators = _PRODUCTS if only_products else ()
    left = _depthwise(graph) if only_products else []
    with _quiet():
        _static(model, out, inputs, operators, left, four, ranges)
    if four:
        _pack_file(out)


def quantize_inner_convolutions(
    model: Path,
    out: Path,
    inputs: Inputs,
    *,
    four: Mapping[str, FourBits] | None = None,
    ranges: Ranges | None = None,
) -> None:
    """8 bits for convolutional towers on CPUs that lose too much by `quantize_static_int8`: for
    convolutions over all channels but those that a sum follows. All else is float, but matrix
    products, whose activations are quantized at run time. A range is from the least to the largest
    value of one of `inputs` on average, and what lies beyond is cut: the extremes of all of them
    are rare, and leave others few steps; or one of `ranges`. The weights `four` have 4 bits."""
    graph = onnx.load(model, load_external_data=False).graph
    summed = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    joins = [
        node.name for node in graph.node if node.op_type == "Conv" and node.output[0] in summed
    ]
    left = [*_depthwise(graph), *joins]
    with _quiet():
        _static(model, out, inputs, ("Conv",), left, four, ranges, {"CalibMovingAverage": True})
        floats = {tensor.name for tensor in onnx.load(out).graph.initializer}
        quantize_dynamic(
            str(out),
            str(out),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options=_given_scales(
                {name: weight for name, weight in (four or {}).items() if name in floats}
            ),
        )
    if four:
        _pack_file(out)


def _static(
    model: Path,
    out: Path,
    inputs: Inputs,
    operators: Sequence[str],
    left: list[str],
    four: Mapping[str, FourBits] | None,
    ranges: Ranges | None,
    options: Mapping[str, object] | None = None,
) -> None:
    """Of all `operators`, or of these, but the nodes `left`."""
    quantize_static(
        _source(model, four),
        str(out),
        Reader(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(operators),
        nodes_to_exclude=left,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={**_given_scales(four, ranges), **(options or {})},
    )


def quantize_dynamic_int8(
    model: Path, out: Path, *, four: Mapping[str, FourBits] | None = None
) -> None:
    """8-bit weights, activations quantized at run time: transformer towers on CPUs. The weights
    `four` have 4 bits."""
    with _quiet():
        quantize_dynamic(
            _source(model, four),
            str(out),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options=_given_scales(four),
        )
    if four:
        _pack_file(out)


def _source(model: Path, four: Mapping[str, FourBits] | None) -> str | onnx.ModelProto:
    return with_weights(onnx.load(model), four) if four else str(model)


def _given_scales(
    four: Mapping[str, FourBits] | None, ranges: Ranges | None = None
) -> dict[str, object]:
    """The scales that the weights were rounded for, and these ranges: the quantizer would take
    others."""
    overrides = _given_ranges(ranges)
    for name, weight in (four or {}).items():
        overrides[name] = weight.overrides(QuantType.QInt8)
    return {"TensorQuantOverrides": overrides} if overrides else {}


def _given_ranges(ranges: Ranges | None) -> Overrides:
    return {
        name: [{"rmin": np.float32(least), "rmax": np.float32(largest)}]
        for name, (least, largest) in (ranges or {}).items()
    }


def _pack_file(path: Path) -> None:
    model = onnx.load(path)
    pack(model)
    onnx.save(model, path)


def _depthwise(graph: onnx.GraphProto) -> list[str]:
    """Nodes of convolutions over some channels."""
    return [
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and any(one.name == "group" and one.i > 1 for one in node.attribute)
    ]


def w8a16_form(htp_arch: int) -> int:
    """The first architecture that takes what this one takes: graphs of one form are the same."""
    return WHOLE_FACTORS_FROM if htp_arch >= WHOLE_FACTORS_FROM else 68


def _overrides(model: onnx.ModelProto, form: int) -> Overrides:
    """What get_qnn_qdq_config leaves undone: MatMul weights [in, out] per output channel, and the
    types that the HTP takes beside 16-bit activations.

    Until v69 it takes LayerNormalization scales of uint8 alone, and rounds the second factor of
    two activations to 8 bits. From v73 on it does so only where that is unsigned: signed ones, and
    scales, are multiplied whole. Found by compiling and on the simulator (QAIRT 2.51).
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    whole = form >= WHOLE_FACTORS_FROM
    overrides = weights_per_channel(model)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] not in constants and whole:
            signed = {**_SIGNED, "recv_nodes": {node.name}}
            overrides[node.input[1]] = [{"quant_type": QuantType.QUInt16, "convert": signed}]
        elif node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [_norm_scale(form)]
    return overrides


def weights_per_channel(model: onnx.ModelProto) -> Overrides:
    """Of each MatMul with a constant [in, out]: per output channel."""
    constants = {tensor.name for tensor in model.graph.initializer}
    settings = {"quant_type": QuantType.QInt8, "axis": 1, "symmetric": True}
    return {
        node.input[1]: [dict(settings)]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    }


def _norm_scale(form: int) -> dict[str, object]:
    return _SIGNED if form >= WHOLE_FACTORS_FROM else {"quant_type": QuantType.QUInt8}


def _stream_overrides(model: onnx.ModelProto, form: int, given: Overrides) -> Overrides:
    """16 bits along the residual stream, and conversions where it is read, and where it is fed:
    there 8 bits have the ranges `given`."""
    stream, read_by = find_stream(model), readers(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    overrides: Overrides = {}
    for tensor in stream.tensors:
        narrow = _narrow(tensor, given)
        overrides[tensor] = [_converted(_WIDE, narrow, read_by[tensor] - stream.nodes)]
    for node in model.graph.node:
        if node.name not in stream.nodes:
            continue
        if node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [_norm_scale(form)]
        taken = node.input[:1] if node.op_type == "LayerNormalization" else node.input
        for name in taken:
            if name in constants:
                overrides[name] = [dict(_WIDE)]
            elif name not in stream.tensors:
                fed = read_by[name] & stream.nodes
                overrides[name] = [_converted(_narrow(name, given), _WIDE, fed)]
    return overrides


def _narrow(tensor: str, given: Overrides) -> dict[str, object]:
    return {**_NARROW, **given.get(tensor, [{}])[0]}


def _converted(
    kind: dict[str, object], other: dict[str, object], for_nodes: frozenset[str] | set[str]
) -> dict[str, object]:
    """A tensor of one kind, which some nodes read as another."""
    return {**kind, "convert": {**other, "recv_nodes": set(for_nodes)}} if for_nodes else {**kind}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one by one, as onnxruntime's calibration asks for them."""

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
