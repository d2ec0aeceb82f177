"""Stored results, and lines that say how they were measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.main_job import processor_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def stored(name: str) -> Any:
    """Return the document benchmarks/results/NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def is_stored(name: str) -> bool:
    """Return whether benchmarks/results has the document or the folder NAME."""
    return (RESULTS / f"{name}.json").is_file() or (RESULTS / name).is_dir()


def made_with(date: str, machine: str, versions: dict[str, str], commit: str | None = None) -> str:
    """Return the line with the date, machine, commit and versions of a result."""
    at = f", commit {commit}" if commit else ""
    shown = ", ".join(f"{name} {v}" for name, v in versions.items())
    return f"Measured {date} on {machine}{at}; {shown}."


def footer(result: dict[str, Any]) -> str:
    """Return `made_with` of a result that describes its device."""
    device = result["device"]
    machine = f"{processor_of(device)}, {device['cores']} cores, {device['os']}"
    return made_with(result["date"], machine, result["versions"], result.get("commit"))
