"""Published students by chips: what runs on the NPU, parity, bytes, seconds, memory.

    python benchmarks/export_matrix.py                      # all; hours on two cores
    python benchmarks/export_matrix.py MobileCLIP2-S0 RN50  # these

Writes benchmarks/results/export_matrix/STUDENT.json; a student is one process, whose peak memory is
told. Weights are random (random_students.py): recall is not measured. Nothing here ran on a phone:
Snapdragon rungs are compiled for their chip and compared on the HTP simulator.
"""

from __future__ import annotations

import argparse
import itertools
import json
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
_LONGEST_S = 4 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one)))
        return
    from random_students import STUDENTS

    for name in arguments.students or STUDENTS:
        print(name, file=sys.stderr, flush=True)
        done = subprocess.run(
            [sys.executable, __file__, "--one", name],
            stdout=subprocess.PIPE,
            timeout=_LONGEST_S,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table())


def measure(name: str) -> dict[str, Any]:
    """One student for all targets, in one command."""
    from random_students import STUDENTS

    from mcad_mobile.export.pipeline import Order, export
    from mcad_mobile.students.load import load_student
    from mcad_mobile.targets import find_target

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        folder.mkdir()
        spec = STUDENTS[name](folder)
        before = peak_rss_mib()
        started = time.perf_counter()
        student = load_student(spec)
        orders = [Order(find_target(target), Path(scratch) / target) for target in TARGETS]
        steps: list[tuple[str, float]] = []
        exported = export(
            student,
            orders,
            allow_low_parity=True,
            progress=lambda step, done, total: steps.append((step, time.perf_counter())),
        )
        seconds = [
            {"step": step, "seconds": round(after - at, 1)}
            for (step, at), (_, after) in itertools.pairwise(steps)
        ]
        return {
            "student": name,
            "date": time.strftime("%Y-%m-%d"),
            "device": device_facts(),
            "versions": exported[0].bundle.tools,
            "seconds": round(time.perf_counter() - started, 1),
            "steps": seconds,
            "peak_rss_mib": round(peak_rss_mib()),
            "peak_rss_before_mib": round(before),
            "warnings": sorted({text for one in exported for text in one.warnings}),
            "token_table_bytes": exported[0].bundle.token_table.file.bytes,
            "targets": {
                target: described(one.bundle) for target, one in zip(TARGETS, exported, strict=True)
            },
        }


def described(bundle: Bundle) -> dict[str, Any]:
    """The first rung of each tower."""
    towers = {}
    for name in TOWERS:
        rung = bundle.tower(name).rungs[0]
        assert rung.parity is not None
        towers[name] = {
            "runtime": rung.runtime,
            "precision": rung.precision,
            "npu_nodes": rung.npu_nodes,
            "total_nodes": rung.total_nodes,
            "bytes": rung.bytes,
            "cosine_mean": round(rung.parity.cosine_mean, 4),
            "cosine_min": round(rung.parity.cosine_min, 4),
            "notes": list(rung.notes),
        }
    return {"chip": bundle.target.chip, "towers": towers}


def peak_rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
