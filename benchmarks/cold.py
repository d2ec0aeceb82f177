"""Time the first search of an index that is not in memory.

    python -m benchmarks.embed --data flickr8k --bundle build/cpu --out build/embeddings
    python -m benchmarks.cold --embeddings build/embeddings

For 100,000 and 1,000,000 photos: the time to open the index and search it once (top 10), and the
pages of 4 KiB that this reads into memory. Each query runs in its own process, after
`posix_fadvise` dropped the index's files. Warm searches of the same queries are timed too. The time
on a phone's flash is a model: the pages divided by the random reads per second that Samsung
publishes for its UFS. Writes benchmarks/results/cold.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.blends import blended_index
from benchmarks.main_job import provenance, store
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.engine.index import PhotoIndex

RESULT = Path(__file__).parent / "results" / "cold.json"
SIZES = (100_000, 1_000_000)
GOALS = {100_000: (5, 1_000), 1_000_000: (15, 3_500)}  # ms and pages
QUERIES = 30
K = 10
# Random 4 KiB reads per second at high queue depth, 512 GB (Samsung, February 2019, March 2020).
FLASH = {"UFS 3.0": 63_000, "UFS 3.1": 100_000}
PAGE = mmap.PAGESIZE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--keep", type=Path, help="folder of the indexes; made where missing")
    parser.add_argument("--query", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.query is not None:
        measure(given.keep, np.load(given.embeddings / "texts.npy")[given.query])
        return
    texts = np.load(given.embeddings / "texts.npy")
    queries = np.random.default_rng(0).integers(0, len(texts), QUERIES).tolist()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in given.sizes:
            index = (given.keep or Path(scratch)) / f"index-{size}"
            if not index.exists():
                blended_index(np.load(given.embeddings / "images.npy"), size, index)
            files = [file for file in index.iterdir() if file.suffix == ".mcs"]
            runs = [cold(given, index, files, query) for query in queries]
            rows.append(
                {
                    "photos": size,
                    "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 1),
                    **{key: spread([run[key] for run in runs]) for key in runs[0]},
                }
            )
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    store({**provenance(tool_versions(("numpy",))), "queries": QUERIES, "rows": rows}, RESULT)


def table(result: dict[str, Any]) -> str:
    models = (f"{flash}, a model" for flash in FLASH)
    lines = [
        "| photos | MB | open, ms | search, ms | min to max | warm, ms | pages | min to max | "
        + " | ".join(models)
        + " |",
        "|---:|---:|---:|---:|---|---:|---:|---|" + "---:|" * len(FLASH),
    ]
    for row in result["rows"]:
        search, pages = row["search_ms"], row["pages"]
        times = " | ".join(f"{pages['median'] / rate * 1e3:.0f} ms" for rate in FLASH.values())
        lines.append(
            f"| {row['photos']:,} | {row['megabytes']} | {row['open_ms']['median']:.1f} "
            f"| {search['median']:.1f} | {search['min']:.1f} to {search['max']:.1f} "
            f"| {row['warm_ms']['median']:.1f} | {pages['median']:,.0f} "
            f"| {pages['min']:,} to {pages['max']:,} | {times} |"
        )
    return "\n".join(lines)


def verdict(result: dict[str, Any]) -> str:
    """Say whether each goal is met."""
    parts = []
    for row in result["rows"]:
        ms, pages = GOALS[row["photos"]]
        time_, read = (
            "met" if row[key]["median"] <= goal else "missed"
            for key, goal in (("search_ms", ms), ("pages", pages))
        )
        parts.append(f"at {row['photos']:,} photos {ms} ms ({time_}) and {pages:,} pages ({read})")
    return f"Goals: {'; '.join(parts)}."


def spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(statistics.median(ordered), 3),
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
    }


def cold(given: Any, index: Path, files: list[Path], query: int) -> dict[str, float]:
    """Run one query in a process that starts with none of the files in memory."""
    command = [sys.executable, "-m", "benchmarks.cold", "--embeddings", str(given.embeddings)]
    command += ["--keep", str(index), "--query", str(query)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for file in files:
            drop(file)
        assert sum(map(pages_in_memory, files)) == 0
        child.stdin.write("go\n")
        child.stdin.flush()
        found: dict[str, float] = json.loads(child.stdout.readline())
        found["pages"] = sum(map(pages_in_memory, files))
        child.stdin.write("go\n")
        child.stdin.flush()
        found["warm_ms"] = json.loads(child.stdout.readline())
    return found


def measure(folder: Path, query: Any) -> None:
    """Wait until the files are dropped, then open and search, and search again 20 times."""

    def wait(said: str) -> None:
        print(said, flush=True)
        sys.stdin.readline()

    with tempfile.TemporaryDirectory() as scratch:  # load and run all code once
        small = Path(scratch) / "index"
        blended_index(np.tile(query, (300, 1)), 300, small)
        PhotoIndex.open(small).search(query, K)
    wait("ready")
    started = time.perf_counter()
    index = PhotoIndex.open(folder)
    opened = time.perf_counter()
    index.search(query, K)
    searched = time.perf_counter()
    wait(json.dumps({"open_ms": (opened - started) * 1e3, "search_ms": (searched - opened) * 1e3}))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        index.search(query, K)
        times.append(time.perf_counter() - started)
    print(statistics.median(times) * 1e3, flush=True)


def drop(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def pages_in_memory(file: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    size = file.stat().st_size
    with (
        file.open("rb") as opened,
        mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as view,
    ):
        start = ctypes.c_char.from_buffer(view)
        known = (ctypes.c_ubyte * -(-size // PAGE))()
        failed = libc.mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), known
        )
        del start
        assert not failed, os.strerror(ctypes.get_errno())
        return sum(byte & 1 for byte in known)


if __name__ == "__main__":
    main()
