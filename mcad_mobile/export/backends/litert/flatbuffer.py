"""The operators of a .tflite, and how it stores their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcad_mobile.engine.bundle import Precision
from mcad_mobile.errors import require

PRODUCTS = ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Stored:
    """A tensor: its type as the schema names it, its quantization ("none", "per tensor", ...), its
    size in the file if it is a constant, and its name."""

    dtype: str
    quantization: str
    bytes: int = 0
    name: str = ""

    def __str__(self) -> str:
        return self.dtype if self.quantization == "none" else f"{self.dtype} {self.quantization}"


@dataclass(frozen=True)
class Operator:
    """An operator, the tensors that it reads and, last, writes, and if it has an activation."""

    name: str
    tensors: tuple[Stored, ...]
    activated: bool = False


def operators(path: Path) -> list[Operator]:
    """Return the operators in order, except quantize and dequantize."""
    reader = require("ai_edge_litert.tools.flatbuffer_utils", "dimensity")
    schema = require("ai_edge_litert.schema_py_generated", "dimensity")
    model = reader.read_model(str(path))
    graph = model.subgraphs[0]  # the others are bodies of its operators
    stored = [_stored(schema, model, tensor) for tensor in graph.tensors]
    found = [
        Operator(
            operator_name(schema, model, operator),
            tuple(stored[i] for i in (*operator.inputs, *operator.outputs) if i >= 0),
            bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0)),
        )
        for operator in graph.operators
    ]
    return [operator for operator in found if operator.name not in _CONVERSIONS]


def four_bits_of(path: Path) -> int:
    """Return how many bytes of a .tflite are 4-bit weights, two per byte."""
    stored = [tensor for operator in operators(path) for tensor in operator.tensors]
    return sum(tensor.bytes for tensor in stored if tensor.dtype == "INT4")


def precision_of(path: Path) -> Precision:
    """Return the precision of a .tflite, by what its products read."""
    read = [
        tensor for found in operators(path) if found.name in PRODUCTS for tensor in found.tensors
    ]
    weights, activations = (
        {x.dtype for x in read if bool(x.bytes) == kept} for kept in (True, False)
    )
    if "INT16" in activations:
        return "w4a16" if "INT4" in weights else "w8a16"
    if "INT8" in activations:
        return "w8a8"
    return "int8" if weights & {"INT8", "INT4"} else "fp32"


def operator_name(schema: Any, model: Any, operator: Any) -> str:
    """Return an operator's name in the schema, or that of its custom or composite kind."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files written before 2020 have the code in the other field, which has 8 bits.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM:
        return str(code.customCode.decode())
    if number == schema.BuiltinOperator.STABLEHLO_COMPOSITE:
        return str(operator.builtinOptions2.name.decode())
    return _names(schema.BuiltinOperator)[number]


def _stored(schema: Any, model: Any, tensor: Any) -> Stored:
    data = model.buffers[tensor.buffer].data
    return Stored(
        _names(schema.TensorType)[tensor.type],
        _quantization(tensor.quantization),
        0 if data is None else len(data),
        tensor.name.decode(),
    )


def _quantization(parameters: Any) -> str:
    if parameters is None:
        return "none"
    if parameters.details is not None:
        return "per block"
    scales = 0 if parameters.scale is None else len(parameters.scale)
    return ("none", "per tensor", "per channel")[min(scales, 2)]


def _names(enumeration: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}
