"""The rows of distill_ablation.py: students by their training, and the teachers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.dataset import Extra, Rows, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import dual_labels, single_labels
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.distill.teachers.prepare import TeacherTraining, train_duals, train_single
from mcad_mobile.distill.trainees.frozen_trunk import FrozenTrunk
from mcad_mobile.distill.trainees.protocol import evaluate_trainee
from mcad_mobile.students.evaluation import Retrieval, evaluate_similarity
from mcad_mobile.students.mcad import McadStudent

RERANKED = 32
# Labels alone overfit sooner than teachers: without dropout, the contrastive row is lower.
REGULARIZED = {"head_dropout": 0.2, "text_dropout": 0.1}
# Settings of the rows that compare parts of MCAD: one width, no classifier, and the passes and
# views that were the default when they were measured.
PLAIN = {
    "classifier": 0.0,
    "narrow": 0.0,
    "epochs": 12,
    "views": 6,
    "most_extra_captions": 40_000,
}
MCAD = {"teaching": "mcad"}
PLAIN_TEACHERS = {"views": 6, "single_epochs": 4}
Teacher = Literal["dual", "single", "both"]
BOTH = ("photos", "captions")


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    teacher: Teacher | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()  # unpaired data
    default: bool = False  # keeps the default's classifier and narrower widths

    def recipe(self, base: Recipe, seed: int) -> Recipe:
        """Return the recipe of this row for a seed; `base` is the default recipe."""
        teachers = replace(base.teachers, seed=seed)
        if self.default:
            return replace(base, seed=seed, teachers=teachers, **self.changes)
        teachers = replace(teachers, **PLAIN_TEACHERS)
        return replace(base, seed=seed, teachers=teachers, **{**PLAIN, **self.changes})


ROWS = (
    Row("dual-teacher", "dual-stream teachers alone", "dual"),
    Row("single-teacher", f"single-stream teacher, re-ranking their top {RERANKED}", "single"),
    Row("both-teachers", f"mean of both scores, re-ranking their top {RERANKED}", "both"),
    Row(
        "contrastive",
        "student, contrastive only",
        changes={"teaching": "none", "contrastive": 1.0, **REGULARIZED},
    ),
    Row("dual", "student, dual-stream distillation", changes={"teaching": "dual"}),
    Row(
        "single",
        "student, single-stream distillation",
        changes={
            "teaching": "single",
            "feature": 0.0,
            "contrastive": 1.0,
            # The teacher is as certain of training pairs as labels are: at 0.03 it adds nothing.
            "temperature": 0.1,
            **REGULARIZED,
        },
    ),
    Row(
        "mcad-distribution",
        "student, MCAD, distribution only",
        changes={**MCAD, "feature": 0.0},
    ),
    Row("mcad-feature", "student, MCAD, feature only", changes={**MCAD, "distribution": 0.0}),
    Row("mcad", "student, MCAD, both", changes=MCAD),
    Row("mcad-extra", "student, MCAD, both, unpaired data too", changes=MCAD, extra=BOTH),
    Row("default", "the default student", extra=BOTH, default=True),
    Row(
        "default-mcad",
        "the default with the single-stream teacher",
        changes=MCAD,
        extra=BOTH,
        default=True,
    ),
    Row(
        "no-classifier",
        "the default without the classifier",
        changes={"classifier": 0.0},
        extra=BOTH,
        default=True,
    ),
    Row(
        "no-imagined",
        "the default without imagined photos",
        changes={"imagined": 0},
        extra=BOTH,
        default=True,
    ),
    Row(
        "half-names",
        "the default with half of the numbers for names",
        changes={"name_numbers": 128},
        extra=BOTH,
        default=True,
    ),
)


def evaluate_cached(
    student: McadStudent, photos: list[CaptionedPhoto], cache: FeatureCache, arithmetic: Arithmetic
) -> Retrieval:
    """Evaluate a student from the trunk's cached features, in seconds."""
    data = dataset(photos, student.tokenizer, Extra())
    trainee = FrozenTrunk(student, student.name, "")
    return evaluate_trainee(trainee, trainee.reader(data, Views(1, 0), cache, arithmetic), data)


def teacher_rows(
    teacher: Teacher,
    recipe: Recipe,
    train: list[CaptionedPhoto],
    test: list[CaptionedPhoto],
    cache: FeatureCache,
    arithmetic: Arithmetic,
) -> Retrieval:
    """Return a reference teacher's own retrieval on `test`; train the teacher first if needed."""
    paired = dataset(train, minilm_tokenizer(), Extra())
    training = TeacherTraining(paired.pairs, recipe.teachers, cache, arithmetic)
    duals = train_duals(training, paired.token_counts())
    single = train_single(training, duals)
    data = dataset(test, duals[0].tokenizer, Extra())
    views = Views(1, 0)
    dual = dual_labels(duals, data, views, cache)
    similarity = dual.all_texts() @ dual.view("paired").T
    if teacher == "dual":
        return evaluate_similarity(similarity.numpy(), similarity.numpy(), data.owner)
    labels = single_labels(single, data, views, cache)
    photos = torch.from_numpy(np.array(labels.photos.paired[0]))
    texts = labels.texts(np.arange(len(data.captions)))
    candidates = nearest_masks(similarity)
    pairs = (candidates[0] | candidates[1]).nonzero()
    scores = torch.zeros_like(similarity)
    scores[pairs[:, 0], pairs[:, 1]] = single.fuse(photos, texts, pairs.flip(1)).scores
    if teacher == "both":
        scores = (scores + similarity) / 2
    return reranked(similarity, candidates, scores, data.owner)


def nearest_masks(similarity: Tensor) -> list[Tensor]:
    """Return masks [M, N] of the photos to re-rank for each text, and of the texts for each photo,
    from similarity [M, N] of texts and images."""
    return [
        torch.zeros_like(similarity, dtype=torch.bool).scatter_(
            axis, similarity.topk(RERANKED, axis).indices, True
        )
        for axis in (1, 0)
    ]


def reranked(
    similarity: Tensor, candidates: Sequence[Tensor], scores: Tensor, owner: Rows
) -> Retrieval:
    """Return retrieval that ranks the `candidates` first, by `scores` [M, N]: adding 9 exceeds any
    cosine, since scores and cosines are near [-1, 1]."""
    of_texts, of_images = (torch.where(mask, 9 + scores, similarity).numpy() for mask in candidates)
    return evaluate_similarity(of_texts, of_images, owner)
