"""How much recall an export may spend, and on which photos that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.bundle_precision import DataFacts
from mcad_mobile.cache import cache_directory
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.export.recall_judge import data_facts
from mcad_mobile.students.protocol import Student


@dataclass(frozen=True)
class Budget:
    """At most so many `points` of mR may be lost on `photos`, whose facts are `data`. What was
    measured lies in the folder `kept`, for a search that is begun again. Where the chip has a
    simulator, that is given the first `simulated` photos and their captions, too."""

    points: float
    photos: Sequence[CaptionedPhoto]
    data: DataFacts
    kept: Path
    simulated: int = 0


def budget_on(
    student: Student,
    folder: Path,
    photos: Sequence[CaptionedPhoto],
    points: float,
    simulated: int = 0,
) -> Budget:
    """Of `student`, on a split of the dataset in `folder`; kept in the user's cache."""
    data = data_facts(folder, photos)
    name = f"{student.sha256()[:16]}-{data.sha256[:16]}"
    return Budget(points, photos, data, cache_directory() / "precision" / name, simulated)
