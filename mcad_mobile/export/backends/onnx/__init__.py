"""The backend for CPUs: ONNX models in float, in 8 bits, or in 8 and 4 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from mcad_mobile.engine.bundle import Rung
from mcad_mobile.engine.towers import Inputs, LoadedTower, normalize
from mcad_mobile.engine.towers.protocol import summary
from mcad_mobile.export.backends.backend import (
    Backend,
    Candidate,
    Compiled,
    Quantized,
    RungOrder,
    Sensitivity,
)
from mcad_mobile.export.backends.onnx.mixed_precision import cpu_candidates, sensitivities
from mcad_mobile.export.backends.onnx.quantize import (
    choose_scheme,
    load_quantized,
    quantize_tower,
)
from mcad_mobile.export.float_onnx import node_count, save_mapped
from mcad_mobile.export.quantization.ranges import singles
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Target


class OnnxBackend(Backend):
    """Writes ONNX models with the weights in a file beside them."""

    def quantize(self, order: RungOrder) -> Quantized:
        tower, precision = order.tower, order.precision
        if precision == "fp32":
            return Quantized(tower.cpu_onnx, precision)
        four_bits = order.four_bit_weights if precision == "mixed" else frozenset()
        scheme, notes = choose_scheme(tower)
        return Quantized(quantize_tower(tower, scheme, four_bits), precision, notes)

    def compile(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        weights = save_mapped(onnx.load(quantized), out)
        return Compiled((out, weights), node_count(order.tower.cpu_onnx))

    def load(self, tower: TowerJob, quantized: Path) -> LoadedTower:
        return load_quantized(quantized)

    def reference(self, rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32]:
        return evaluate_onnx(directory / rung.files[0].path, inputs)

    def shared_by(self, runtime: str, target: Target) -> str:
        return "any"

    def measured_by(self, target: Target) -> str:
        return "the files that were written, by the runtimes that they are for"

    def candidates(
        self, tower: TowerJob, target: Target
    ) -> tuple[list[Candidate], list[Sensitivity]]:
        ranked = sensitivities(tower)
        return cpu_candidates(tower, ranked), ranked


BACKEND = OnnxBackend()


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
    outputs = [summary(session.run(None, single)[0]) for single in singles(model, inputs)]
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
