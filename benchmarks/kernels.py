"""Time the search kernels on a large index: through JNI on a JVM and through ctypes, in one run.

    python -m benchmarks.kernels --images images.npy --texts texts.npy

`images.npy` [M, D] and `texts.npy` [Q, D] are float32, L2-normalized, real embeddings of one
student (benchmarks/embed.py); photos are blended up to --photos. Python writes the index; a JVM
with 64 MB of heap and Python search it in turn, on one thread. QEMU and Zig count the instructions
of the same search on Arm; times on phones are modelled from them. Writes
benchmarks/results/kernels.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arm import arm_table, count_arm
from benchmarks.blends import blended_index
from benchmarks.index import load_embeddings, machine
from benchmarks.jvm import FREED_AT_ONCE, HEAP_MIB, run_java
from benchmarks.main_job import source
from mcad_mobile.bench.document import percentiles
from mcad_mobile.engine.index import PhotoIndex

K = 10
ROUNDS = 3
# A JVM takes some seconds to compile hot code.
WARM_UP = 1000
LIMIT_MS = 8.0
RESULTS = Path(__file__).parent / "results/kernels.json"
# Wall times, and processor time, which is comparable even on a busy machine.
STAGES = ("scan", "rescore", "total", "cpu")


def run_python(index: PhotoIndex, queries: np.ndarray) -> dict[str, Any]:
    for query in queries:
        index.search(query, K)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    found = []
    for query in queries:
        busy, started = time.thread_time(), time.perf_counter()
        hits = index.search(query, K)
        times["total"].append((time.perf_counter() - started) * 1e3)
        times["cpu"].append((time.thread_time() - busy) * 1e3)
        times["scan"].append(hits.scan_ms)
        times["rescore"].append(hits.rescore_ms)
        found.append(hits.paths)
    return {**times, "found": found}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return percentiles over all rounds, and a JVM's memory and opening time in the last one."""
    times = {stage: percentiles([t for run in runs for t in run[stage]]) for stage in STAGES}
    last = runs[-1]
    return {
        **times,
        **{name: last[name] for name in ("heap_mib", "pss_mib", "open_ms") if name in last},
    }


def table(document: dict[str, Any]) -> str:
    rows = (
        ("C through JNI, on a JVM", document["jni"]["cpu"]),
        ("C through ctypes, in Python", document["ctypes"]["cpu"]),
    )
    lines = ["| engine | search: processor p50 ms | p90 ms | p99 ms |", "|---|---|---|---|"]
    for name, times in rows:
        lines.append(f"| {name} | {times['p50']:.2f} | {times['p90']:.2f} | {times['p99']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help=".npy float32 [M, D]")
    parser.add_argument("--texts", type=Path, required=True, help=".npy float32 [Q, D]")
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--index", type=Path, help="one of these photos that is there already")
    arguments = parser.parse_args()
    images, texts = load_embeddings(arguments.images), load_embeddings(arguments.texts)
    queries = texts[np.random.default_rng(0).choice(len(texts), arguments.queries, replace=False)]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        at = arguments.index or work / "index"
        index = PhotoIndex.open(at) if at.exists() else blended_index(images, arguments.photos, at)
        asked = work / "queries.f32"
        queries.astype("<f4").tofile(asked)
        java, python = [], []
        for _ in range(ROUNDS):
            given = [at, asked, WARM_UP, len(queries), K]
            java.append(run_java("SearchBenchmark", given, work, **FREED_AT_ONCE))
            python.append(run_python(index, queries))
        if [run["found"] for run in java] != [run["found"] for run in python]:
            raise SystemExit("Java and Python found other photos.")
        arm = count_arm(at, queries[0], K, work)
    document = {
        "schema": "mcad-kernels/1",
        "date": time.strftime("%Y-%m-%d"),
        **source(),
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "versions": {"java": java[0]["java"], "python": platform.python_version()},
        "setup": {
            "photos": arguments.photos,
            "dim": int(images.shape[1]),
            "blended_from": len(images),
            "queries": len(queries),
            "rounds": ROUNDS,
            "heap_limit_mib": HEAP_MIB,
            "limit_ms": LIMIT_MS,
        },
        "jni": summary(java),
        "ctypes": summary(python),
        "arm": arm,
    }
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(table(document), arm_table(arm), sep="\n\n")


if __name__ == "__main__":
    main()
