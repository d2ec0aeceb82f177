"""ONNX quantization for CPUs: 8 bits, and 4 for weights that take it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.quantization.calibration import Reader, given_ranges, quiet
from mcad_mobile.export.quantization.four_bits import FourBits, pack, with_weights
from mcad_mobile.export.quantization.ranges import Ranges, ranges_with_headroom

_PRODUCTS = ("Conv", "MatMul", "Gemm")


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
    read = onnx.load(model)
    operators = _PRODUCTS if only_products else ()
    left = _depthwise(read.graph) if only_products else []
    ranges = ranges or ranges_with_headroom(read, inputs, 8)
    with quiet():
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
    with quiet():
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
    with quiet():
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
    overrides = given_ranges(ranges)
    for name, weight in (four or {}).items():
        overrides[name] = weight.overrides(QuantType.QInt8)
    return {"TensorQuantOverrides": overrides} if overrides else {}


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
