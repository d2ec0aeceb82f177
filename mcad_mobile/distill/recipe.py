"""The recipe of a training run: all that it depends on besides its data. Saved with the student."""

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
Share = Annotated[float, Meta(ge=0, lt=1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_STEPS = 4  # per epoch, if there are fewer photos than the recipe's batch
_LEAST = 8  # pairs in a batch that is still useful


class TeacherRecipe(Record, frozen=True):
    """Everything the reference teachers depend on besides the data."""

    views: Size = 5
    members: Size = 2  # dual-stream teachers, each with its own seed
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
    """How a student is trained. A weight of zero turns a loss off."""

    teaching: Teaching = "dual"
    epochs: Size = 20
    batch: Size = 128
    views: Size = 5
    extra_views: Size = 1
    extra_photos: Count = 64  # per step, if there are any
    extra_captions: Count = 128  # per step, if there are any
    most_extra_captions: Count = 32_000  # drawn at random from those given; teachers embed them
    contrastive: NotNegative = 0.1
    distribution: NotNegative = 2.0
    feature: NotNegative = 10.0
    temperature: Positive = 0.03  # of the teacher's similarities
    classifier: NotNegative = 2.0  # between photos and classes, both ways; 0: no classifier
    class_temperature: Positive = 2.0  # of the classifier's probabilities
    kinds: NotNegative = 0.3  # how much a class's kinds count in its vector; 0: no kinds
    called: NotNegative = 16.0  # between names and their classes
    words: NotNegative = 0.5  # how much captions count in a kind's vector; 0: teach no words
    names: Size = 576  # of classes, kinds and words, per step
    imagined: Count = 128  # photos per step, if the classifier can imagine them
    name_numbers: Size = 192  # dimensions of an embedding for names; at most three quarters
    widths: tuple[Size, ...] = (128, 64)  # narrower widths that the student can be cut to
    narrow: NotNegative = 0.25  # weight of the losses at each of `widths`
    candidates: Size = 6
    fusion_epochs: Size = 1
    # Five times this rate tells more pairs apart, but with features that no student can learn.
    fusion_lr: Positive = 2e-4
    head_lr: Positive = 3e-3
    tuned_lr: Positive = 3e-4
    # Of our student's image trunk. At tuned_lr it forgets classes that the photos do not show.
    trunk_lr: Positive = 1e-4
    head_dropout: Share = 0.05
    text_dropout: Share = 0.0
    weight_decay: NotNegative = 0.05
    warmup: Share = 0.1
    initial_scale: Positive = 20.0
    arithmetic: ArithmeticOption = "auto"  # auto: bf16 if that is faster
    projection: Count = 256  # width that both `towers:` are mapped to; 0: no maps
    seed: Seed = 0
    teachers: TeacherRecipe = TeacherRecipe()

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def changed(self, **options: Any) -> Recipe:
        """Return a copy with other values. DataError for an invalid value."""
        hint = "Change it in the recipe (--recipe) or by its option."
        return convert({**self.to_json(), **options}, Recipe, "The recipe", DataError, hint)

    def at_most(self, epochs: int) -> dict[str, Any]:
        """Changes for `epochs` passes of the student, at most as many of teachers and fusion."""
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
        """Read a recipe.json, or only the fields that differ from `start`. Raises DataError."""
        hint = "Start from the recipe.json that lies beside a trained student."
        raw = read_file(path, DataError, hint)
        found = decode(raw, Recipe, f"{path} is not a recipe: it", DataError, hint)
        if start is None:
            return found
        changes = msgspec.json.decode(raw)
        teachers = {**msgspec.to_builtins(start.teachers), **changes.pop("teachers", {})}
        return start.changed(**changes, teachers=teachers)


def batch_sizes(recipe: Recipe) -> dict[str, int]:
    """Batch sizes by their names in the recipe."""
    teachers = recipe.teachers
    return {
        "batch": recipe.batch,
        "teachers.batch": teachers.batch,
        "teachers.single_batch": teachers.single_batch,
    }


def fit_batches(recipe: Recipe, photos: int, world: int) -> Recipe:
    """Cut batches larger than the number of captioned `photos` to a quarter of it, but at least 8.
    TrainingError if `world` processes cannot share photos and sizes evenly."""
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
            f"There are {world} processes, but only {photos} captioned photos.",
            "Give more photos, or start fewer processes.",
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
    """Describe the batches that were made smaller, in one line; "" if there are none."""
    sizes = zip(batch_sizes(recipe).items(), batch_sizes(used).values(), strict=True)
    changed = [f"{name} is {now}, not {asked}" for (name, asked), now in sizes if now != asked]
    if not changed:
        return ""
    return f"there are {photos} captioned photos, too few for the recipe: {', '.join(changed)}"
