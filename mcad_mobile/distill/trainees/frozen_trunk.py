"""Training of the default student on cached grids of its frozen trunk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features, PhotoRows, by_length
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.distill.teachers.classifiers import imagenet_kinds, imagenet_names
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.students.efficientnet_lite import ImageTower
from mcad_mobile.students.mcad import McadStudent, default_config
from mcad_mobile.students.weights_licences import write_model_card

TRAINED_BLOCKS = 1  # last blocks of the image tower; training two would take three times as long
TRUNK = "EfficientNet-Lite0"
# An ImageNet name counts as much as this many captions that contain it, because few do.
_NAME_COUNT = 20


@dataclass(frozen=True)
class GridReader:
    """Cached grids, and the dataset's own token ids, which are the default student's."""

    grids: PhotoRows
    data: Dataset

    def photos(self, batch: Batch) -> Tensor:
        return self.grids.of(batch)

    def captions(self, captions: Rows) -> tuple[Tensor, Tensor]:
        return self.data.ids[captions], self.data.mask[captions]

    def with_imagined(self, grids: Features) -> GridReader:
        return replace(self, grids=replace(self.grids, paired=(*self.grids.paired, grids)))


class FrozenTrunk:
    """A Trainee: the image tower's last block, last convolution and head, and the text tower."""

    def __init__(
        self, student: McadStudent, name: str, identity: str, *, has_a_space: bool = True
    ) -> None:
        self.has_a_space = has_a_space
        self.module: nn.Module = student
        self.name = name
        self.identity = identity
        self.dim = student.dim
        self._student = student

    @staticmethod
    def further(student: McadStudent, name: str, folder: str) -> FrozenTrunk:
        """Start from a trained `student`, which came from `folder`; the result is called `name`."""
        student.config = msgspec.structs.replace(student.config, name=name)
        return FrozenTrunk(student, folder, student.sha256())

    @staticmethod
    def fresh(name: str, token_counts: Tensor) -> FrozenTrunk:
        """Start from ImageNet's trunk, MiniLM's first layers and random heads."""
        student = McadStudent(default_config(name), minilm_directory())
        load_imagenet(student.image)
        names = [*imagenet_names(), *(kind.names for kind in imagenet_kinds())]
        ids, mask = student.tokenizer.batch(list(chain.from_iterable(names)))
        counts = np.bincount(ids[mask > 0], minlength=len(token_counts))
        load_minilm(student.text, token_counts + _NAME_COUNT * torch.from_numpy(counts))
        return FrozenTrunk(student, f"{TRUNK} and MiniLM", "fresh", has_a_space=False)

    def reader(
        self, data: Dataset, views: Views, cache: FeatureCache, arithmetic: Arithmetic
    ) -> GridReader:
        return GridReader(frozen_trunk(self._student, arithmetic).rows(data, views, cache), data)

    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids, mask = self._student.tokenizer.batch(texts)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def embed_photos(self, photos: Tensor) -> Tensor:
        """Grids [I, 7, 7, 192]."""
        return embed_grids(self._student.image, photos)

    def embed_captions(self, ids: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(by_length(self._student.text, ids, mask).float(), dim=-1)

    def prepare(self, recipe: StudentRecipe) -> list[dict[str, Any]]:
        widths = recipe.widths if recipe.narrow else ()
        self._student.config = msgspec.structs.replace(self._student.config, widths=widths)
        image, text = self._student.image, self._student.text
        image.stem.requires_grad_(False)
        image.blocks[:-TRAINED_BLOCKS].requires_grad_(False)
        image.head.dropout.p = recipe.head_dropout
        for module in text.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.text_dropout
        trunk = [*image.blocks[-TRAINED_BLOCKS:].parameters(), *image.head_conv.parameters()]
        tuned = [value for name, value in text.named_parameters() if name[:5] != "head."]
        new = [*image.head.parameters(), *text.head.parameters()]
        return [
            {"params": new, "lr": recipe.head_lr},
            {"params": tuned, "lr": recipe.tuned_lr},
            {"params": trunk, "lr": recipe.trunk_lr},
        ]

    def save(self, directory: Path) -> None:
        self._student.save(directory)
        if self.has_a_space:  # The licence of trained weights may hold for these, too.
            about, start = f"Trained by mcad-mobile from {self.name}.", self._student.source
            write_model_card(directory, about, start.weights, start.licence)


def frozen_trunk(student: McadStudent, arithmetic: Arithmetic) -> GridTrunk:
    preprocess = student.config.preprocess
    return GridTrunk(TRUNK, student.image, preprocess, arithmetic, TRAINED_BLOCKS)


def embed_grids(image: ImageTower, grids: Tensor) -> Tensor:
    """Grids [B, 7, 7, 192] -> the tower's embeddings of their photos, [B, dim] of unit length."""
    features = image.head_conv(image.blocks[-TRAINED_BLOCKS:](grids.permute(0, 3, 1, 2)))
    return F.normalize(image.head(F.relu6(features).mean((2, 3))).float(), dim=-1)
