"""ONNX quantization for Hexagon NPUs: w8a8, w8a16 and w4a16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.backends.qnn.residual_stream import even_channels, find_stream, readers
from mcad_mobile.export.quantization.calibration import (
    Overrides,
    Reader,
    given_ranges,
    quiet,
    weights_per_channel,
)
from mcad_mobile.export.quantization.four_bits import FourBits, with_weights
from mcad_mobile.export.quantization.ranges import Ranges, ranges_with_headroom

WHOLE_FACTORS_FROM = 73
_SIGNED = {"quant_type": QuantType.QInt16, "symmetric": True}
_WIDE: dict[str, object] = {"quant_type": QuantType.QUInt16}
_NARROW: dict[str, object] = {"quant_type": QuantType.QUInt8}


def quantize_w8a16(
    model: Path, out: Path, inputs: Inputs, htp_arch: int = WHOLE_FACTORS_FROM
) -> None:
    """8-bit weights, 16-bit activations with ranges from `inputs`: what the HTP of this
    architecture, or of a later one with the same form (`w8a16_form`), compiles."""
    with quiet():
        overrides = _wide_overrides(onnx.load(model), inputs, htp_arch)
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
    with quiet():
        even = even_channels(onnx.load(model), inputs)
        form, has_stream = w8a16_form(htp_arch), bool(find_stream(even).nodes)
        narrow = ranges or ({} if has_stream else ranges_with_headroom(even, inputs, 8))
        wide = ranges_with_headroom(even, inputs, 16) if has_stream else {}
        given = given_ranges(narrow)
        stream = _stream_overrides(even, form, given, given_ranges(wide))
        overrides = {**given, **weights_per_channel(even), **stream}
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
    with quiet():
        floats = with_weights(onnx.load(model), four)
        overrides = {
            **_wide_overrides(floats, inputs, htp_arch),
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
    overrides = weights_per_channel(model)
    if form >= WHOLE_FACTORS_FROM:
        for node, factor in _second_factors(model):
            signed = {**_SIGNED, "recv_nodes": {node}}
            overrides[factor] = [{**_WIDE, "convert": signed}]
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [_norm_scale(form)]
    return overrides


def _second_factors(model: onnx.ModelProto) -> list[tuple[str, str]]:
    """Of products of two activations: the node's name and the factor's."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        (node.name, node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] not in constants
    ]


def _wide_overrides(model: onnx.ModelProto, inputs: Inputs, htp_arch: int) -> Overrides:
    """`_overrides`, and the ranges of all activations, which have 16 bits; what the HTP rounds to 8
    has no bit to spare."""
    form = w8a16_form(htp_arch)
    ranges = ranges_with_headroom(model, inputs, 16)
    if form < WHOLE_FACTORS_FROM:
        for _, factor in _second_factors(model):
            ranges.pop(factor, None)
    given = given_ranges(ranges)
    merged = {**given, **_overrides(model, form)}
    for name in given:
        merged[name] = [_in_range(merged[name][0], given[name][0])]
    return merged


def _in_range(kind: dict[str, Any], ends: dict[str, Any]) -> dict[str, Any]:
    """A tensor of this kind, and what it is converted to, with this range."""
    found = {**_WIDE, **kind, **ends}
    return {**found, "convert": {**kind["convert"], **ends}} if "convert" in kind else found


def _norm_scale(form: int) -> dict[str, object]:
    return _SIGNED if form >= WHOLE_FACTORS_FROM else {"quant_type": QuantType.QUInt8}


def _stream_overrides(
    model: onnx.ModelProto, form: int, given: Overrides, wide: Overrides
) -> Overrides:
    """16 bits along the residual stream, with the ranges `wide`, and conversions where it is read,
    and where it is fed: there 8 bits have the ranges `given`."""
    stream, read_by = find_stream(model), readers(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    overrides: Overrides = {}
    for tensor in stream.tensors:
        narrow = _narrow(tensor, given)
        kind = {**_WIDE, **wide.get(tensor, [{}])[0]}
        overrides[tensor] = [_converted(kind, narrow, read_by[tensor] - stream.nodes)]
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
                kind = {**_WIDE, **wide.get(name, [{}])[0]}
                overrides[name] = [_converted(_narrow(name, given), kind, fed)]
    return overrides


def _narrow(tensor: str, given: Overrides) -> dict[str, object]:
    return {**_NARROW, **given.get(tensor, [{}])[0]}


def _converted(
    kind: dict[str, object], other: dict[str, object], for_nodes: frozenset[str] | set[str]
) -> dict[str, object]:
    """A tensor of one kind, which some nodes read as another."""
    return {**kind, "convert": {**other, "recv_nodes": set(for_nodes)}} if for_nodes else {**kind}
