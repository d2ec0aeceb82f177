"""Weights of 4 bits: how they are rounded, and how they are stored.

Rounded by GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1): one input of a product after the
other, and what that costs is made up for by the weights that are still to come. What counts is what
the product puts out, so errors are weighed by the second moments of its inputs on real samples.

Stored two to a byte. CPUs multiply 8 bits by 8 and no runtime here has a fast kernel for 4
(docs/targets.md), so a graph unpacks them by operators on constants, which ONNX Runtime carries out
once, as it loads: the products run as 8-bit ones do, and the file has half the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one, takes_any_length, without_padding

TOP = 7  # symmetric: from -7 to 7
_DAMPING = 0.01  # of the mean second moment (the paper's)
_CLIPPED = np.linspace(0.4, 1.0, 25)  # of a channel's largest weight, for its scale
_BLOCK = 64  # inputs that are made up for at once
_FEWEST = 1024  # smaller weights are not worth it
_ZERO = 8


@dataclass(frozen=True)
class FourBits:
    """A weight in 4 bits: whole numbers [out, in] from -7 to 7, and the scale of each output
    [out]. `shape` and `axis` are the stored weight's own, and its axis of outputs."""

    numbers: NDArray[np.int8]
    scales: NDArray[np.float32]
    shape: tuple[int, ...]
    axis: int

    def floats(self) -> NDArray[np.float32]:
        """The weight that it stands for, in its own shape."""
        return _as_stored(self.numbers * self.scales[:, None], self.shape, self.axis)

    def overrides(self, kind: object) -> list[dict[str, object]]:
        """For onnxruntime's quantizer: these scales, in a type of at least 4 bits."""
        common = {"quant_type": kind, "zero_point": np.array(0, np.int8)}
        found: list[dict[str, object]] = [
            {**common, "scale": scale.astype(np.float32)} for scale in self.scales
        ]
        found[0]["axis"] = self.axis
        return found


def products(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Weights that can have 4 bits, and the one node that multiplies by each: matrices, and
    convolutions of one pixel."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {
        name: readers[name][0]
        for name, tensor in constants.items()
        if len(readers.get(name, ())) == 1
        and _halves(tuple(tensor.dims))
        and _multiplies(readers[name][0], name, tuple(tensor.dims))
    }


def layers(model: onnx.ModelProto) -> dict[str, str]:
    """The layer of each such weight, as its student calls it. Where an exporter gave the weight a
    number, the bias that is added to its product has the name."""
    weights = products(model)
    biases = {
        name: other.removesuffix(".bias")
        for node in model.graph.node
        if node.op_type == "Add"
        for other in node.input
        if other.endswith(".bias")
        for name in node.input
    }
    return {
        name: biases.get(node.output[0], name.removesuffix(".weight"))
        for name, node in weights.items()
    }


def in_four_bits(model: onnx.ModelProto, samples: Inputs) -> dict[str, FourBits]:
    """All weights of a float model that can have 4 bits, rounded for what `samples` give their
    products as inputs."""
    nodes = products(model)
    moments = _second_moments(model, nodes, samples)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for name, node in nodes.items():
        weight = numpy_helper.to_array(weights[name])
        axis = _outputs_axis(node)
        matrix = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        numbers, scales = rounded(matrix, moments[node.input[0]])
        found[name] = FourBits(numbers, scales, weight.shape, axis)
    return found


def rounded(
    weight: NDArray[np.float32], moments: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight [out, in] as whole numbers and scales [out], for inputs of these second moments
    [in, in]."""
    size = len(moments)
    dead = np.diag(moments) <= 0
    damped = moments + np.diag(np.where(dead, 1.0, 0.0))
    damped += np.eye(size) * _DAMPING * np.diag(damped).mean()
    order = np.argsort(-np.diag(damped), kind="stable")  # what matters most comes first
    left = weight.astype(np.float64)[:, order]
    damped = damped[np.ix_(order, order)]
    scales = _scales(left, np.diag(damped))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    numbers = np.empty(left.shape)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.empty((len(left), stop - start))
        for i in range(start, stop):
            numbers[:, i] = np.clip(np.rint(left[:, i] / scales), -TOP, TOP)
            error = (left[:, i] - numbers[:, i] * scales) / upper[i, i]
            left[:, i:stop] -= error[:, None] * upper[i, i:stop]
            errors[:, i - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    result = np.empty(left.shape, np.int8)
    result[:, order] = numbers
    return result, scales.astype(np.float32)


def with_weights(model: onnx.ModelProto, four: Mapping[str, FourBits]) -> onnx.ModelProto:
    """A copy of a float model with the weights that these stand for."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in four:
            tensor.CopyFrom(numpy_helper.from_array(four[tensor.name].floats(), tensor.name))
    return copy


def renamed(
    four: Mapping[str, FourBits], model: onnx.ModelProto, other: onnx.ModelProto
) -> dict[str, FourBits]:
    """Weights of `model` by their names in `other`, which holds the same: an exporter numbers them
    otherwise where texts have one length."""
    own = {tensor.name: tensor.raw_data for tensor in model.graph.initializer}
    names = {tensor.raw_data: tensor.name for tensor in other.graph.initializer}
    return {names[own[name]]: weight for name, weight in four.items()}


def pack(model: onnx.ModelProto) -> int:
    """Store each 8-bit weight of a quantized model that has no number beyond 7 in 4 bits, in
    place. The number of weights that were.

    Unpacked they are 1 to 15, and their zero points 8: a subtraction would want integers of 32
    bits, which take four times the weights' memory while a model is loaded.
    """
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zero_points = {
        node.input[place]: node.input[zero]
        for node in graph.node
        for kind, place, zero in (("MatMulInteger", 1, 3), ("DequantizeLinear", 0, 2))
        if node.op_type == kind and len(node.input) > zero
    }
    packed = [name for name in zero_points if name in tensors and _fits(tensors[name])]
    unpacking = []
    for name in packed:
        numbers = numpy_helper.to_array(tensors[name])
        low, high = np.split((numbers + _ZERO).astype(np.uint8), 2)
        zeros = tensors[zero_points[name]]
        shifted = numpy_helper.to_array(zeros) + np.int8(_ZERO)
        zeros.CopyFrom(numpy_helper.from_array(shifted, zeros.name))
        graph.initializer.remove(tensors[name])
        graph.initializer.append(numpy_helper.from_array(low | high << 4, f"{name}/packed"))
        unpacking += _unpacking(name)
    if packed:
        constants = {"low": np.array(15, np.uint8), "places": np.array(4, np.uint8)}
        graph.initializer.extend(
            numpy_helper.from_array(value, f"four_bits/{name}") for name, value in constants.items()
        )
        nodes = [*unpacking, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    return len(packed)


def _unpacking(name: str) -> list[onnx.NodeProto]:
    """Operators of opset 18 and before: the first half of a weight lies in the low bits."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"{output}/node", **attributes)

    packed, low, high, both = (f"{name}/{step}" for step in ("packed", "low", "high", "both"))
    return [
        node("BitwiseAnd", [packed, "four_bits/low"], low),
        node("BitShift", [packed, "four_bits/places"], high, direction="RIGHT"),
        node("Concat", [low, high], both, axis=0),
        node("Cast", [both], name, to=TensorProto.INT8),
    ]


def _fits(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.INT8 or not _halves(tuple(tensor.dims)):
        return False
    return bool(np.abs(numpy_helper.to_array(tensor)).max() <= TOP)


def _halves(shape: tuple[int, ...]) -> bool:
    """Whether a weight is large enough, and can be cut in two along its first axis."""
    return len(shape) > 1 and shape[0] % 2 == 0 and int(np.prod(shape)) >= _FEWEST


def _multiplies(node: onnx.NodeProto, name: str, shape: tuple[int, ...]) -> bool:
    if len(node.input) < 2 or node.input[1] != name:
        return False
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Conv":
        strides = attributes.get("strides", [1])
        return set(shape[2:]) == {1} and attributes.get("group", 1) == 1 and set(strides) == {1}
    return len(shape) == 2 and node.op_type in ("MatMul", "Gemm") and not attributes.get("transA")


def _outputs_axis(node: onnx.NodeProto) -> int:
    if node.op_type == "Conv":
        return 0
    return 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1


def _as_stored(
    matrix: NDArray[np.floating], shape: tuple[int, ...], axis: int
) -> NDArray[np.float32]:
    others = [size for place, size in enumerate(shape) if place != axis]
    moved = matrix.reshape(shape[axis], *others)
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis), np.float32)


def _scales(weight: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each output, the scale with the least squared error, weighed by its inputs' moments."""
    largest: NDArray[np.float64] = np.maximum(np.abs(weight).max(1), 1e-12)
    least = np.full(len(weight), np.inf)
    found = largest / TOP
    for share in _CLIPPED:
        scale = largest * share / TOP
        error = weight - np.clip(np.rint(weight / scale[:, None]), -TOP, TOP) * scale[:, None]
        cost = (error**2) @ moments
        found, least = np.where(cost < least, scale, found), np.minimum(cost, least)
    return found


def _second_moments(
    model: onnx.ModelProto, nodes: Mapping[str, onnx.NodeProto], samples: Inputs
) -> dict[str, NDArray[np.float64]]:
    """By tensor that is multiplied, the mean of x x^T over all its rows, [in, in]."""
    kinds = {node.input[0]: node.op_type for node in nodes.values()}
    given = {value.name for value in model.graph.input}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    wanted = [name for name in kinds if name not in given]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    singles = one_by_one(samples)
    if takes_any_length(session):
        singles = [without_padding(single) for single in singles]
    sums: dict[str, NDArray[np.float64]] = {}
    rows = dict.fromkeys(kinds, 0)
    for single in singles:
        values = dict(zip(wanted, session.run(None, single), strict=True))
        for name, kind in kinds.items():
            value = values.get(name, single.get(name))
            assert value is not None
            flat = value[0].reshape(value.shape[1], -1).T if kind == "Conv" else value
            flat = flat.reshape(-1, flat.shape[-1])
            sums[name] = sums.get(name, 0.0) + (flat.T @ flat).astype(np.float64)
            rows[name] += len(flat)
    return {name: total / rows[name] for name, total in sums.items()}
