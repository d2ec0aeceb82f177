"""The interface of devices: run the measurement that a spec describes, return the figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName

Mode = Literal["check", "search", "index"]
Parts = tuple[list[dict[str, Any]], list[str]]  # of documents, and why devices have none

RESULT_SCHEMA = "mcad-bench/1"
RUN_SCHEMA = "mcad-run/1"  # docs/bench.md describes a runner's input and output
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
        """Rungs to try, by their number in the ladder: of `runtime`, if it is set."""
        return {
            name: [
                number
                for number, rung in enumerate(self.bundle.tower(name).rungs)
                if self.runtime in (None, rung.runtime)
            ]
            for name in TOWERS
        }

    def document(self, mode: Mode, places: Places) -> dict[str, Any]:
        """A runner's input (`mcad-run/1`), without the rungs."""
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
    """Paths of a runner's files on its device."""

    bundle: str
    index: str
    photos: tuple[str, ...]
    scratch: str


class TowerDevice(Protocol):
    """Runs single towers: a cloud that runs models, an emulated processor."""

    def measure_towers(
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """As Device.measure for one device or several, with null for what was not measured; and why
        devices are missing. Only rungs of `runtime`, if it is set."""


class Device(Protocol):
    """Runs and measures a bundle. `repeats` and `cool_down_s` are its defaults."""

    @property
    def repeats(self) -> int: ...

    @property
    def cool_down_s(self) -> float: ...

    def check(self, bundle: Bundle) -> None:
        """Raise BenchError if the device is missing or cannot run `bundle`; called before an index
        and photos are made for it."""

    def measure(self, spec: Spec, progress: Progress = silent) -> dict[str, Any]:
        """Run `spec` and return the device's part of a mcad-bench/1 document (BenchDocument): all
        but "schema", "created", "bundle" and "targets". BenchError if a part of it could not be
        measured, or a tower is simulated."""
