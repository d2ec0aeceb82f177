"""Export published students for each chip: what NPUs take, parity, bytes, seconds, memory.

    python -m benchmarks.export_matrix                      # all; hours on two cores
    python -m benchmarks.export_matrix MobileCLIP2-S0 RN50  # these
    python -m benchmarks.export_matrix --search             # search of stored students again

Writes benchmarks/results/export_matrix/STUDENT.json; each student runs in its own process, whose
peak memory is recorded. Weights are random (random_students.py): recall is not measured. Nothing
here ran on a phone: Snapdragon rungs are compiled for their chip and compared on the HTP simulator,
on fewer inputs than `export` uses, since one takes up to a minute there. Wall time depends on other
load, so processor time and the load average are recorded too. A search among 100,000 synthetic
photos by this machine is timed as `bench` times it, best on a machine that does nothing else.
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

import numpy as np

from benchmarks.main_job import source
from mcad_mobile.base.machine import device_facts
from mcad_mobile.engine.bundle import TOWERS, Bundle, TowerName

RESULTS = Path(__file__).parent / "results" / "export_matrix"
SNAPDRAGONS = ("SM8550", "SM8650", "SM8750", "SM8850")
TARGETS = (*SNAPDRAGONS, "dimensity", "cpu")
WARN_BELOW = 0.99
_SIMULATED = 4
_LONGEST_S = 4 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("students", nargs="*")
    parser.add_argument("--simulated", type=int, default=_SIMULATED, help="inputs of a rung")
    parser.add_argument("--search", action="store_true", help="measure only the search again")
    parser.add_argument("--student-alone", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.student_alone:
        name = arguments.student_alone
        found = searched(name) if arguments.search else measure(name, arguments.simulated)
        print(json.dumps(found))
        return
    from benchmarks.random_students import STUDENTS

    names = [found["student"] for found in stored()] if arguments.search else [*STUDENTS]
    for name in arguments.students or names:
        print(name, file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "benchmarks.export_matrix", "--student-alone", name]
        command += ["--simulated", str(arguments.simulated)] + ["--search"] * arguments.search
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=_LONGEST_S, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}.json"
        if arguments.search:
            found = json.loads(path.read_text("utf-8")) | {"search": found}
        path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(table(stored()))


def searched(name: str) -> dict[str, Any]:
    """Export one student for the CPU alone, and time a search with it."""
    from benchmarks.random_students import STUDENTS
    from mcad_mobile.export import export_bundle

    with tempfile.TemporaryDirectory() as scratch:
        folder, bundle = Path(scratch) / "student", Path(scratch) / "cpu"
        folder.mkdir()
        export_bundle("cpu", bundle, student=STUDENTS[name](folder), allow_low_parity=True)
        return time_search(bundle)


def time_search(bundle: Path) -> dict[str, Any]:
    """Run `bench` with a cpu bundle: milliseconds, and MiB of the process that searches."""
    command = [sys.executable, "-m", "mcad_mobile", "bench", "--bundle", str(bundle), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=_LONGEST_S, check=True)
    found = json.loads(done.stdout)
    return {
        "date": found["created"][:10],
        "device": found["device"],
        "photos": found["index"]["photos"],
        "waited_share": found["conditions"]["waited_share"],
        "ms": {step: found["latency_ms"][step] for step in ("text", "total", "image")},
        "peak_pss_mib": found["memory_mib"]["peak_pss"],
    }


def measure(name: str, simulated: int) -> dict[str, Any]:
    """Export one student for all targets in one command."""
    from benchmarks.random_students import STUDENTS
    from mcad_mobile.export.build import BundleRequest
    from mcad_mobile.export.pipeline import ExportOptions, export
    from mcad_mobile.students.load import load_student
    from mcad_mobile.targets import find_target

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "student"
        folder.mkdir()
        spec = STUDENTS[name](folder)
        before, device = peak_rss_mib(), device_facts()
        steps = [("load", *_clocks())]

        def noted(step: str, done: int = 0, total: int = 0) -> None:
            steps.append((step, *_clocks()))
            seconds = steps[-1][1] - steps[0][1]
            print(f"{seconds:7.0f} s  {done}/{total} {step}", file=sys.stderr, flush=True)

        student = load_student(spec)
        requests = [
            BundleRequest(find_target(target), Path(scratch) / target) for target in TARGETS
        ]
        noted("samples, float embeddings, bias correction", 0, 0)
        exported = export(
            student,
            requests,
            ExportOptions(allow_low_parity=True, simulated_inputs=simulated),
            noted,
        )
        bundles = {target: done.bundle for target, done in zip(TARGETS, exported, strict=True)}
        return {
            "student": name,
            "date": time.strftime("%Y-%m-%d"),
            **source(),
            "device": device,
            "load_average_1m_after": round(os.getloadavg()[0], 2),
            "versions": bundles["cpu"].tools,
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
            "peak_rss_mib": round(peak_rss_mib()),
            "peak_rss_before_mib": round(before),
            "warnings": sorted({text for bundle in exported for text in bundle.warnings}),
            "token_table_bytes": bundles["cpu"].token_table.file.bytes,
            "chips_differ_by": {
                tower: chips_differ_by([bundles[chip] for chip in SNAPDRAGONS], tower)
                for tower in TOWERS
            },
            "targets": {target: described(bundle) for target, bundle in bundles.items()},
            "search": time_search(Path(scratch) / "cpu"),
        }


def described(bundle: Bundle) -> dict[str, Any]:
    """Describe the first rung of each tower."""
    return {
        "chip": bundle.target.chip,
        "towers": {name: bundle.tower(name).rungs[0].facts() for name in TOWERS},
    }


def chips_differ_by(bundles: list[Bundle], tower: TowerName) -> float:
    """Return the largest difference between chips in any number of the golden embeddings."""
    found = np.stack(
        [np.load(bundle.path(bundle.tower(tower).rungs[0].expected)) for bundle in bundles]
    )
    return float(np.ptp(found, axis=0).max())


def peak_rss_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _clocks() -> tuple[float, float]:
    """Return wall seconds, and processor seconds of all threads of this process."""
    return time.perf_counter(), time.process_time()


def stored() -> list[dict[str, Any]]:
    """Return the results, fastest export first."""
    found = [json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")]
    return sorted(found, key=lambda result: float(result["processor_seconds"]))


def as_markdown(results: list[dict[str, Any]]) -> list[str]:
    """Return the table and its conditions in Markdown."""
    first = {
        rung["inputs"]
        for found in results
        for rung in found["targets"][SNAPDRAGONS[0]]["towers"].values()
    }
    loads = [
        load
        for found in results
        for load in (found["device"]["load_average_1m"], found["load_average_1m_after"])
    ]
    differ = max(max(found["chips_differ_by"].values()) for found in results)
    machines = sorted(
        {f"{result['device']['cores']} cores of {result['device']['cpu']}" for result in results}
    )
    left = _left_out(results)
    return [
        "",
        "Weights are random (seeded, `benchmarks/random_students.py`): placement, time and memory",
        "are as with trained weights at the same precision. Trained weights have larger outliers,",
        "so cosines may be lower, and `export` may choose 16 bits where it chose 8. Recall is not",
        "measured. Nothing here ran on a phone. One command exports each student for six targets.",
        "",
        f"- Snapdragon: w8a16 for {', '.join(SNAPDRAGONS)}, compiled for each and run on the",
        f"  HTP simulator: the first chip on {_counts(first)} inputs, the others on 2, where their",
        f"  outputs differ from the first chip's by at most {differ:.0e}.",
        "- Dimensity: LiteRT; operators that the list of MediaTek's compiler accepts. CPU: ONNX",
        "  Runtime, int8. Both on 16 inputs.",
        "- Cosine to the float student: mean / worst. MB: without the token table.",
        f"- s: wall time / processor time; {' and '.join(machines)}, beside",
        f"  other work (load {min(loads):.1f} to {max(loads):.1f}). The time of files that several",
        "  targets share counts for the first one.",
        "",
        table(results),
        "",
        *(left or [_ALL_WELL]),
        "",
        "Re-run: `benchmarks/export_matrix.py`.",
    ]


_ALL_WELL = (
    "Every node of the Snapdragon towers is on the NPU, every operator of the Dimensity towers is "
    "on the list of MediaTek's compiler, and no mean cosine is under 0.99."
)


def _left_out(results: list[dict[str, Any]]) -> list[str]:
    """Return a line for each rung that is not entirely on its NPU (Dimensity: on the compiler's
    list), or far from the float tower."""
    lines = []
    for found in results:
        for target, document in found["targets"].items():
            for tower, rung in document["towers"].items():
                name = f"- {found['student']}, {tower}, {target}: "
                if target != "cpu" and rung["npu_nodes"] < rung["total_nodes"]:
                    lines.append(name + " ".join(rung["notes"]))
                if rung["cosine_mean"] < WARN_BELOW:
                    lines.append(f"{name}cosine {rung['cosine_mean']:.4f}.")
    return lines and [
        "What is off the NPU (Dimensity: off MediaTek's list), or has a mean cosine under 0.99:",
        "",
        *lines,
    ]


def _counts(counts: set[int]) -> str:
    return " or ".join(map(str, sorted(counts)))


def table(results: list[dict[str, Any]]) -> str:
    """Return a row per student and tower; Snapdragons share a cell if their values are equal."""
    lines = [
        "| student | tower | Snapdragon: nodes on the NPU | cosine | MB | s, all four "
        "| Dimensity: operators | cosine | MB | s | CPU: cosine | MB | s | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(found, tower) for found in results for tower in TOWERS]
    return "\n".join(lines)


def _row(found: dict[str, Any], tower: str) -> str:
    rungs = {target: document["towers"][tower] for target, document in found["targets"].items()}
    snapdragons = [rungs[target] for target in SNAPDRAGONS]
    first = tower == TOWERS[0]
    cells = [found["student"] if first else "", tower]
    for runtime, ladder in (
        ("qnn", snapdragons),
        ("litert", [rungs["dimensity"]]),
        ("onnx", [rungs["cpu"]]),
    ):
        if runtime != "onnx":
            whole = _same(f"{rung['npu_nodes']}/{rung['total_nodes']}" for rung in ladder)
            cells.append(f"{whole}, {ladder[0]['precision']}" if runtime == "litert" else whole)
        cells += [
            _same(f"{rung['cosine_mean']:.4f} / {rung['cosine_min']:.4f}" for rung in ladder),
            _same(f"{rung['bytes'] / 1e6:.1f}" for rung in ladder),
            _seconds(found, tower, runtime),
        ]
    cells.append(f"{found['peak_rss_mib'] / 1024:.1f}" if first else "")
    return f"| {' | '.join(cells)} |"


def _same(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def _seconds(found: dict[str, Any], tower: str, runtime: str) -> str:
    """Return the wall and processor seconds to build and compare rungs; files that rungs share
    count for the first of a kind."""
    steps = [
        step
        for step in found["steps"]
        if step["step"].startswith(f"{tower} tower") and f" {runtime} " in step["step"]
    ]
    return " / ".join(
        f"{sum(step[clock] for step in steps):.0f}" for clock in ("seconds", "processor_seconds")
    )


if __name__ == "__main__":
    main()
