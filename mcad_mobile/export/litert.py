"""Towers as float LiteRT flatbuffers, and what their tensors are."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from mcad_mobile.bundle import TensorSpec
from mcad_mobile.errors import require
from mcad_mobile.runtimes.muted import STDERR, STDOUT, muted


def convert_litert(tower: nn.Module, out: Path, inputs: tuple[TensorSpec, ...]) -> None:
    """Write `tower` as a float .tflite for a batch of one. Inputs whose layout is NHWC are taken
    channels-last."""
    with _quiet():
        litert_torch = require("litert_torch", "litert")
        last = [index for index, spec in enumerate(inputs) if spec.layout == "NHWC"]
        module = _integer_friendly(tower)
        if last:
            module = litert_torch.to_channel_last_io(module, args=last)
        arguments = tuple(
            torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in inputs
        )
        litert_torch.convert(module.eval(), arguments).export(str(out))


def channels_last(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """The same inputs with images [N, H, W, C]: LiteRT's layout."""
    return tuple(
        replace(spec, layout="NHWC", shape=tuple(spec.shape[i] for i in (0, 2, 3, 1)))
        if spec.layout == "NCHW"
        else spec
        for spec in specs
    )


def stored_specs(
    path: Path, inputs: tuple[TensorSpec, ...], output: TensorSpec
) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """The specs of a written model: types, scales and zero points read back from the file."""
    interpreter = require("ai_edge_litert.interpreter", "litert").Interpreter(str(path))
    runner = interpreter.get_signature_runner()

    def stored(spec: TensorSpec, detail: dict[str, Any]) -> TensorSpec:
        scale, zero_point = detail["quantization"]
        dtype = np.dtype(detail["dtype"]).name
        if not scale:
            return replace(spec, dtype=dtype)
        return replace(spec, dtype=dtype, scale=float(scale), zero_point=int(zero_point))

    details = runner.get_input_details()
    found = tuple(stored(spec, details[f"args_{i}"]) for i, spec in enumerate(inputs))
    (output_detail,) = runner.get_output_details().values()
    return found, stored(output, output_detail)


def _integer_friendly(tower: nn.Module) -> nn.Module:
    """A copy of `tower` without the operators that LiteRT's quantizer leaves in float beside
    16-bit activations: EMBEDDING_LOOKUP and SQUARED_DIFFERENCE."""
    tower = copy.deepcopy(tower)
    for parent in list(tower.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Embedding):
                setattr(parent, name, _GatheredTable(child))
            elif isinstance(child, nn.LayerNorm):
                setattr(parent, name, _SpelledOutNorm(child))
    return tower


class _GatheredTable(nn.Module):
    """nn.Embedding as a gather of rows."""

    def __init__(self, source: nn.Embedding) -> None:
        super().__init__()
        self.weight = source.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight.index_select(0, ids.reshape(-1)).reshape(*ids.shape, -1)


class _SpelledOutNorm(nn.Module):
    """nn.LayerNorm over the last axis, with the variance as a mean of products."""

    def __init__(self, source: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = source.weight, source.bias, source.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred * centred).mean(-1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The converter narrates its steps, on Python's streams and past them."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        muted(STDOUT, STDERR),
    ):
        warnings.simplefilter("ignore")
        yield


def operators(path: Path) -> int:
    """Operators of a .tflite that compute: all but quantize and dequantize."""
    reader = require("ai_edge_litert.tools.flatbuffer_utils", "litert")
    schema = require("ai_edge_litert.schema_py_generated", "litert")
    model = reader.read_model(str(path))
    conversions = {schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE}
    codes = [code.builtinCode for code in model.operatorCodes]
    return sum(
        codes[operator.opcodeIndex] not in conversions
        for graph in model.subgraphs
        for operator in graph.operators
    )
