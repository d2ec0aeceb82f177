"""The rows of distill_ablation.py: students by what taught them, and the teachers themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.dataset import Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import dual_labels, single_labels
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.teachers.protocol import TextStates
from mcad_mobile.distill.train import reference_teachers
from mcad_mobile.evaluate import Retrieval, evaluate_similarity

RERANKED = 32
Teacher = Literal["dual", "single", "both"]


@dataclass(frozen=True)
class Row:
    name: str
    label: str
    teacher: Teacher | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    extra: bool = False
    every_seed: bool = True  # or only the first: a side question


ROWS = (
    Row("dual-teacher", "dual-stream teachers alone", "dual"),
    Row("single-teacher", f"single-stream teacher, re-ranking their top {RERANKED}", "single"),
    Row("both-teachers", f"mean of both scores, re-ranking their top {RERANKED}", "both"),
    Row(
        "contrastive",
        "student, contrastive only",
        changes={"teaching": "none", "contrastive": 1.0, "head_dropout": 0.2},
    ),
    Row("dual", "student, dual-stream distillation", changes={"teaching": "dual"}),
    Row(
        "single",
        "student, single-stream distillation",
        changes={"teaching": "single", "feature": 0.0, "contrastive": 1.0},
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
        },
        every_seed=False,
    ),
    Row("mcad-distribution", "student, MCAD, distribution only", changes={"feature": 0.0}),
    Row("mcad-feature", "student, MCAD, feature only", changes={"distribution": 0.0}),
    Row("mcad", "student, MCAD, both"),
    Row(
        "dual-extra",
        "student, dual-stream distillation, unpaired data too",
        changes={"teaching": "dual"},
        extra=True,
        every_seed=False,
    ),
    Row("mcad-extra", "student, MCAD, both, unpaired data too", extra=True),
    Row(
        "mcad-extra-qat",
        "student, MCAD, both, unpaired data too, QAT",
        changes={"qat_epochs": 3},
        extra=True,
    ),
)


def teacher_rows(
    which: Teacher,
    recipe: Recipe,
    train: list[CaptionedPhoto],
    test: list[CaptionedPhoto],
    cache: FeatureCache,
) -> Retrieval:
    """A reference teacher's own retrieval on `test`, trained first if it is not yet."""
    duals, single = reference_teachers(train, recipe, cache)
    data = dataset(test, duals[0].tokenizer, Extra())
    views = Views(1, 0)
    said = dual_labels(duals, data, views, cache)
    similarity = (said.all_texts() @ said.view("paired").T).numpy()
    if which == "dual":
        return evaluate_similarity(similarity, similarity, data.owner)
    labels = single_labels(single, data, views, cache)
    photos = torch.from_numpy(np.asarray(labels.photos.paired[0]))
    texts = labels.texts(np.arange(len(data.captions)))
    ranked = []
    for axis in (1, 0):
        top = torch.from_numpy(similarity).topk(RERANKED, axis).indices
        seen = torch.zeros(similarity.shape, dtype=torch.bool).scatter_(axis, top, True)
        again = similarity.copy()
        # Cosines lie in [-1, 1]: what was looked at again comes before all else.
        scores = _scores(single, photos, texts, seen)
        both = scores if which == "single" else (scores + similarity[seen.numpy()]) / 2
        again[seen.numpy()] = 3.0 + both
        ranked.append(again)
    return evaluate_similarity(ranked[0], ranked[1], data.owner)


def _scores(
    single: Any, photos: torch.Tensor, texts: TextStates, seen: torch.Tensor
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Match scores of the pairs (text, photo) of seen [M, N], in its order."""
    pairs = seen.nonzero().flip(1)
    chunks = [single.fuse(photos, texts, some).scores for some in torch.split(pairs, 20_000)]
    return torch.cat(chunks).numpy()
