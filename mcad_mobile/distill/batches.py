"""Batch sizes that fit the data and the processes, and photos read one step ahead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec.structs import replace
from torch import Tensor

from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.errors import TrainingError

_STEPS = 4  # an epoch, where there are too few photos for a batch of the recipe
_LEAST = 8  # pairs that are still worth telling apart


class Prefetch:
    """Calls `make(step)` for each of `steps` steps, in a thread, while the step before is trained.
    Call it with a step for the result; an error of `make` is raised there."""

    def __init__(self, make: Callable[[int], Tensor], steps: int) -> None:
        self._make = make
        self._steps = steps
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="photos")
        self._next: dict[int, Future[Tensor]] = {}

    def __call__(self, step: int) -> Tensor:
        begun = self._next.pop(step, None) or self._pool.submit(self._make, step)
        rows = begun.result()
        if step + 1 < self._steps:
            self._next[step + 1] = self._pool.submit(self._make, step + 1)
        return rows

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def batch_sizes(recipe: Recipe) -> dict[str, int]:
    """By their names in the recipe."""
    teachers = recipe.teachers
    return {
        "batch": recipe.batch,
        "teachers.batch": teachers.batch,
        "teachers.single_batch": teachers.single_batch,
    }


def fit_batches(recipe: Recipe, photos: int, world: int) -> Recipe:
    """`recipe` with batches that `photos` captioned photos fill: one that is larger becomes a
    quarter of them, so that an epoch has steps to take, but 8 where that would be fewer.

    TrainingError if `world` processes cannot share what the recipe asks for evenly, or if they are
    more than the photos.
    """
    teachers = recipe.teachers
    sizes = {
        **batch_sizes(recipe),
        "extra_photos": recipe.extra_photos,
        "extra_captions": recipe.extra_captions,
        "names": recipe.names,
    }
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
    return replace(
        recipe,
        batch=_fit_batch(recipe.batch, photos, world),
        teachers=replace(
            teachers,
            batch=_fit_batch(teachers.batch, photos, world),
            single_batch=_fit_batch(teachers.single_batch, photos, world),
        ),
    )


def describe_changes(recipe: Recipe, used: Recipe, photos: int) -> str:
    """A line for people about the batches that were made smaller; "" where none was."""
    before = batch_sizes(recipe)
    changed = [
        f"{name} is {now}, not {before[name]}"
        for name, now in batch_sizes(used).items()
        if now != before[name]
    ]
    if not changed:
        return ""
    return f"there are {photos} captioned photos, too few for the recipe: {', '.join(changed)}"


def _fit_batch(batch: int, photos: int, world: int) -> int:
    if batch <= photos:
        return batch
    few = max(photos // _STEPS, min(photos, _LEAST))
    return max(few - few % world, world)
