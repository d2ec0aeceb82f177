"""A tower that peers.py measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A tower to run: `file` in `runtime` ("torch", "onnx", "litert", "openvino"), on the arrays in
    `inputs` (a .npz, batch first). `specs` are a .tflite's inputs and output. `expected` are the
    float embeddings to compare with, if any."""

    model: str
    tower: str
    runtime: str
    precision: str
    file: str
    inputs: str
    specs: list[dict[str, Any]] | None = None
    expected: str | None = None
