"""Stored results, and the lines that say what made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def stored(name: str) -> Any:
    """Return the document benchmarks/results/NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def made_with(date: str, machine: str, versions: dict[str, str]) -> str:
    """Return the line with the date, machine and versions of a result."""
    return f"{date}, {machine}; " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "."


def footer(result: dict[str, Any]) -> str:
    """Return `made_with` of a result that describes its device."""
    return made_with(result["date"], result["device"]["os"], result["versions"])
