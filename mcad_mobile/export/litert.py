"""Towers as float LiteRT flatbuffers, and what their inputs and outputs are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from torch import nn

from mcad_mobile.bundle import TensorSpec
from mcad_mobile.errors import require
from mcad_mobile.export.integer_friendly import integer_friendly
from mcad_mobile.runtimes import Inputs
from mcad_mobile.runtimes.base import one_by_one
from mcad_mobile.runtimes.muted import quiet


def convert_litert(
    tower: nn.Module, out: Path, inputs: tuple[TensorSpec, ...], samples: Inputs | None = None
) -> None:
    """Write `tower` as a float .tflite for a batch of one. Inputs whose layout is NHWC are taken
    channels-last. `samples` of what it takes, channels first, where it will be quantized."""
    with quiet():
        litert_torch = require("litert_torch", "dimensity")
        last = [index for index, spec in enumerate(inputs) if spec.layout == "NHWC"]
        arguments = tuple(_random(spec) for spec in inputs)
        as_the_tower_takes = tuple(
            value.permute(0, 3, 1, 2) if index in last else value
            for index, value in enumerate(arguments)
        )
        seen = [as_the_tower_takes] if samples is None else _tensors(samples, inputs)
        module = integer_friendly(tower, seen)
        if last:
            module = litert_torch.to_channel_last_io(module, args=last)
        litert_torch.convert(module.eval(), arguments).export(str(out))


def _tensors(samples: Inputs, inputs: tuple[TensorSpec, ...]) -> list[tuple[torch.Tensor, ...]]:
    """Sample by sample, in the order that a tower takes its inputs."""
    return [
        tuple(torch.from_numpy(single[spec.name]) for spec in inputs)
        for single in one_by_one(samples)
    ]


def _random(spec: TensorSpec) -> torch.Tensor:
    """An input of this shape and type, always the same."""
    values = torch.rand(spec.shape, generator=torch.Generator().manual_seed(0))
    return values.to(getattr(torch, spec.dtype))


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
    interpreter = require("ai_edge_litert.interpreter", "dimensity").Interpreter(str(path))
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
