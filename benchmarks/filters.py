"""Searches among photos of a folder or a time: ms beside the same search without a filter, recall.

    python -m benchmarks.filters --embeddings build/embeddings

Blends of real embeddings (--photos of them, 100,000 and 1,000,000), half of them in one folder, the
rest in forty, taken over ten years at random; real text queries. Every query is asked twice with
each filter, in an order that turns, in one process on one thread: what is told is the ratio of the
medians. `first` are searches with a filter that is new, which look for the rows that pass; those
after it know them. Recall@10 is against exact float32 search among those that pass.

Writes benchmarks/results/filters.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.index import F32, ONE_THREAD, K, load_embeddings, machine
from mcad_mobile.bench.measure import device_facts
from mcad_mobile.index import PhotoIndex, RowFilter
from mcad_mobile.index.synthetic import blend_batches

RESULT = Path(__file__).parent / "results" / "filters.json"
SIZES = (100_000, 1_000_000)
QUERIES = 200
FOLDERS = 40
STEM = "/storage/emulated/0"
BEGIN = 24_000_000  # minutes since 1970: August 2015
MINUTES = 10 * 365 * 24 * 60
FILTERS = {
    "none": RowFilter(),
    "nine years of ten": RowFilter(after=BEGIN + MINUTES // 10),
    "a folder of half of them": RowFilter((f"{STEM}/DCIM",)),
    "a folder of one in eighty": RowFilter((f"{STEM}/Pictures/07",)),
    "one year of ten": RowFilter(after=BEGIN, before=BEGIN + MINUTES // 10),
    "one in a thousand, by time": RowFilter(after=BEGIN, before=BEGIN + MINUTES // 1000),
    "a folder and a year": RowFilter((f"{STEM}/DCIM",), BEGIN, BEGIN + MINUTES // 10),
}


def folder_of(number: int) -> str:
    return "DCIM/Camera" if number % 2 else f"Pictures/{number // 2 % FOLDERS:02}"


def taken_of(photos: int) -> npt.NDArray[np.int32]:
    drawn = np.random.default_rng(2).integers(0, MINUTES, photos)
    return (BEGIN + drawn).astype(np.int32)


def passes(wanted: RowFilter, photos: int) -> npt.NDArray[np.bool_]:
    """By the definition, without the index."""
    taken = taken_of(photos)
    kept = np.ones(photos, np.bool_)
    if wanted.folders:
        inside = [
            f"{STEM}/{folder_of(number)}/".startswith(f"{wanted.folders[0]}/")
            for number in range(2 * FOLDERS)
        ]
        kept &= np.resize(inside, photos)
    if wanted.after is not None:
        kept &= taken >= wanted.after
    if wanted.before is not None:
        kept &= taken < wanted.before
    return kept


def build(images: F32, photos: int, folder: Path) -> None:
    index = PhotoIndex.create(folder, dim=images.shape[1], student_sha256="0" * 64, student="bench")
    taken = taken_of(photos)
    done = 0
    with index.writer() as writer:
        for batch in blend_batches(images, photos):
            numbers = range(done, done + len(batch))
            paths = [f"{STEM}/{folder_of(n)}/IMG_{n:08d}.jpg" for n in numbers]
            writer.add(paths, batch, taken=taken[numbers.start : numbers.stop])
            done += len(batch)


def truths(images: F32, queries: F32, photos: int) -> dict[str, npt.NDArray[np.int64]]:
    """Numbers of the true ten nearest [Q, 10] that pass each filter."""
    masks = {name: passes(wanted, photos) for name, wanted in FILTERS.items()}
    best = {name: np.full((len(queries), K), -2, np.float32) for name in FILTERS}
    rows = {name: np.zeros((len(queries), K), np.int64) for name in FILTERS}
    done = 0
    for batch in blend_batches(images, photos):
        scores = queries @ batch.T
        for name, mask in masks.items():
            here = np.flatnonzero(mask[done : done + len(batch)])
            both = np.concatenate([best[name], scores[:, here]], axis=1)
            ids = np.concatenate(
                [rows[name], np.broadcast_to(done + here, (len(queries), len(here)))], axis=1
            )
            top = np.argpartition(-both, K - 1, axis=1)[:, :K]
            best[name] = np.take_along_axis(both, top, 1)
            rows[name] = np.take_along_axis(ids, top, 1)
        done += len(batch)
    return rows


def measure(images: F32, queries: F32, photos: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "index"
        build(images, photos, folder)
        index = PhotoIndex.open(folder)
        index.search(queries[0], K)
        first: dict[str, list[float]] = {name: [] for name in FILTERS}
        later: dict[str, list[float]] = {name: [] for name in FILTERS}
        found: dict[str, list[list[str]]] = {name: [] for name in FILTERS}
        names = list(FILTERS)
        for query in queries:
            names.append(names.pop(0))
            for live in index._commit[1]:
                live._known.clear()
            for times in (first, later):
                for name in names:
                    started = time.perf_counter()
                    hits = index.search(query, K, rows=FILTERS[name])
                    times[name].append((time.perf_counter() - started) * 1e3)
                    if times is later:
                        found[name].append(hits.paths)
        counts = {name: index.count(wanted) for name, wanted in FILTERS.items()}
        index.close()
    true = truths(images, queries, photos)
    rows = []
    for name in FILTERS:
        same = sum(
            len({int(path[-12:-4]) for path in paths} & set(nearest.tolist()))
            for paths, nearest in zip(found[name], true[name], strict=True)
        )
        rows.append(
            {
                "filter": name,
                "pass": counts[name],
                "p50_ms": float(np.median(later[name])),
                "p99_ms": float(np.percentile(later[name], 99)),
                "ratio": float(np.median(later[name]) / np.median(later["none"])),
                "first_ms": float(np.median(first[name])),
                "first_ratio": float(np.median(first[name]) / np.median(first["none"])),
                "recall_at_10": same / (len(queries) * K),
            }
        )
    return {"photos": photos, "rows": rows}


def table(result: dict[str, Any]) -> str:
    lines = [
        "| photos | among | pass | first ms | of none's | p50 ms | p99 | of none's | recall@10 |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {size['photos']:,} | {row['filter']} | {row['pass']:,} | {row['first_ms']:.2f} "
        f"| {row['first_ratio']:.2f} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} "
        f"| {row['ratio']:.2f} | {row['recall_at_10']:.4f} |"
        for size in result["sizes"]
        for row in size["rows"]
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--photos", type=int, nargs="*", default=list(SIZES))
    given = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):
        raise SystemExit(f"One thread each: set {'=1 '.join(ONE_THREAD)}=1, then run it again.")
    images = load_embeddings(given.embeddings / "images.npy")
    texts = load_embeddings(given.embeddings / "texts.npy")
    chosen = np.random.default_rng(1).choice(len(texts), min(QUERIES, len(texts)), replace=False)
    load = os.getloadavg()[0]
    sizes = [measure(images, texts[chosen], photos) for photos in given.photos]
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "machine": machine(),
        "load_average": [round(load, 2), round(os.getloadavg()[0], 2)],
        "queries": len(chosen),
        "sizes": sizes,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
