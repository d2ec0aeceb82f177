"""Regressions since a baseline that are larger than the noise of both measurements."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import Any

from mcad_mobile.errors import BenchError

_STAGES = {"total": "whole search", "text": "text tower", "image": "image tower"}
# Growth that nobody notices beside limits of 8 ms and 100 MiB.
_FLOORS = {"ms": 0.5, "MiB": 2.0}
_BLOCKS_A_RUN = 4
_SIGMAS = 2.0


@dataclass(frozen=True)
class Regression:
    """A figure over the allowed ratio to the baseline. `excuse` says why it is not counted as
    worse, or is ""."""

    name: str
    unit: str
    baseline: float
    current: float
    excuse: str = ""

    @property
    def ratio(self) -> float:
        return self.current / self.baseline

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.current:.2f} {self.unit}, {self.ratio:.2f} times the baseline's "
            f"{self.baseline:.2f} {self.unit}" + (f" ({self.excuse})" if self.excuse else "")
        )


def regressions(
    baseline: dict[str, Any], current: dict[str, Any], max_slowdown: float
) -> list[Regression]:
    """Find median times (search, towers) and peak memory over `max_slowdown` times the baseline's.

    A regression is excused if it is at most 0.5 ms or 2 MiB, or within two standard deviations of
    the noise; the text tower's also if the whole search is not worse. BenchError: the documents
    differ in device, number of photos or threads, or share no figure.
    """
    now = _circumstances(current)
    for name, then in _circumstances(baseline).items():
        if then != now[name]:
            raise BenchError(
                f"The baseline cannot be compared: {name} was {then} and is {now[name]} now.",
                "Measure the baseline again under the same circumstances.",
            )
    figures = _figures(baseline, current)
    if not figures:
        raise BenchError(
            "The baseline and the new result have no figure in common.",
            "Compare results of the same kind of device.",
        )
    larger = {
        stage: figure
        for stage, figure in figures.items()
        if figure.current > max_slowdown * figure.baseline
    }
    search_holds = "total" in figures and ("total" not in larger or larger["total"].excuse)
    if search_holds and "text" in larger and not larger["text"].excuse:
        larger["text"] = replace(larger["text"], excuse="the search as a whole is not worse")
    return list(larger.values())


def _figures(baseline: dict[str, Any], current: dict[str, Any]) -> dict[str, Regression]:
    """The figures of both documents by stage, each with why its growth is negligible, if it is."""
    found = {}
    for stage, name in _STAGES.items():
        before, after = (
            document["latency_ms"].get(stage, {}).get("p50") for document in (baseline, current)
        )
        if before is not None and after is not None:
            noise = math.hypot(_noise(baseline, stage), _noise(current, stage))
            found[stage] = _compared(f"{name}, median", "ms", before, after, noise)
    before, after = (document["memory_mib"]["peak_pss"] for document in (baseline, current))
    if before is not None and after is not None:
        found["memory"] = _compared("memory, peak PSS", "MiB", before, after)
    return found


def _compared(name: str, unit: str, before: float, after: float, noise: float = 0.0) -> Regression:
    excuse, growth = "", after - before
    if growth <= _FLOORS[unit]:
        excuse = f"no more than {_FLOORS[unit]:g} {unit}"
    elif growth <= _SIGMAS * noise:
        excuse = f"within the noise of both, {_SIGMAS * noise:.2f} {unit}"
    return Regression(name, unit, before, after, excuse)


def _circumstances(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "the device": document["device"]["cpu"],
        "the number of photos": document["index"].get("photos"),
        "the number of threads": document["conditions"]["threads"],
    }


def _noise(document: dict[str, Any], stage: str) -> float:
    """The standard deviation of the medians of successive blocks of samples, four per run, so that
    differences between runs count. More samples do not lower it. 0 without enough samples."""
    taken = document["samples_ms"].get(stage) or []
    runs = sum(run["counted"] for run in document["conditions"].get("repeats", [])) or 1
    if stage == "image":  # only searches are repeated
        runs = 1
    size = len(taken) // (_BLOCKS_A_RUN * runs)
    if size < 2:
        return 0.0
    blocks = [taken[start : start + size] for start in range(0, size * _BLOCKS_A_RUN * runs, size)]
    return float(statistics.stdev(statistics.median(block) for block in blocks))
