"""What students of all libraries have in common once they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.bundle import NoMatch
from mcad_mobile.errors import StudentError
from mcad_mobile.preprocess import Preprocess
from mcad_mobile.students.protocol import Source, Texts, TextSpec, TowerName
from mcad_mobile.students.rewrites import for_export
from mcad_mobile.students.row_tower import RowTower
from mcad_mobile.tokenize import TokenizerSpec

# Texts -> ids [B, L] of any integer type, and a mask [B, L] of the tokens or None
Tokenize = Callable[[list[str]], tuple[NDArray[Any], NDArray[Any] | None]]


@dataclass(frozen=True)
class PublishedStudent:
    """A student of a library. `tokenize` calls the library's own tokenizer, `phone_tokenizer` is
    what a bundle holds in its place."""

    name: str
    source: Source
    preprocess: Preprocess
    text_spec: TextSpec
    token_table: Tensor
    image: nn.Module
    text: RowTower
    dim: int
    identity: str
    tokenize: Tokenize
    phone_tokenizer: tuple[TokenizerSpec, bytes]
    no_match: NoMatch | None = None

    def tower(self, name: TowerName) -> nn.Module:
        return self.image if name == "image" else self.text

    def read(self, texts: list[str]) -> Texts:
        """StudentError for a token that the table has no row for."""
        ids, mask = self.tokenize(texts)
        return read_ids(ids, mask, self.token_table, self.text_spec)

    def tokenizer_file(self) -> tuple[TokenizerSpec, bytes]:
        return self.phone_tokenizer

    def sha256(self) -> str:
        return self.identity


def read_ids(ids: NDArray[Any], mask: NDArray[Any] | None, table: Tensor, spec: TextSpec) -> Texts:
    """A text tower's inputs. ids, mask [B, L]; without a mask a text ends where it is pooled."""
    if ids.max() >= len(table):
        raise StudentError(
            f"The tokenizer gives token {ids.max()}, and the text tower has {len(table)} tokens.",
            "Tokenizer and weights do not belong together: give both of one checkpoint.",
        )
    places = np.arange(ids.shape[1])
    pooled = {
        "eos": np.argmax(ids == spec.eos, 1),
        "first": np.zeros(len(ids), np.intp),
        "last": np.full(len(ids), ids.shape[1] - 1),
    }.get(spec.pool)
    if spec.attends_to_padding:
        seen = np.ones(ids.shape, np.float32)
    elif mask is not None:
        seen = mask.astype(np.float32)
    else:
        assert pooled is not None
        seen = (places <= pooled[:, None]).astype(np.float32)
    if pooled is None:
        pooling = seen / seen.sum(1, keepdims=True)
    else:
        pooling = (places == pooled[:, None]).astype(np.float32)
    rows = table[torch.from_numpy(ids.astype(np.int64))].numpy()
    return Texts(ids.astype(np.int32), rows, seen, pooling)


@torch.no_grad()
def ready(image: nn.Module, text: RowTower, preprocess: Preprocess, spec: TextSpec) -> int:
    """Rewrite both towers for export, in place, and return the width of their embeddings.
    StudentError where they do not share one."""
    image.eval().requires_grad_(False)
    text.eval().requires_grad_(False)
    pixels = torch.zeros(1, 3, preprocess.size, preprocess.size)
    one = torch.zeros(1, spec.length)
    one[:, 0] = 1
    rows = torch.zeros(1, spec.length, spec.width)
    for_export(image, pixels)
    for_export(text, rows, one, one)
    photo, query = image(pixels), text(rows, one, one)
    if photo.shape != query.shape:
        raise StudentError(
            f"The image tower gives {list(photo.shape)} and the text tower {list(query.shape)}: "
            "there is no space that both share.",
            "Give a checkpoint of a dual encoder, whose towers were trained together.",
        )
    return int(photo.shape[1])
