"""What the tensors of a float model are, input by input."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one, without_padding

# The tensors of a model for one input, by their names
Observe = Callable[[Inputs], Mapping[str, NDArray[np.float32]]]


def singles(model: onnx.ModelProto, samples: Inputs) -> list[Inputs]:
    """One by one, texts without their padding where the model takes them so."""
    singles = one_by_one(samples)
    shapes = [taken.type.tensor_type.shape for taken in model.graph.input]
    if any(size.dim_param for shape in shapes for size in shape.dim):
        singles = [without_padding(single) for single in singles]
    return singles


def activations(model: onnx.ModelProto) -> Observe:
    """What gives all floats that a model computes, and what it was given."""
    read = reader(model, {name for node in model.graph.node for name in node.output})

    def observe(single: Inputs) -> dict[str, NDArray[np.float32]]:
        return {name: value for name, value in read(single).items() if value.dtype == np.float32}

    return observe


def reader(model: onnx.ModelProto, tensors: set[str]) -> Observe:
    """What gives these tensors of a model; of its graph no more runs than they need."""
    given = [taken.name for taken in model.graph.input]
    wanted = sorted(tensors.difference(given))
    if not wanted:
        return lambda single: single
    session = ort.InferenceSession(
        _part(model, wanted).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda single: {**single, **dict(zip(wanted, session.run(wanted, single), strict=True))}


def _part(model: onnx.ModelProto, wanted: list[str]) -> onnx.ModelProto:
    """What of a model puts out these tensors; it takes what the model takes."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop()
        if name in made_by and name not in needed:
            left += made_by[name].input
        needed.add(name)
    graph = helper.make_graph(
        [node for node in model.graph.node if needed.intersection(node.output)],
        "part",
        list(model.graph.input),
        [helper.make_empty_tensor_value_info(name) for name in wanted],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
