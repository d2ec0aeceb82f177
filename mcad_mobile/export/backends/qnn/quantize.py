"""ONNX quantization for Hexagon NPUs: w8a8, w8a16 and w4a16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize
from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.backends.onnx.quantize import all_weights_in_four_bits
from mcad_mobile.export.quantization.calibration import (
    Overrides,
    Reader,
    quantizer_advice_muted,
    range_overrides,
    weights_per_channel,
)
from mcad_mobile.export.quantization.four_bits import FourBits, with_weights
from mcad_mobile.export.quantization.ranges import ranges_with_headroom
from mcad_mobile.export.quantization.residual_stream import equalize_channels, find_stream, readers
from mcad_mobile.export.tower_job import TowerJob

SIGNED_FACTORS_FROM = 73  # this architecture multiplies signed 16-bit factors in full precision
_SIGNED = {"quant_type": QuantType.QInt16, "symmetric": True}
_WIDE: dict[str, object] = {"quant_type": QuantType.QUInt16}
_NARROW: dict[str, object] = {"quant_type": QuantType.QUInt8}


def quantize_tower(tower: TowerJob, precision: str, htp_arch: int) -> Path:
    """Return the quantized tower, written once for all chips that take the same graph."""
    if precision == "w4a16" and tower.uncorrected is not None:
        tower = tower.uncorrected
    path = tower.work / f"{precision}_v{graph_form(htp_arch)}.onnx"
    if not path.exists():
        four = all_weights_in_four_bits(tower) if precision == "w4a16" else None
        quantize_for_htp(tower.float_onnx, path, tower.samples, precision, htp_arch, four=four)
    return path


def quantize_for_htp(
    model: Path,
    out: Path,
    inputs: Inputs,
    precision: str,
    htp_arch: int = SIGNED_FACTORS_FROM,
    *,
    four: Mapping[str, FourBits] | None = None,
) -> None:
    """Quantize a float model for HTPs of one `graph_form`, with ranges from `inputs`. w8a8 has
    8-bit activations in all products and a 16-bit residual stream; w8a16 and
    w4a16 have 16-bit activations; w4a16 has the weights `four` in 4 bits and the others in 8."""
    with quantizer_advice_muted():
        narrow = precision == "w8a8"
        source: str | onnx.ModelProto = str(model)
        if narrow:
            source = equalize_channels(onnx.load(model), inputs)
            overrides = _narrow_overrides(source, inputs, htp_arch)
        elif four:
            source = with_weights(onnx.load(model), four)
            overrides = _wide_overrides(source, inputs, htp_arch)
            overrides |= {name: item.overrides(QuantType.QInt4) for name, item in four.items()}
        else:
            overrides = _wide_overrides(onnx.load(model), inputs, htp_arch)
        config = get_qnn_qdq_config(
            source,
            Reader(inputs),
            activation_type=QuantType.QUInt8 if narrow else QuantType.QUInt16,
            weight_type=QuantType.QInt8,
            per_channel=True,
            init_overrides=overrides,
            # The overrides name all conversions of w8a8; the tool would give products 16 bits too.
            add_qtype_converts=not narrow,
        )
        quantize(source, str(out), config)


def graph_form(htp_arch: int) -> int:
    """Return the first architecture that takes the same quantized graphs as this one."""
    return SIGNED_FACTORS_FROM if htp_arch >= SIGNED_FACTORS_FROM else 68


def _overrides(model: onnx.ModelProto, form: int) -> Overrides:
    """Return MatMul weights per output channel, and the types the HTP needs besides 16 bits."""
    # Up to v69 it takes only uint8 scales in LayerNormalization, and rounds the second factor of a
    # product of activations to 8 bits; from v73 on, only an unsigned one. Found by compiling and on
    # the simulator (QAIRT 2.51).
    overrides = weights_per_channel(model)
    if form >= SIGNED_FACTORS_FROM:
        for node, factor in _second_factors(model):
            signed = {**_SIGNED, "recv_nodes": {node}}
            overrides[factor] = [{**_WIDE, "convert": signed}]
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [_norm_scale(form)]
    return overrides


def _second_factors(model: onnx.ModelProto) -> list[tuple[str, str]]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        (node.name, node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] not in constants
    ]


def _wide_overrides(model: onnx.ModelProto, inputs: Inputs, htp_arch: int) -> Overrides:
    """Return `_overrides` with 16-bit ranges. A factor that the HTP rounds to 8 bits keeps the
    quantizer's range, as it has no bit to spare for headroom."""
    form = graph_form(htp_arch)
    ranges = ranges_with_headroom(model, inputs, 16)
    if form < SIGNED_FACTORS_FROM:
        for _, factor in _second_factors(model):
            ranges.pop(factor, None)
    in_range = range_overrides(ranges)
    merged = {**in_range, **_overrides(model, form)}
    for name in in_range:
        merged[name] = [_in_range(merged[name][0], in_range[name][0])]
    return merged


def _narrow_overrides(model: onnx.ModelProto, inputs: Inputs, htp_arch: int) -> Overrides:
    """Return 8-bit ranges, weights per channel, and the 16-bit stream. A transformer's 8-bit
    activations have no headroom."""
    has_stream = bool(find_stream(model).nodes)
    narrow = {} if has_stream else ranges_with_headroom(model, inputs, 8)
    wide = ranges_with_headroom(model, inputs, 16) if has_stream else {}
    in_range = range_overrides(narrow)
    stream = _stream_overrides(model, graph_form(htp_arch), in_range, range_overrides(wide))
    return {**in_range, **weights_per_channel(model), **stream}


def _in_range(override: dict[str, Any], ends: dict[str, Any]) -> dict[str, Any]:
    """Add the range `ends` to the override of a 16-bit tensor, and to its conversion."""
    found = {**_WIDE, **override, **ends}
    return {**found, "convert": {**found["convert"], **ends}} if "convert" in found else found


def _norm_scale(form: int) -> dict[str, object]:
    return _SIGNED if form >= SIGNED_FACTORS_FROM else {"quant_type": QuantType.QUInt8}


def _stream_overrides(
    model: onnx.ModelProto, form: int, narrow: Overrides, wide: Overrides
) -> Overrides:
    """Return 16 bits along the residual stream, with the ranges `wide`, and conversions to 8 bits,
    with the ranges `narrow`, where other nodes read the stream or feed it."""
    stream, read_by = find_stream(model), readers(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    overrides: Overrides = {}

    def eight_bits(tensor: str) -> dict[str, object]:
        return {**_NARROW, **narrow.get(tensor, [{}])[0]}

    def sixteen_bits(tensor: str) -> dict[str, object]:
        return {**_WIDE, **wide.get(tensor, [{}])[0]}

    for tensor in stream.tensors:
        outside = read_by[tensor] - stream.nodes
        overrides[tensor] = [_converted(sixteen_bits(tensor), eight_bits(tensor), outside)]
    for node in model.graph.node:
        if node.name not in stream.nodes:
            continue
        if node.op_type == "LayerNormalization":
            overrides[node.input[1]] = [_norm_scale(form)]
        inputs = node.input[:1] if node.op_type == "LayerNormalization" else node.input
        for name in inputs:
            if name in constants:
                overrides[name] = [dict(_WIDE)]
            elif name not in stream.tensors:
                inside = read_by[name] & stream.nodes
                overrides[name] = [_converted(eight_bits(name), sixteen_bits(name), inside)]
    return overrides


def _converted(
    override: dict[str, object], other: dict[str, object], for_nodes: set[str]
) -> dict[str, object]:
    return {**override, "convert": {**other, "recv_nodes": for_nodes}} if for_nodes else override
