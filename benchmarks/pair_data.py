"""What the frozen reference teachers make of photos and captions, for the scorers of
single_stream.py."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from pair_scorers import Photos, Texts
from torch import Tensor

from mcad_mobile.distill.dataset import Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.labels import single_labels
from mcad_mobile.distill.teachers.word_region import WordRegionTeacher

FINER_PIXELS = 320  # grids of 10 x 10 instead of 7 x 7


@dataclass(frozen=True)
class Split:
    """What the reference teachers make of a split. N photos, M captions, D their joint space."""

    owner: Tensor  # [M]
    looks: list[Features]  # of each view, [N, 1 + 49, D]: the whole photo, its regions
    finer: Tensor | None  # [N, 1 + 100, D]: of the whole photo, whatever the view
    sentences: Tensor  # [M, D]
    words: Tensor  # [M, L, D]
    mask: Tensor  # [M, L]

    def photos(self, rows: Tensor, view: int = 0) -> Photos:
        """rows [C, P]."""
        look = torch.from_numpy(self.looks[view][rows.numpy()].astype(np.float32))
        whole, regions = look[:, :, 0], look[:, :, 1:]
        if self.finer is None:
            return Photos(whole, regions, None)
        finer = self.finer[rows].float()
        return Photos(whole, torch.cat([regions, finer[:, :, 1:]], 2), finer[:, :, 0])

    def texts(self, rows: Tensor) -> Texts:
        """rows [C, T]."""
        mask = self.mask[rows]
        length = int(mask.sum(-1).max())
        words = self.words[rows][:, :, :length].float()
        return Texts(self.sentences[rows].float(), words, mask[:, :, :length])

    def similarity(self) -> Tensor:
        """Of the dual-stream teachers, [M, N]."""
        whole = torch.from_numpy(self.looks[0][:, 0].astype(np.float32))
        return self.sentences.float() @ whole.T


def prepared(teacher: WordRegionTeacher, data: Dataset, views: int, cache: FeatureCache) -> Split:
    said = single_labels(teacher, data, Views(views, 0), cache)
    texts = said.texts(np.arange(len(data.captions)))
    return Split(
        owner=torch.from_numpy(data.owner),
        looks=list(said.photos.paired),
        finer=None,
        sentences=texts.states[:, 0].clone(),
        words=texts.states[:, 1:].clone(),
        mask=texts.mask[:, 1:].clone(),
    )


class FinerTeacher(WordRegionTeacher):
    """The reference single-stream teacher, trained on grids of 7 x 7, looking at a finer grid of
    the whole photo, whichever crop of it a student sees."""

    name = "word-region attention on a finer grid (on region-text)"

    def __init__(self, teacher: WordRegionTeacher) -> None:
        super().__init__(teacher.duals, teacher.model)
        self._coarse = teacher.identity
        self._finer = [_FinerTrunk(trunk) for trunk in teacher.trunks]

    @property
    def trunks(self) -> Sequence[GridTrunk]:
        return self._finer

    @cached_property
    def identity(self) -> str:
        parts = [self._coarse, *(trunk.identity for trunk in self.trunks)]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


class _FinerTrunk(GridTrunk):
    def __init__(self, trunk: GridTrunk) -> None:
        preprocess = replace(trunk.preprocess, size=FINER_PIXELS)
        super().__init__(trunk.name, trunk.module, preprocess, trunk.arithmetic)

    def cached(self, cache: FeatureCache, photos: Sequence[Path], view: int) -> Features:
        return super().cached(cache, photos, 0)


def finer(teacher: WordRegionTeacher, data: Dataset, cache: FeatureCache) -> Tensor:
    """What FinerTeacher makes of photos, [N, 1 + 100, D] float16."""
    (states,) = single_labels(FinerTeacher(teacher), data, Views(1, 0), cache).photos.paired
    return torch.from_numpy(np.array(states))
