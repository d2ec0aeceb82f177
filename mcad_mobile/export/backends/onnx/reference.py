"""A reference evaluation of quantized ONNX models, in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.export.quantization.ranges import singles

# Makes ONNX Runtime keep each QuantizeLinear and DequantizeLinear, and compute in float between.
_IN_FLOAT = ("session.disable_quant_qdq", "1")


def evaluate_onnx(path: Path, inputs: Inputs) -> NDArray[np.float32]:
    """Return embeddings of a quantized ONNX model, its integer products computed in float, because
    8-bit kernels differ between processors."""
    model = onnx.load(path)
    _multiply_in_float(model.graph)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*_IN_FLOAT)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    outputs = [session.run(None, single)[0] for single in singles(model, inputs)]
    return normalize(np.concatenate(outputs))


def _multiply_in_float(graph: onnx.GraphProto) -> None:
    """Replace each MatMulInteger with a MatMul. A sum of 8-bit products has little more than 24
    bits, so float32 loses only the last few."""
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
