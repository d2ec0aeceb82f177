"""Parity: do the written towers give the float student's embeddings? And kernels: does this
processor give what the written towers say? The first is a fact of the bundle, and can be accepted;
the second is a fault of the machine, and is not."""

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
from mcad_mobile.engine.towers.protocol import split_batch, takes_any_length, without_padding
from mcad_mobile.engine.towers.self_test import LEAST_AGREEMENT
from mcad_mobile.errors import ParityError

# A quantized tower evaluated as it is written: what quantization costs, whatever the kernels do.
#
# Runtimes run 8-bit graphs by kernels that differ from processor to processor. Here the same graph
# is evaluated in another way: every integer product in float, or by kernels of another make.

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
    singles = split_batch(inputs)
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


WARN_BELOW = 0.99


@torch.no_grad()
def float_embeddings(tower: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
    """Embeddings [N, dim] of unit length by the float student."""
    arguments = [torch.from_numpy(value) for value in inputs.values()]
    return normalize(tower.eval()(*arguments).numpy())


def parity(expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """Cosines of row pairs; both [N, dim], `expected` of unit length."""
    cosines = (expected * normalize(found)).sum(1)
    return Parity(len(cosines), float(np.mean(cosines)), float(np.min(cosines)))


def too_low(found: Parity) -> bool:
    return found.cosine_mean < LEAST_PARITY


def judge(tower: str, runtime: str, found: Parity, *, allow_low: bool) -> str | None:
    """None, or a warning under 0.99 mean; ParityError under 0.95 unless `allow_low`."""
    if found.cosine_mean >= WARN_BELOW:
        return None
    message = (
        f"The {runtime} {tower} tower is off the float student: cosine {found.cosine_mean:.4f} on "
        f"average, {found.cosine_min:.4f} at worst, over {found.inputs} real inputs"
    )
    if too_low(found) and not allow_low:
        raise ParityError(
            f"{message}; at least {LEAST_PARITY} is needed.",
            "Calibrate on photos like your users' (--calibration DIR), "
            "or accept it with --allow-low-parity.",
        )
    return f"{message}."


def judge_kernels(
    tower: str,
    rung: Rung,
    exact: NDArray[np.float32],
    written: NDArray[np.float32],
    found: NDArray[np.float32],
) -> None:
    """ParityError if what this machine gives for the golden inputs, `found` [N, dim], is not what
    the rung says, evaluated as it is `written`; `exact` is the float student's. Nothing excuses it.

    Two right evaluations of a graph with 8-bit activations differ where a value lies between two
    steps and rounds the other way, and that grows from layer to layer: by no more than rounding
    costs at all, which is `written` to `exact`. Kernels that overflow cost ten times that.
    """
    kernels, quantization = _cosines(written, found), _cosines(exact, written)
    if (kernels >= np.minimum(LEAST_AGREEMENT, quantization)).all():
        return
    raise ParityError(
        f"This processor's kernels give wrong embeddings for the {tower} tower {rung.runtime} "
        f"{rung.precision}: cosine {np.min(kernels):.4f} to the same tower evaluated as it is "
        f"written, which has {quantization[np.argmin(kernels)]:.4f} to the float student.",
        "Report this with what `mcad-mobile doctor` prints, and export on another machine: "
        "--allow-low-parity does not help here.",
    )


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = (normalize(one) * normalize(other)).sum(1)
    return cosines
