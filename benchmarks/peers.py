"""Measure time and memory of both towers in every runtime, beside other students' architectures.

    python -m benchmarks.peers               # writes benchmarks/results/peers.json

Same machine, run and inputs, one thread. Rows take turns, each in its own process, a few times
over; figures are medians. Texts have no padding where a runtime takes any number of tokens; LiteRT
does not. This machine is no phone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.main_job import provenance, store
from benchmarks.peer_row import Row
from mcad_mobile.base.machine import pin
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.watch import watch

RESULT = Path(__file__).parent / "results" / "peers.json"
TOOLS = ("torch", "onnxruntime", "ai-edge-litert", "openvino", "open-clip-torch", "numpy")
TIMED, WARM_UP, LONGEST_S = 200, 20, 12.0
_RIGHT = 0.98  # below it, a row no longer computes the trained tower
NAMES = {"torch": "PyTorch", "onnx": "ONNX Runtime", "litert": "LiteRT", "openvino": "OpenVINO"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", type=Path, help="one row, in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(json.loads(options.measure.read_text()))))
        return
    with tempfile.TemporaryDirectory() as folder:
        # PSS divides a library's memory among the processes that have loaded it, so this one must
        # not load what rows measure.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows = pool.submit(_prepared, Path(folder) / "models").result()
        taken: list[list[dict[str, Any]]] = [[] for _ in rows]
        for run in range(options.runs):
            for number, row in enumerate(rows):
                name = f"{row.model} {row.tower} {row.runtime} {row.precision}"
                print(f"run {run + 1}: {name}", file=sys.stderr, flush=True)
                taken[number].append(in_a_process(row, Path(folder)))
    result = {
        **provenance(tool_versions(TOOLS)),
        "runs": options.runs,
        "timed": TIMED,
        "rows": [summary(row, runs) for row, runs in zip(rows, taken, strict=True)],
    }
    store(result, RESULT)
    print(table(result))


def _prepared(folder: Path) -> list[Row]:
    from benchmarks.peer_towers import prepare

    return prepare(folder)


def in_a_process(row: Row, folder: Path) -> dict[str, Any]:
    spec = folder / "row.json"
    spec.write_text(json.dumps(asdict(row)))
    limited = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.peers", "--measure", str(spec)]
    found = watch(command, timeout_s=900, environment=limited)
    return {**found.document, "peak_pss_mib": found.peak.pss, "peak_rss_mib": found.peak.rss}


def measure(row: dict[str, Any]) -> dict[str, Any]:
    """Time one input at a time in milliseconds; also return the worst cosine to float."""
    import numpy as np

    from mcad_mobile.bench.document import percentiles

    pin(1)
    taken = np.load(row["inputs"])
    count = len(taken[taken.files[0]])
    samples = [{key: taken[key][n : n + 1] for key in taken.files} for n in range(count)]
    run = RUNTIMES[row["runtime"]](row)
    found = [run(sample) for sample in samples]
    for number in range(WARM_UP):
        run(samples[number % count])
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < TIMED and time.perf_counter() - started < LONGEST_S:
        before = time.perf_counter()
        run(samples[len(times) % count])
        times.append((time.perf_counter() - before) * 1e3)
    cosine = None
    if row["expected"]:
        expected = np.load(row["expected"])
        embeddings = np.concatenate(found)
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        cosine = float((expected * embeddings).sum(1).min())
    return {**percentiles(times), "timed": len(times), "cosine_min": cosine}


def _torch(row: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    import torch

    from mcad_mobile.engine.towers.protocol import without_padding

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    # Map the weights of this tower only: nothing else of the model is in this process.
    tower = torch.load(row["file"], mmap=True, weights_only=False).eval()
    return lambda inputs: tower(*map(torch.from_numpy, without_padding(inputs).values())).numpy()


def _onnx(row: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from mcad_mobile.engine.towers.onnx import OnnxTower, saturates

    return OnnxTower(Path(row["file"]), exact_kernels=saturates())


def _litert(row: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    from mcad_mobile.engine.bundle import TensorSpec
    from mcad_mobile.engine.towers.litert import LiteRTTower

    *inputs, output = (TensorSpec(**spec) for spec in row["specs"])
    return LiteRTTower(Path(row["file"]), tuple(inputs), (output,))


def _openvino(row: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    import openvino

    from mcad_mobile.engine.towers.protocol import without_padding

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
    # The default on this CPU may be bfloat16, but the row says fp32.
    settings |= {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(row["file"], "CPU", settings)
    request, output = compiled.create_infer_request(), compiled.output(0)
    return lambda inputs: request.infer(without_padding(inputs))[output].copy()


RUNTIMES = {"torch": _torch, "onnx": _onnx, "litert": _litert, "openvino": _openvino}


def summary(row: Row, runs: list[dict[str, Any]]) -> dict[str, Any]:
    figures = ("p50", "p99", "peak_pss_mib", "peak_rss_mib")
    return {
        "model": row.model,
        "tower": row.tower,
        "runtime": row.runtime,
        "precision": row.precision,
        "cosine_min": runs[0]["cosine_min"],
        "timed": min(run["timed"] for run in runs),
        **{name: round(statistics.median(run[name] for run in runs), 3) for name in figures},
    }


def table(result: dict[str, Any]) -> str:
    """Return a table per tower, fastest first; ratios are to a cpu bundle's first rung."""
    parts = []
    for tower in ("text", "image"):
        rows = sorted((r for r in result["rows"] if r["tower"] == tower), key=lambda r: r["p50"])
        shipped = next(r for r in rows if _is_shipped(r))
        parts += [
            f"| {tower} tower | runtime | p50 ms | p99 ms | peak PSS MiB | time |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for row in rows:
            mark = "**" if row is shipped else ""
            parts.append(
                f"| {mark}{row['model']}{mark} | {NAMES[row['runtime']]} {row['precision']} | "
                f"{row['p50']:.2f} | {row['p99']:.2f} | {row['peak_pss_mib']:.0f} | "
                f"{row['p50'] / shipped['p50']:.2f}x |"
            )
        parts.append("")
    return "\n".join(parts).rstrip()


def verdict(result: dict[str, Any]) -> str:
    """Say whether our file is the fastest of those that reproduce the student's embeddings."""
    sentences = []
    for tower in ("text", "image"):
        rows = [r for r in result["rows"] if r["tower"] == tower and r["model"] == "ours"]
        right = [row for row in rows if row["cosine_min"] >= _RIGHT]
        shipped = next(row for row in rows if _is_shipped(row))
        fastest = min(right, key=lambda row: row["p50"])
        name = f"{NAMES[fastest['runtime']]} {fastest['precision']}"
        if fastest is shipped:
            sentences.append(f"Of our {tower} towers, the file in a `cpu` bundle is fastest.")
        else:
            sentences.append(
                f"{name} runs the {tower} tower {shipped['p50'] / fastest['p50']:.2f} times as "
                "fast as the file in a `cpu` bundle."
            )
    return " ".join(sentences)


def _is_shipped(row: dict[str, Any]) -> bool:
    return (row["model"], row["runtime"], row["precision"]) == ("ours", "onnx", "int8")


if __name__ == "__main__":
    main()
