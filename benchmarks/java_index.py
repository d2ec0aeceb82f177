"""Time the Java engine's search of a large index: by one thread, in a JVM of 64 MB of heap.

    python -m benchmarks.java_index --images images.npy --texts texts.npy

`images.npy` [M, D] and `texts.npy` [Q, D] are float32, L2-normalized, real embeddings of one
student (benchmarks/embed.py); photos are blended up to --photos. The index is written by Python
and searched by Java, beside Python's own search of the same files in the same run. A JVM compiles
on other cores than the one that searches: on the same one it would halt searches for milliseconds.
`--index` takes an index of these photos that exists. Writes benchmarks/results/java_index.json and
prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.blends import blend_batches
from benchmarks.index import load_embeddings, machine
from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, compile_java, executable, main_sources
from mcad_mobile.bench.measure import percentiles
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.native import LIBRARY

K = 10
# A JVM compiles what it runs, over some seconds.
WARM_UP = 1000
HEAP_MIB = 64
LIMIT_MS = 8.0
RESULTS = Path(__file__).parent / "results/java_index.json"
STAGES = ("scan", "rescore", "total")


def build(images: np.ndarray, photos: int, directory: Path) -> PhotoIndex:
    index = PhotoIndex.create(
        directory, dim=images.shape[1], student="benchmark", student_sha256="0" * 64
    )
    done = 0
    with index.writer() as writer:
        for batch in blend_batches(images, photos):
            writer.add([camera(done + i) for i in range(len(batch))], batch)
            done += len(batch)
    return index


def camera(number: int) -> str:
    return f"/storage/emulated/0/DCIM/Camera/IMG_{number:08d}.jpg"


def truth(images: np.ndarray, photos: int, queries: np.ndarray) -> list[set[str]]:
    """The exact float top K of each query, batch by batch: all photos at once are too many."""
    best = np.full((len(queries), K), -np.inf, np.float32)
    rows = np.zeros((len(queries), K), np.int64)
    done = 0
    for batch in blend_batches(images, photos):
        scores = np.hstack([best, queries @ batch.T])
        known = np.hstack([rows, np.tile(np.arange(done, done + len(batch)), (len(queries), 1))])
        top = np.argpartition(-scores, K, axis=1)[:, :K]
        best, rows = np.take_along_axis(scores, top, 1), np.take_along_axis(known, top, 1)
        done += len(batch)
    return [{camera(row) for row in found} for found in rows.tolist()]


def run_java(index: Path, queries: np.ndarray, work: Path) -> dict[str, Any]:
    jars = jvm_libraries()
    sources = [*map(main_sources, ("engine", "gallery", "desktop"))]
    classes = compile_java(sources, jars, work / "classes")
    given = work / "queries.f32"
    queries.astype("<f4").tofile(given)
    command = [executable(JAVA), f"-Xmx{HEAP_MIB}m", "-XX:+UseSerialGC"]
    command += [f"-Dmcad.search.library={LIBRARY}", "-cp", ":".join(map(str, [classes, *jars]))]
    command += ["mcad.desktop.SearchBenchmark", str(index), str(given)]
    command += [str(WARM_UP), str(len(queries)), str(K)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run_python(index: PhotoIndex, queries: np.ndarray) -> tuple[list[float], list[list[str]]]:
    for query in queries:
        index.search(query, K)
    times, found = [], []
    for query in queries:
        started = time.perf_counter()
        hits = index.search(query, K)
        times.append((time.perf_counter() - started) * 1e3)
        found.append(hits.paths)
    return times, found


def recall(found: list[list[str]], expected: list[set[str]]) -> float:
    return float(np.mean([len(set(a) & b) / K for a, b in zip(found, expected, strict=True)]))


def _summary(java: dict[str, Any], expected: list[set[str]]) -> dict[str, Any]:
    return {
        **{stage: percentiles(java[stage]) for stage in STAGES},
        "recall_at_10": recall(java["found"], expected),
        "heap_mib": java["heap_mib"],
        "pss_mib": java["pss_mib"],
        "open_ms": java["open_ms"],
    }


def table(document: dict[str, Any]) -> str:
    python = document["python"]
    return "\n".join(
        [
            "| engine | scan p50 ms | re-score p50 ms | search p50 ms | p90 ms | p99 ms "
            "| recall@10 | heap MiB | PSS MiB |",
            "|---|---|---|---|---|---|---|---|---|",
            _row(f"Java, {HEAP_MIB} MB of heap at most", document["java"]),
            "| Python, same files | | | "
            + " | ".join(f"{python['total'][p]:.2f}" for p in ("p50", "p90", "p99"))
            + f" | {python['recall_at_10']:.4f} | | |",
        ]
    )


def _row(name: str, java: dict[str, Any]) -> str:
    scan, rescore, total = (java[stage] for stage in STAGES)
    return (
        f"| {name} | {scan['p50']:.2f} | {rescore['p50']:.2f} "
        f"| {total['p50']:.2f} | {total['p90']:.2f} | {total['p99']:.2f} "
        f"| {java['recall_at_10']:.4f} | {java['heap_mib']:.1f} | {java['pss_mib']:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=Path, required=True, help=".npy float32 [M, D]")
    parser.add_argument("--texts", type=Path, required=True, help=".npy float32 [Q, D]")
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--index", type=Path, help="one of these photos that is there already")
    arguments = parser.parse_args()
    images, texts = load_embeddings(arguments.images), load_embeddings(arguments.texts)
    chosen = np.random.default_rng(0).choice(len(texts), arguments.queries, replace=False)
    queries = texts[chosen]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        at = arguments.index or work / "index"
        index = PhotoIndex.open(at) if arguments.index else build(images, arguments.photos, at)
        expected = truth(images, arguments.photos, queries)
        java = run_java(at, queries, work)
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
        times, found = run_python(index, queries)
    document = {
        "schema": "mcad-java-index/1",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": {"java": java["java"], "python": platform.python_version()},
        "setup": {
            "photos": arguments.photos,
            "dim": int(images.shape[1]),
            "blended_from": len(images),
            "queries": len(queries),
            "threads": 1,
            "heap_limit_mib": HEAP_MIB,
            "limit_ms": LIMIT_MS,
        },
        "java": _summary(java, expected),
        "python": {"total": percentiles(times), "recall_at_10": recall(found, expected)},
    }
    arguments.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(table(document))


if __name__ == "__main__":
    main()
