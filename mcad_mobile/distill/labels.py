"""The teachers' labels of a dataset: computed once, cached on disk, read a batch at a time. MCAD's
fusion of single-stream features into the dual-stream teacher's: the student learns the fused
features and similarities. docs/distillation.md says which parts are the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Views
from mcad_mobile.distill.features import (
    CaptionRows,
    FeatureCache,
    Features,
    PhotoRows,
    caption_rows,
    encode_photos,
    half,
)
from mcad_mobile.distill.teachers.teacher import (
    DualStreamTeacher,
    Fused,
    SingleStreamTeacher,
    TextStates,
    concatenate_teachers,
)
from mcad_mobile.engine.arrays import Rows


@dataclass(frozen=True)
class DualLabels:
    """Embeddings by one or more dual-stream teachers, combined by concatenate_teachers."""

    photos: tuple[PhotoRows, ...]  # per teacher, rows [D_n]
    texts: tuple[CaptionRows, ...]  # per teacher, rows [D_n]

    @property
    def dim(self) -> int:
        return sum(int(texts.paired.shape[1]) for texts in self.texts)

    def of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images [I, D] and texts [T, D] float32 of unit length."""
        images = [photos.of(batch) for photos in self.photos]
        return concatenate_teachers(images), self._texts(batch.captions)

    def view(self, photos: Literal["paired", "extra"]) -> Tensor:
        """Return all paired [N, D] or extra [E, D] photos, uncropped."""
        rows = [getattr(teacher, photos)[0] for teacher in self.photos]
        return concatenate_teachers([torch.from_numpy(np.asarray(row, np.float32)) for row in rows])

    def all_texts(self) -> Tensor:
        """Return all texts [M, D]."""
        return self._texts(np.arange(len(self.texts[0])))

    def _texts(self, captions: Rows) -> Tensor:
        rows = [texts.of(captions).astype(np.float32) for texts in self.texts]
        return concatenate_teachers([torch.from_numpy(row) for row in rows])

    def principal(self, dim: int) -> Tensor:
        """Return the `dim` principal directions of photos and captions, strongest first: [D, dim]
        float32, orthonormal columns, zeros beyond D. Not centred, to preserve cosines."""
        second_moment = torch.zeros(self.dim, self.dim, dtype=torch.float64)
        for rows in (self.view("paired").double(), self.all_texts().double()):
            second_moment += rows.T @ rows / len(rows)
        directions = torch.linalg.eigh(second_moment).eigenvectors[:, -dim:].flip(1).float()
        return F.pad(directions, (0, dim - directions.shape[1]))

    def companions(self, data: Dataset, number: int = 16) -> Rows | None:
        """Return row numbers of the extra captions nearest each photo: [N + E, number] or None."""
        first = len(data.owner)
        if len(data.captions) == first:
            return None
        texts = self._texts(np.arange(first, len(data.captions)))
        number = min(number, len(texts))
        photos = [self.view("paired"), *([self.view("extra")] if self.photos[0].extra else [])]
        nearest = [
            (chunk @ texts.T).topk(number, 1).indices
            for chunk in torch.split(torch.cat(photos), 500)
        ]
        return torch.cat(nearest).numpy() + first


@dataclass(frozen=True)
class JointLabels:
    """The teachers' joint labels of I images and T texts."""

    image: Tensor  # [I, D] float32 of unit length
    text: Tensor  # [T, D] float32 of unit length
    similarity: Tensor  # [I, T] float32
    order: Tensor | None = None  # [I, T] float32, the candidates' scores; -inf for other pairs


def candidates(image: Tensor, text: Tensor, k: int) -> Tensor:
    """Mark the k texts nearest each image [I, D] and the k images nearest each text [T, D] -> [I,
    T] bool. Ignores which pairs match: fused features must not reveal it."""
    similarity = image @ text.T
    chosen = torch.zeros_like(similarity, dtype=torch.bool)
    chosen.scatter_(1, similarity.topk(min(k, len(text)), 1).indices, True)
    chosen.scatter_(0, similarity.topk(min(k, len(image)), 0).indices, True)
    return chosen


class Fusion(nn.Module):
    """v'_i = norm(v_i + P_v sum_j a_ij f_ij),  t'_j = norm(t_j + P_t sum_i b_ij f_ij),
    s'_ij = (v'_i . t'_j + w m_ij) / (1 + w),

    where f_ij is the fused feature and m_ij the match score of a candidate pair, a is the softmax
    of scores over an image's candidates, and b over a text's. P_v and P_t start at zero; they, w
    and the softmax's temperature are trained (see train_fusion) with both teachers frozen.
    """

    def __init__(self, dim: int, fused_dim: int) -> None:
        super().__init__()
        self.to_image = nn.Linear(fused_dim, dim, bias=False)
        self.to_text = nn.Linear(fused_dim, dim, bias=False)
        nn.init.zeros_(self.to_image.weight)
        nn.init.zeros_(self.to_text.weight)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.score_weight = nn.Parameter(torch.tensor(1.0))

    def forward(
        self, image: Tensor, text: Tensor, candidate_mask: Tensor, fused: Fused
    ) -> JointLabels:
        """image [I, D], text [T, D] of unit length; candidate_mask [I, T] bool; fused: for
        the pairs candidate_mask.nonzero(), in that order."""
        pairs = candidate_mask.nonzero()
        score = torch.zeros_like(candidate_mask, dtype=torch.float32)
        score[pairs[:, 0], pairs[:, 1]] = fused.scores
        masked_scores = (self.log_sharpness.exp() * score).masked_fill(~candidate_mask, -torch.inf)
        modified_image = F.normalize(
            image + self.to_image(_pool(masked_scores.softmax(1), pairs, 0, fused.features)), dim=1
        )
        modified_text = F.normalize(
            text + self.to_text(_pool(masked_scores.softmax(0), pairs, 1, fused.features)), dim=1
        )
        dual = image @ text.T
        # Estimate the scores of non-candidates from their dual-stream similarities.
        estimate = dual + (score - dual)[candidate_mask].mean()
        weight = self.score_weight
        similarity = modified_image @ modified_text.T + weight * torch.where(
            candidate_mask, score, estimate
        )
        return JointLabels(modified_image, modified_text, similarity / (1 + weight))


def _pool(weights: Tensor, pairs: Tensor, side: int, features: Tensor) -> Tensor:
    """Sum of each row's (side 0) or column's (side 1) fused features, weighted -> [I or T, F]."""
    weighted = features * weights[pairs[:, 0], pairs[:, 1], None]
    pooled = features.new_zeros(weights.shape[side], features.shape[1])
    return pooled.index_add(0, pairs[:, side], weighted)


@dataclass(frozen=True)
class SingleLabels:
    teacher: SingleStreamTeacher
    photos: PhotoRows  # rows [R, C]
    captions: CaptionRows  # rows: states and mask
    shape: tuple[int, ...]  # of a caption's states
    length: int  # of its mask

    def texts(self, captions: Rows) -> TextStates:
        rows = torch.from_numpy(self.captions.of(captions))
        states, mask = rows[:, : -self.length], rows[:, -self.length :]
        return TextStates(states.reshape(-1, *self.shape), mask.float())


@dataclass(frozen=True)
class Labels:
    """Labels by all teachers; `single` and `fusion` are None for teaching "dual", and `fusion` for
    teaching by ranking."""

    dual: DualLabels
    candidates: int  # per photo, and per caption
    single: SingleLabels | None = None
    fusion: Fusion | None = None
    identity: tuple[str, ...] = ()  # of the teachers
    names: tuple[str, ...] = ()
    scale: float = 1.0  # of the single-stream teacher's scores, before `shift` is added
    shift: float = 0.0

    def calibrated(self, sampler: BatchSampler, steps: int = 4) -> Labels:
        """Scale the single-stream teacher's scores to the mean and spread of the dual-stream
        similarities, over the first steps' candidates. A cross-encoder's raw logits are too peaked
        to match (arXiv 2407.07479): each softmax would be nearly one-hot."""
        first = range(min(steps, sampler.steps_per_epoch))
        batches = [self.score_candidates(sampler.at(step)) for step in first]
        dual = torch.cat([(image @ text.T)[asked] for image, text, asked, _ in batches])
        score = torch.cat([fused.scores for *_, fused in batches])
        # A teacher that gives every pair the same score has no spread, and teaches nothing.
        scale = float(dual.std() / score.std().clamp(min=1e-6))
        return replace(self, scale=scale, shift=float(dual.mean() - scale * score.mean()))

    @torch.no_grad()
    def of(self, batch: Batch) -> JointLabels:
        if self.single is None:
            image, text = self.dual.of(batch)
            return JointLabels(image, text, image @ text.T)
        if self.fusion is None:
            image, text, mask, fused = self.score_candidates(batch)
            similarity = image @ text.T
            order = torch.full_like(similarity, -torch.inf)
            order[mask] = similarity[mask] + fused.scores / 2
            return JointLabels(image, text, similarity, order)
        joint: JointLabels = self.fusion(*self.score_candidates(batch))
        return joint

    @torch.no_grad()
    def score_candidates(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Fused]:
        """Score the candidates of a batch with the single-stream teacher. Returns the inputs of
        Fusion."""
        assert self.single is not None
        image, text = self.dual.of(batch)
        candidate_mask = candidates(image, text, self.candidates)
        states, texts = self.single.photos.of(batch), self.single.texts(batch.captions)
        fused = self.single.teacher.fuse(states, texts, candidate_mask.nonzero())
        scores = self.scale * fused.scores + self.shift
        return image, text, candidate_mask, Fused(fused.features, scores)


def dual_labels(
    teachers: Sequence[DualStreamTeacher], data: Dataset, views: Views, cache: FeatureCache
) -> DualLabels:
    """Each teacher's embeddings of all photos and captions, computed or read from the cache."""
    rows = [_dual_rows(teacher, data, views, cache) for teacher in teachers]
    return DualLabels(tuple(photos for photos, _ in rows), tuple(texts for _, texts in rows))


def _dual_rows(
    teacher: DualStreamTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> tuple[PhotoRows, CaptionRows]:
    identity, part = teacher.identity, "dual-stream teachers on"
    photos = encode_photos(
        teacher.embed_photos, teacher.trunks, identity, f"{part} photos", data, views, cache
    )

    def of_captions(captions: Sequence[str]) -> Features:
        return cache.of_captions(captions, identity, f"{part} captions", half(teacher.embed_texts))

    return photos, caption_rows(data, of_captions)


def single_labels(
    teacher: SingleStreamTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> SingleLabels:
    """A teacher's states of all photos and captions, computed or read from the cache."""
    identity, part = teacher.identity, "single-stream teacher on"
    photos = encode_photos(
        teacher.photo_states, teacher.trunks, identity, f"{part} photos", data, views, cache
    )

    # One array holds states and mask, side by side, so that a caption is encoded once.
    def states_and_mask(captions: Sequence[str]) -> Features:
        texts = teacher.text_states(captions)
        both = [texts.states.flatten(1), texts.mask.to(texts.states.dtype)]
        return torch.cat(both, 1).numpy()

    def of_captions(captions: Sequence[str]) -> Features:
        return cache.of_captions(captions, identity, f"{part} captions", states_and_mask)

    example = teacher.text_states(data.captions[:1])
    shape, length = tuple(example.states.shape[1:]), example.mask.shape[1]
    return SingleLabels(teacher, photos, caption_rows(data, of_captions), shape, length)
