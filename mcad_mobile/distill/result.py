"""The files of a finished run: a student, recipe.json, and training.json with its origin."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch

from mcad_mobile.base.documents import Count, decode
from mcad_mobile.distill.accelerator import accelerator, device_name
from mcad_mobile.distill.class_distillation import ClassLabels
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.labels import Labels
from mcad_mobile.distill.recipe import Arithmetic, StudentRecipe
from mcad_mobile.distill.trainee import Trainee
from mcad_mobile.errors import DataError, TrainingError
from mcad_mobile.recall import RecallAt, Retrieval


class _Validation(msgspec.Struct, frozen=True):
    photos: Count
    captions: Count
    text_to_image: RecallAt
    image_to_text: RecallAt


class _Training(msgspec.Struct, frozen=True):
    """The fields of training.json that are read."""

    val: _Validation
    run: str = ""


@dataclass(frozen=True)
class Provenance:
    """The origin of a student. `fingerprint` omits the arithmetic, which may change when a run
    resumes."""

    recipe: StudentRecipe
    fingerprint: str
    facts: dict[str, Any]  # for training.json; `run` hashes the fingerprint

    @staticmethod
    def of(
        recipe: StudentRecipe,
        data: Dataset,
        labels: Labels | None,
        classes: ClassLabels | None,
        trainee: Trainee,
    ) -> Provenance:
        options = recipe.to_json()
        del options["arithmetic"]
        taught_by = [*(labels.identity if labels else ())]
        if classes:
            # Its names count too: with other names, the same labels make another student.
            taught_by += [classes.identity, *("; ".join(names) for names in classes.names)]
        fingerprint = json.dumps([options, data.fingerprint, taught_by, trainee.identity])
        paired = data.paired_photos
        facts = {
            "student": trainee.name,
            "photos": {"captioned": paired, "extra": len(data.photos) - paired},
            "captions": {"paired": len(data.owner), "extra": len(data.captions) - len(data.owner)},
            "data": data.fingerprint,
            "teachers": [*(labels.names if labels else ()), *([classes.name] if classes else ())],
            "run": hashlib.sha256(fingerprint.encode()).hexdigest()[:24],
        }
        return Provenance(recipe, fingerprint, facts)


def check_out(out: Path, start: Path | None) -> None:
    """Raise DataError if `out` is the folder of a student that training starts from."""
    if start is not None and out.resolve() == start.resolve():
        raise DataError(f"{out} is the student itself.", "Give --out another folder.")


def find_finished(
    out: Path, provenance: Provenance, *, may_replace: bool = True
) -> Retrieval | None:
    """The validation result of the student at `out`; None unless this very run finished it.
    TrainingError for a damaged training.json, because hours of training may lie there, and for
    another run's unless this one `may_replace` it."""
    path = out / "training.json"
    if (out / "checkpoint.pt").exists() or not path.exists():
        return None
    hint = "Give another --out, or remove that file to train again."
    known = decode(path.read_bytes(), _Training, path, TrainingError, hint)
    if known.run != provenance.facts["run"]:
        if may_replace:
            return None
        raise TrainingError(
            f"{out} holds the student of another run, which --smoke would overwrite.",
            "Give another --out.",
        )
    val = known.val
    return Retrieval(val.photos, val.captions, val.text_to_image, val.image_to_text)


def save(
    trainee: Trainee,
    out: Path,
    provenance: Provenance,
    arithmetic: Arithmetic,
    seconds: float,
    val: Retrieval,
) -> None:
    """Write a run's files. `arithmetic` and `seconds` date from its last start."""
    trainee.save(out)
    training = {
        **provenance.facts,
        "arithmetic": arithmetic,
        "device": device_name(accelerator().device),
        "minutes": round(seconds / 60, 2),
        "val": val.to_json(),
        "torch": torch.__version__,
    }
    for name, document in (("recipe", provenance.recipe.to_json()), ("training", training)):
        (out / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
