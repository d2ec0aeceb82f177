"""ONNX quantization for CPUs: 8 bits, and 4 bits for weights that tolerate it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.export.float_onnx import is_convolutional
from mcad_mobile.export.parity import WARN_BELOW
from mcad_mobile.export.quantization.calibration import (
    Reader,
    quantizer_advice_muted,
    range_overrides,
)
from mcad_mobile.export.quantization.four_bits import (
    FourBits,
    each_in_four_bits,
    pack,
    renamed,
    together_in_four_bits,
    with_weights,
)
from mcad_mobile.export.quantization.ranges import (
    Ranges,
    activations,
    extremes,
    ranges_with_headroom,
)
from mcad_mobile.export.tower_job import CpuScheme, TowerJob

# dynamic: weights only, with activations quantized at run time, for transformers.
# smoothed: the same, after activations are smoothed.
# The others are for convolutional towers with calibrated activation ranges, and leave ever more
# operators float:
# everywhere: all operators.
# products: convolutions over all channels and matrix products.
# inner_convolutions: convolutions over all channels that no addition follows. The activations of
#     matrix products are quantized at run time. A range is the average of each sample's extremes:
#     the extremes of all samples are rare, and leave the other values few steps.
# reader: the reader's, all operators within the extremes of all samples, but matrix products, whose
#     activations are quantized at run time: one of 18,710 characters may win by little.
AT_RUN_TIME: tuple[CpuScheme, ...] = ("dynamic", "smoothed")
_NOT_SMOOTHED_FROM = 0.999  # mean cosine to float: smoothing costs a multiplication per product

# The schemes of a convolutional tower in the order in which they are tried, and the note of each
_NOTES: dict[CpuScheme, str] = {
    "everywhere": "",
    "products": "Depthwise convolutions and sums of the {} tower are float on CPUs",
    "inner_convolutions": "Depthwise convolutions of the {} tower, sums and the convolutions "
    "before them are float on CPUs, and rare large activations are clipped",
}
_OPERATORS: dict[CpuScheme, tuple[str, ...]] = {
    "everywhere": (),
    "products": ("Conv", "MatMul", "Gemm"),
    "inner_convolutions": ("Conv",),
}
_OF_HEADS = ("Gemm", "MatMul", "Add", "Softmax")


def choose_scheme(tower: TowerJob) -> tuple[CpuScheme, tuple[str, ...]]:
    """Return the first scheme whose cosine to float is enough, else the best, and notes on it."""
    if tower.cpu_scheme is not None:
        return tower.cpu_scheme, ()
    schemes, enough = tuple(_NOTES), WARN_BELOW
    if not is_convolutional(tower.cpu_onnx):
        schemes, enough = AT_RUN_TIME, _NOT_SMOOTHED_FROM
    cosines: dict[CpuScheme, float] = {}
    for scheme in schemes:
        path = tower.work / f"int8_{scheme}.onnx"
        if not path.exists():
            tower.progress(f"quantizing to 8 bits ({scheme.replace('_', ' ')})")
            quantize_int8(_float_model(tower, scheme), path, tower.samples, scheme)
        cosines[scheme] = tower.cosine(path, load_quantized)
        if cosines[scheme] >= enough:
            break
    best = max(cosines, key=cosines.__getitem__)
    if not _NOTES.get(best):
        return best, ()
    note = _NOTES[best].format(tower.name)
    return best, (f"{note}: with 8 bits everywhere its cosine is {cosines['everywhere']:.3f}.",)


def _float_model(tower: TowerJob, scheme: CpuScheme) -> Path:
    return tower.smoothed_onnx if scheme == "smoothed" else tower.cpu_onnx


def quantize_tower(
    tower: TowerJob,
    scheme: CpuScheme,
    four_bits: frozenset[str] = frozenset(),
) -> Path:
    """Return the tower quantized by `scheme`, written once, with `four_bits` in 4 bits."""
    source = _float_model(tower, scheme)
    stem = f"int8_{scheme}"
    if four_bits:
        key = "\n".join(sorted(four_bits))
        stem = f"mixed-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    path = tower.work / f"{stem}.onnx"
    if not path.exists():
        tower.progress("quantizing")
        rounded = None
        if four_bits:
            model = onnx.load(source)
            rounded = together_in_four_bits(model, tower.samples, four_bits, tower.progress)
        quantize_int8(source, path, tower.samples, scheme, four=rounded)
    return path


def each_weight_in_four_bits(tower: TowerJob) -> dict[str, FourBits]:
    """Return the 8-bit tower's weights, each rounded to 4 bits as if it were the only one."""
    if "each" not in tower.rounded:
        eight_bits = onnx.load(quantize_tower(tower, choose_scheme(tower)[0]))
        names = {tensor.name for tensor in eight_bits.graph.initializer}
        found = each_in_four_bits(onnx.load(tower.cpu_onnx), tower.samples, tower.progress)
        tower.rounded["each"] = {
            name: four for name, four in found.items() if f"{name}_quantized" in names
        }
    return tower.rounded["each"]


def all_weights_in_four_bits(tower: TowerJob) -> dict[str, FourBits]:
    """Return the same weights rounded together, by their names in `float_onnx`."""
    if "together" not in tower.rounded:
        model = onnx.load(tower.cpu_onnx)
        names = each_weight_in_four_bits(tower)
        found = together_in_four_bits(model, tower.samples, names, tower.progress)
        tower.rounded["together"] = renamed(found, model, onnx.load(tower.float_onnx))
    return tower.rounded["together"]


def quantize_int8(
    model: Path,
    out: Path,
    inputs: Inputs,
    scheme: CpuScheme = "everywhere",
    *,
    four: Mapping[str, FourBits] | None = None,
) -> None:
    """Quantize a float model by `scheme`, with the ranges of `inputs`."""
    source = with_weights(onnx.load(model), four) if four else str(model)
    graph = onnx.load(model, load_external_data=False).graph
    head = _class_head(graph)
    with quantizer_advice_muted():
        if scheme in AT_RUN_TIME:
            quantize_dynamic(
                source,
                str(out),
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options=_extra_options(four),
            )
        else:
            observed, ranges = inputs, None
            if scheme == "reader":
                observed = {name: value[:1] for name, value in inputs.items()}  # all have ranges
                ranges = extremes(activations(onnx.load(model)), split_batch(inputs))
            elif scheme != "inner_convolutions":
                ranges = ranges_with_headroom(onnx.load(model), inputs, 8)
            quantize_static(
                source,
                str(out),
                Reader(observed),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS.get(scheme, ())),
                nodes_to_exclude=_float_nodes(graph, head, scheme),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options=_extra_options(four, ranges, average=scheme == "inner_convolutions"),
            )
        if scheme in ("inner_convolutions", "reader") or head:
            float_weights = {tensor.name for tensor in onnx.load(out).graph.initializer}
            left = {name: weight for name, weight in (four or {}).items() if name in float_weights}
            quantize_dynamic(
                str(out),
                str(out),
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options=_extra_options(left),
            )
    if four:
        packed = onnx.load(out)
        pack(packed)
        onnx.save(packed, out)


def load_quantized(path: Path) -> OnnxTower:
    """Load a quantized model with kernels that do not saturate on this processor."""
    return OnnxTower(path, exact_kernels=saturates())


def _extra_options(
    four: Mapping[str, FourBits] | None, ranges: Ranges | None = None, *, average: bool = False
) -> dict[str, object]:
    """Return the quantizer's options; with `average`, ranges are averaged over inputs."""
    overrides = range_overrides(ranges)
    for name, weight in (four or {}).items():
        overrides[name] = weight.overrides(QuantType.QInt8)
    options: dict[str, object] = {"TensorQuantOverrides": overrides} if overrides else {}
    return {**options, "CalibMovingAverage": True} if average else options


def _float_nodes(graph: onnx.GraphProto, head: list[str], scheme: CpuScheme) -> list[str]:
    if scheme == "everywhere":
        return head
    if scheme == "reader":
        products = {node.output[0] for node in graph.node if node.op_type in ("MatMul", "Gemm")}
        return [
            node.name
            for node in graph.node
            if node.op_type in ("MatMul", "Gemm", "Softmax") or products.intersection(node.input)
        ]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    depthwise = [
        node.name
        for node in convolutions
        if any(item.name == "group" and item.i > 1 for item in node.attribute)
    ]
    if scheme == "products":
        return [*depthwise, *head]
    summed = {name for node in graph.node if node.op_type == "Add" for name in node.input}
    return [*depthwise, *(node.name for node in convolutions if node.output[0] in summed)]


def _class_head(graph: onnx.GraphProto) -> list[str]:
    """Return the nodes of a head that weights vectors by probabilities, which with one range for
    all in 8 bits are mostly 0: its activations are quantized at run time."""
    by_output = {name: node for node in graph.node for name in node.output}
    head, name = [], graph.output[0].name
    while (node := by_output.get(name)) is not None and node.op_type in _OF_HEADS:
        head.append(node)
        name = node.input[0]
    return [node.name for node in head] if any(node.op_type == "Softmax" for node in head) else []
