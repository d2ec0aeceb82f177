"""Towers as float ONNX, plain enough for old runtimes on phones."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers.protocol import FEWEST_TOKENS

OPSET = 20  # the first that keeps Gelu whole; the last that ONNX Runtime 1.17 reads
IR_VERSION = 9
_MAPPED_FROM_BYTES = 1024  # smaller weights stay in the model's own file


def export_onnx(
    tower: nn.Module,
    out: Path,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    any_length: bool = False,
) -> None:
    """Write `tower` as ONNX for a batch of one; with `any_length`, also for fewer tokens."""
    arguments = tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs)
    tokens = torch.export.Dim("tokens", min=FEWEST_TOKENS, max=inputs[0].shape[1])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            tower,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in inputs],
            output_names=[output.name],
            dynamic_shapes=[{1: tokens}] * len(inputs) if any_length else None,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, out)


def save_mapped(model: onnx.ModelProto, out: Path) -> Path:
    """Write `model` with weights that the runtime maps, which saves 5 MiB for the text tower."""
    weights = out.with_name(f"{out.name}.data")
    onnx.save(
        model,
        out,
        save_as_external_data=True,
        location=weights.name,
        size_threshold=_MAPPED_FROM_BYTES,
    )
    weights.chmod(0o644)  # onnx makes it readable to its owner only
    return weights


def is_convolutional(path: Path) -> bool:
    """Whether convolutions do most of a model's multiplications."""
    convolutions, products = multiply_adds(path)
    return convolutions > products


def multiply_adds(path: Path) -> tuple[int, int]:
    """Count the multiply-adds of convolutions and matrix products, with dynamic dimensions as 1."""
    graph = onnx.load(path, load_external_data=False).graph
    shapes = {
        value.name: [size.dim_value or 1 for size in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    convolutions = products = 0
    for node in graph.node:
        if node.op_type == "Conv":
            _, *kernel = shapes[node.input[1]]
            convolutions += math.prod(shapes[node.output[0]]) * math.prod(kernel)
        elif node.op_type in ("MatMul", "Gemm"):
            transposed = any(item.name == "transA" and item.i for item in node.attribute)
            inner = shapes[node.input[0]][-2 if transposed else -1]
            products += math.prod(shapes[node.output[0]]) * inner
    return convolutions, products


def _strip(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes about its source, which contain stack traces with local paths
    and make onnxruntime's QNN preprocessing fail."""
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:]
    for holder in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        for item in holder:
            del item.metadata_props[:]
            item.doc_string = ""


def node_count(path: Path) -> int:
    """Count the nodes, except quantize and dequantize."""
    nodes = onnx.load(path, load_external_data=False).graph.node
    return sum(not is_conversion(node.op_type) for node in nodes)


def is_conversion(op_type: str) -> bool:
    return op_type in ("QuantizeLinear", "DequantizeLinear")
