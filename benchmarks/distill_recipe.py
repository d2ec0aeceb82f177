"""Time the default recipe from scratch: `mcad-mobile distill` with an empty cache, and the
student's recall on the test split.

    python -m benchmarks.distill_recipe --data flickr8k --extra-photos DIR --extra-captions FILE

Takes an hour or more on all cores. Writes benchmarks/results/distill_recipe.json, one row per kind
of processor: a new run replaces the older row.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.main_job import commit
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.measure import device_facts

RESULT = Path(__file__).parent / "results" / "distill_recipe.json"
COMMAND = [sys.executable, "-m", "mcad_mobile"]
_LONGEST_S = 12 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--extra-photos", type=Path, action="append", default=[])
    parser.add_argument("--extra-captions", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    options = ["--data", str(arguments.data)]
    for photos in arguments.extra_photos:
        options += ["--extra-photos", str(photos)]
    for captions in arguments.extra_captions:
        options += ["--extra-captions", str(captions)]
    with tempfile.TemporaryDirectory() as scratch:
        student = Path(scratch) / "student"
        cache = Path(scratch) / "cache"
        before, started = _cpu_s(), time.perf_counter()
        subprocess.run(
            [*COMMAND, "distill", *options, "--out", str(student), "--cache", str(cache)],
            timeout=_LONGEST_S,
            check=True,
        )
        wall_s, cpu_s = time.perf_counter() - started, _cpu_s() - before
        record(row(student, arguments.data, wall_s, cpu_s))


def row(student: Path, data: Path, wall_s: float, cpu_s: float, beside: str = "") -> dict[str, Any]:
    """Return a run's minutes and recall. `beside`: other work on the machine."""
    done = subprocess.run(
        [*COMMAND, "eval", "--data", str(data), "--student", str(student), "--json"],
        stdout=subprocess.PIPE,
        timeout=_LONGEST_S,
        check=True,
    )
    training = json.loads((student / "training.json").read_text("utf-8"))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "device": device_facts(),
        "versions": tool_versions(("torch", "accelerate")),
        "arithmetic": ", ".join(entry["arithmetic"] for entry in training["arithmetic"]),
        "minutes": round(wall_s / 60, 1),
        "processor_minutes": round(cpu_s / 60, 1),
        "minutes_of_parts": training["minutes"],
        "beside": beside,
        "mean_recall": json.loads(done.stdout)["mean_recall"],
    }


def record(found: dict[str, Any]) -> None:
    rows = json.loads(RESULT.read_text("utf-8"))["rows"] if RESULT.exists() else []
    kept = [old for old in rows if _processor(old) != _processor(found)]
    RESULT.write_text(json.dumps({"rows": [*kept, found]}, indent=1) + "\n", "utf-8")


def as_markdown(result: dict[str, Any]) -> str:
    lines = [
        "| processor | cores | arithmetic | minutes | of processor time | beside | mR, test |",
        "|---|---:|---|---:|---:|---|---:|",
    ]
    for found in result["rows"]:
        device = found["device"]
        lines.append(
            f"| {device['cpu']} ({', '.join(device['instruction_sets'])}) | {device['cores']} "
            f"| {found['arithmetic']} | {found['minutes']:.0f} "
            f"| {found['processor_minutes']:.0f} | {found['beside'] or 'nothing'} "
            f"| {found['mean_recall']:.2f} |"
        )
    return "\n".join(lines)


def _processor(found: dict[str, Any]) -> tuple[str, list[str]]:
    return found["device"]["cpu"], found["device"]["instruction_sets"]


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
