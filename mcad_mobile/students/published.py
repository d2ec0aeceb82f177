"""Students from libraries: towers rewritten for export, and the original modules for training."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.engine.bundle import TowerName
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.text.tokenizer import TokenizerSpec, pooling_weights
from mcad_mobile.errors import StudentError
from mcad_mobile.students.rewrites.for_export import for_export
from mcad_mobile.students.student import (
    Source,
    Texts,
    TextSpec,
    check_cut,
    image_identity,
    model_sha256,
)
from mcad_mobile.students.tokenizers.from_library import convert_tokenizer

# Texts -> ids [B, L] of any integer type, and a token mask [B, L] or None
Tokenize = Callable[[list[str]], tuple[NDArray[Any], NDArray[Any] | None]]
MaskKind = Literal["future", "padding", "nothing"]

# Finite, because QNN cannot compose a graph with -inf; not far below the layer's scores, because
# that costs them resolution in 8 bits. exp(-50) = 2e-22 hides a token from any float32 softmax. A
# layer of random weights, cosine to float: w8a16 0.9998, with -1e4 0.9994; w8a8 0.9988 and 0.80.
HIDDEN_SCORE = -50.0


@dataclass(frozen=True)
class TextLayers:
    """A library's text tower, taken apart: token rows -> `widen` -> plus `positions` [P, width] ->
    `before` -> `layers` -> `after` -> pooled state -> `head`."""

    positions: Tensor
    layers: Iterable[nn.Module]
    head: nn.Module
    widen: nn.Module | None = None
    before: nn.Module | None = None
    after: nn.Module | None = None


class RowTower(nn.Module):
    """Token rows [B, L, W], mask [B, L] (1 token, 0 padding) and pooling weights [B, L], all
    float32 -> embeddings [B, dim] float32, not normalized. `mask_kind`: what a token does not
    attend to."""

    def __init__(
        self,
        parts: TextLayers,
        *,
        mask_kind: MaskKind,
        length: int,
        hidden_score: float = HIDDEN_SCORE,
    ) -> None:
        super().__init__()
        if length > len(parts.positions):
            raise StudentError(
                f"A text of this student has up to {length} tokens, and its tower knows "
                f"{len(parts.positions)} positions.",
                "Tokenizer and weights do not belong together: give both of one checkpoint.",
            )
        self.mask_kind = mask_kind
        self.hidden_score = hidden_score
        self.widen = parts.widen or nn.Identity()
        self.before = parts.before or nn.Identity()
        self.layers = nn.ModuleList(parts.layers)
        self.after = parts.after or nn.Identity()
        self.head = parts.head
        self.register_buffer("positions", parts.positions[:length].detach().clone())
        if mask_kind == "future":
            self.register_buffer("causal", causal_scores(length, hidden_score))

    def forward(self, token_rows: Tensor, attention_mask: Tensor, pooling: Tensor) -> Tensor:
        length = token_rows.shape[1]
        x = self.before(self.widen(token_rows) + self.get_buffer("positions")[:length])
        scores = None
        if self.mask_kind == "future":
            scores = self.get_buffer("causal")[:, :, :length, :length]
        elif self.mask_kind == "padding":
            scores = padding_scores(attention_mask, self.hidden_score)
        for layer in self.layers:
            x = layer(x, scores)
        # Hidden tokens never enter an embedding. This also keeps the mask an input of every graph,
        # so that hosts feed all students the same way.
        weights = (pooling * attention_mask)[:, None, :]
        return self.head((weights @ self.after(x)).squeeze(1))  # type: ignore[no-any-return]


def causal_scores(length: int, hidden: float = HIDDEN_SCORE) -> Tensor:
    """[1, 1, L, L] float32 to add to attention scores: 0 up to the token itself, then `hidden`."""
    return torch.full((1, 1, length, length), hidden).triu(1)


def padding_scores(mask: Tensor, hidden: float = HIDDEN_SCORE) -> Tensor:
    """Mask [B, L] (1 token, 0 padding) -> [B, 1, 1, L]: 0 for tokens, `hidden` for padding."""
    return ((mask - 1.0) * -hidden)[:, None, None, :]


@dataclass(frozen=True)
class PublishedStudent:
    """A student from a library; its bundle holds `tokenizer_file` instead of `tokenize`."""

    name: str
    source: Source
    preprocess: Preprocess
    text_spec: TextSpec
    token_table: Tensor
    image: nn.Module
    text: nn.Module
    dim: int
    sha256: str
    image_sha256: str
    tokenize: Tokenize
    tokenizer_file: tuple[TokenizerSpec, bytes]

    def tower(self, name: TowerName) -> nn.Module:
        return self.image if name == "image" else self.text

    def read(self, texts: list[str]) -> Texts:
        """Tokenize texts. StudentError for a token without a row in the table."""
        ids, mask = self.tokenize(texts)
        return read_ids(ids, mask, self.token_table, self.text_spec)

    def cut(self, dim: int) -> PublishedStudent:
        check_cut(self.name, dim, self.dim, self.source.widths)
        text = copy.deepcopy(self.text)
        text.head = nn.Sequential(text.get_submodule("head"), _First(dim))
        return replace(
            self,
            image=nn.Sequential(self.image, _First(dim)),
            text=text,
            dim=dim,
            sha256=hashlib.sha256(f"{dim} {self.sha256}".encode()).hexdigest(),
            image_sha256=hashlib.sha256(f"{dim} {self.image_sha256}".encode()).hexdigest(),
        )


class _First(nn.Module):
    """Embeddings [B, D] -> their first `dim` numbers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, embeddings: Tensor) -> Tensor:
        return embeddings[:, : self.dim]


class _TrainedWidths(msgspec.Struct, frozen=True):
    """The fields of a recipe.json that say which narrower widths a student was trained for."""

    widths: tuple[int, ...] = ()
    narrow: float = 0.0


def trained_widths(folder: Path) -> tuple[int, ...]:
    """The narrower widths for which `distill`, if it wrote this folder, trained the student."""
    with suppress(OSError, msgspec.MsgspecError):  # no recipe, or one of somebody else
        recipe = msgspec.json.decode((folder / "recipe.json").read_bytes(), type=_TrainedWidths)
        return recipe.widths if recipe.narrow else ()
    return ()


@dataclass(frozen=True)
class StudentTowers:
    """Both towers of a student before rewriting, and its token table [V, W]. A text tower that is a
    module takes rows, mask and pooling, as a RowTower does."""

    text_spec: TextSpec
    token_table: Tensor
    image: nn.Module
    text: TextLayers | nn.Module
    mask_kind: MaskKind = "nothing"


@torch.no_grad()
def build_student(
    name: str,
    source: Source,
    preprocess: Preprocess,
    towers: StudentTowers,
    tokenizer: Any,
    tokenize: Tokenize,
    model: nn.Module,
    facts: dict[str, Any],
) -> PublishedStudent:
    """Build a student, rewriting both towers in place; its identity hashes `model`, `facts` and the
    tokenizer."""
    spec = towers.text_spec
    image = towers.image.eval().requires_grad_(False)
    image_sha256 = image_identity(image, preprocess)  # before it is rewritten
    text = towers.text
    if isinstance(text, TextLayers):
        text = RowTower(text, mask_kind=towers.mask_kind, length=spec.length)
    text.eval().requires_grad_(False)
    tokenizer_file = convert_tokenizer(
        tokenizer, length=spec.length, pool=spec.pool, attends_to_padding=spec.attends_to_padding
    )
    sha256 = model_sha256(model, facts, tokenizer_file[1])
    pixels = torch.zeros(1, 3, preprocess.size, preprocess.size)
    rows, first = torch.zeros(1, spec.length, spec.width), torch.zeros(1, spec.length)
    first[:, 0] = 1
    for_export(image, pixels)
    for_export(text, rows, first, first)
    photo, query = image(pixels), text(rows, first, first)
    if photo.ndim != 2 or photo.shape != query.shape:
        raise StudentError(
            f"The image tower gives {list(photo.shape)} and the text tower {list(query.shape)} for "
            "one photo and one text; both must give [1, D], in one space.",
            "Give a dual encoder, whose towers were trained together.",
        )
    return PublishedStudent(
        name=name,
        source=source,
        preprocess=preprocess,
        text_spec=spec,
        token_table=towers.token_table.detach(),
        image=image,
        text=text,
        dim=int(photo.shape[1]),
        sha256=sha256,
        image_sha256=image_sha256,
        tokenize=tokenize,
        tokenizer_file=tokenizer_file,
    )


def read_ids(ids: NDArray[Any], mask: NDArray[Any] | None, table: Tensor, spec: TextSpec) -> Texts:
    """A text tower's inputs. ids, mask [B, L]; without a mask, texts end at the pooled token."""
    if ids.max() >= len(table):
        raise StudentError(
            f"The tokenizer gives token {ids.max()}, and the text tower has {len(table)} tokens.",
            "Tokenizer and weights do not belong together: give both of one checkpoint.",
        )
    attended = np.ones(ids.shape, np.float32)
    if mask is not None and not spec.attends_to_padding:
        attended = mask.astype(np.float32)
    pooling = pooling_weights(ids, attended, spec.pool, spec.eos)
    if mask is None and not spec.attends_to_padding:
        attended = 1 - pooling.cumsum(1) + pooling  # 1 up to the pooled token
    rows = table[torch.from_numpy(ids.astype(np.int64))].numpy()
    return Texts(ids.astype(np.int32), rows, attended, pooling)


@dataclass(frozen=True)
class Trainable:
    """A student to train. `image` embeds pixels and `text` ids and mask with the weights of
    `module`, of which `new` are randomly initialized. `as_exported` is built from a copy, so that
    a student that cannot be exported fails before training."""

    as_exported: PublishedStudent
    module: nn.Module
    image: Callable[[Tensor], Tensor]
    text: Callable[[Tensor, Tensor], Tensor]
    write: Callable[[Path], None]
    new: tuple[nn.Parameter, ...]

    @property
    def preprocess(self) -> Preprocess:
        return self.as_exported.preprocess

    @property
    def dim(self) -> int:
        return self.as_exported.dim

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids [B, L] int64 and mask [B, L] float32 of the library's own tokenizer."""
        ids, mask = self.as_exported.tokenize(texts)
        attended = np.ones(ids.shape) if mask is None else mask
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(attended.astype(np.float32))


def freeze_unused(student: Trainable) -> None:
    """Freeze weights that no embedding uses: distributed training would wait for gradients."""
    student.module.eval()
    side = student.preprocess.size
    ids, mask = student.tokens(["a photo", "another"])
    total = student.image(torch.zeros(2, 3, side, side)).sum() + student.text(ids, mask).sum()
    torch.autograd.backward(total)
    for parameter in student.module.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
