"""4-bit weights of a float model: which weights can have them, how they are rounded and stored.

Rounding is GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1): a product's weights are rounded
one input after the other, and those that follow make up for the error in the product's output.
Weights that have 4 bits together are rounded in the order of their products, each for the inputs
that the earlier ones produce: the objective of GPTAQ (Li et al., arXiv 2504.02692), solved by least
squares. CPUs multiply 8 bits by 8 (docs/targets.md), so the graph unpacks two numbers from each
byte with operators on constants, which ONNX Runtime runs once, at load time: the file has half the
bytes.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.quantization.ranges import reader, singles

TOP = 7  # symmetric: from -7 to 7
_MIN_WEIGHTS = 1024  # smaller weights are not worth it
_ZERO = 8
_DAMPING = 0.01  # of the mean second moment (the paper's)
# The same for correcting other products' errors, which few samples determine: of 0.005 to 1.0, this
# kept the highest cosine of the default student's image tower, on photos of another split.
_CORRECTION_DAMPING = 0.3
_CLIP_SHARES = np.linspace(0.4, 1.0, 25)  # of a channel's largest weight, tried for its scale
_BLOCK = 64  # inputs whose errors are compensated together

Matrix = NDArray[np.float64]
_ROUNDING = "rounding weights to 4 bits"


@dataclass(frozen=True)
class FourBits:
    """A weight in 4 bits: integers [out, in] from -7 to 7, and a scale for each output [out]. The
    stored weight has `shape`, with its outputs along `axis`."""

    numbers: NDArray[np.int8]
    scales: NDArray[np.float32]
    shape: tuple[int, ...]
    axis: int

    def floats(self) -> NDArray[np.float32]:
        """Return the weight's values in its own shape."""
        rest = [size for place, size in enumerate(self.shape) if place != self.axis]
        moved = self.matrix().reshape(self.shape[self.axis], *rest)
        return np.ascontiguousarray(np.moveaxis(moved, 0, self.axis), np.float32)

    def matrix(self) -> NDArray[np.float32]:
        """Return the weight's values [out, in]."""
        return self.numbers * self.scales[:, None]

    def overrides(self, kind: object) -> list[dict[str, object]]:
        """Return these scales for onnxruntime's quantizer, in a type of at least 4 bits."""
        common = {"quant_type": kind, "zero_point": np.array(0, np.int8)}
        found: list[dict[str, object]] = [
            {**common, "scale": scale.astype(np.float32)} for scale in self.scales
        ]
        found[0]["axis"] = self.axis
        return found


def products(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Return the weights that can have 4 bits, by name, and the node that multiplies by each."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    return {
        name: node
        for node in model.graph.node
        for name in node.input[1:2]
        if name in shapes
        and readers[name] == 1
        and _can_be_packed(shapes[name])
        and _multiplies(node, shapes[name])
    }


def layers(model: onnx.ModelProto) -> dict[str, str]:
    """Return each such weight's layer, named by the bias after it if the weight is numbered."""
    weights = products(model)
    biases = {
        name: bias.removesuffix(".bias")
        for node in model.graph.node
        if node.op_type == "Add"
        for bias in node.input
        if bias.endswith(".bias")
        for name in node.input
    }
    return {
        name: biases.get(node.output[0], name.removesuffix(".weight"))
        for name, node in weights.items()
    }


def with_weights(model: onnx.ModelProto, four: Mapping[str, FourBits]) -> onnx.ModelProto:
    """Return a copy of a float model with the values of these weights."""
    rounded = copy.deepcopy(model)
    for tensor in rounded.graph.initializer:
        if tensor.name in four:
            tensor.CopyFrom(numpy_helper.from_array(four[tensor.name].floats(), tensor.name))
    return rounded


def by_values(model: onnx.ModelProto, four: Mapping[str, FourBits]) -> dict[bytes, FourBits]:
    """Return weights by their values [out, in] in the float model, to find them in another file."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {matrix(tensors[name], weight.axis).tobytes(): weight for name, weight in four.items()}


def matrix(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return a stored weight, whose outputs lie along `axis`, as [out, in]."""
    return np.ascontiguousarray(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1))


def renamed(
    four: Mapping[str, FourBits], model: onnx.ModelProto, other: onnx.ModelProto
) -> dict[str, FourBits]:
    """Return weights of `model` by their names in `other`, which the exporter numbers anew."""
    own = {tensor.name: tensor.raw_data for tensor in model.graph.initializer}
    names = {tensor.raw_data: tensor.name for tensor in other.graph.initializer}
    return {names[own[name]]: weight for name, weight in four.items()}


def pack(model: onnx.ModelProto) -> int:
    """Store in 4 bits each 8-bit weight whose values are within -7 to 7; return how many."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    zero_points = {
        node.input[place]: node.input[zero]
        for node in graph.node
        for kind, place, zero in (("MatMulInteger", 1, 3), ("DequantizeLinear", 0, 2))
        if node.op_type == kind and len(node.input) > zero
    }
    packed = [name for name in zero_points if name in tensors and _fits_four_bits(tensors[name])]
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
    """Return operators that exist in opset 18. The low bits hold the first half of a weight."""

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"{output}/node", **attributes)

    packed, low, high, both = (f"{name}/{step}" for step in ("packed", "low", "high", "both"))
    return [
        node("BitwiseAnd", [packed, "four_bits/low"], low),
        node("BitShift", [packed, "four_bits/places"], high, direction="RIGHT"),
        node("Concat", [low, high], both, axis=0),
        node("Cast", [both], name, to=TensorProto.INT8),
    ]


def _fits_four_bits(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type != TensorProto.INT8 or not _can_be_packed(tuple(tensor.dims)):
        return False
    return bool(np.abs(numpy_helper.to_array(tensor)).max() <= TOP)


def _can_be_packed(shape: tuple[int, ...]) -> bool:
    """Whether a weight is large enough, and can be cut in two along its first axis."""
    return len(shape) > 1 and shape[0] % 2 == 0 and int(np.prod(shape)) >= _MIN_WEIGHTS


def _multiplies(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type == "Conv":
        strides = attributes.get("strides", [1])
        return set(shape[2:]) == {1} and attributes.get("group", 1) == 1 and set(strides) == {1}
    return len(shape) == 2 and node.op_type in ("MatMul", "Gemm") and not attributes.get("transA")


def outputs_axis(node: onnx.NodeProto) -> int:
    """The axis of a stored weight along which its product's outputs lie."""
    transposed = any(item.name == "transB" and item.i for item in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def each_in_four_bits(
    model: onnx.ModelProto, samples: Inputs, progress: Progress = silent
) -> dict[str, FourBits]:
    """Return all weights that can have 4 bits, each rounded as if it were the only one."""
    nodes = products(model)
    read = reader(model, {node.input[0] for node in nodes.values()})
    moments: dict[str, Matrix] = {}
    for single in singles(model, samples):
        values = read(single)
        for tensor, kind in _operators_by_input(nodes).items():
            rows = _rows(values[tensor], kind)
            moments[tensor] = moments.get(tensor, 0.0) + _products(rows, rows)
    found: dict[str, FourBits] = {}
    for name, node in nodes.items():
        progress(_ROUNDING, len(found), len(nodes))
        found[name] = _in_four_bits(model, name, node, moments[node.input[0]])
    return found


def together_in_four_bits(
    model: onnx.ModelProto, samples: Inputs, names: Iterable[str], progress: Progress = silent
) -> dict[str, FourBits]:
    """Return the weights `names` of a float model, rounded together."""
    wanted = set(names)
    nodes = {name: node for name, node in products(model).items() if name in wanted}
    single_samples = singles(model, samples)
    found: dict[str, FourBits] = {}
    for tensor, kind in _operators_by_input(nodes).items():
        progress(_ROUNDING, len(found), len(nodes))
        read_float = reader(model, {tensor})
        read_rounded = reader(with_weights(model, found), {tensor})
        moments: Matrix = np.zeros(())
        cross_moments: Matrix = np.zeros(())
        for single in single_samples:
            rows = _rows(read_rounded(single)[tensor], kind)
            moments = moments + _products(rows, rows)
            cross_moments = cross_moments + _products(_rows(read_float(single)[tensor], kind), rows)
        for name, node in nodes.items():
            if node.input[0] == tensor:
                found[name] = _in_four_bits(model, name, node, moments, cross_moments)
    return found


def _in_four_bits(
    model: onnx.ModelProto,
    name: str,
    node: onnx.NodeProto,
    moments: Matrix,
    cross_moments: Matrix | None = None,
) -> FourBits:
    """Round a weight for inputs with these moments and `cross_moments` with the float inputs."""
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    weight, axis = numpy_helper.to_array(stored), outputs_axis(node)
    rows = matrix(weight, axis)
    if cross_moments is not None:
        rows = rows + _correction(rows, moments, cross_moments)
    numbers, scales = rounded(rows, moments)
    return FourBits(numbers, scales, weight.shape, axis)


def _correction(
    weight: NDArray[np.float32], moments: Matrix, cross_moments: Matrix
) -> NDArray[np.float32]:
    """Return what to add to a weight [out, in] whose inputs have changed."""
    damping = _CORRECTION_DAMPING * np.diag(moments).mean() or 1.0  # 1.0 where all inputs are 0
    damped = moments + np.eye(len(moments)) * damping
    return np.asarray(np.linalg.solve(damped, (cross_moments - moments).T @ weight.T).T, np.float32)


def rounded(
    weight: NDArray[np.float32], moments: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a weight [out, in] to integers and scales [out], for inputs with moments [in, in]."""
    size = len(moments)
    dead = np.diag(moments) <= 0
    damped = moments + np.diag(np.where(dead, 1.0, 0.0))
    damped += np.eye(size) * _DAMPING * np.diag(damped).mean()
    order = np.argsort(-np.diag(damped), kind="stable")  # inputs that matter most come first
    remaining = weight.astype(np.float64)[:, order]
    damped = damped[np.ix_(order, order)]
    scales = _scales(remaining, np.diag(damped))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    numbers = np.empty(remaining.shape)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        errors = np.empty((len(remaining), stop - start))
        for i in range(start, stop):
            numbers[:, i] = np.clip(np.rint(remaining[:, i] / scales), -TOP, TOP)
            error = (remaining[:, i] - numbers[:, i] * scales) / upper[i, i]
            remaining[:, i:stop] -= error[:, None] * upper[i, i:stop]
            errors[:, i - start] = error
        remaining[:, stop:] -= errors @ upper[start:stop, stop:]
    result = np.empty(remaining.shape, np.int8)
    result[:, order] = numbers
    return result, scales.astype(np.float32)


def _scales(weight: NDArray[np.float64], moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each output's scale with the least squared error, weighted by its inputs' moments."""
    largest: NDArray[np.float64] = np.maximum(np.abs(weight).max(1), 1e-12)
    least = np.full(len(weight), np.inf)
    found = largest / TOP
    for share in _CLIP_SHARES:
        scale = largest * share / TOP
        error = weight - np.clip(np.rint(weight / scale[:, None]), -TOP, TOP) * scale[:, None]
        cost = (error**2) @ moments
        found, least = np.where(cost < least, scale, found), np.minimum(cost, least)
    return found


def _operators_by_input(nodes: Mapping[str, onnx.NodeProto]) -> dict[str, str]:
    """Return the tensors that are multiplied, in order, and the operators that multiply them."""
    return {node.input[0]: node.op_type for node in nodes.values()}


def _rows(value: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    if kind == "Conv":
        return np.ascontiguousarray(value[0].reshape(value.shape[1], -1).T)
    return value.reshape(-1, value.shape[-1])


def _products(left: NDArray[np.float32], right: NDArray[np.float32]) -> Matrix:
    return (left.T @ right).astype(np.float64)
