"""Compare the photo index with its peers: one thread, one machine, real embeddings.

    python -m benchmarks.embed --data flickr8k --bundle build/cpu --out build/embeddings
    python -m benchmarks.index --embeddings build/embeddings

For 10,000, 100,000 and 1,000,000 photos (--photos): build time, bytes per photo on disk, memory
added by the library, opening and 100 searches (PSS), time of a search (top 10), recall@10 against
exact float32 search, and the time to open and to add 100 photos. Engines with a setting run at the
cheapest value that reaches recall@10 >= 0.99, or at the most thorough.

Each engine is built in one process and measured in another. Each result is stored at once in
benchmarks/results/index/, so an interrupted run continues with the missing engines; --again
measures those of --only again. Embeddings of 512 dimensions (benchmarks/embed.py with two bundles)
have results of their own. Embeddings beyond the real ones are blends (benchmarks/blends.py).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index_engines import ENGINES, F32, Engine, K
from benchmarks.main_job import source

RESULTS = Path(__file__).parent / "results/index"
SIZES = (10_000, 100_000, 1_000_000)
DIM, WIDE = 256, 512
GOAL = 0.99
QUERIES = 300
MEMORY_SEARCHES = 100
ADDED = 100
LONG_MS = 20_000
TIMEOUT_S = 3600
_POOLS = ("OMP", "OPENBLAS", "MKL", "RAYON")
ONE_THREAD = {f"{pool}_NUM_THREADS": "1" for pool in _POOLS}
PACKAGES = (
    *("numpy", "faiss-cpu", "usearch", "turbovec", "tqdb"),
    *("sqlite-vec", "sqliteai-vector", "apsw"),
)


def pss_mib() -> float:
    """Return this process's proportional set size: private pages, and its share of shared ones."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss in /proc/self/smaps_rollup")


def run_build(engine: Engine, work: Path, folder: Path) -> dict[str, Any]:
    photos = np.load(work / "photos.npy", mmap_mode="r")
    np.add.reduce(photos, axis=None)  # warm the page cache for every build
    started = time.perf_counter()
    engine.build(photos, folder)
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"build_s": seconds, "bytes_per_photo": size / len(photos)}


def run_search(engine: Engine, work: Path, folder: Path) -> dict[str, Any]:
    queries, truth = np.load(work / "queries.npy"), np.load(work / "truth.npy")
    for file in folder.rglob("*"):
        if file.is_file():
            file.read_bytes()  # warm the page cache for every engine
    bare = pss_mib()
    for library in engine.libraries:
        importlib.import_module(library)
    before = pss_mib()
    started = time.perf_counter()
    handle = engine.open(folder)
    opened = time.perf_counter()
    open_pss = pss_mib() - before
    for query in queries[:MEMORY_SEARCHES]:
        engine.search(handle, query, engine.settings[0])
    found: dict[str, Any] = {}
    for setting in engine.settings:
        found = timed(engine, handle, queries, truth, setting)
        if found["recall_at_10"] >= GOAL:
            break
    result = {
        "library_pss_mib": before - bare,
        "open_ms": (opened - started) * 1e3,
        "open_pss_mib": open_pss,
        "searched_pss_mib": pss_mib() - before,
        **found,
    }
    rows = np.load(work / "added.npy")
    sync(folder)
    started = time.perf_counter()
    engine.add(handle, rows, folder)
    sync(folder)
    return {**result, "add_ms": (time.perf_counter() - started) * 1e3}


def sync(folder: Path) -> None:
    """Wait until every file is on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def timed(engine: Engine, handle: Any, queries: F32, truth: F32, setting: int) -> dict[str, Any]:
    times: list[float] = []
    hits = 0
    for query, true in zip(queries, truth, strict=True):
        # Slow exhaustive scans of a million photos need fewer samples.
        if len(times) >= MEMORY_SEARCHES and sum(times) > LONG_MS:
            break
        started = time.perf_counter()
        found = engine.search(handle, query, setting)
        times.append((time.perf_counter() - started) * 1e3)
        hits += len(set(found) & set(true.tolist()))
    return {
        "setting": setting,
        "queries": len(times),
        "recall_at_10": hits / (len(times) * K),
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
    }


def in_own_process(work: Path, *args: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.index", "--work", str(work), "--child", *args],
        env={**os.environ, **ONE_THREAD, "PYTHONWARNINGS": "ignore"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(args)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(name: str, work: Path) -> dict[str, Any]:
    engine = ENGINES[name]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        built = in_own_process(work, "build", name, folder)
        row = {"engine": engine.label, **built, **in_own_process(work, "search", name, folder)}
    if not engine.setting_name:
        row["setting"] = ""
    else:
        row["setting"] = f"{engine.setting_name} {row['setting']}"
    return {**row, "load_average": [round(load, 2), round(os.getloadavg()[0], 2)]}


def prepare(images: F32, texts: F32, photos: int, work: Path) -> dict[str, Any]:
    """Write photos, queries, true neighbours and photos to add; return statistics. Reused by later
    runs on the same embeddings."""
    from benchmarks.blends import blend, blend_batches

    file = work / "statistics.json"
    if file.exists():
        known: dict[str, Any] = json.loads(file.read_text())
        return known
    work.mkdir(parents=True, exist_ok=True)
    chosen = np.random.default_rng(0).choice(len(texts), min(QUERIES, len(texts)), replace=False)
    queries = texts[chosen]
    rows = np.lib.format.open_memmap(
        work / "photos.npy", "w+", np.float32, (photos, images.shape[1])
    )
    done = 0
    best = np.full((len(queries), K), -2, np.float32)
    truth = np.zeros((len(queries), K), np.int64)
    for batch in blend_batches(images, photos):
        rows[done : done + len(batch)] = batch
        scores = np.concatenate([best, queries @ batch.T], axis=1)
        ids = np.concatenate(
            [truth, np.tile(np.arange(done, done + len(batch)), (len(queries), 1))], axis=1
        )
        top = np.argpartition(scores, scores.shape[1] - K, axis=1)[:, -K:]
        best, truth = np.take_along_axis(scores, top, 1), np.take_along_axis(ids, top, 1)
        done += len(batch)
    rows.flush()
    np.save(work / "queries.npy", queries)
    np.save(work / "truth.npy", truth)
    np.save(work / "added.npy", blend(images, ADDED, seed=1))
    sample = np.asarray(rows[: len(images)])
    statistics = {
        "real": facts(images, queries),
        "blended": facts(sample, queries),
        "cosine_of_means": round(
            float(images.mean(0) @ sample.mean(0))
            / float(np.linalg.norm(images.mean(0)) * np.linalg.norm(sample.mean(0))),
            5,
        ),
    }
    file.write_text(json.dumps(statistics))
    return statistics


def facts(rows: F32, queries: F32) -> dict[str, Any]:
    """Return the mean's length, the covariance's spectrum, and the scores of real queries."""
    spectrum = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    scores = np.sort(queries @ rows.T, axis=1)
    return {
        "rows": len(rows),
        "mean_length": round(float(np.linalg.norm(rows.mean(0))), 4),
        "eigenvalues": {str(i + 1): round(float(spectrum[i]), 6) for i in (0, 1, 3, 7, 15, 31, 63)},
        "effective_dimensions": round(float(spectrum.sum() ** 2 / (spectrum**2).sum()), 1),
        "mean_score_of_best": round(float(scores[:, -1].mean()), 4),
        "mean_score_of_10th": round(float(scores[:, -K].mean()), 4),
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count()}


def folder_of(photos: int, dim: int) -> Path:
    return RESULTS / (str(photos) if dim == DIM else f"{photos}x{dim}")


def stored(photos: int, dim: int) -> list[dict[str, Any]]:
    """Return the results of one size, in the order of ENGINES."""
    files = [folder_of(photos, dim) / f"{name}.json" for name in ENGINES]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def as_markdown(documents: list[dict[str, Any]]) -> str:
    head = (
        "| index | setting | recall@10 | p50 ms | p99 ms | build s | bytes a photo | library MiB "
        "| opened MiB | searched MiB | open ms | add 100, ms |\n" + "|---" * 12 + "|"
    )
    lines = [
        f"| {r['engine']} | {r['setting']} | {r['recall_at_10']:.4f} | {r['p50_ms']:.2f} "
        f"| {r['p99_ms']:.2f} | {r['build_s']:.1f} | {r['bytes_per_photo']:.0f} "
        f"| {r['library_pss_mib']:.1f} | {r['open_pss_mib']:.1f} | {r['searched_pss_mib']:.1f} "
        f"| {r['open_ms']:.1f} | {r['add_ms']:.0f} |"
        for r in (document["row"] for document in documents)
    ]
    return "\n".join([head, *lines])


def statistics_markdown(statistics: dict[str, Any]) -> str:
    real, blended = statistics["real"], statistics["blended"]
    ranks = list(real["eigenvalues"])
    lines = [
        "| | mean's length | "
        + " | ".join(f"eigenvalue {rank}" for rank in ranks)
        + " | effective dimensions | best score | 10th |",
        "|---" * (len(ranks) + 5) + "|",
    ]
    for name, side in (("real", real), ("blended", blended)):
        values = " | ".join(f"{side['eigenvalues'][rank]:.5f}" for rank in ranks)
        lines.append(
            f"| {name} | {side['mean_length']:.4f} | {values} | {side['effective_dimensions']} "
            f"| {side['mean_score_of_best']:.3f} | {side['mean_score_of_10th']:.3f} |"
        )
    return "\n".join(lines)


def load_embeddings(file: Path) -> F32:
    if not file.is_file():
        raise SystemExit(f"There is no {file}. Make it with benchmarks/embed.py.")
    rows: F32 = np.load(file)
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise SystemExit(f"{file} is {rows.dtype} {list(rows.shape)}, not float32 [N, D].")
    if np.abs(np.linalg.norm(rows, axis=1) - 1).max() > 1e-2:
        raise SystemExit(f"{file} has rows that are not L2-normalized.")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--embeddings", type=Path, help="folder of images.npy and texts.npy")
    parser.add_argument("--photos", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--only", nargs="*", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--skip", nargs="*", choices=list(ENGINES), default=[])
    parser.add_argument("--again", action="store_true", help="also what is stored already")
    parser.add_argument("--work", type=Path, default=Path("build/index-bench"))
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        step, name, folder = args.child
        run = run_build if step == "build" else run_search
        print(json.dumps(run(ENGINES[name], args.work, Path(folder))))
        return
    if args.embeddings is None:
        parser.error("give real embeddings with --embeddings")

    images = load_embeddings(args.embeddings / "images.npy")
    texts = load_embeddings(args.embeddings / "texts.npy")
    sha256 = hashlib.sha256(images.tobytes() + texts.tobytes()).hexdigest()
    for photos in args.photos:
        work = (args.work / f"{sha256[:12]}-{photos}").resolve()
        statistics = prepare(images, texts, photos, work)
        for name in args.only:
            file = folder_of(photos, images.shape[1]) / f"{name}.json"
            known = json.loads(file.read_text()) if file.exists() else {}
            fresh = known.get("embeddings_sha256") == sha256
            if name in args.skip or (fresh and not args.again):
                continue
            row = measure(name, work)
            document = {
                "schema": "mcad-index-bench/1",
                "date": time.strftime("%Y-%m-%d"),
                **source(),
                "machine": machine(),
                "versions": {
                    "python": platform.python_version(),
                    **{package: importlib.metadata.version(package) for package in PACKAGES},
                },
                "photos": photos,
                "queries": min(QUERIES, len(texts)),
                "blended_from": len(images),
                "embeddings_sha256": sha256,
                "statistics": statistics,
                "row": row,
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(document, indent=1) + "\n")
            print(f"{photos:,} {as_markdown([document]).splitlines()[-1]}", file=sys.stderr)
        print(f"\n{photos:,} photos\n\n{as_markdown(stored(photos, images.shape[1]))}")
        print(f"\n{statistics_markdown(statistics)}")


if __name__ == "__main__":
    main()
