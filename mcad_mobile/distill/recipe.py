"""What a training run depends on beside its data: saved with the student, to be run again."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from mcad_mobile.errors import DataError

Teaching = Literal["mcad", "dual", "single", "none"]
Arithmetic = Literal["fp32", "bf16", "fp16"]
AskedArithmetic = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class TeacherRecipe:
    """Everything the reference teachers depend on beside the data."""

    views: int = 6
    members: int = 2  # dual-stream teachers, from as many seeds
    batch: int = 128
    epochs: int = 12
    head_lr: float = 2e-3
    tuned_lr: float = 2.5e-4
    single_batch: int = 128
    single_epochs: int = 4
    single_lr: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _check_numbers(self, may_be_zero=("seed", "weight_decay", "warmup"))


@dataclass(frozen=True)
class Recipe:
    """How a student is trained. Weights of zero leave a loss out. DataError: a value that no run
    could start with."""

    teaching: Teaching = "mcad"
    epochs: int = 12
    batch: int = 128
    views: int = 6
    extra_views: int = 1
    extra_photos: int = 64  # a step, where there are any
    extra_captions: int = 128  # a step, where there are any
    most_extra_captions: int = 40_000  # of those given, drawn at random; teachers read them all
    contrastive: float = 0.1
    distribution: float = 2.0
    order: float = 0.0
    feature: float = 10.0
    temperature: float = 0.03  # of the teacher's similarities
    candidates: int = 6
    fusion_epochs: int = 1
    # Five times as much tells more pairs apart, by features that no student can follow.
    fusion_lr: float = 2e-4
    head_lr: float = 3e-3
    tuned_lr: float = 3e-4
    head_dropout: float = 0.05
    text_dropout: float = 0.0
    weight_decay: float = 0.05
    warmup: float = 0.1
    initial_scale: float = 20.0
    qat_epochs: int = 0  # the last ones, with fake-quantized activations
    arithmetic: AskedArithmetic = "auto"  # of products; auto: what is fastest here, by measuring
    seed: int = 0
    teachers: TeacherRecipe = field(default_factory=TeacherRecipe)

    def __post_init__(self) -> None:
        for name, known in (("teaching", Teaching), ("arithmetic", AskedArithmetic)):
            if (value := getattr(self, name)) not in get_args(known):
                raise _refused(name, value, f"one of {', '.join(get_args(known))}")
        _check_numbers(self, may_be_zero=_MAY_BE_ZERO)
        if self.qat_epochs > self.epochs:
            raise _refused("qat_epochs", self.qat_epochs, f"at most epochs, {self.epochs}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def load(path: Path) -> Recipe:
        """Read a recipe.json, or the part of one that should differ from the default. DataError
        names what is not a recipe."""
        try:
            data = json.loads(path.read_text("utf-8"))
            teachers = TeacherRecipe(**data.pop("teachers", {}))
            return Recipe(**data, teachers=teachers)
        except DataError as error:
            raise DataError(f"{path} is not a recipe: {error.what}", error.hint) from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is not a recipe: {error}.",
                "Start from the recipe.json that lies beside a trained student.",
            ) from error


_MAY_BE_ZERO = (
    *("contrastive", "distribution", "order", "feature", "head_dropout", "text_dropout"),
    *("extra_photos", "extra_captions", "most_extra_captions", "qat_epochs"),
    *("weight_decay", "warmup", "seed"),
)


def _check_numbers(recipe: Recipe | TeacherRecipe, may_be_zero: tuple[str, ...]) -> None:
    for known in fields(recipe):
        value = getattr(recipe, known.name)
        if isinstance(known.default, int) and type(value) is not int:
            raise _refused(known.name, value, "a whole number")
        if isinstance(known.default, float) and type(value) not in (int, float):
            raise _refused(known.name, value, "a number")
        if not isinstance(known.default, int | float):
            continue
        if not math.isfinite(value) or value < 0 or (value == 0 and known.name not in may_be_zero):
            least = "zero or more" if known.name in may_be_zero else "more than zero"
            raise _refused(known.name, value, least)


def _refused(name: str, value: object, wanted: str) -> DataError:
    return DataError(
        f"The recipe's {name} is {value!r}, and has to be {wanted}.",
        "Change it in the recipe (--recipe) or by its option.",
    )
