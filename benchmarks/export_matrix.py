"""Published students by chips: what runs on the NPU, parity, bytes, seconds, memory.

    python benchmarks/export_matrix.py                      # all; hours on two cores
    python benchmarks/export_matrix.py MobileCLIP2-S0 RN50  # these

Writes benchmarks/results/export_matrix/STUDENT.json; a student is one process, whose peak memory is
told. Weights are random (random_students.py): recall is not measured. Nothing here ran on a phone:
Snapdragon rungs are compiled for their chip and compared on the HTP simulator, on fewer inputs than
`export` does, since one takes up to a minute there. Wall time depends on what else runs: processor
time and the load are told beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bundle import TOWERS, Bundle

RESULTS = Path(__file__).parent / "results" / "export_matrix"
SNAPDRAGONS = ("SM8550", "SM8650", "SM8750", "SM8850")
TARGETS = (*SNAPDRAGONS, "dimensity", "cpu")
_SIMULATED = 4
_LONGEST_S = 4 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*")
    parser.add_argument("--simulated", type=int, default=_SIMULATED, help="inputs of a rung")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.simulated)))
        return
    from random_students import STUDENTS

    for name in arguments.students or STUDENTS:
        print(name, file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, "--simulated", str(arguments.simulated)],
            stdout=subprocess.PIPE,
            timeout=_LONGEST_S,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table())


def measure(name: str, simulated: int) -> dict[str, Any]:
    """One student for all targets, in one command."""
    from random_students import STUDENTS

    from mcad_mobile.export.pipeline import Order, export
    from mcad_mobile.students.load import load_student
    from mcad_mobile.targets import find_target

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        folder.mkdir()
        spec = STUDENTS[name](folder)
        before, load_before = peak_rss_mib(), os.getloadavg()[0]
        steps = [("load", *_clocks())]

        def noted(step: str, done: int, total: int) -> None:
            steps.append((step, *_clocks()))
            seconds = steps[-1][1] - steps[0][1]
            print(f"{seconds:7.0f} s  {done}/{total} {step}", file=sys.stderr, flush=True)

        student = load_student(spec)
        orders = [Order(find_target(target), Path(scratch) / target) for target in TARGETS]
        noted("samples, float embeddings, bias correction", 0, 0)
        exported = export(
            student, orders, allow_low_parity=True, simulated=simulated, progress=noted
        )
        peak = peak_rss_mib()
        return {
            "student": name,
            "date": time.strftime("%Y-%m-%d"),
            "device": device_facts(),
            "load_average": [round(load, 1) for load in (load_before, os.getloadavg()[0])],
            "versions": exported[0].bundle.tools,
            "seconds": round(steps[-1][1] - steps[0][1], 1),
            "processor_seconds": round(steps[-1][2] - steps[0][2], 1),
            "steps": [
                {
                    "step": step,
                    "seconds": round(wall - wall_before, 1),
                    "processor_seconds": round(processor - processor_before, 1),
                }
                for (step, wall_before, processor_before), (_, wall, processor) in (
                    itertools.pairwise(steps)
                )
            ],
            "peak_rss_mib": round(peak),
            "peak_rss_before_mib": round(before),
            "warnings": sorted({text for one in exported for text in one.warnings}),
            "token_table_bytes": exported[0].bundle.token_table.file.bytes,
            "targets": {
                target: described(one.bundle) for target, one in zip(TARGETS, exported, strict=True)
            },
        }


def described(bundle: Bundle) -> dict[str, Any]:
    """The first rung of each tower."""
    return {
        "chip": bundle.target.chip,
        "towers": {name: bundle.tower(name).rungs[0].facts() for name in TOWERS},
    }


def peak_rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _clocks() -> tuple[float, float]:
    """Seconds on the wall, and of the processor by all threads of this process."""
    return time.perf_counter(), time.process_time()


def table() -> str:
    """A row a student and tower: Snapdragons share a cell where they say the same."""
    lines = [
        "| student | tower | Snapdragon: nodes on the NPU | cosine | MB | s a chip "
        "| Dimensity: operators | cosine | MB | s | CPU: cosine | MB | s | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        for name in TOWERS:
            lines.append(_row(found, name))
    return "\n".join(lines)


def _row(found: dict[str, Any], tower: str) -> str:
    rungs = {target: said["towers"][tower] for target, said in found["targets"].items()}
    snapdragons = [rungs[target] for target in SNAPDRAGONS]
    chips = [found["targets"][target]["chip"] for target in SNAPDRAGONS]
    dimensity, cpu = rungs["dimensity"], rungs["cpu"]
    cells = [
        found["student"],
        tower,
        _same(f"{rung['npu_nodes']}/{rung['total_nodes']}" for rung in snapdragons),
        _same(f"{rung['cosine_mean']:.4f}" for rung in snapdragons),
        _same(f"{rung['bytes'] / 1e6:.1f}" for rung in snapdragons),
        _same(f"{_seconds(found, tower, 'qnn', chip):.0f}" for chip in chips),
        f"{dimensity['npu_nodes'] or '-'}/{dimensity['total_nodes']}",
        f"{dimensity['cosine_mean']:.4f}",
        f"{dimensity['bytes'] / 1e6:.1f}",
        f"{_seconds(found, tower, 'litert'):.0f}",
        f"{cpu['cosine_mean']:.4f}",
        f"{cpu['bytes'] / 1e6:.1f}",
        f"{_seconds(found, tower, 'onnx'):.0f}",
        f"{found['peak_rss_mib'] / 1024:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _same(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _seconds(found: dict[str, Any], tower: str, runtime: str, chip: str = "") -> float:
    """What a rung took to make and to compare; the first of a kind makes what others share."""
    return sum(
        float(step["seconds"])
        for step in found["steps"]
        if step["step"].startswith(f"{tower} tower")
        and runtime in step["step"]
        and step["step"].count(chip)
    )


if __name__ == "__main__":
    main()
