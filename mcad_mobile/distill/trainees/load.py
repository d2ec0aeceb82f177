"""Trainees by what the command line says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.trainees.end_to_end import NEW_LR, TUNED_LR, EndToEnd, photos_each
from mcad_mobile.distill.trainees.frozen_trunk import FrozenTrunk
from mcad_mobile.distill.trainees.protocol import Trainee
from mcad_mobile.errors import StudentError
from mcad_mobile.students.load import kind_of
from mcad_mobile.students.mcad import McadStudent, default_config
from mcad_mobile.students.published import Trainable


@dataclass(frozen=True)
class AskedStudent:
    """`spec`: as for `load_student`, or `towers:timm/NAME+hf/NAME`; None for the default student.
    `from_scratch`: with random weights in place of published ones."""

    spec: str | None = None
    from_scratch: bool = False

    @property
    def kind(self) -> str:
        return "mcad" if self.spec is None else kind_of(self.spec)[0]

    def recipe(self) -> Recipe:
        """What it is trained by if nothing else is said."""
        if self.kind == "mcad":
            return Recipe()
        return Recipe(head_lr=NEW_LR, tuned_lr=TUNED_LR)


def trainee_of(asked: AskedStudent, name: str, data: Dataset, recipe: Recipe) -> Trainee:
    """The student as it starts, by the seed of torch; one of ours is called `name`. StudentError if
    it cannot be had or exported; TrainingError if it cannot be trained by this recipe."""
    if asked.kind != "mcad":
        said = f"{asked.spec}, from nothing" if asked.from_scratch else f"{asked.spec}"
        return EndToEnd(_trainable(asked, recipe), said, photos_each(recipe, data))
    if asked.from_scratch:
        raise StudentError(
            "The default student's trunk is frozen: from nothing it would never see a photo.",
            "Leave --from-scratch out, or name another --student.",
        )
    if asked.spec is not None:
        student = McadStudent.load(Path(asked.spec))
        return FrozenTrunk(student, asked.spec, student.sha256())
    return FrozenTrunk.fresh(name, data.token_counts(default_config().text.vocab))


def _trainable(asked: AskedStudent, recipe: Recipe) -> Trainable:
    kind, rest = kind_of(asked.spec)
    if kind == "open_clip":
        from mcad_mobile.students.open_clip import trainable_open_clip

        return trainable_open_clip(rest, asked.from_scratch)
    if kind == "hf":
        from mcad_mobile.students.transformers import trainable_transformers

        return trainable_transformers(rest, asked.from_scratch)
    from mcad_mobile.students.timm_transformers import trainable_folder, trainable_towers

    if Path(rest).is_dir():
        if asked.from_scratch:
            raise StudentError(
                f"{rest} holds weights, and --from-scratch starts from none.",
                "Name its towers, as in its training.json, or leave --from-scratch out.",
            )
        return trainable_folder(Path(rest))
    return trainable_towers(rest, asked.from_scratch, recipe.projection)
