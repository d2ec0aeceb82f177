"""The protocol of a student, whoever trained it: all that export and evaluation use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.tokenizer import Pool, TokenizerSpec


def model_sha256(model: nn.Module, facts: Mapping[str, Any], *files: bytes) -> str:
    """SHA-256 over every tensor of `model` (name, type, shape, bytes), over `facts`, which JSON
    can hold, and over `files`."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()


TowerName = Literal["image", "text"]
# Inputs of every text tower, in this order.
TEXT_INPUTS = ("token_rows", "attention_mask", "pooling")


@dataclass(frozen=True)
class TextSpec:
    """The inputs of a text tower.

    `length` is the most tokens of a text, specials counted; `width` the W of a token's row.
    `pool` is the state that becomes the embedding: the one at the first token with id `eos`, the
    first, the last, or the mean of the tokens. `attends_to_padding`: the tower was trained to see
    padding as it sees words. Its texts are always `length` tokens long and their mask is all ones;
    every other tower gives the same embedding when the padding is cut off.
    """

    length: int
    width: int
    pool: Pool
    eos: int | None = None
    attends_to_padding: bool = False


@dataclass(frozen=True)
class Texts:
    """B texts as a text tower takes them: `ids` [B, L] int32, the tokens that `rows` [B, L, W]
    float32 belong to; `mask` [B, L] float32 (1 token, 0 padding); `pooling` [B, L] float32, of sum
    1 a text: one-hot, or the weights of a mean."""

    ids: NDArray[np.int32]
    rows: NDArray[np.float32]
    mask: NDArray[np.float32]
    pooling: NDArray[np.float32]

    def inputs(self) -> dict[str, NDArray[np.float32]]:
        """The tower's inputs by name, in its order."""
        return dict(zip(TEXT_INPUTS, (self.rows, self.mask, self.pooling), strict=True))


@dataclass(frozen=True)
class Source:
    """Where a student came from. `preprocess`: the source of its photo preprocessing, its own files
    or a library's default. `licence` of the weights, where their files name one."""

    weights: str
    preprocess: str
    licence: str | None = None


class Student(Protocol):
    """Two towers into one space of `dim` dimensions. `tower` returns what is ready for
    export: weights are folded, and no operator is left that a phone's compiler refuses."""

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
        """[V, W] float32: the row of each token, which the host reads."""
        ...

    def tower(self, name: TowerName) -> nn.Module:
        """In eval mode, on the CPU. Image: pixels [B, 3, S, S] float32 -> [B, dim]. Text: token
        rows [B, L, W], mask [B, L] and pooling [B, L], all float32 -> [B, dim]; L may be anything
        up to `text_spec.length`. Neither normalizes."""
        ...

    def read(self, texts: list[str]) -> Texts:
        """Texts by the student's own tokenizer, each padded to `text_spec.length`; one that is
        too long is cut."""
        ...

    def tokenizer_file(self) -> tuple[TokenizerSpec, bytes]:
        """The tokenizer of a phone, which gives the ids of `read`."""
        ...

    def sha256(self) -> str:
        """One hash over weights, architecture, tokenizer and preprocess: two students with the
        same hash give the same embeddings."""
        ...
