"""Searches by this commit and by one before, in one run: ms, recall, memory, and the bandwidth.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.scan --embeddings build/embeddings --before /tmp/before

For each number of photos (--photos): blends of real embeddings, 2,000 real text queries, which no
setting was chosen on (the index takes its settings from photos alone; constants of reach.py were
tried on 2,000 others, which are left out). Recall@10 is against exact float32 search. One thread,
each commit in a process of its own, in turns of 200 searches: what is stored is the median of the
runs. The commit before gets a million photos at most. Recall is taken by a run of its own. The
bandwidth is that of adding up an array larger than any cache, and of one as large as what the scan
reads, on the same core right after.

Writes benchmarks/results/scan.json and docs/scan.png; --work keeps the indexes for another run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import F32, ONE_THREAD, K, load_embeddings, machine, pss_mib
from benchmarks.index_engines import camera_path
from mcad_mobile.index.synthetic import blend_batches

HERE = Path(__file__).parent
RESULT = HERE / "results/scan.json"
PLOT = HERE.parent / "docs/scan.png"
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
MOST_BEFORE = 1_000_000
QUERIES = 2000
TIMED = 200
WARM = 50
OPENINGS = 20
BANDWIDTH_BYTES = 1 << 28
TIMEOUT_S = 3600


def build(package_before: bool, embeddings: Path, photos: int, folder: Path) -> None:
    from mcad_mobile.index import PhotoIndex

    images = load_embeddings(embeddings / "images.npy")
    index = PhotoIndex.create(folder, dim=images.shape[1], student_sha256="0" * 64, student="bench")
    done = 0
    with index.writer() as writer:
        for batch in blend_batches(images, photos):
            writer.add([camera_path(done + i) for i in range(len(batch))], batch)
            done += len(batch)


def recall(before: bool, folder: Path, queries: F32, truth: Any) -> dict[str, Any]:
    """Runs with the package of either commit."""
    from mcad_mobile.index import PhotoIndex

    index = PhotoIndex.open(folder, **_options(before))
    hits = 0
    for query, true in zip(queries, truth, strict=True):
        paths = index.search(query, K).paths
        hits += len({int(path[-12:-4]) for path in paths} & set(true.tolist()))
    return {"recall_at_10": hits / (len(queries) * K)}


def _options(before: bool) -> dict[str, bool]:
    return {"faiss": False} if before else {}


def measure(before: bool, folder: Path, queries: F32) -> dict[str, Any]:
    """As recall."""
    from mcad_mobile.index import PhotoIndex

    options = _options(before)
    openings = []
    for _ in range(OPENINGS):
        started = time.perf_counter()
        index = PhotoIndex.open(folder, **options)
        openings.append((time.perf_counter() - started) * 1e3)
    bare = pss_mib()
    for query in queries[:WARM]:
        index.search(query, K)
    scans, rescores = [], []
    for query in queries:
        found = index.search(query, K)
        scans.append(found.scan_ms)
        rescores.append(found.rescore_ms)
    totals = np.add(scans, rescores)
    result = {
        "scan_p50_ms": float(np.median(scans)),
        "rescore_p50_ms": float(np.median(rescores)),
        "p50_ms": float(np.median(totals)),
        "p99_ms": float(np.percentile(totals, 99)),
        "open_ms": float(np.median(openings)),
        "searches_pss_mib": pss_mib() - bare,
    }
    if not before:
        result |= walked(index, queries)
    return result


def walked(index: Any, queries: F32) -> dict[str, Any]:
    """The walk through the columns alone, and this core's bandwidth, in bytes a second."""
    from mcad_mobile.index.kernel import kernel
    from mcad_mobile.index.lens import query_words
    from mcad_mobile.index.passing import RowFilter
    from mcad_mobile.index.rotation import rotate
    from mcad_mobile.index.scan import nearest
    from mcad_mobile.index.search import looked_into

    live = max(index._commit[1], key=lambda live: live.live)
    photos, bits, reach = live.segment.photos, len(live.segment.lens), live.reach
    if live.first is not None:
        bits, reach = live.first.bits, live.first.reach
    columns = live.segment.columns[: bits // 64]
    count = reach.candidates(photos, K)
    large = np.ones(BANDWIDTH_BYTES // 8, np.uint64)
    walks, walk_bytes, read_bytes, held, large_reads = [], [], [], [], []
    for query in queries[:50]:
        turned = rotate(query)
        words = query_words(live.lens, turned)[0][:, : bits // 64]
        spans = looked_into(live, live.passing(RowFilter()), turned, K, kernel())
        held.append(sum(map(len, spans)))
        read = held[-1] * bits / 8
        started = time.perf_counter()
        nearest(columns, words, spans, count, kernel=kernel())
        walks.append(time.perf_counter() - started)
        walk_bytes.append(read / walks[-1])
        started = time.perf_counter()
        for span in spans:
            np.add.reduce(columns[:, span.start : span.stop], axis=None)
        read_bytes.append(read / (time.perf_counter() - started))
    for _ in range(10):
        started = time.perf_counter()
        np.add.reduce(large)
        large_reads.append(time.perf_counter() - started)
    return {
        "scan": index.scan,
        "scanned_bits": bits,
        "all_bits": len(live.segment.lens),
        "cells": len(live.segment.centroids),
        "looked_into": statistics.median(held) / photos,
        "looked_at": count,
        "candidates": live.reach.candidates(photos, K),
        "bytes_per_photo": index.bytes_per_photo,
        "walk_ms": statistics.median(walks) * 1e3,
        "walk_bytes_s": statistics.median(walk_bytes),
        "same_bytes_s": statistics.median(read_bytes),
        "bandwidth_bytes_s": large.nbytes / statistics.median(large_reads),
    }


def truth_of(images: F32, queries: F32, photos: int, file: Path) -> Any:
    """True ten nearest [Q, 10] of blends; kept in a file."""
    if file.exists():
        return np.load(file)
    best = np.full((len(queries), K), -2, np.float32)
    rows = np.zeros((len(queries), K), np.int64)
    done = 0
    for batch in blend_batches(images, photos):
        scores = queries @ batch.T
        for query in np.flatnonzero(scores.max(axis=1) > best.min(axis=1)):
            both = np.concatenate([best[query], scores[query]])
            top = np.argpartition(-both, K)[:K]
            rows[query] = np.where(top < K, rows[query][np.minimum(top, K - 1)], done + top - K)
            best[query] = both[top]
        done += len(batch)
    np.save(file, rows)
    return rows


def in_own_process(package: Path, *arguments: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--child", *map(str, arguments)],
        env={**os.environ, **ONE_THREAD, "PYTHONPATH": f"{package}{os.pathsep}{HERE.parent}"},
        cwd=package,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{arguments} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout or "{}")
    return result


def _recall(package: Path, side: str, work: Path, photos: int) -> dict[str, Any]:
    """Kept beside the index, as it does not depend on how busy the machine is."""
    folder, kept = work / f"{side}-{photos}", work / f"{side}-{photos}.recall.json"
    generation = max(file.name for file in folder.glob("*.mcs"))
    if kept.exists() and (known := json.loads(kept.read_text()))["segment"] == generation:
        return {"recall_at_10": known["recall_at_10"]}
    found = in_own_process(package, "recall", side, work, photos, folder)
    kept.write_text(json.dumps({"segment": generation, **found}))
    return found


def run(given: argparse.Namespace, photos: int, queries: F32) -> dict[str, Any]:
    images = load_embeddings(given.embeddings / "images.npy")
    truth_of(images, queries, photos, given.work / f"truth-{photos}.npy")
    sides = {"after": HERE.parent}
    if given.before and photos <= MOST_BEFORE:
        sides["before"] = given.before
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for side, package in sides.items():
        folder = given.work / f"{side}-{photos}"
        if not folder.exists():
            in_own_process(package.resolve(), "build", side, given.embeddings, photos, folder)
    recalls = {
        side: _recall(package.resolve(), side, given.work, photos)
        for side, package in sides.items()
    }
    for _ in range(given.runs):
        for side, package in sides.items():
            folder = given.work / f"{side}-{photos}"
            runs[side].append(
                in_own_process(package.resolve(), "measure", side, given.work, photos, folder)
            )
    row: dict[str, Any] = {"photos": photos}
    for side, found in runs.items():
        row[side] = {
            key: statistics.median(one[key] for one in found) if isinstance(value, float) else value
            for key, value in found[-1].items()
        } | recalls[side]
    return row


def child(what: str, side: str, where: str, photos: str, folder: str) -> None:
    if what == "build":
        build(side == "before", Path(where), int(photos), Path(folder))
        return
    work = Path(where)
    queries = np.load(work / "queries.npy")
    if what == "recall":
        truth = np.load(work / f"truth-{photos}.npy")
        result = recall(side == "before", Path(folder), queries, truth)
    else:
        result = measure(side == "before", Path(folder), queries[:TIMED])
    print(json.dumps(result))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| photos | scan + re-score ms | p99 | before | share | recall@10 | cells | photos looked "
        "into | bits | candidates | scan GB/s | of the bandwidth | opening ms | searches' PSS MiB "
        "|\n" + "|---:" * 14 + "|"
    ]
    for row in rows:
        after, before = row["after"], row.get("before")
        read = after["walk_bytes_s"]
        lines.append(
            f"| {row['photos']:,} | {after['p50_ms']:.2f} | {after['p99_ms']:.2f} "
            + (
                f"| {before['p50_ms']:.2f} | {after['p50_ms'] / before['p50_ms']:.2f} "
                if before
                else "| | "
            )
            + f"| {after['recall_at_10']:.4f} | {after['cells']} | {after['looked_into']:.0%} "
            f"| {after['scanned_bits']} | {after['candidates']} "
            f"| {read / 1e9:.1f} | {read / after['bandwidth_bytes_s']:.0%} "
            f"| {after['open_ms']:.2f} | {after['searches_pss_mib']:.0f} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]]) -> None:
    """ms against photos, log-log, beside the time that reading the columns takes at least."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="photos", ylabel="ms a search")
    photos = [row["photos"] for row in rows]
    axes.plot(photos, [row["after"]["p50_ms"] for row in rows], "o-", label="scan and re-score")
    axes.plot(photos, [row["after"]["walk_ms"] for row in rows], "s-", label="walk of the columns")
    axes.plot(
        photos,
        [
            row["photos"]
            * row["after"]["looked_into"]
            * (row["after"]["scanned_bits"] / 8 / row["after"]["bandwidth_bytes_s"] * 1e3)
            for row in rows
        ],
        "k:",
        label="their bytes at the memory's bandwidth",
    )
    if before := {row["photos"]: row["before"]["p50_ms"] for row in rows if "before" in row}:
        axes.plot(list(before), list(before.values()), "^--", label="before")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, help="folder of images.npy and texts.npy")
    parser.add_argument("--before", type=Path, help="checkout of a commit before")
    parser.add_argument("--photos", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--work", type=Path, default=Path("build/scan-bench"))
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    if given.embeddings is None:
        parser.error("give real embeddings with --embeddings")
    given.embeddings, given.work = given.embeddings.resolve(), given.work.resolve()
    given.work.mkdir(parents=True, exist_ok=True)
    texts = load_embeddings(given.embeddings / "texts.npy")
    tried = np.random.default_rng(11).choice(len(texts), QUERIES, replace=False)
    left = np.setdiff1d(np.arange(len(texts)), tried)
    queries = texts[np.random.default_rng(12).choice(left, QUERIES, replace=False)]
    np.save(given.work / "queries.npy", queries)
    rows = [run(given, photos, queries) for photos in sorted(given.photos)]
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "queries": QUERIES,
        "runs": given.runs,
        "load_average": round(os.getloadavg()[0], 2),
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    draw(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
