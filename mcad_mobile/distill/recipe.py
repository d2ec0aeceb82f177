"""The recipe of a training run: all that it depends on besides its data. Saved with the student."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

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

Teaching = Literal["mcad", "dual", "none"]
Arithmetic = Literal["fp32", "bf16"]
ArithmeticOption = Literal["auto", "fp32", "bf16"]
Share = Annotated[float, Meta(ge=0, lt=1)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_STEPS = 4  # per epoch, if there are fewer photos than the recipe's batch
_LEAST = 8  # pairs in a batch that is still useful


class Recipe(Record, frozen=True):
    """A recipe that a JSON file or options of the command line may change."""

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def changed(self, **options: Any) -> Self:
        """Return a copy with other values. DataError for an invalid value."""
        hint = "Change it in the recipe (--recipe) or by its option."
        return convert({**self.to_json(), **options}, type(self), "The recipe", DataError, hint)


class TeacherRecipe(Record, frozen=True):
    """Everything the reference teachers depend on besides the data."""

    views: Size = 5  # crops of each photo
    members: Size = 2  # dual-stream teachers
    batch: Size = 128  # pairs per step
    epochs: Size = 12  # of dual-stream teachers
    head_lr: Positive = 2e-3  # of all teachers' heads
    tuned_lr: Positive = 2.5e-4  # of their towers
    single_batch: Size = 128  # pairs per step of the single-stream teacher
    single_epochs: Size = 5  # its epochs
    weight_decay: NotNegative = 0.05  # AdamW's
    warmup: Share = 0.1  # share of the steps in which the learning rate rises
    seed: Seed = 0  # distill --seed sets both


class StudentRecipe(Recipe, frozen=True):
    """How a student is trained. A weight of zero turns a loss off."""

    teaching: Teaching = (
        "dual"  # mcad: dual- and single-stream teachers; none: contrastive loss only
    )
    epochs: Size = 20  # passes over the captioned photos
    batch: Size = 128  # captioned photos per step
    views: Size = 5  # crops of each captioned photo, including the whole photo
    extra_views: Size = 1  # the same without captions
    extra_photos: Count = 64  # photos without captions per step
    extra_captions: Count = 128  # captions without photos per step
    most_extra_captions: Count = 32_000  # the most that are used, drawn at random
    contrastive: NotNegative = 0.1  # weight of the contrastive loss
    distribution: NotNegative = 2.0  # weight of the distribution loss
    feature: NotNegative = 10.0  # weight of the feature loss
    temperature: Positive = 0.03  # of the teachers' similarities
    classifier: NotNegative = 2.0  # weight of naming and showing; 0 uses no classifier
    class_temperature: Positive = 2.0  # of the classifier's probabilities
    kinds: NotNegative = 0.3  # share of a class's kinds ("dog") in its vector
    called: NotNegative = 16.0  # weight of the loss on names
    words: NotNegative = 0.5  # share of captions in a kind's vector; 0 teaches no words of captions
    names: Size = 576  # names of classes, kinds or words per step
    imagined: Count = 128  # imagined photos per step
    name_numbers: Size = 192  # numbers of an embedding that hold names; at most three quarters
    widths: tuple[Size, ...] = (128, 64)  # narrower widths of embeddings
    narrow: NotNegative = 0.25  # weight of all losses at each narrower width
    candidates: Size = 6  # captions per photo that the single-stream teacher reads
    fusion_epochs: Size = 1  # passes that train the fusion
    # Five times this rate tells more pairs apart, but with features that no student can learn.
    fusion_lr: Positive = 2e-4  # learning rate of the fusion
    # With it, mcad teaches the dual-stream teachers' labels and in which order candidates come.
    ranking: NotNegative = 0.0  # weight of the ranking loss
    head_lr: Positive = 3e-3  # of new layers; 0.0005 for another --student
    tuned_lr: Positive = 3e-4  # of published weights; 0.00003 for another --student
    # Of our student's image trunk. At tuned_lr it forgets classes that the photos do not show.
    trunk_lr: Positive = 1e-4  # of our student's image trunk
    head_dropout: Share = 0.05  # dropout of our student's heads
    text_dropout: Share = 0.0  # dropout of its text tower
    weight_decay: NotNegative = 0.05  # AdamW's
    warmup: Share = 0.1  # share of the steps in which the learning rate rises
    initial_scale: Positive = 20.0  # first inverse temperature of the contrastive loss
    arithmetic: ArithmeticOption = "auto"  # of matrix products; auto: bf16 where that is faster
    seed: Seed = 0  # of everything random
    teachers: TeacherRecipe = TeacherRecipe()

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
    def load(path: Path, start: StudentRecipe | None = None) -> StudentRecipe:
        """Read a recipe.json, or only the fields that differ from `start`. Raises DataError."""
        hint = "Start from the recipe.json that lies beside a trained student."
        raw = read_file(path, DataError, hint)
        where = f"{path} is not a recipe: it"
        changes = decode(raw, dict[str, Any], where, DataError, hint)
        for part, gone in ((changes, "projection"), (changes.get("teachers"), "single_lr")):
            if isinstance(part, dict):
                part.pop(gone, None)  # recipes of before have them
        found = convert(changes, StudentRecipe, where, DataError, hint)
        if start is None:
            return found
        teachers = {**msgspec.to_builtins(start.teachers), **changes.pop("teachers", {})}
        return start.changed(**changes, teachers=teachers)


def fit_batches(recipe: StudentRecipe, photos: int, world: int) -> StudentRecipe:
    """Cut batches larger than the number of captioned `photos` to a quarter of it, but at least 8.
    TrainingError if `world` processes cannot share photos and sizes evenly."""
    teachers = recipe.teachers
    shared = ("batch", "extra_photos", "extra_captions", "names", "imagined")
    sizes = {name: getattr(recipe, name) for name in shared}
    sizes |= {f"teachers.{name}": getattr(teachers, name) for name in ("batch", "single_batch")}
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

    teachers = replace(
        teachers, batch=fitted(teachers.batch), single_batch=fitted(teachers.single_batch)
    )
    return replace(recipe, batch=fitted(recipe.batch), teachers=teachers)
