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
from mcad_mobile.distill.dataset import Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import dual_labels, single_labels
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.distill.teachers.prepare import TeacherTraining, train_duals, train_single
from mcad_mobile.distill.trainee import FrozenTrunk, evaluate_trainee
from mcad_mobile.engine.arrays import Rows
from mcad_mobile.recall import Retrieval, evaluate_similarity
from mcad_mobile.students.mcad import McadStudent

RERANKED = 32
Teacher = Literal["dual", "single"]
BOTH = ("photos", "captions")
_SHORT = {"classifier": 0.0, "epochs": 10}
# With these, each class and kind is named as often as in the default, and counts as much.
_NO_WORDS = {"words": 0.0, "names": 448, "called": 12.5}


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    teacher: Teacher | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = BOTH  # unpaired data
    own_teachers: bool = True  # for each seed

    def recipe(self, base: StudentRecipe, seed: int) -> StudentRecipe:
        """Return the recipe of this row for a seed; `base` is the default recipe."""
        teachers = replace(base.teachers, seed=seed) if self.own_teachers else base.teachers
        return replace(base, seed=seed, teachers=teachers, **self.changes)


ROWS = (
    Row("dual-teacher", "dual-stream teachers alone", "dual", extra=()),
    Row(
        "single-teacher",
        f"single-stream teacher, re-ranking their top {RERANKED}",
        "single",
        extra=(),
    ),
    Row(
        "contrastive",
        "student without teachers",
        # Labels alone overfit sooner than teachers: with less dropout, this row is lower.
        changes={"teaching": "none", "contrastive": 1.0, "head_dropout": 0.2, "text_dropout": 0.1},
        extra=(),
    ),
    Row("no-classifier", "student with dual-stream teachers", changes={"classifier": 0.0}),
    Row(
        "no-distribution",
        "the same without the distribution loss",
        changes={"classifier": 0.0, "distribution": 0.0},
    ),
    Row(
        "no-feature",
        "the same without the feature loss",
        changes={"classifier": 0.0, "feature": 0.0},
    ),
    Row("default", "the default student: with dual-stream teachers and a classifier"),
    Row(
        "weights-alone",
        "the default without kinds, imagined photos and words of captions",
        changes={"kinds": 0.0, "imagined": 0, **_NO_WORDS},
    ),
    Row("no-words", "the default without words of captions", changes=_NO_WORDS),
    Row("no-kinds", "the default without kinds", changes={"kinds": 0.0}),
    Row("no-imagined", "the default without imagined photos", changes={"imagined": 0}),
    Row("no-unpaired", "the default without unpaired data", extra=()),
    Row(
        "half-names",
        "the default with half of the embedding for names, not three quarters",
        changes={"name_numbers": 128},
    ),
    Row(
        "with-single",
        "the default with the single-stream teacher, too (MCAD)",
        changes={"teaching": "mcad"},
    ),
    Row(
        "short",
        "a short run on captions alone, with dual-stream teachers",
        changes=_SHORT,
        extra=(),
        own_teachers=False,
    ),
    Row(
        "short-mcad",
        "the short run with the single-stream teacher, too (MCAD)",
        changes={**_SHORT, "teaching": "mcad"},
        extra=(),
        own_teachers=False,
    ),
    Row(
        "short-ranking",
        "the short run with the order of candidates by both teachers",
        changes={**_SHORT, "teaching": "mcad", "ranking": 1.0},
        extra=(),
        own_teachers=False,
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
    recipe: StudentRecipe,
    train: list[CaptionedPhoto],
    test: list[CaptionedPhoto],
    cache: FeatureCache,
    arithmetic: Arithmetic,
) -> Retrieval:
    """Return a reference teacher's own retrieval on `test`; train the teacher first if needed."""
    paired = dataset(train, minilm_tokenizer(), Extra())
    training = TeacherTraining(paired.pairs, recipe.teachers, cache, arithmetic)
    duals = train_duals(training, paired.token_counts())
    data = dataset(test, minilm_tokenizer(), Extra())
    views = Views(1, 0)
    dual = dual_labels(duals, data, views, cache)
    similarity = dual.all_texts() @ dual.view("paired").T
    if teacher == "dual":
        return evaluate_similarity(similarity.numpy(), similarity.numpy(), data.owner)
    single = train_single(training, paired.token_counts())
    labels = single_labels(single, data, views, cache)
    photos = torch.from_numpy(np.array(labels.photos.paired[0]))
    texts = labels.texts(np.arange(len(data.captions)))
    candidates = nearest_masks(similarity)
    pairs = (candidates[0] | candidates[1]).nonzero()
    scores = torch.zeros_like(similarity)
    scores[pairs[:, 0], pairs[:, 1]] = single.fuse(photos, texts, pairs.flip(1)).scores
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
