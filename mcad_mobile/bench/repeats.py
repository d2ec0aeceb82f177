"""Runs of the same measurement, and which of them count: a device that throttled is not averaged
over."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mcad_mobile.bench.watch import Watched
from mcad_mobile.errors import BenchError

# A run slower than the fastest by more than this was not the same machine: clocks fall in steps
# of 5 to 15 percent.
_SLOWDOWN = 1.15
_POLL_S = 5.0
_LONGEST_COOL_DOWN_S = 300.0


@dataclass(frozen=True)
class Health:
    """A device's heat and power, as far as it tells. `thermal_status` is Android's (0: none, 1:
    light throttling, up to 6); `capped` are cores whose clock is held under their maximum, as
    core -> MHz allowed."""

    thermal_status: int | None = None
    temperature_c: float | None = None
    battery_percent: int | None = None
    capped: dict[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Repeat:
    """One run of the searches, and the device's health around it."""

    watched: Watched
    before: Health
    after: Health

    @property
    def median_ms(self) -> float:
        return float(statistics.median(self.watched.document["samples_ms"]["total"]))


def throttled(repeat: Repeat, first: Health) -> str | None:
    """What the device itself says of throttling during a run, or None. `first` is its health
    before the first run: a clock that was capped from the start is a condition of the bench,
    stated, not an event."""
    status = max(repeat.before.thermal_status or 0, repeat.after.thermal_status or 0)
    if status > 0:
        return f"thermal status {status}"
    lowered = {
        core: mhz
        for core, mhz in (repeat.after.capped or {}).items()
        if mhz < (first.capped or {}).get(core, mhz + 1)
    }
    if lowered:
        told = ", ".join(f"core {core} at {mhz} MHz" for core, mhz in lowered.items())
        return f"the clock was lowered: {told}"
    return None


def _slowed(repeat: Repeat, fastest_ms: float) -> str | None:
    if repeat.median_ms <= _SLOWDOWN * fastest_ms:
        return None
    return f"{100 * (repeat.median_ms / fastest_ms - 1):.0f} % slower than the fastest run"


def those_that_count(repeats: Sequence[Repeat]) -> tuple[list[Repeat], list[dict[str, Any]]]:
    """The runs to report, and every run for the record: {"p50_ms", "counted", "why", "before",
    "after"}. BenchError if the device throttled in each."""
    hot = [throttled(repeat, repeats[0].before) for repeat in repeats]
    cool = [repeat.median_ms for repeat, why in zip(repeats, hot, strict=True) if why is None]
    counted, told = [], []
    for repeat, why_hot in zip(repeats, hot, strict=True):
        why = why_hot or _slowed(repeat, min(cool))
        if why is None:
            counted.append(repeat)
        told.append(
            {
                "p50_ms": repeat.median_ms,
                "counted": why is None,
                "why": why or "",
                "before": repeat.before.to_json(),
                "after": repeat.after.to_json(),
            }
        )
    if not counted:
        raise BenchError(
            f"The device throttled in all of {len(repeats)} runs ({told[0]['why']}): "
            "there is no number of a cool device to report.",
            "Unplug it, let it cool, close what else runs on it, and try --cool-down 60.",
        )
    return counted, told


def cool_down(
    health: Callable[[], Health],
    least_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait `least_s` seconds, and on until the device says that it does not throttle, five
    minutes at most. Nothing to wait for where `least_s` is 0."""
    if least_s <= 0:
        return
    sleep(least_s)
    waited = least_s
    while (health().thermal_status or 0) > 0 and waited < _LONGEST_COOL_DOWN_S:
        sleep(_POLL_S)
        waited += _POLL_S
