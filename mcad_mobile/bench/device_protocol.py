"""The interface of devices: run the measurement that a spec describes, return the figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName

Mode = Literal["check", "search", "index", "read"]
Parts = tuple[list[dict[str, Any]], list[str]]  # documents, and why devices have none

RESULT_SCHEMA = "mcad-bench/1"
RUN_SCHEMA = "mcad-run/1"  # docs/bench.md describes a runner's input and output
MEMORY_SEARCHES = 100  # "after 100 searches" is the last memory step; they warm up the timing too


@dataclass(frozen=True)
class Spec:
    """One measurement. The indexing part decodes and embeds `photos` and, on this machine,
    `videos`. Each of `repeats` runs, at least `cool_down_s` seconds apart, goes through `queries`
    in turn and times `searches` of them. `runtime` None leaves the choice of a rung to the ladder.
    With `read_text`, photos are read."""

    bundle: Bundle
    index: Path = Path()
    queries: tuple[str, ...] = ()
    photos: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    searches: int = 200
    threads: int = 1
    runtime: str | None = None
    k: int = 10
    repeats: int = 1
    cool_down_s: float = 0.0
    read_text: bool = False

    def candidates(self) -> dict[TowerName, list[int]]:
        """Return the ladder numbers of the rungs to try: those of `runtime`, if it is set."""
        return {
            name: [
                number
                for number, rung in enumerate(self.bundle.tower(name).rungs)
                if self.runtime in (None, rung.runtime)
            ]
            for name in TOWERS
        }

    def document(self, mode: Mode, places: dict[str, Any]) -> dict[str, Any]:
        """A runner's input (`mcad-run/1`), without the rungs. `places`: the paths of bundle, index,
        photos and scratch on its device."""
        return {
            "schema": RUN_SCHEMA,
            "mode": mode,
            **places,
            "queries": self.queries,
            "memory_searches": MEMORY_SEARCHES,
            "searches": self.searches,
            "k": self.k,
            "threads": self.threads,
            "runtime": self.runtime,
        }


@runtime_checkable
class TowerDevice(Protocol):
    """Runs towers alone: a cloud that runs models, or an emulated processor."""

    def measure_towers(
        self, bundle: Bundle, runtime: str | None = None, progress: Progress = silent
    ) -> Parts:
        """Return what Device.measure returns, for one or more devices, with null for what was not
        measured; and why devices are missing. If `runtime` is set, only its rungs run."""


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
