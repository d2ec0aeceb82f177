"""What the teachers say of a dataset: computed once, kept on disk, read a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mcad_mobile.distill.dataset import Batch, Dataset, Order, Rows, Views
from mcad_mobile.distill.features import (
    CaptionRows,
    FeatureCache,
    Features,
    PhotoRows,
    caption_rows,
    photo_rows,
)
from mcad_mobile.distill.fusion import Fusion, Modified, candidates
from mcad_mobile.distill.recipe import Teaching
from mcad_mobile.distill.teachers.protocol import (
    DualStreamTeacher,
    Fused,
    SingleStreamTeacher,
    TextStates,
    side_by_side,
)
from mcad_mobile.distill.teachers.region_text import RegionTextTeacher
from mcad_mobile.distill.teachers.word_region import WordRegionTeacher


@dataclass(frozen=True)
class DualLabels:
    """Of one or more dual-stream teachers. Their embeddings are set side by side and scaled to
    unit length, so that the similarity of several is the mean of their similarities."""

    photos: tuple[PhotoRows, ...]  # per teacher, rows [D_n]
    texts: tuple[CaptionRows, ...]  # per teacher, rows [D_n]

    @property
    def dim(self) -> int:
        return sum(int(texts.paired.shape[1]) for texts in self.texts)

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images [I, D] and texts [T, D] float32 of unit length."""
        images = [photos.of(batch) for photos in self.photos]
        return side_by_side(images), self._texts(batch.captions)

    def view(self, photos: Literal["paired", "extra"]) -> Tensor:
        """All photos, as they are: [N, D] or [E, D]."""
        rows = [getattr(teacher, photos)[0] for teacher in self.photos]
        return side_by_side([torch.from_numpy(np.asarray(row, np.float32)) for row in rows])

    def all_photos(self) -> Tensor:
        """Paired and extra ones, as they are: [N + E, D]."""
        has_extra = bool(self.photos[0].extra)
        return torch.cat([self.view("paired"), *([self.view("extra")] if has_extra else [])])

    def all_texts(self) -> Tensor:
        """[M, D]."""
        return self._texts(np.arange(len(self.texts[0])))

    def _texts(self, captions: Rows) -> Tensor:
        rows = [texts.of(captions).astype(np.float32) for texts in self.texts]
        return side_by_side([torch.from_numpy(row) for row in rows])

    def principal(self, dim: int) -> Tensor:
        """The `dim` directions that carry most of the photos and captions, the heaviest first:
        [D, dim] float32, orthonormal columns, zeros beyond D. Not centred: cosines are what has
        to stay. The first k of them are what k directions could carry at best."""
        second = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        for rows in (self.view("paired").double(), self.all_texts().double()):
            second += rows.T @ rows / len(rows)
        kept = torch.linalg.eigh(second).eigenvectors[:, -dim:].flip(1).float()
        return torch.nn.functional.pad(kept, (0, dim - kept.shape[1]))

    def companions(self, data: Dataset, number: int = 16) -> Rows | None:
        """Pairs that the teachers make: for every photo, the extra captions nearest to it
        -> [N + E, number] row numbers of captions. None without extra captions."""
        first = len(data.owner)
        if len(data.captions) == first:
            return None
        texts = self._texts(np.arange(first, len(data.captions)))
        number = min(number, len(texts))
        nearest = [
            (chunk @ texts.T).topk(number, 1).indices
            for chunk in torch.split(self.all_photos(), 500)
        ]
        return torch.cat(nearest).numpy() + first


@dataclass(frozen=True)
class SingleLabels:
    teacher: SingleStreamTeacher
    photos: PhotoRows  # rows [R, C]
    captions: CaptionRows  # rows: states and mask
    shape: tuple[int, ...]  # of a caption's states
    length: int  # of its mask

    def texts(self, captions: Rows) -> TextStates:
        """States and mask of captions by their row numbers."""
        rows = torch.from_numpy(self.captions.of(captions))
        states, mask = rows[:, : -self.length], rows[:, -self.length :]
        return TextStates(states.reshape(-1, *self.shape), mask.float())


@dataclass(frozen=True)
class Looked:
    """What the fusion starts from."""

    image: Tensor  # [I, D]
    text: Tensor  # [T, D]
    candidates: Tensor  # [I, T] bool
    fused: Fused  # of the candidates, in the order of candidates.nonzero()


@dataclass(frozen=True)
class Labels:
    """`single` and `fusion` are None where only the dual-stream teacher teaches."""

    dual: DualLabels
    candidates: int  # of a photo, and of a caption
    single: SingleLabels | None = None
    fusion: Fusion | None = None
    identity: tuple[str, ...] = ()  # of the teachers
    names: tuple[str, ...] = ()
    scale: float = 1.0  # of the single-stream teacher's scores, before `shift` is added
    shift: float = 0.0

    def calibrated(self, order: Order, steps: int = 4) -> Labels:
        """The single-stream teacher's scores brought to the mean and the spread that the
        dual-stream similarities of the same pairs have: the candidates of an order's first steps.
        A cross-encoder's logits are of another size, and too peaked to be matched as they are
        (arXiv 2407.07479): every softmax of them would be a label."""
        looks = [self.look(order.at(step)) for step in range(min(steps, order.steps_per_epoch))]
        dual = torch.cat([(look.image @ look.text.T)[look.candidates] for look in looks])
        score = torch.cat([look.fused.scores for look in looks])
        # A teacher that says the same of every pair has no spread, and nothing to say.
        scale = float(dual.std() / score.std().clamp(min=1e-6))
        return replace(self, scale=scale, shift=float(dual.mean() - scale * score.mean()))

    @torch.no_grad()
    def of(self, batch: Batch, teaching: Teaching) -> Modified:
        """The teachers' word on a batch: images [I, D], texts [T, D], similarities [I, T]."""
        if teaching == "dual":
            image, text = self.dual.of(batch)
            everything = torch.ones(len(image), len(text), dtype=torch.bool)
            return Modified(image, text, image @ text.T, everything)
        looked = self.look(batch)
        image, text, seen = looked.image, looked.text, looked.candidates
        if teaching == "single":
            scores = torch.zeros_like(seen, dtype=torch.float32)
            scores[seen] = looked.fused.scores
            return Modified(image, text, scores, seen)
        assert self.fusion is not None
        modified: Modified = self.fusion(image, text, seen, looked.fused)
        return modified

    @torch.no_grad()
    def look(self, batch: Batch) -> Looked:
        """Ask the single-stream teacher about the candidates of a batch."""
        assert self.single is not None
        image, text = self.dual.of(batch)
        seen = candidates(image, text, self.candidates)
        states, texts = self.single.photos.of(batch), self.single.texts(batch.captions)
        fused = self.single.teacher.fuse(states, texts, seen.nonzero())
        scores = self.scale * fused.scores + self.shift
        return Looked(image, text, seen, Fused(fused.features, scores))


def dual_labels(
    teachers: Sequence[DualStreamTeacher], data: Dataset, views: Views, cache: FeatureCache
) -> DualLabels:
    said = [_dual_labels(teacher, data, views, cache) for teacher in teachers]
    return DualLabels(tuple(photos for photos, _ in said), tuple(texts for _, texts in said))


def _dual_labels(
    teacher: DualStreamTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> tuple[PhotoRows, CaptionRows]:
    def of_view(photos: Sequence[Path], view: int) -> Features:
        part = "dual-stream teachers on photos"
        if isinstance(teacher, RegionTextTeacher):
            grids = [trunk.cached(cache, photos, view) for trunk in teacher.trunks]
            return cache.of_features(
                grids, teacher.identity, part, lambda rows: _half(teacher.embed_grids(rows))
            )
        return cache.of_photos(
            photos, view, teacher.identity, part, lambda some: _half(teacher.embed_photos(some))
        )

    def of_captions(captions: Sequence[str]) -> Features:
        part = "dual-stream teachers on captions"
        return cache.of_captions(
            captions, teacher.identity, part, lambda some: _half(teacher.embed_texts(some))
        )

    return photo_rows(data, views, of_view), caption_rows(data, of_captions)


def single_labels(
    teacher: SingleStreamTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> SingleLabels:
    def of_view(photos: Sequence[Path], view: int) -> Features:
        part = "single-stream teacher on photos"
        if isinstance(teacher, WordRegionTeacher):
            grids = [trunk.cached(cache, photos, view) for trunk in teacher.trunks]
            return cache.of_features(
                grids, teacher.identity, part, lambda rows: _half(teacher.grid_states(rows))
            )
        return cache.of_photos(
            photos, view, teacher.identity, part, lambda some: _half(teacher.photo_states(some))
        )

    # One array holds states and mask, side by side, so that a caption is encoded once.
    def states_and_mask(some: Sequence[str]) -> Features:
        texts = teacher.text_states(some)
        both = [texts.states.flatten(1), texts.mask.to(texts.states.dtype)]
        return torch.cat(both, 1).numpy()

    example = teacher.text_states(data.captions[:1])

    def of_captions(captions: Sequence[str]) -> Features:
        part = "single-stream teacher on captions"
        return cache.of_captions(captions, teacher.identity, part, states_and_mask)

    return SingleLabels(
        teacher,
        photo_rows(data, views, of_view),
        caption_rows(data, of_captions),
        tuple(example.states.shape[1:]),
        example.mask.shape[1],
    )


def _half(rows: Tensor) -> Features:
    return rows.half().numpy()
