"""Progress of a whole run, over all its views, teachers and epochs, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mcad_mobile.base.progress import TimedProgress
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.distill.recipe import Recipe


class PieceProgress(Protocol):
    """Is called when `done` of `count` units of a piece (a pass over photos, a model's training) of
    a part of a run are done; `detail` is shown after the part. The first call for a piece comes
    before its work begins, so that what an earlier run did is not taken for speed."""

    def __call__(
        self, part: str, piece: str, done: int, count: int, detail: str = "", /
    ) -> None: ...


@dataclass(frozen=True)
class Part:
    units: int  # rows, or steps
    cost: float  # ms a unit, on some machine: only how parts compare counts


class WholeRun:
    """A PieceProgress that shows, of the part that is at work, how much of all its pieces is done,
    and the time left for all `parts`: at the speed of those that have been at work, and for the
    others at that by which `parts` were too slow or too fast so far."""

    def __init__(
        self,
        parts: Mapping[str, Part],
        show: TimedProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.parts = parts
        self._show = show
        self._clock = clock
        self._done: dict[str, dict[str, int]] = {}  # of each part, of each piece
        self._worked: dict[str, tuple[float, int]] = {}  # seconds and units, in this run
        self._last = 0.0

    def __call__(self, part: str, piece: str, done: int, count: int, detail: str = "", /) -> None:
        pieces = self._done.setdefault(part, {})
        before, now = pieces.get(piece), self._clock()
        pieces[piece] = max(done, before or 0)
        if before is not None and done > before:
            seconds, units = self._worked.get(part, (0.0, 0))
            self._worked[part] = seconds + now - self._last, units + done - before
            total = max(self.parts[part].units if part in self.parts else count, self.done(part))
            step = f"{part}, {detail}" if detail else part
            self._show(step, self.done(part), total, self._left())
        self._last = now

    @property
    def minutes(self) -> dict[str, float]:
        """Of each part, in this run. Work that an earlier run did is not counted."""
        return {part: round(seconds / 60, 2) for part, (seconds, _) in self._worked.items()}

    def done(self, part: str) -> int:
        """Units of a part that are done."""
        return sum(self._done.get(part, {}).values())

    def _left(self) -> float | None:
        known = [name for name in self._worked if name in self.parts]
        expected = sum(self._worked[name][1] * self.parts[name].cost for name in known)
        if not expected:
            return None
        pace = sum(self._worked[name][0] for name in known) / expected
        left = 0.0
        for name, part in self.parts.items():
            seconds, units = self._worked.get(name, (0.0, 0))
            each = seconds / units if units else part.cost * pace
            left += max(part.units - self.done(name), 0) * each
        return left


# ms a row or, of training, a pair: float32, one thread of an Intel Xeon with AVX-512.
GRIDS_MS = {"EfficientNet-Lite0": 20.0, "EfficientNet-Lite2": 30.0}
_LAST_BLOCK = 3.0
_DUAL_PHOTO, _SINGLE_PHOTO, _CAPTION = 2.0, 5.0, 3.0
PAIR_MS = 10.0
_FUSED_PAIR = 2.0
_CLASSIFIED = 1.3


def grids_part(trunk: str) -> str:
    """The part of a run that computes a frozen trunk's grids."""
    return f"grids of {trunk}"


@dataclass(frozen=True)
class GivenTeachers:
    """Which teachers the user gives; a run trains the reference teachers in place of the others."""

    duals: int | None = None  # how many
    single: bool = False
    classifier: bool = False


def plan_parts(
    data: Dataset, recipe: Recipe, given: GivenTeachers, trainee: Mapping[str, Part]
) -> dict[str, Part]:
    """The parts of a run from nothing, by the names that their progress is reported under: those
    of the `trainee`, and the teachers'."""
    by_classifier = recipe.teaching != "none" and recipe.classifier > 0
    teachers, paired = recipe.teachers, data.paired_photos
    extra = (len(data.photos) - paired) * recipe.extra_views
    photos, captions = paired * recipe.views + extra, len(data.captions)
    parts = dict(trainee)

    def trains(part: str, epochs: int, batch: int, cost: float) -> None:
        parts[part] = Part(epochs * (paired // batch), batch * cost)

    trained = recipe.teaching != "none" and given.duals is None
    if trained or (by_classifier and not given.classifier):
        more = paired * max(teachers.views - recipe.views, 0) if trained else 0
        for name, cost in GRIDS_MS.items():
            before = trainee.get(grids_part(name), Part(photos, cost))
            parts[grids_part(name)] = Part(before.units + more, cost)
        parts["last block of EfficientNet-Lite0"] = Part(photos + more, _LAST_BLOCK)
    if by_classifier:
        parts["classifier on photos"] = Part(photos, _CLASSIFIED)
    if recipe.teaching != "none":
        if trained:
            epochs = teachers.members * teachers.epochs
            trains("dual-stream teacher", epochs, teachers.batch, PAIR_MS)
        duals = given.duals or teachers.members
        parts["dual-stream teachers on photos"] = Part(duals * photos, _DUAL_PHOTO)
        parts["dual-stream teachers on captions"] = Part(duals * captions, _CAPTION)
    if recipe.teaching in ("mcad", "single"):
        if not given.single:
            trains("single-stream teacher", teachers.single_epochs, teachers.single_batch, PAIR_MS)
        parts["single-stream teacher on photos"] = Part(photos, _SINGLE_PHOTO)
        parts["single-stream teacher on captions"] = Part(captions, 2 * _CAPTION)
    if recipe.teaching == "mcad":
        trains("fusion", recipe.fusion_epochs, teachers.batch, _FUSED_PAIR)
    return parts
