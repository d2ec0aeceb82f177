"""Weights of 4 bits: which can have them, and how they are stored. How they are rounded: gptq.py.

Stored two to a byte. CPUs multiply 8 bits by 8 and no runtime here has a fast kernel for 4
(docs/targets.md), so a graph unpacks them by operators on constants, which ONNX Runtime carries out
once, as it loads: the products run as 8-bit ones do, and the file has half the bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TOP = 7  # symmetric: from -7 to 7
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
        return _as_stored(self.matrix(), self.shape, self.axis)

    def matrix(self) -> NDArray[np.float32]:
        """The same as [out, in]."""
        return self.numbers * self.scales[:, None]

    def overrides(self, kind: object) -> list[dict[str, object]]:
        """For onnxruntime's quantizer: these scales, in a type of at least 4 bits."""
        common = {"quant_type": kind, "zero_point": np.array(0, np.int8)}
        found: list[dict[str, object]] = [
            {**common, "scale": scale.astype(np.float32)} for scale in self.scales
        ]
        found[0]["axis"] = self.axis
        return found


def products(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """Weights that can have 4 bits, and the one node that multiplies by each, in the order of the
    graph: matrices, and convolutions of one pixel."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    return {
        name: node
        for node in model.graph.node
        for name in node.input[1:2]
        if name in shapes
        and readers[name] == 1
        and _halves(shapes[name])
        and _multiplies(node, shapes[name])
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


def with_weights(model: onnx.ModelProto, four: Mapping[str, FourBits]) -> onnx.ModelProto:
    """A copy of a float model with the weights that these stand for."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in four:
            tensor.CopyFrom(numpy_helper.from_array(four[tensor.name].floats(), tensor.name))
    return copy


def by_values(model: onnx.ModelProto, four: Mapping[str, FourBits]) -> dict[bytes, FourBits]:
    """These weights of a float model by the values [out, in] that they stand for, float32: what
    another exporter's file knows them by."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {matrix(tensors[name], weight.axis).tobytes(): weight for name, weight in four.items()}


def matrix(weight: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """A stored weight, whose outputs lie along `axis`, as [out, in]."""
    return np.ascontiguousarray(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1))


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


def _multiplies(node: onnx.NodeProto, shape: tuple[int, ...]) -> bool:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Conv":
        strides = attributes.get("strides", [1])
        return set(shape[2:]) == {1} and attributes.get("group", 1) == 1 and set(strides) == {1}
    return len(shape) == 2 and node.op_type in ("MatMul", "Gemm") and not attributes.get("transA")


def outputs_axis(node: onnx.NodeProto) -> int:
    """The axis of a stored weight along which its product's outputs lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if any(one.name == "transB" and one.i for one in node.attribute) else 1


def _as_stored(
    matrix: NDArray[np.floating], shape: tuple[int, ...], axis: int
) -> NDArray[np.float32]:
    others = [size for place, size in enumerate(shape) if place != axis]
    moved = matrix.reshape(shape[axis], *others)
    return np.ascontiguousarray(np.moveaxis(moved, 0, axis), np.float32)
