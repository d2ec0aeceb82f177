"""The protocol of students under training, and temperatures trained with them, then discarded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mcad_mobile.distill.accelerator import device_of
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.recall import Retrieval, evaluate_retrieval

_PHOTOS_AT_ONCE, _CAPTIONS_AT_ONCE = 256, 512


class Reader(Protocol):
    """A dataset's photos [I, ...] and captions (ids and mask [T, L]), as towers take them."""

    def photos(self, batch: Batch) -> Tensor: ...

    def captions(self, captions: Rows) -> tuple[Tensor, Tensor]: ...

    def with_imagined(self, grids: Features) -> Reader | None:
        """Return a reader with imagined photos as one more view, or None if that is impossible."""
        ...


class Trainee(Protocol):
    """A student under training."""

    # All of its weights. The losses must use each one that requires a gradient: distributed
    # training would wait for the gradient of an unused one.
    module: nn.Module

    name: str  # kind and starting point
    identity: str  # a hash of the starting point
    dim: int
    has_a_space: bool  # whether it embeds photos and captions from the start

    def reader(
        self, data: Dataset, views: Views, cache: FeatureCache, arithmetic: Arithmetic
    ) -> Reader:
        """Return a reader of `data`. PhotoError for a photo that cannot be decoded."""
        ...

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask [T, L], as a reader returns them for captions."""
        ...

    def embed_photos(self, photos: Tensor) -> Tensor:
        """A reader's photos -> [I, dim] float32 of unit length."""
        ...

    def embed_captions(self, ids: Tensor, mask: Tensor) -> Tensor: ...

    def prepare(self, recipe: StudentRecipe) -> list[dict[str, Any]]:
        """Set the student up for training (frozen weights, dropout, widths), once, and return
        AdamW's parameter groups, each with its peak `lr`."""
        ...

    def save(self, directory: Path) -> None:
        """Write what `load_student` reads."""
        ...


class Learner(nn.Module):
    """A trainee with the temperatures that its recipe asks for."""

    def __init__(self, trainee: Trainee, recipe: StudentRecipe, *, has_teachers: bool) -> None:
        super().__init__()
        self._trainee = trainee
        self.groups = trainee.prepare(recipe)
        self.student = trainee.module
        start = math.log(recipe.initial_scale)
        self.log_scale = nn.Parameter(torch.tensor(start)) if recipe.contrastive else None
        has_soft_scale = has_teachers and recipe.distribution
        self.log_soft_scale = nn.Parameter(torch.tensor(start)) if has_soft_scale else None
        scales = [value for value in (self.log_scale, self.log_soft_scale) if value is not None]
        self.groups.append({"params": scales, "lr": recipe.head_lr, "weight_decay": 0.0})

    def forward(
        self, photos: Tensor, ids: Tensor, mask: Tensor, captions: int
    ) -> dict[str, Tensor]:
        """Embed I photos and T texts from a reader; the first `captions` texts are captions, the
        others name classes -> image [I, D], text and names [T, D] in all, of unit
        length; scale and soft_scale [], if a loss needs them."""
        # Text first, so that its dropout does not depend on the image tower.
        text = self._trainee.embed_captions(ids, mask)
        out = {"image": self._trainee.embed_photos(photos), "text": text[:captions]}
        if captions < len(text):
            out["names"] = text[captions:]
        if self.log_scale is not None:
            out["scale"] = capped(self.log_scale)
        if self.log_soft_scale is not None:
            out["soft_scale"] = capped(self.log_soft_scale)
        return out


def evaluate_trainee(trainee: Trainee, reader: Reader, data: Dataset) -> Retrieval:
    """Return a float trainee's current recall on the pairs of `data`."""
    photos, captions = np.arange(data.paired_photos), np.arange(len(data.owner))
    images, texts = embed_rows(trainee, reader, photos, captions)
    return evaluate_retrieval(images.numpy(), texts.numpy(), data.owner)


@torch.no_grad()
def embed_rows(
    trainee: Trainee, reader: Reader, photos: Rows, captions: Rows
) -> tuple[Tensor, Tensor]:
    """A trainee's current embeddings of uncropped photos and captions, by row numbers: [I, dim] and
    [T, dim] float32 of unit length, on the CPU."""
    trainee.module.eval()
    device = device_of(trainee.module)
    images, texts = [], []
    for rows in np.array_split(photos, max(len(photos) // _PHOTOS_AT_ONCE, 1)):
        uncropped = Batch(rows, np.zeros_like(rows), rows[:0], 0)
        images.append(trainee.embed_photos(reader.photos(uncropped).to(device)).cpu())
    for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
        ids, mask = reader.captions(captions[start : start + _CAPTIONS_AT_ONCE])
        texts.append(trainee.embed_captions(ids.to(device), mask.to(device)).cpu())
    return torch.cat(images), torch.cat(texts)
