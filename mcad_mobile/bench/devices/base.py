"""What every device offers: run the measurement that a spec describes, return the numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

Progress = Callable[[str], None]

MEMORY_SEARCHES = 100  # "after 100 searches" is the last memory step; they warm up the timing too


@dataclass(frozen=True)
class Spec:
    """One measurement. `photos` are decoded and embedded for the indexing part; `queries` are
    searched in turn, `searches` of them timed. `runtime` None leaves the choice of a rung to the
    engine."""

    bundle: Path
    index: Path
    queries: tuple[str, ...]
    photos: tuple[Path, ...]
    searches: int = 200
    threads: int = 1
    runtime: str | None = None
    k: int = 10

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "bundle": str(self.bundle.resolve()),
            "index": str(self.index.resolve()),
            "photos": [str(photo.resolve()) for photo in self.photos],
            "memory_searches": MEMORY_SEARCHES,
        }


class Device(Protocol):
    """Where a bundle is run and measured."""

    name: str

    def measure(self, spec: Spec, progress: Progress = lambda step: None) -> dict[str, Any]:
        """Run `spec` and return the device's part of a mcad-bench/1 document: "device", "tools",
        "conditions", "index" {"photos"}, "memory_mib" {"peak_pss", "peak_rss", "steps",
        "indexing"}, "latency_ms" (stage -> percentiles in ms), "indexing" {"photos_per_s"},
        "runtime" (tower -> {"runtime", "precision"}), "measured" and "not_measured".

        Raises BenchError if a part of it could not be measured; a simulated tower is refused.
        """
        ...
