"""What got worse since a baseline, as far as the noise of both measurements lets one say so."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from mcad_mobile.errors import BenchError

_STAGES = {"total": "whole search", "text": "text tower", "image": "image tower"}
_PARTS_OF_A_SEARCH = ("text",)
# What nobody would notice beside limits of 8 ms and 100 MiB, however large a ratio it makes.
_FLOORS = {"ms": 0.5, "MiB": 2.0}
_BLOCKS_A_RUN = 4
_SIGMAS = 2.0


@dataclass(frozen=True)
class Regression:
    """What is over the allowed ratio to the baseline. `forgiven` says why it is not counted as
    worse all the same, or is ""."""

    what: str
    unit: str
    baseline: float
    now: float
    forgiven: str = ""

    @property
    def ratio(self) -> float:
        return self.now / self.baseline

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": round(self.ratio, 3)}

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.now:.2f} {self.unit}, {self.ratio:.2f} times the baseline's "
            f"{self.baseline:.2f} {self.unit}" + (f" ({self.forgiven})" if self.forgiven else "")
        )


@dataclass(frozen=True)
class _Figure:
    """One that both measured. `noise`: standard deviation of its growth, as far as known."""

    what: str
    unit: str
    then: float
    today: float
    stage: str = ""
    noise: float = 0.0

    @property
    def growth(self) -> float:
        return self.today - self.then

    def too_little(self) -> str:
        """Why its growth says nothing, or ""."""
        if self.growth <= _FLOORS[self.unit]:
            return f"no more than {_FLOORS[self.unit]:g} {self.unit}"
        if self.growth <= _SIGMAS * self.noise:
            return f"within the noise of both, {_SIGMAS * self.noise:.2f} {self.unit}"
        return ""


def regressions(
    baseline: dict[str, Any], now: dict[str, Any], max_slowdown: float
) -> list[Regression]:
    """Median times of the search and of each tower, and peak memory, that are more than
    `max_slowdown` times the baseline's.

    Forgiven is what grew by no more than 0.5 ms or 2 MiB, or than two standard deviations of the
    noise; and a part of a search that is not worse as a whole. BenchError for documents that do
    not compare: another device, another number of photos or threads, or nothing that both
    measured.
    """
    for what, (then, today) in _circumstances(baseline, now).items():
        if then != today:
            raise BenchError(
                f"The baseline does not compare: {what} was {then}, and is {today}.",
                "Measure the baseline again under the same circumstances.",
            )
    figures = _figures(baseline, now)
    if not figures:
        raise BenchError(
            "The baseline has no time or memory that was measured now, too.",
            "Compare results of the same kind of device.",
        )
    larger = [figure for figure in figures if figure.today > max_slowdown * figure.then]
    measured = {figure.stage for figure in figures}
    worse = {figure.stage for figure in larger if not figure.too_little()}
    search_holds = "total" in measured - worse
    found = []
    for figure in larger:
        forgiven = figure.too_little()
        if not forgiven and search_holds and figure.stage in _PARTS_OF_A_SEARCH:
            forgiven = "the search as a whole is not worse"
        found.append(Regression(figure.what, figure.unit, figure.then, figure.today, forgiven))
    return found


def _circumstances(baseline: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    def of(document: dict[str, Any]) -> dict[str, Any]:
        return {
            "the device": document["device"]["cpu"],
            "the number of photos": document["index"].get("photos"),
            "the number of threads": document["conditions"]["threads"],
        }

    then, today = of(baseline), of(now)
    return {what: (then[what], today[what]) for what in then}


def _figures(baseline: dict[str, Any], now: dict[str, Any]) -> list[_Figure]:
    found = []
    for stage, name in _STAGES.items():
        then, today = (
            document["latency_ms"].get(stage, {}).get("p50") for document in (baseline, now)
        )
        if then is not None and today is not None:
            noise = math.hypot(_noise(baseline, stage), _noise(now, stage))
            found.append(_Figure(f"{name}, median", "ms", then, today, stage, noise))
    then, today = (document["memory_mib"]["peak_pss"] for document in (baseline, now))
    if then is not None and today is not None:
        found.append(_Figure("memory, peak PSS", "MiB", then, today))
    return found


def _noise(document: dict[str, Any], stage: str) -> float:
    """How far a median of this measurement might lie off: the standard deviation of the medians of
    successive blocks of its samples, four to a run, so that runs which differ among themselves
    count as well. Cautious: more samples do not make it smaller. 0 without enough samples."""
    taken = document["samples_ms"].get(stage) or []
    runs = sum(run["counted"] for run in document["conditions"].get("repeats", [])) or 1
    size = len(taken) // (_BLOCKS_A_RUN * runs)
    if size < 2:
        return 0.0
    blocks = [taken[start : start + size] for start in range(0, size * _BLOCKS_A_RUN * runs, size)]
    return float(statistics.stdev(statistics.median(block) for block in blocks))
