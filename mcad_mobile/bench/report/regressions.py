"""Regressions since a baseline that are larger than the noise of both measurements."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

from mcad_mobile.errors import BenchError

_STAGES = {"total": "whole search", "text": "text tower", "image": "image tower"}
_PARTS_OF_A_SEARCH = ("text",)
# Growth that nobody notices beside limits of 8 ms and 100 MiB.
_FLOORS = {"ms": 0.5, "MiB": 2.0}
_BLOCKS_A_RUN = 4
_SIGMAS = 2.0


@dataclass(frozen=True)
class Regression:
    """A figure over the allowed ratio to the baseline. `forgiven` says why it is not counted as
    worse, or is ""."""

    name: str
    unit: str
    baseline: float
    now: float
    forgiven: str = ""

    @property
    def ratio(self) -> float:
        return self.now / self.baseline

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.now:.2f} {self.unit}, {self.ratio:.2f} times the baseline's "
            f"{self.baseline:.2f} {self.unit}" + (f" ({self.forgiven})" if self.forgiven else "")
        )


@dataclass(frozen=True)
class _Figure:
    """A figure of both documents. `noise`: the standard deviation of its growth, if known."""

    name: str
    unit: str
    then: float
    today: float
    stage: str = ""
    noise: float = 0.0

    @property
    def growth(self) -> float:
        return self.today - self.then

    def negligible(self) -> str:
        """Why its growth is negligible, or ""."""
        if self.growth <= _FLOORS[self.unit]:
            return f"no more than {_FLOORS[self.unit]:g} {self.unit}"
        if self.growth <= _SIGMAS * self.noise:
            return f"within the noise of both, {_SIGMAS * self.noise:.2f} {self.unit}"
        return ""


def regressions(
    baseline: dict[str, Any], now: dict[str, Any], max_slowdown: float
) -> list[Regression]:
    """Find median times (search, towers) and peak memory over `max_slowdown` times the baseline's.

    A regression is forgiven if it is at most 0.5 ms or 2 MiB, or two standard deviations of the
    noise, or if it is a part of a search that is not worse as a whole.

    Raises:
        BenchError: The documents are of different devices or numbers of photos or threads, or share
            no figure.
    """
    then_by_name, now_by_name = _circumstances(baseline), _circumstances(now)
    for name, then in then_by_name.items():
        today = now_by_name[name]
        if then != today:
            raise BenchError(
                f"The baseline does not compare: {name} was {then}, and is {today}.",
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
    worse = {figure.stage for figure in larger if not figure.negligible()}
    search_holds = "total" in measured - worse
    found = []
    for figure in larger:
        forgiven = figure.negligible()
        if not forgiven and search_holds and figure.stage in _PARTS_OF_A_SEARCH:
            forgiven = "the search as a whole is not worse"
        found.append(Regression(figure.name, figure.unit, figure.then, figure.today, forgiven))
    return found


def _circumstances(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "the device": document["device"]["cpu"],
        "the number of photos": document["index"].get("photos"),
        "the number of threads": document["conditions"]["threads"],
    }


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
    """The standard deviation of the medians of successive blocks of samples, four per run, so that
    differences between runs count. More samples do not lower it. 0 without enough samples."""
    taken = document["samples_ms"].get(stage) or []
    runs = sum(run["counted"] for run in document["conditions"].get("repeats", [])) or 1
    size = len(taken) // (_BLOCKS_A_RUN * runs)
    if size < 2:
        return 0.0
    blocks = [taken[start : start + size] for start in range(0, size * _BLOCKS_A_RUN * runs, size)]
    return float(statistics.stdev(statistics.median(block) for block in blocks))
