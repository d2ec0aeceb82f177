"""A student of a library as it is trained: the library's own modules, before any rewrite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mcad_mobile.preprocess import Preprocess
from mcad_mobile.students.published import PublishedStudent


@dataclass(frozen=True)
class Trainable:
    """`image` takes pixels [B, 3, S, S], `text` token ids and their mask [B, L]; both give
    embeddings [B, dim], not normalized, by the weights of `module`. `new` are those of its
    parameters that start from nothing. `write` puts a folder there that `load_student` reads.

    `as_exported` is made of a copy of the same weights: what cannot be exported is told before
    anything is trained.
    """

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
        seen = np.ones(ids.shape) if mask is None else mask
        return torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(seen.astype(np.float32))


def freeze_unread(student: Trainable) -> None:
    """Of a student's weights, those that no embedding depends on: a logit scale, a pooler that is
    not asked. Several processes would wait for their gradients."""
    student.module.eval()
    side = student.preprocess.size
    ids, mask = student.tokens(["a photo", "another"])
    read = student.image(torch.zeros(2, 3, side, side)).sum() + student.text(ids, mask).sum()
    torch.autograd.backward(read)
    for parameter in student.module.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
