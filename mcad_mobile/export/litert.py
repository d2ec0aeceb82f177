"""Towers as float LiteRT flatbuffers, and what their tensors are."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcad_mobile.bundle import TensorSpec
from mcad_mobile.errors import require
from mcad_mobile.students.text_tower import TextTower


def convert_litert(tower: nn.Module, out: Path, inputs: tuple[TensorSpec, ...]) -> None:
    """Write `tower` as a float .tflite for a batch of one. Inputs whose layout is NHWC are taken
    channels-last."""
    with _quiet():
        litert_torch = require("litert_torch", "litert")
        last = [index for index, spec in enumerate(inputs) if spec.layout == "NHWC"]
        module = litert_torch.to_channel_last_io(tower, args=last) if last else _gathered(tower)
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


def _gathered(tower: nn.Module) -> nn.Module:
    """The tower with its token table read by GATHER: LiteRT's quantizer leaves the operator that
    nn.Embedding becomes, EMBEDDING_LOOKUP, in float where activations are integer."""
    if not isinstance(tower, TextTower):
        return tower
    copy = TextTower(tower.config, tower.head.out_features)
    copy.load_state_dict(tower.state_dict())
    copy.token = _GatherTable(copy.token.weight)
    return copy


class _GatherTable(nn.Embedding):
    def __init__(self, table: Tensor) -> None:
        super().__init__(table.shape[0], table.shape[1], _weight=table)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight.index_select(0, ids.reshape(-1)).reshape(*ids.shape, -1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The converter prints its steps and torchao warns of CUDA libraries: neither is for users."""
    logging.getLogger("torchao").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
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
