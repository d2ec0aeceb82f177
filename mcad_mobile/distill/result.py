"""What a run leaves: a student, its recipe.json, and in training.json what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from mcad_mobile.distill.arithmetic import Choice
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.labels import Labels
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.evaluate import Retrieval
from mcad_mobile.students.mcad import McadStudent


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
    """Whether `out` holds the student of this very run."""
    if (out / "checkpoint.pt").exists() or not (out / "training.json").exists():
        return False
    try:
        known = json.loads((out / "training.json").read_text("utf-8"))
        return bool(known.get("run") == facts["run"])
    except (ValueError, AttributeError):
        return False


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
        "arithmetic": [asdict(choice) for choice in computed],
        "val": val.to_json(),
        "torch": torch.__version__,
    }
    (out / "training.json").write_text(json.dumps(training, indent=2) + "\n", "utf-8")
