"""Weights of a float model, rounded to 4 bits by what that does to their products.

By GPTQ (Frantar et al., arXiv 2210.17323, algorithm 1): one input of a product after the other, and
what that costs is made up for by the weights that are still to come. What counts is what the
product puts out, so errors are weighed by the second moments of its inputs on real samples.

Weights that will have 4 bits together are rounded in the order of their products, each for the
inputs that the ones before it leave, and so that it puts out what the float product did: the
objective of GPTAQ (Li et al., arXiv 2504.02692), whose closed form is least squares here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from mcad_mobile.quantize.four_bits import (
    TOP,
    FourBits,
    matrix,
    outputs_axis,
    products,
    with_weights,
)
from mcad_mobile.quantize.observed import reader, singles
from mcad_mobile.runtimes import Inputs

_DAMPING = 0.01  # of the mean second moment (the paper's)
# The same for what makes up for others' errors, which few samples tell: of 0.005 to 1.0 the default
# student's image tower kept the highest cosine by it, on photos of another split.
_HELD = 0.3
_CLIPPED = np.linspace(0.4, 1.0, 25)  # of a channel's largest weight, for its scale
_BLOCK = 64  # inputs that are made up for at once

Matrix = NDArray[np.float64]
Told = Callable[[int, int], None]


def each_in_four_bits(
    model: onnx.ModelProto, samples: Inputs, told: Told = lambda done, total: None
) -> dict[str, FourBits]:
    """All weights of a float model that can have 4 bits, each as if it were the only one. `told`
    hears before each how many are done."""
    nodes = products(model)
    read = reader(model, {node.input[0] for node in nodes.values()})
    moments: dict[str, Matrix] = {}
    for single in singles(model, samples):
        values = read(single)
        for tensor, kind in _kinds(nodes).items():
            rows = _rows(values[tensor], kind)
            moments[tensor] = moments.get(tensor, 0.0) + _products(rows, rows)
    found: dict[str, FourBits] = {}
    for name, node in nodes.items():
        told(len(found), len(nodes))
        found[name] = _in_four_bits(model, name, node, moments[node.input[0]])
    return found


def together_in_four_bits(
    model: onnx.ModelProto,
    samples: Inputs,
    names: Iterable[str],
    told: Told = lambda done, total: None,
) -> dict[str, FourBits]:
    """The weights `names` of a float model, as they are when all of them have 4 bits. `told` hears
    before each product how many are done."""
    asked = set(names)
    nodes = {name: node for name, node in products(model).items() if name in asked}
    single_samples = singles(model, samples)
    found: dict[str, FourBits] = {}
    for tensor, kind in _kinds(nodes).items():
        told(len(found), len(nodes))
        exact, halved = (reader(one, {tensor}) for one in (model, with_weights(model, found)))
        moments: Matrix = np.zeros(())
        shared: Matrix = np.zeros(())
        for single in single_samples:
            left = _rows(halved(single)[tensor], kind)
            moments = moments + _products(left, left)
            shared = shared + _products(_rows(exact(single)[tensor], kind), left)
        for name, node in nodes.items():
            if node.input[0] == tensor:
                found[name] = _in_four_bits(model, name, node, moments, shared)
    return found


def _in_four_bits(
    model: onnx.ModelProto,
    name: str,
    node: onnx.NodeProto,
    moments: Matrix,
    shared: Matrix | None = None,
) -> FourBits:
    """A weight for inputs of these second moments, which were others before if there are `shared`
    ones."""
    stored = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    weight, axis = numpy_helper.to_array(stored), outputs_axis(node)
    rows = matrix(weight, axis)
    if shared is not None:
        rows = rows + _made_up_for(rows, moments, shared)
    numbers, scales = rounded(rows, moments)
    return FourBits(numbers, scales, weight.shape, axis)


def _made_up_for(
    weight: NDArray[np.float32], moments: Matrix, shared: Matrix
) -> NDArray[np.float32]:
    """What to add to a weight [out, in] whose inputs have changed, so that it puts out what it
    did: `moments` of the inputs that it gets, `shared` those of what it got by what it gets, both
    [in, in]."""
    held = _HELD * np.diag(moments).mean() or 1.0  # nothing is multiplied, nothing is made up for
    damped = moments + np.eye(len(moments)) * held
    return np.asarray(np.linalg.solve(damped, (shared - moments).T @ weight.T).T, np.float32)


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


def _kinds(nodes: Mapping[str, onnx.NodeProto]) -> dict[str, str]:
    """What is multiplied, in the order of the graph, and by which operator."""
    return {node.input[0]: node.op_type for node in nodes.values()}


def _rows(value: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """The inputs [N, in] of a product in `value`, of a batch of one."""
    if kind == "Conv":
        return np.ascontiguousarray(value[0].reshape(value.shape[1], -1).T)
    return value.reshape(-1, value.shape[-1])


def _products(left: NDArray[np.float32], right: NDArray[np.float32]) -> Matrix:
    return (left.T @ right).astype(np.float64)
