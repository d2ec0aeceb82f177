"""A quantized tower evaluated as it is written: what quantization costs, whatever the kernels do.

Runtimes run 8-bit graphs by kernels that differ from processor to processor. Here the same graph
is evaluated in another way: every integer product in float, or by kernels of another make.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mcad_mobile.runtimes import Inputs, normalize
from mcad_mobile.runtimes.base import one_by_one, takes_any_length, without_padding

# ONNX Runtime then leaves every QuantizeLinear and DequantizeLinear as it stands, and computes in
# float between them.
_AS_WRITTEN = ("session.disable_quant_qdq", "1")


def evaluate_onnx(path: Path, inputs: Inputs) -> NDArray[np.float32]:
    """Embeddings [N, dim] of unit length by a quantized ONNX model, without any 8-bit kernel."""
    model = onnx.load(path)
    _products_in_float(model.graph)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*_AS_WRITTEN)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    singles = one_by_one(inputs)
    if takes_any_length(session):
        singles = [without_padding(single) for single in singles]
    outputs = [session.run(None, single)[0] for single in singles]
    return normalize(np.concatenate(outputs))


def _products_in_float(graph: onnx.GraphProto) -> None:
    """Each MatMulInteger of A, B and their zero points becomes a MatMul of A - a and B - b. A sum
    of products of 8 bits has 24 bits or little more: float32 keeps it but for its last bits."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            nodes.append(node)
            continue
        factors = []
        for side in (0, 1):
            name = f"{node.name}/{side}"
            nodes.append(_to_float(node.input[side], f"{name}/float"))
            nodes.append(_to_float(node.input[side + 2], f"{name}/zero"))
            nodes.append(helper.make_node("Sub", [f"{name}/float", f"{name}/zero"], [name]))
            factors.append(name)
        product = f"{node.name}/product"
        nodes.append(helper.make_node("MatMul", factors, [product]))
        nodes.append(helper.make_node("Cast", [product], node.output, to=TensorProto.INT32))
    del graph.node[:]
    graph.node.extend(nodes)


def _to_float(value: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [value], [name], to=TensorProto.FLOAT)
