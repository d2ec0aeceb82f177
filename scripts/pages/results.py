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


def made_with(results: list[dict[str, Any]], machine: str) -> str:
    """Return the line with the dates, machine, commits and versions of results of one machine."""
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, version in result["versions"].items():
            found.setdefault(name, {})[version] = None
    versions = ", ".join(f"{name} {' and '.join(each)}" for name, each in found.items())
    return f"Measured {when(results)}, on {machine}; {versions}."


def when(results: list[dict[str, Any]]) -> str:
    """Return the first and last date of results, and their commits."""
    dates = sorted({result["date"] for result in results})
    commits = sorted({result["commit"] for result in results})
    return f"{extent(dates[0], dates[-1])}, commit{'s' if commits[1:] else ''} {', '.join(commits)}"


def extent(least: str, most: str) -> str:
    """Return "LEAST to MOST", or one of them if they are equal."""
    return " to ".join(dict.fromkeys([least, most]))


def footer(result: dict[str, Any]) -> str:
    """Return `made_with` of a result that describes its device."""
    device = result["device"]
    machine = f"{processor_of(device)}, {device['cores']} cores, {device['os']}"
    return made_with([result], machine)
