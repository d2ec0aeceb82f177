"""What several pages tell of: stored results, and what follows from files that ship."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TARGET = "a target"  # why there is no result

TOKEN_TABLE = 30522 * (128 * 2 + 4)  # bytes: int16 rows, a float32 scale each (text/rows.py)


@dataclass(frozen=True)
class Results:
    """Documents of a folder like benchmarks/results."""

    folder: Path = ROOT / "benchmarks" / "results"

    def __call__(self, name: str) -> Any:
        return json.loads((self.folder / f"{name}.json").read_text("utf-8"))

    def on(self, cpu: str, name: str, *, vnni: bool | None = None) -> Any:
        """Of a document with a result a processor, the first whose name begins so, with VNNI or
        without if that is said."""
        return next(
            one
            for one in self(name)
            if one["device"]["cpu"].startswith(cpu)
            and vnni in (None, "AVX-512 VNNI" in one["device"]["instruction_sets"])
        )

    def mean_recall(self, row: str) -> float:
        """mR of one run of the ablation, `ROW-SEED`."""
        found: float = self(f"distill_ablation/{row}")["mean_recall"]
        return found

    def seeds(self, row: str) -> list[float]:
        """mR of each seed of a row of the ablation."""
        return [one["mean_recall"] for one in self._each(row)]

    def things(self, row: str, way: str) -> list[float]:
        """R@1 among photos of things, of each seed of a row."""
        return [one["things"][way]["r1"] for one in self._each(row)]

    def _each(self, row: str) -> list[Any]:
        stored = sorted(self.folder.glob(f"distill_ablation/{row}-[0-9].json"))
        return [self(f"distill_ablation/{path.stem}") for path in stored]
