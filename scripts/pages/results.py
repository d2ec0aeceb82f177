"""Where results lie, and how sections tell what they were made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def made_with(date: str, machine: str, versions: dict[str, str]) -> str:
    return f"{date}, {machine}; " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "."


def with_instructions(device: dict[str, Any]) -> str:
    return f"{device['cpu']} ({', '.join(device['instruction_sets'])})"
