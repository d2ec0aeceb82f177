"""The rows of distill_ablation.py: students by what taught them, and the teachers themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.distill.dataset import Extra, Rows, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import dual_labels, single_labels
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.distill.schooling import reference_teachers
from mcad_mobile.engine import SearchEngine
from mcad_mobile.evaluate import Retrieval, evaluate, evaluate_similarity
from mcad_mobile.export.pipeline import Order, Progress, export
from mcad_mobile.students.load import load_student
from mcad_mobile.targets.target import RungPlan, Target, find_target

RERANKED = 32
# Labels alone overfit sooner than teachers do: without these the contrastive row is lower.
REGULARIZED = {"head_dropout": 0.2, "text_dropout": 0.1}
# The rows that compare parts of MCAD with each other are of one width and without a classifier.
PLAIN = {"classifier": 0.0, "narrow": 0.0}
Teacher = Literal["dual", "single", "both"]
Unpaired = Literal["photos", "captions"]
BOTH: tuple[Unpaired, ...] = ("photos", "captions")


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    teacher: Teacher | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    extra: tuple[Unpaired, ...] = ()
    every_seed: bool = True  # or only the first: a side question
    exported: str = ""  # the w8a8 export of another row's student
    today: bool = False  # as the default recipe is today, a classifier and narrower widths with it

    @property
    def differs(self) -> dict[str, Any]:
        """What of the default recipe is otherwise in this row."""
        return self.changes if self.today else {**PLAIN, **self.changes}


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
            # Of the training pairs it is as sure as their labels: at 0.03 it teaches nothing else.
            "temperature": 0.1,
            **REGULARIZED,
        },
    ),
    Row(
        "single-order",
        "student, single-stream, order only",
        changes={
            "teaching": "single",
            "feature": 0.0,
            "distribution": 0.0,
            "order": 1.0,
            "contrastive": 1.0,
            **REGULARIZED,
        },
        every_seed=False,
    ),
    Row("mcad-distribution", "student, MCAD, distribution only", changes={"feature": 0.0}),
    Row("mcad-feature", "student, MCAD, feature only", changes={"distribution": 0.0}),
    Row("mcad", "student, MCAD, both"),
    Row(
        "mcad-photos",
        "student, MCAD, both, unpaired photos too",
        extra=("photos",),
        every_seed=False,
    ),
    Row(
        "mcad-captions",
        "student, MCAD, both, unpaired captions too",
        extra=("captions",),
        every_seed=False,
    ),
    Row("mcad-extra", "student, MCAD, both, unpaired data too", extra=BOTH),
    Row(
        "mcad-extra-qat",
        "student, MCAD, both, unpaired data too, QAT",
        changes={"qat_epochs": 3},
        extra=BOTH,
        every_seed=False,
    ),
    Row(
        "mcad-classifier",
        "student, MCAD, both, unpaired data and a classifier too (the default)",
        extra=BOTH,
        today=True,
    ),
    Row(
        "mcad-classifier-far",
        "the same, 12 passes, names drawn to classes more, classes not to photos",
        changes={"epochs": 12, "near": 0.0, "called": 5.0},
        extra=BOTH,
        today=True,
        every_seed=False,
    ),
    Row(
        "dual-classifier",
        "the default without the single-stream teacher",
        changes={"teaching": "dual"},
        extra=BOTH,
        today=True,
    ),
    Row(
        "no-classifier",
        "the default without the classifier",
        changes={"classifier": 0.0},
        extra=BOTH,
        today=True,
    ),
    Row(
        "w8a8",
        "the row with unpaired data, exported to w8a8",
        exported="mcad-extra",
        every_seed=False,
    ),
    Row(
        "qat-w8a8",
        "its student with QAT, exported to w8a8",
        exported="mcad-extra-qat",
        every_seed=False,
    ),
)


class AllEightBits(Target):
    """A Dimensity whose text tower, too, gets 8-bit activations. No real target asks for that:
    MiniLM's outliers lose too much. QAT is there to change it."""

    @property
    def ladder(self) -> tuple[RungPlan, ...]:
        return (RungPlan("litert", "w8a8", "w8a8"), RungPlan("onnx", "int8", "int8"))


def exported_row(
    student: Path, test: list[CaptionedPhoto], out: Path, progress: Progress
) -> Retrieval:
    """Recall of a student's LiteRT towers with 8-bit weights and activations, on this CPU."""
    chip = structs.asdict(find_target("dimensity-9300"))
    order = Order(AllEightBits(**chip), out)
    (made,) = export(load_student(str(student)), [order], allow_low_parity=True, progress=progress)
    engine = SearchEngine(made.bundle, runtime="litert")
    return evaluate(test, engine.embed_photo, engine.embed_text, progress)


def teacher_rows(
    which: Teacher,
    recipe: Recipe,
    train: list[CaptionedPhoto],
    test: list[CaptionedPhoto],
    cache: FeatureCache,
    arithmetic: Arithmetic,
) -> Retrieval:
    """A reference teacher's own retrieval on `test`, trained first if it is not yet."""
    duals, single = reference_teachers(train, recipe, cache, arithmetic)
    data = dataset(test, duals[0].tokenizer, Extra())
    views = Views(1, 0)
    said = dual_labels(duals, data, views, cache)
    similarity = said.all_texts() @ said.view("paired").T
    if which == "dual":
        return evaluate_similarity(similarity.numpy(), similarity.numpy(), data.owner)
    labels = single_labels(single, data, views, cache)
    photos = torch.from_numpy(np.array(labels.photos.paired[0]))
    texts = labels.texts(np.arange(len(data.captions)))
    seen = tops(similarity)
    pairs = (seen[0] | seen[1]).nonzero()
    scores = torch.zeros_like(similarity)
    scores[pairs[:, 0], pairs[:, 1]] = single.fuse(photos, texts, pairs.flip(1)).scores
    if which == "both":
        scores = (scores + similarity) / 2
    return reranked(similarity, seen, scores, data.owner)


def tops(similarity: Tensor) -> list[Tensor]:
    """similarity [M, N] of texts and images -> the top of each text, then of each image, as masks
    [M, N]: what is looked at again."""
    return [
        torch.zeros_like(similarity, dtype=torch.bool).scatter_(
            axis, similarity.topk(RERANKED, axis).indices, True
        )
        for axis in (1, 0)
    ]


def reranked(similarity: Tensor, seen: Sequence[Tensor], scores: Tensor, owner: Rows) -> Retrieval:
    """Where what was `seen` goes by `scores` [M, N], before all else: neither those nor cosines
    are far from [-1, 1]."""
    of_texts, of_images = (torch.where(top, 9 + scores, similarity).numpy() for top in seen)
    return evaluate_similarity(of_texts, of_images, owner)
