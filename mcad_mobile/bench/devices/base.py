"""What every device offers: run the measurement that a spec describes, return the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName

Mode = Literal["check", "search", "index"]

RESULT_SCHEMA = "mcad-bench/1"
RUN_SCHEMA = "mcad-run/1"  # docs/bench.md: what a runner is given, and what it prints
MEMORY_SEARCHES = 100  # "after 100 searches" is the last memory step; they warm up the timing too


@dataclass(frozen=True)
class Spec:
    """One measurement. `photos` are decoded and embedded for the indexing part; `queries` are
    searched in turn, `searches` of them timed, in each of `repeats` runs with at least
    `cool_down_s` seconds between. `runtime` None leaves the choice of a rung to the ladder."""

    bundle: Bundle
    index: Path
    queries: tuple[str, ...]
    photos: tuple[Path, ...]
    searches: int = 200
    threads: int = 1
    runtime: str | None = None
    k: int = 10
    repeats: int = 1
    cool_down_s: float = 0.0

    def candidates(self) -> dict[TowerName, list[int]]:
        """Rungs to try, by their number in the ladder: of the named runtime, if one is named."""
        return {
            name: [
                number
                for number, rung in enumerate(self.bundle.tower(name).rungs)
                if self.runtime in (None, rung.runtime)
            ]
            for name in TOWERS
        }

    def document(self, mode: Mode, places: Places) -> dict[str, Any]:
        """What a runner is given (`mcad-run/1`), but for the rungs."""
        return {
            "schema": RUN_SCHEMA,
            "mode": mode,
            "bundle": places.bundle,
            "index": places.index,
            "queries": self.queries,
            "photos": places.photos,
            "memory_searches": MEMORY_SEARCHES,
            "searches": self.searches,
            "k": self.k,
            "threads": self.threads,
            "runtime": self.runtime,
            "scratch": places.scratch,
        }


@dataclass(frozen=True)
class Places:
    """Where a runner finds things, as paths on its device."""

    bundle: str
    index: str
    photos: tuple[str, ...]
    scratch: str


class TowerDevice(Protocol):
    """Where towers run, each alone: a cloud that runs models, an emulated processor."""

    def measure_towers(
        self,
        bundle: Bundle,
        runtime: str | None = None,
        progress: Progress = silent,
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """As Device.measure, for one device or several, with null where a part of a search was
        not measured; and why devices are missing. Of `runtime`, if it is named."""
        ...


class Device(Protocol):
    """Where a bundle is run and measured. `repeats` and `cool_down_s` are what it does unless
    told otherwise. What measuring takes is a device's own affair: this computer starts processes;
    over adb, read_facts() describes a device, and AdbShell runs, pushes, looks at the memory of a
    process and cleans up. Results come on a runner's standard output, so nothing is pulled."""

    @property
    def name(self) -> str: ...

    @property
    def repeats(self) -> int: ...

    @property
    def cool_down_s(self) -> float: ...

    def check(self, bundle: Bundle) -> None:
        """BenchError if the device is not there, or cannot run `bundle`: asked before an index
        and photos are made for it."""
        ...

    def measure(self, spec: Spec, progress: Progress = silent) -> dict[str, Any]:
        """Run `spec` and return the device's part of a mcad-bench/1 document: "device", "tools",
        "conditions", "index" {"photos"}, "memory_mib" {"peak_pss", "peak_rss", "steps",
        "indexing"}, "latency_ms" (stage -> percentiles in ms), "samples_ms", "indexing"
        {"photos_per_s"}, "ladder", "runtime" (tower -> {"runtime", "precision"}), "measured" and
        "not_measured".

        Raises BenchError if a part of it could not be measured; a simulated tower is refused.
        """
        ...
