"""The recipe of a training run: all that it depends on beside its data. Saved with the student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from mcad_mobile.base.documents import (
    Count,
    NotNegative,
    Positive,
    Record,
    Size,
    convert,
    decode,
    read_file,
)
from mcad_mobile.errors import DataError, TrainingError

Teaching = Literal["mcad", "dual", "single", "none"]
Arithmetic = Literal["fp32", "bf16"]
ArithmeticOption = Literal["auto", "fp32", "bf16"]
Share = Annotated[float, Meta(ge=0, le=1)]
Dropout = Annotated[float, Meta(ge=0, lt=1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_STEPS = 4  # an epoch, where there are too few photos for a batch of the recipe
_LEAST = 8  # pairs that are still worth telling apart


class TeacherRecipe(Record, frozen=True):
    """Everything the reference teachers depend on beside the data."""

    views: Size = 5
    members: Size = 2  # dual-stream teachers, from as many seeds
    batch: Size = 128
    epochs: Size = 12
    head_lr: Positive = 2e-3
    tuned_lr: Positive = 2.5e-4
    single_batch: Size = 128
    single_epochs: Size = 3
    single_lr: Positive = 5e-4
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.1
    seed: Seed = 0


class Recipe(Record, frozen=True):
    """How a student is trained. Weights of zero leave a loss out."""

    teaching: Teaching = "dual"
    epochs: Size = 16
    batch: Size = 128
    views: Size = 5
    extra_views: Size = 1
    extra_photos: Count = 64  # a step, where there are any
    extra_captions: Count = 128  # a step, where there are any
    most_extra_captions: Count = 32_000  # of those given, drawn at random; teachers read them all
    contrastive: NotNegative = 0.1
    distribution: NotNegative = 2.0
    feature: NotNegative = 10.0
    temperature: Positive = 0.03  # of the teacher's similarities
    classifier: NotNegative = 2.0  # both directions between photos and classes; 0: no classifier
    class_temperature: Positive = 2.0  # of the classifier's probabilities
    called: NotNegative = 7.5  # names drawn to their classes
    names: Size = 224  # of classes and kinds, that are read a step
    imagined: Count = 128  # photos a step, where the classifier can imagine them
    name_numbers: Size = 128  # of an embedding, for names; half of it at most
    widths: tuple[Size, ...] = (128, 64)  # narrower ones that the student can be cut to
    narrow: NotNegative = 0.25  # weight of the losses at each of them
    candidates: Size = 6
    fusion_epochs: Size = 1
    # Five times as much tells more pairs apart, by features that no student can follow.
    fusion_lr: Positive = 2e-4
    head_lr: Positive = 3e-3
    tuned_lr: Positive = 3e-4
    head_dropout: Dropout = 0.05
    text_dropout: Dropout = 0.0
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.1
    initial_scale: Positive = 20.0
    arithmetic: ArithmeticOption = "auto"  # auto: bf16 where the device has it
    projection: Count = 256  # of `towers:`, what both are mapped to; 0: nothing
    seed: Seed = 0
    teachers: TeacherRecipe = TeacherRecipe()

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def changed(self, **options: Any) -> Recipe:
        """A copy with other values. DataError: a value that no run could start with."""
        hint = "Change it in the recipe (--recipe) or by its option."
        return convert({**self.to_json(), **options}, Recipe, "The recipe", DataError, hint)

    def at_most(self, epochs: int) -> dict[str, Any]:
        """Changes for `epochs` passes of the student, and no more of its teachers and fusion."""
        teachers = replace(
            self.teachers,
            epochs=min(self.teachers.epochs, epochs),
            single_epochs=min(self.teachers.single_epochs, epochs),
        )
        return {
            "epochs": epochs,
            "fusion_epochs": min(self.fusion_epochs, epochs),
            "teachers": msgspec.to_builtins(teachers),
        }

    @staticmethod
    def load(path: Path, start: Recipe | None = None) -> Recipe:
        """Read a recipe.json, or the part of one that differs from `start`. DataError."""
        hint = "Start from the recipe.json that lies beside a trained student."
        raw = read_file(path, DataError, hint)
        found = decode(raw, Recipe, f"{path} is not a recipe: it", DataError, hint)
        if start is None:
            return found
        changes = msgspec.json.decode(raw)
        teachers = {**msgspec.to_builtins(start.teachers), **changes.pop("teachers", {})}
        return start.changed(**changes, teachers=teachers)


def batch_sizes(recipe: Recipe) -> dict[str, int]:
    """By their names in the recipe."""
    teachers = recipe.teachers
    return {
        "batch": recipe.batch,
        "teachers.batch": teachers.batch,
        "teachers.single_batch": teachers.single_batch,
    }


def fit_batches(recipe: Recipe, photos: int, world: int) -> Recipe:
    """`recipe` with larger batches than `photos` captioned photos cut to a quarter of them, but at
    least 8. TrainingError if `world` processes cannot share what it asks for evenly."""
    shared = ("extra_photos", "extra_captions", "names", "imagined")
    sizes = batch_sizes(recipe) | {name: getattr(recipe, name) for name in shared}
    for name, size in sizes.items():
        if size % world:
            raise TrainingError(
                f"The recipe's {name} is {size}, which {world} processes cannot share evenly.",
                f"Give a recipe in which {name} is a multiple of {world} (--recipe).",
            )
    if photos < world:
        raise TrainingError(
            f"{world} processes are more than the captioned photos, {photos}.",
            "Give more photos, or take fewer processes.",
        )

    def fitted(batch: int) -> int:
        if batch <= photos:
            return batch
        few = max(photos // _STEPS, min(photos, _LEAST))
        return max(few - few % world, world)

    teachers = recipe.teachers
    teachers = replace(
        teachers, batch=fitted(teachers.batch), single_batch=fitted(teachers.single_batch)
    )
    return replace(recipe, batch=fitted(recipe.batch), teachers=teachers)


def describe_changes(recipe: Recipe, used: Recipe, photos: int) -> str:
    """A line for people about the batches that were made smaller; "" where none was."""
    sizes = zip(batch_sizes(recipe).items(), batch_sizes(used).values(), strict=True)
    changed = [f"{name} is {now}, not {asked}" for (name, asked), now in sizes if now != asked]
    if not changed:
        return ""
    return f"there are {photos} captioned photos, too few for the recipe: {', '.join(changed)}"
