"""A transformer's residual stream in 16 bits, so that all its products can have 8.

A few channels of the stream are a hundred times as large as the rest (in MiniLM and CLIP), so one
8-bit scale leaves the rest no steps. A product still has 8-bit outputs before they join the stream,
so its channels are equalized: each column of its weights is divided by the largest value that it
produces, and the channel is multiplied by that value where it joins the stream. Weights have a
scale per column anyway, so this costs nothing (compare SmoothQuant, arXiv 2211.10438, section 4).
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch

_LEAST_GAIN = 1e-3  # of the largest channel, so that one that is 0 on all samples is not blown up
_JOINS = ("Add", "Mul")


@dataclass(frozen=True)
class Stream:
    """Names of the nodes that add to the stream or normalize it, of their outputs, and of the
    products that join it."""

    nodes: frozenset[str]
    tensors: frozenset[str]
    products: frozenset[str]


def find_stream(model: onnx.ModelProto) -> Stream:
    """Find the stream from each LayerNormalization back through additions and scales."""
    constants = {tensor.name for tensor in model.graph.initializer}
    made_by = {node.output[0]: node for node in model.graph.node}
    nodes: dict[str, onnx.NodeProto] = {}
    products: set[str] = set()
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    pending = [(norm, norm.input[0]) for norm in norms]
    while pending:
        reader, tensor = pending.pop()
        source = made_by.get(tensor)
        if source is None:
            continue
        if source.op_type == "LayerNormalization" or _joins(source, constants):
            nodes[reader.name] = reader
            if source.name not in nodes and source.op_type in _JOINS:
                pending += [(source, name) for name in source.input]
            nodes[source.name] = source
        elif source.op_type == "MatMul" and source.input[1] in constants:
            products.add(source.name)
    outputs = (node.output[0] for node in nodes.values())
    return Stream(frozenset(nodes), frozenset(outputs), frozenset(products))


def equalize_channels(model: onnx.ModelProto, samples: Inputs) -> onnx.ModelProto:
    """Return a copy of a float model, with equalized channels of products that join the stream."""
    gains = _gains(model, samples)
    equalized = copy.deepcopy(model)
    del equalized.graph.node[:]
    weights = {tensor.name: tensor for tensor in equalized.graph.initializer}
    for node in model.graph.node:
        equalized.graph.node.append(node)
        if node.name not in gains:
            continue
        product, result = equalized.graph.node[-1], node.output[0]
        gains_name, divided_result = f"{result}_gains", f"{result}_even"
        # A separate matrix, since another product may read the original.
        divided_name = f"{node.input[1]}_{result}"
        divided = numpy_helper.to_array(weights[node.input[1]]) / gains[node.name]
        product.input[1], product.output[0] = divided_name, divided_result
        for key, value in ((divided_name, divided), (gains_name, gains[node.name])):
            equalized.graph.initializer.append(numpy_helper.from_array(value, key))
        equalized.graph.node.append(
            helper.make_node(
                "Mul", [divided_result, gains_name], [result], name=f"{node.name}_gains"
            )
        )
    used = {name for node in equalized.graph.node for name in node.input}
    initializers = [tensor for tensor in equalized.graph.initializer if tensor.name in used]
    del equalized.graph.initializer[:]
    equalized.graph.initializer.extend(initializers)
    return equalized


def gains_by_matrix(model: onnx.ModelProto, samples: Inputs) -> dict[bytes, NDArray[np.float32]]:
    """Return each product's gains [out], keyed by the values [out, in] of its matrix."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    gains = _gains(model, samples)
    return {
        np.ascontiguousarray(weights[node.input[1]].T).tobytes(): gains[node.name]
        for node in model.graph.node
        if node.name in gains
    }


def _gains(model: onnx.ModelProto, samples: Inputs) -> dict[str, NDArray[np.float32]]:
    """Return, for each product that joins the stream, its channels' sizes over their median."""
    sizes = _channel_sizes(model, find_stream(model).products, samples)
    bounded = {name: np.maximum(size, np.max(size) * _LEAST_GAIN) for name, size in sizes.items()}
    return {name: size / np.median(size) for name, size in bounded.items()}


def _joins(node: onnx.NodeProto, constants: set[str]) -> bool:
    """Whether a node is an addition or a product with a constant, which make up a stream."""
    return node.op_type == "Add" or (
        node.op_type == "Mul" and any(name in constants for name in node.input)
    )


def _channel_sizes(
    model: onnx.ModelProto, products: frozenset[str], samples: Inputs
) -> dict[str, NDArray[np.float32]]:
    """Return each product's largest magnitude per channel, [channels], over all samples."""
    outputs = {node.output[0]: node.name for node in model.graph.node if node.name in products}
    found: dict[str, NDArray[np.float32]] = {}
    if not outputs:
        return found
    probe = copy.deepcopy(model)
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    for single in split_batch(samples):
        for name, value in zip(outputs, session.run(None, single), strict=True):
            size = np.abs(value).reshape(-1, value.shape[-1]).max(0).astype(np.float32)
            found[outputs[name]] = np.maximum(found.get(outputs[name], size), size)
    return found


def readers(model: onnx.ModelProto) -> dict[str, set[str]]:
    """Return the names of the nodes that read each tensor."""
    found: dict[str, set[str]] = defaultdict(set)
    for node in model.graph.node:
        for name in node.input:
            found[name].add(node.name)
    return found
