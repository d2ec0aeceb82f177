"""The protocol of a student, whoever trained it: everything that export and evaluation use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.engine.bundle import TowerName
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.tokenizer import Pool, TokenizerSpec
from mcad_mobile.errors import StudentError
from mcad_mobile.students.weights_licences import WeightsLicence

_LEAST_DIM = 64  # an index scans at least 64 bits


def model_sha256(model: nn.Module, facts: Mapping[str, Any], *files: bytes) -> str:
    """Hash every tensor of `model`, the JSON-serializable `facts`, and `files`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()


def save_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file, creating its folder if it is missing."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous() for name, value in tensors.items()}, path)
    path.chmod(0o644)  # safetensors leaves it readable to its owner only


def image_identity(image: nn.Module, preprocess: Preprocess) -> str:
    """Hash everything that photo embeddings depend on. Text towers trained for the same image
    tower can search the same index."""
    return model_sha256(image, preprocess.to_json())


def check_cut(name: str, dim: int, whole: int, trained: Sequence[int]) -> None:
    """Raise StudentError unless the student `name` of `whole` dimensions can be cut to `dim`, which
    it was `trained` for and an index can hold."""
    widths = [width for width in trained if _LEAST_DIM <= width < whole and width % 8 == 0]
    if dim not in widths:
        own = ", ".join(str(width) for width in (whole, *widths))
        raise StudentError(
            f"{name} cannot be cut to {dim} dimensions.",
            f"Give a width that it was trained for: {own}.",
        )


# Inputs of every text tower, in this order.
TEXT_INPUTS = ("token_rows", "attention_mask", "pooling")


@dataclass(frozen=True)
class TextSpec:
    """The inputs of a text tower: up to `length` tokens including specials, in rows of `width`.
    Padding matters only if it `attends_to_padding`. Phones store rows in `table_bits`."""

    length: int
    width: int
    pool: Pool
    eos: int | None = None
    attends_to_padding: bool = False
    table_bits: Literal[4, 16] = 16


@dataclass(frozen=True)
class Texts:
    """A text tower's inputs for B texts: `ids` [B, L] int32, their `rows` [B, L, W] float32,
    `mask` [B, L] float32 (1 token, 0 padding), and `pooling` [B, L] float32, rows that sum to 1."""

    ids: NDArray[np.int32]
    rows: NDArray[np.float32]
    mask: NDArray[np.float32]
    pooling: NDArray[np.float32]

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """The tower's inputs by name, in its order."""
        return dict(zip(TEXT_INPUTS, (self.rows, self.mask, self.pooling), strict=True))


@dataclass(frozen=True)
class Source:
    """Where a student came from: its weights, its photo preprocessing, the weights' licence, and
    the narrower `widths` that they were trained for."""

    weights: str
    preprocess: str
    licence: WeightsLicence = field(default_factory=WeightsLicence)
    widths: tuple[int, ...] = ()


class Student(Protocol):
    """Two towers that embed into one space of `dim` dimensions, ready for export."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Source: ...

    @property
    def dim(self) -> int: ...

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def text_spec(self) -> TextSpec: ...

    @property
    def token_table(self) -> Tensor:
        """[V, W] float32: the row of each token, which the host looks up."""

    def tower(self, name: TowerName) -> nn.Module:
        """Return a tower in eval mode, on the CPU: pixels [B, 3, S, S], or token rows [B, L, W],
        mask [B, L] and pooling [B, L], all float32 -> [B, dim], not normalized."""

    def read(self, texts: list[str]) -> Texts:
        """Tokenize texts, each padded or cut to `text_spec.length`."""

    @property
    def tokenizer_file(self) -> tuple[TokenizerSpec, bytes]:
        """The tokenizer for phones, which gives the same ids as `read`."""

    def cut(self, dim: int) -> Student:
        """Return the student whose embeddings are the first `dim` numbers of this one's.
        StudentError if it was not trained for that."""

    @property
    def sha256(self) -> str:
        """Of everything that determines the embeddings."""

    @property
    def image_sha256(self) -> str:
        """Of everything that determines photo embeddings."""
