"""Load the student to train, as options of the command line choose it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.distill.accelerator import accelerator
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.trainees.end_to_end import NEW_LR, TUNED_LR, EndToEnd
from mcad_mobile.distill.trainees.frozen_trunk import FrozenTrunk
from mcad_mobile.distill.trainees.trainee import Trainee
from mcad_mobile.errors import StudentError
from mcad_mobile.students.load import parse_spec
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.students.published import Trainable
from mcad_mobile.students.tokenizers.wordpiece import WordPieceConfig


@dataclass(frozen=True)
class StudentChoice:
    """`spec`: as for `load_student`, or `towers:timm/NAME+hf/NAME`; None for the default student.
    `from_scratch`: with random weights in place of published ones."""

    spec: str | None = None
    from_scratch: bool = False

    @property
    def kind(self) -> str:
        return "mcad" if self.spec is None else parse_spec(self.spec)[0]

    @property
    def folder(self) -> Path | None:
        """The folder that holds the student, if it is in one."""
        if self.spec is None:
            return None
        folder = Path(parse_spec(self.spec)[1].removeprefix("local-dir:"))
        return folder if folder.is_dir() else None

    def recipe(self) -> StudentRecipe:
        """The default recipe for the student's kind."""
        if self.kind == "mcad":
            return StudentRecipe()
        return StudentRecipe(head_lr=NEW_LR, tuned_lr=TUNED_LR)


def load_trainee(choice: StudentChoice, name: str, data: Dataset, recipe: StudentRecipe) -> Trainee:
    """Load the student to train, seeded by torch; our network is then called `name`.
    StudentError if it cannot be loaded or exported; TrainingError if the recipe cannot train it."""
    if choice.kind != "mcad":
        trainee_name = f"{choice.spec}, from nothing" if choice.from_scratch else f"{choice.spec}"
        has_extra = len(data.photos) > data.paired_photos
        step = recipe.batch + (recipe.extra_photos if has_extra else 0)
        per_process = step // int(accelerator().num_processes)
        return EndToEnd(_trainable(choice, recipe), trainee_name, per_process)
    if choice.from_scratch:
        raise StudentError(
            "The default student's trunk is frozen except for its last block: most of its random "
            "weights would never learn.",
            "Leave --from-scratch out, or name another --student.",
        )
    if choice.spec is not None:
        student = McadStudent.load(Path(choice.spec))
        if not isinstance(student.config.tokenizer, WordPieceConfig):
            raise StudentError(
                f"{choice.spec} has a multilingual text tower, which photos cannot train.",
                "Train the student that its image tower came from, then --text-only for that one.",
            )
        return FrozenTrunk.further(student, name, choice.spec)
    return FrozenTrunk.fresh(name, data.token_counts())


def _trainable(choice: StudentChoice, recipe: StudentRecipe) -> Trainable:
    kind, rest = parse_spec(choice.spec)
    if kind == "open_clip":
        from mcad_mobile.students.open_clip import read_model, trainable_open_clip

        loaded = read_model(rest, choice.from_scratch)
        return trainable_open_clip(loaded, choice.from_scratch)
    if kind == "hf":
        from mcad_mobile.students.transformers import trainable_transformers

        return trainable_transformers(rest, choice.from_scratch)
    from mcad_mobile.students.timm_transformers import trainable_folder, trainable_towers

    if Path(rest).is_dir():
        if choice.from_scratch:
            raise StudentError(
                f"{rest} holds weights, and --from-scratch starts from none.",
                "Name its towers, as in its training.json, or leave --from-scratch out.",
            )
        return trainable_folder(Path(rest))
    return trainable_towers(rest, choice.from_scratch, recipe.projection)
