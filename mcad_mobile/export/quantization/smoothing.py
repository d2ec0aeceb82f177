"""Smoothing of activations before matrix products (SmoothQuant: Xiao et al., arXiv 2211.10438).

In trained transformers, a few channels are tens of times larger than the others. With one scale for
a whole tensor, 8 bits leave the other channels few steps. So each channel is divided by a factor
before the product, and its row of the weights is multiplied by it: the product stays the same, and
the weights, which have a scale per output channel, take over most of the spread.

Only outliers are smoothed. A channel that is quiet in all samples may be loud for a word that no
sample has, and a factor for quiet channels would make it an outlier.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from mcad_mobile.engine.towers import Inputs
from mcad_mobile.export.quantization.ranges import reader, singles

# How much of the spread moves to the weights: alpha in the paper, equation 4. For mcad-m's text
# tower 0.7 is best: its mean cosine to float is 0.998; 0.993 at 0.5, 0.996 at 0.9.
_STRENGTH = 0.7
_LEAST = 1e-5  # so that a channel of zeros keeps a factor
# Percentile of the channels' largest magnitudes from which they are outliers. For 56 single words,
# the least cosine of mcad-s is 0.97 with 98; 0.95 with 99, 0.84 with 50, 0.81 with 0.
_OUTLIERS = 98


def smooth(model: onnx.ModelProto, samples: Inputs) -> None:
    """Smooth the inputs of products with constant weights [K, N], in place."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) == 2}
    uses = Counter(name for node in model.graph.node for name in node.input)
    products: dict[str, list[onnx.NodeProto]] = {}  # by what they read
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights and uses[node.input[1]] == 1:
            products.setdefault(node.input[0], []).append(node)
    largest = _largest(model, samples, set(products))
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[0] in products:
            tensor = node.input[0]
            factors = _move(largest[tensor], [weights[n.input[1]] for n in products[tensor]])
            inverse = numpy_helper.from_array(1 / factors, f"{tensor}/inverse")
            model.graph.initializer.append(inverse)
            nodes.append(helper.make_node("Mul", [tensor, inverse.name], [f"{tensor}/smooth"]))
            for product in products.pop(tensor):
                product.input[0] = f"{tensor}/smooth"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _largest(
    model: onnx.ModelProto, samples: Inputs, tensors: set[str]
) -> dict[str, NDArray[np.float32]]:
    """Return the largest magnitude of each channel, [K], of tensors [..., K]. Channels that are no
    outliers all get the magnitude from which one is."""
    read = reader(model, tensors)
    largest: dict[str, NDArray[np.float32]] = {}
    for single in singles(model, samples):
        values = read(single)
        for name in tensors:
            found = np.abs(values[name]).reshape(-1, values[name].shape[-1]).max(0)
            largest[name] = np.maximum(largest.get(name, found), found)
    return {
        name: np.maximum(found, np.percentile(found, _OUTLIERS, method="lower"))
        for name, found in largest.items()
    }


def _move(largest: NDArray[np.float32], weights: list[onnx.TensorProto]) -> NDArray[np.float32]:
    """Multiply rows of `weights` that read one tensor by factors of its channels, and return these
    factors, [K], of geometric mean 1."""
    matrices = [numpy_helper.to_array(weight) for weight in weights]
    rows = np.max([np.abs(matrix).max(1) for matrix in matrices], 0)
    spread = np.maximum(largest, _LEAST) ** _STRENGTH
    ratios = spread / np.maximum(rows, _LEAST) ** (1 - _STRENGTH)
    factors: NDArray[np.float32] = (ratios / np.exp(np.log(ratios).mean())).astype(np.float32)
    for weight, matrix in zip(weights, matrices, strict=True):
        weight.CopyFrom(numpy_helper.from_array(matrix * factors[:, None], weight.name))
    return factors
