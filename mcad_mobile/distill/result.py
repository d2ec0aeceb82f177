"""What a run leaves: a student, its recipe.json, and in training.json what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta, field

from mcad_mobile.distill.arithmetic import Choice
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.labels import Labels
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.errors import TrainingError
from mcad_mobile.evaluate import Retrieval
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.typed import Count, Record, decode

Percent = Annotated[float, Meta(ge=0, le=100)]


class _Recall(Record, frozen=True):
    r1: Percent
    r5: Percent
    r10: Percent


class _Validation(Record, frozen=True):
    photos: Count
    captions: Count
    text_to_image: _Recall
    image_to_text: _Recall
    mean_recall: Percent


class Training(Record, frozen=True):
    """training.json. Students from before a run was noted in it have `val` and `torch` alone."""

    val: _Validation
    torch: str
    photos: dict[str, Count] = field(default_factory=dict)
    captions: dict[str, Count] = field(default_factory=dict)
    data: str = ""
    teachers: tuple[str, ...] = ()
    run: str = ""
    arithmetic: tuple[Choice, ...] = ()


def fingerprint_of(recipe: Recipe, data: Dataset, labels: Labels | None) -> str:
    """What makes a run this run: not its arithmetic, which may change where it goes on."""
    asked = recipe.to_json()
    del asked["arithmetic"]
    return json.dumps([asked, data.fingerprint, labels.identity if labels else ()])


def facts_of(data: Dataset, labels: Labels | None, fingerprint: str) -> dict[str, Any]:
    """What a student was made of, beside its recipe; `run` stands for all of it."""
    paired = data.paired_photos
    return {
        "photos": {"captioned": paired, "extra": len(data.photos) - paired},
        "captions": {"paired": len(data.owner), "extra": len(data.captions) - len(data.owner)},
        "data": data.fingerprint,
        "teachers": list(labels.names) if labels else [],
        "run": hashlib.sha256(fingerprint.encode()).hexdigest()[:24],
    }


def is_finished(out: Path, facts: dict[str, Any]) -> bool:
    """Whether `out` holds the student of this very run. TrainingError for a training.json that is
    damaged: what lies there may be what hours of training made."""
    path = out / "training.json"
    if (out / "checkpoint.pt").exists() or not path.exists():
        return False
    hint = "Give another --out, or remove that file to train again."
    known = decode(path.read_bytes(), Training, path, TrainingError, hint)
    return bool(known.run == facts["run"])


def save(
    student: McadStudent,
    out: Path,
    recipe: Recipe,
    facts: dict[str, Any],
    computed: Sequence[Choice],
    val: Retrieval,
) -> None:
    """`computed`: the arithmetics of the run, in the order it went through them."""
    student.save(out)
    (out / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=2) + "\n", "utf-8")
    training = {
        **facts,
        "arithmetic": msgspec.to_builtins(list(computed)),
        "val": val.to_json(),
        "torch": torch.__version__,
    }
    (out / "training.json").write_text(json.dumps(training, indent=2) + "\n", "utf-8")
