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

from mcad_mobile.base.documents import Count, NotNegative, Record, decode
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.device import Choice
from mcad_mobile.distill.labels import Labels
from mcad_mobile.distill.naming import ClassLabels
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.trainees.protocol import Trainee
from mcad_mobile.errors import TrainingError
from mcad_mobile.students.evaluation import Recall, Retrieval

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
    batches: dict[str, Count] = field(default_factory=dict)
    student: str = ""
    data: str = ""
    teachers: tuple[str, ...] = ()
    run: str = ""
    arithmetic: tuple[Choice, ...] = ()
    minutes: dict[str, NotNegative] = field(default_factory=dict)


def fingerprint_of(
    recipe: Recipe,
    data: Dataset,
    labels: Labels | None,
    classes: ClassLabels | None,
    trainee: Trainee,
) -> str:
    """What makes a run this run: not its arithmetic, which may change where it goes on."""
    asked = recipe.to_json()
    del asked["arithmetic"]
    taught_by = [*(labels.identity if labels else ())]
    if classes:
        # Its names, too: another list of them makes another student of the same labels.
        taught_by += [classes.identity, *("; ".join(names) for names in classes.names)]
    return json.dumps([asked, data.fingerprint, taught_by, trainee.identity])


def facts_of(
    recipe: Recipe,
    data: Dataset,
    labels: Labels | None,
    classes: ClassLabels | None,
    trainee: Trainee,
    fingerprint: str,
) -> dict[str, Any]:
    """What a student was made of, and in which batches; `run` stands for all of it."""
    paired, teachers = data.paired_photos, recipe.teachers
    return {
        "student": trainee.name,
        "photos": {"captioned": paired, "extra": len(data.photos) - paired},
        "captions": {"paired": len(data.owner), "extra": len(data.captions) - len(data.owner)},
        "batches": {
            "batch": recipe.batch,
            "teachers.batch": teachers.batch,
            "teachers.single_batch": teachers.single_batch,
        },
        "data": data.fingerprint,
        "teachers": [*(labels.names if labels else ()), *([classes.name] if classes else ())],
        "run": hashlib.sha256(fingerprint.encode()).hexdigest()[:24],
    }


def finished(out: Path, facts: dict[str, Any]) -> Retrieval | None:
    """What the student of this very run, if `out` holds it, scored on the validation split.
    TrainingError for a training.json that is damaged: what lies there may be what hours of training
    made."""
    path = out / "training.json"
    if (out / "checkpoint.pt").exists() or not path.exists():
        return None
    hint = "Give another --out, or remove that file to train again."
    known = decode(path.read_bytes(), Training, path, TrainingError, hint)
    if known.run != facts["run"]:
        return None
    to_image, to_text = (
        Recall(found.r1, found.r5, found.r10)
        for found in (known.val.text_to_image, known.val.image_to_text)
    )
    return Retrieval(known.val.photos, known.val.captions, to_image, to_text)


def save(
    trainee: Trainee,
    out: Path,
    recipe: Recipe,
    facts: dict[str, Any],
    computed: Sequence[Choice],
    minutes: dict[str, float],
    val: Retrieval,
) -> None:
    """`computed`: the arithmetics of the run, in the order it went through them; `minutes`: what
    its parts took, as far as it was not cut off."""
    trainee.save(out)
    (out / "recipe.json").write_text(json.dumps(recipe.to_json(), indent=2) + "\n", "utf-8")
    training = {
        **facts,
        "arithmetic": msgspec.to_builtins(list(computed)),
        "minutes": minutes,
        "val": val.to_json(),
        "torch": torch.__version__,
    }
    (out / "training.json").write_text(json.dumps(training, indent=2) + "\n", "utf-8")
