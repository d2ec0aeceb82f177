"""Repeated runs of a measurement, and which of them count: throttled runs are left out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mcad_mobile.bench.document import Health
from mcad_mobile.bench.watch import Watched
from mcad_mobile.errors import BenchError

# A run that is slower than the fastest by more than this was throttled: clocks fall in steps of 5
# to 15 percent.
_SLOWDOWN = 1.15
_POLL_S = 5.0
_LONGEST_COOL_DOWN_S = 300.0


@dataclass(frozen=True)
class Repeat:
    """One run of the searches, and the device's health around it."""

    watched: Watched
    before: Health
    after: Health

    @property
    def median_ms(self) -> float:
        return float(statistics.median(self.watched.document["samples_ms"]["total"]))


def _throttled(repeat: Repeat, first: Health) -> str:
    """Return how the device reports that it throttled during a run, or "". `first` is its health
    before the first run: clocks that were capped from the start are a condition of the bench."""
    status = max(repeat.before.thermal_status or 0, repeat.after.thermal_status or 0)
    if status > 0:
        return f"thermal status {status}"
    lowered = {
        core: mhz
        for core, mhz in (repeat.after.capped or {}).items()
        if mhz < (first.capped or {}).get(core, mhz + 1)
    }
    if lowered:
        clocks = ", ".join(f"core {core} at {mhz} MHz" for core, mhz in lowered.items())
        return f"the clock was lowered: {clocks}"
    return ""


def counted_runs(repeats: Sequence[Repeat]) -> tuple[list[Repeat], list[dict[str, Any]]]:
    """Return the runs that count, and a record of every run, as the document's "repeats" lists it.
    BenchError: the device throttled in every run."""
    hot = [_throttled(repeat, repeats[0].before) for repeat in repeats]
    cool = [repeat.median_ms for repeat, why in zip(repeats, hot, strict=True) if not why]
    counted, records = [], []
    for repeat, why in zip(repeats, hot, strict=True):
        if not why and repeat.median_ms > _SLOWDOWN * min(cool):
            slower = 100 * (repeat.median_ms / min(cool) - 1)
            why = f"{slower:.0f} % slower than the fastest run"
        if not why:
            counted.append(repeat)
        records.append(
            {
                "p50_ms": repeat.median_ms,
                "counted": not why,
                "why": why,
                "before": msgspec.to_builtins(repeat.before),
                "after": msgspec.to_builtins(repeat.after),
            }
        )
    if not counted:
        raise BenchError(
            f"The device throttled in all of {len(repeats)} runs ({records[0]['why']}): "
            "no run counts.",
            "Unplug it, let it cool, close other apps, and try --cool-down 60.",
        )
    return counted, records


def cool_down(
    health: Callable[[], Health],
    least_s: float,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait `least_s` seconds, then until the device does not throttle, five minutes at most. Do not
    wait if `least_s` is 0."""
    if least_s <= 0:
        return
    sleep(least_s)
    waited = least_s
    while (health().thermal_status or 0) > 0 and waited < _LONGEST_COOL_DOWN_S:
        sleep(_POLL_S)
        waited += _POLL_S
