"""Parity: does a written tower give the float student's embeddings? And kernels: does this machine
compute what the tower's file describes? A user can accept low parity, but not wrong kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import nn

from mcad_mobile.engine.bundle import LEAST_PARITY, Parity, Rung
from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.engine.towers.ladder import LEAST_AGREEMENT
from mcad_mobile.errors import ParityError, Remedy
from mcad_mobile.export.quantization.ranges import singles

WARN_BELOW = 0.99
_ROUNDING = 3  # two correct evaluations may differ by this many times the cost of rounding
# Makes ONNX Runtime keep each QuantizeLinear and DequantizeLinear, and compute in float between.
_IN_FLOAT = ("session.disable_quant_qdq", "1")


@torch.no_grad()
def float_embeddings(tower: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
    """Return the float student's embeddings, [N, dim] of unit length."""
    arguments = [torch.from_numpy(value) for value in inputs.values()]
    return normalize(tower.eval()(*arguments).numpy())


def measure_parity(expected: NDArray[np.float32], embeddings: NDArray[np.float32]) -> Parity:
    """Return the cosines of row pairs; both [N, dim], `expected` of unit length."""
    cosines = (expected * normalize(embeddings)).sum(1)
    return Parity(len(cosines), float(np.mean(cosines)), float(np.min(cosines)))


def check_parity(tower: str, runtime: str, measured: Parity, *, allow_low: bool) -> list[str]:
    """Return a warning under 0.99 mean cosine; ParityError under 0.95 unless `allow_low`."""
    if measured.cosine_mean >= WARN_BELOW:
        return []
    message = (
        f"The {runtime} {tower} tower differs too much from the float student: cosine "
        f"{measured.cosine_mean:.4f} on average, {measured.cosine_min:.4f} at worst, over "
        f"{measured.inputs} real inputs"
    )
    if measured.is_low and not allow_low:
        raise ParityError(
            f"{message}; at least {LEAST_PARITY} is needed.",
            Remedy.ALLOW_LOW_PARITY,
        )
    return [f"{message}."]


def check_kernels(
    tower: str,
    rung: Rung,
    expected: NDArray[np.float32],
    reference: NDArray[np.float32],
    embeddings: NDArray[np.float32],
) -> None:
    """Raise ParityError if this machine's `embeddings` are not those of the `reference`."""
    # Correct evaluations of 8-bit activations differ where a value lies between two steps. Each is
    # off `expected` by the cost of rounding, as `reference` is, so averaged over many inputs they
    # differ from each other by twice that. Kernels that overflow cost ten times as much.
    kernels, quantization = _cosines(reference, embeddings), _cosines(expected, reference)
    short = np.minimum(LEAST_AGREEMENT, 1 - _ROUNDING * (1 - quantization)) - kernels
    if (short <= 0).all():
        return
    worst = np.argmax(short)
    raise ParityError(
        f"On this processor, the runtime computes the {tower} tower ({rung.name}) wrongly: its "
        f"cosine to a reference evaluation is {kernels[worst]:.4f}. The reference's cosine "
        f"to the float student is {quantization[worst]:.4f}.",
        Remedy.EXPORT_ELSEWHERE,
    )


def evaluate_reference(rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32]:
    """Return a quantized rung's embeddings, by kernels other than those that will run it."""
    file = directory / rung.files[0].path
    if rung.runtime == "litert":
        from mcad_mobile.engine.towers.litert import LiteRTTower

        return normalize(LiteRTTower(file, rung.inputs, rung.outputs, xnnpack=False)(inputs))
    return evaluate_onnx(file, inputs)


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


def _cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = (normalize(left) * normalize(right)).sum(1)
    return cosines
