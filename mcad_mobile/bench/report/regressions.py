"""What got worse since a baseline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mcad_mobile.errors import BenchError

_STAGES = {"total": "whole search", "text": "text tower", "image": "image tower"}


@dataclass(frozen=True)
class Regression:
    """`ratio` of now to the baseline, over the allowed one."""

    what: str
    unit: str
    baseline: float
    now: float

    @property
    def ratio(self) -> float:
        return self.now / self.baseline

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": round(self.ratio, 3)}

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.now:.2f} {self.unit}, {self.ratio:.2f} times the baseline's "
            f"{self.baseline:.2f} {self.unit}"
        )


def regressions(
    baseline: dict[str, Any], now: dict[str, Any], max_slowdown: float
) -> list[Regression]:
    """Median times of the search and of each tower, and peak memory, that are more than
    `max_slowdown` times the baseline's. BenchError for documents that do not compare: another
    device, another number of photos or threads, or nothing that both measured."""
    for what, (then, today) in _circumstances(baseline, now).items():
        if then != today:
            raise BenchError(
                f"The baseline does not compare: {what} was {then}, and is {today}.",
                "Measure the baseline again under the same circumstances.",
            )
    found, compared = [], 0
    for what, unit, then, today in _figures(baseline, now):
        if then is None or today is None:
            continue
        compared += 1
        if today > max_slowdown * then:
            found.append(Regression(what, unit, then, today))
    if not compared:
        raise BenchError(
            "The baseline has no time or memory that was measured now, too.",
            "Compare results of the same kind of device.",
        )
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


def _figures(
    baseline: dict[str, Any], now: dict[str, Any]
) -> list[tuple[str, str, float | None, float | None]]:
    rows: list[tuple[str, str, float | None, float | None]] = [
        (
            f"{name}, median",
            "ms",
            baseline["latency_ms"].get(stage, {}).get("p50"),
            now["latency_ms"].get(stage, {}).get("p50"),
        )
        for stage, name in _STAGES.items()
    ]
    peaks = (document["memory_mib"]["peak_pss"] for document in (baseline, now))
    return [*rows, ("memory, peak PSS", "MiB", *peaks)]
