"""One bundle on processors with and without VNNI: right or wrong, and how fast.

    python benchmarks/kernels.py --data flickr8k    # writes benchmarks/results/kernels.json

Processors without an instruction set are this one with the set hidden (hide_instructions.c): the
kernels are those that such a processor gets, the clock, the caches and the memory are this one's.
Each way to run a tower is timed in turn with the others, in one process, one thread. Needs cc.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.bench.measure import device_facts, percentiles, pin
from mcad_mobile.bundle import Bundle
from mcad_mobile.runtimes import Inputs, normalize
from mcad_mobile.runtimes.agreement import agreement, golden_inputs
from mcad_mobile.runtimes.litert import LiteRTTower
from mcad_mobile.runtimes.onnx import OnnxTower
from mcad_mobile.runtimes.saturation import saturates
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "kernels.json"
SOURCE = Path(__file__).with_name("hide_instructions.c")
HIDDEN = {
    "as it is": None,
    "VNNI hidden": "vnni",
    "AVX-512 hidden": "avx512",
    "AVX2 hidden": "avx2",
}
PHOTOS = 100_000
_NO_FAULTING = 3  # hide_instructions.c
RUNS = {"image": 40, "text": 200}
TOOLS = ("numpy", "onnxruntime", "ai-edge-litert")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="Flickr8k, for recall")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(_measure(*map(Bundle.load, given.measure))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        library = folder / "hide.so"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", library, SOURCE], check=True, timeout=60
        )
        _assert_hides(library)
        bundles = [folder / target for target in ("cpu", "dimensity")]
        for bundle in bundles:
            _mcad("export", "--target", bundle.name, "--out", bundle)
        rows = []
        for name, hidden in HIDDEN.items():
            more = {} if hidden is None else {"LD_PRELOAD": str(library), "HIDE": hidden}
            environment = {**os.environ, **more}
            row = {"processor": name, **_child(bundles, environment)}
            row["search"] = _search(bundles[0], environment)
            if given.data:
                row["eval"] = _mcad(
                    "eval", "--data", given.data, "--bundle", bundles[0], environment=environment
                )
            rows.append(row)
        float_recall = _mcad("eval", "--data", given.data) if given.data else None
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "photos": PHOTOS,
        "float": float_recall,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(as_markdown(result))


def _mcad(*arguments: object, environment: dict[str, str] | None = None) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "mcad_mobile", *map(str, arguments), "--json"],
        stdout=subprocess.PIPE,
        timeout=1800,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout)


def _assert_hides(library: Path) -> None:
    """SystemExit on a processor that cannot keep CPUID from a process."""
    environment = {**os.environ, "LD_PRELOAD": str(library), "HIDE": "vnni"}
    done = subprocess.run(["true"], env=environment, timeout=60, check=False)
    if done.returncode == _NO_FAULTING:
        raise SystemExit(
            "This processor, or the machine that it is virtual on, does not fault on CPUID: no "
            "instruction set can be hidden from a process. Take an Intel one."
        )


def _child(bundles: list[Path], environment: dict[str, str]) -> Any:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", *bundles],
        stdout=subprocess.PIPE,
        timeout=1800,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout)


def _search(bundle: Path, environment: dict[str, str]) -> dict[str, float]:
    found = _mcad("bench", "--bundle", bundle, "--synthetic", PHOTOS, environment=environment)
    return {
        "p50_ms": found["latency_ms"]["total"]["p50"],
        "p99_ms": found["latency_ms"]["total"]["p99"],
        "peak_pss_mib": found["memory_mib"]["peak_pss"],
    }


def _measure(cpu: Bundle, dimensity: Bundle) -> dict[str, Any]:
    """Each way to run each tower: worst cosine to what its file says, and to the float student
    over the golden inputs; ms of one input."""
    pin(1)
    return {
        "saturates": saturates(),
        "image": _towers(cpu, dimensity, "image"),
        "text": _towers(cpu, dimensity, "text"),
    }


def _towers(cpu: Bundle, dimensity: Bundle, name: Any) -> list[dict[str, Any]]:
    int8, fp32 = cpu.tower(name).rungs
    path, floats = cpu.path(int8.files[0]), cpu.path(fp32.files[0])
    ways: list[tuple[str, Callable[[Inputs], Any], Bundle, Any]] = [
        ("ONNX int8, exact kernels", OnnxTower(path, exact=True), cpu, int8),
        ("ONNX int8, fast kernels", OnnxTower(path), cpu, int8),
        ("ONNX fp32", OnnxTower(floats), cpu, fp32),
    ]
    if name == "image":
        rung = dimensity.image.rungs[0]
        tower = LiteRTTower(dimensity.path(rung.files[0]), rung.inputs, rung.outputs)
        ways.append(("LiteRT int8", tower, dimensity, rung))
    exact = normalize(np.load(cpu.path(cpu.tower(name).golden.embeddings)))
    rows = []
    for way, tower, bundle, rung in ways:
        found = tower(golden_inputs(bundle, name))
        rows.append(
            {
                "way": way,
                "to_file": round(agreement(bundle, rung, found), 6),
                "to_float": round(float((exact * normalize(found)).sum(1).min()), 4),
            }
        )
    one = {key: value[:1] for key, value in golden_inputs(cpu, name).items()}
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(RUNS[name]):
        for number, (_, tower, _, _) in enumerate(ways):
            started = time.perf_counter()
            tower(one)
            taken[number].append((time.perf_counter() - started) * 1e3)
    for row, values in zip(rows, taken, strict=True):
        row["ms"] = {key: round(value, 3) for key, value in percentiles(values).items()}
    return rows


def chosen(row: dict[str, Any], tower: str) -> dict[str, Any]:
    """What the engine runs: int8, by exact kernels where the fast ones are wrong."""
    way = f"ONNX int8, {'exact' if row['saturates'] else 'fast'} kernels"
    found: dict[str, Any] = next(one for one in row[tower] if one["way"] == way)
    return found


def as_markdown(result: dict[str, Any]) -> str:
    lines = [
        "| processor | tower | run by | worst cosine to its file | to float | p50 ms | p99 ms |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        for tower in ("image", "text"):
            for way in row[tower]:
                name = way["way"]
                bold = f"**{name}**" if way is chosen(row, tower) else name
                lines.append(
                    f"| {row['processor']} | {tower} | {bold} | {way['to_file']:.4f} | "
                    f"{way['to_float']:.4f} | {way['ms']['p50']:.2f} | {way['ms']['p99']:.2f} |"
                )
    lines += [
        "",
        "| processor | search at 100,000, p50 ms | p99 ms | peak PSS MiB | mR, Flickr8k test |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in result["rows"]:
        found, recall = row["search"], row.get("eval", {}).get("mean_recall")
        lines.append(
            f"| {row['processor']} | {found['p50_ms']:.2f} | {found['p99_ms']:.2f} | "
            f"{found['peak_pss_mib']:.1f} | {'not measured' if recall is None else recall} |"
        )
    if result["float"]:
        lines += ["", f"The float student's mR is {result['float']['mean_recall']}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
