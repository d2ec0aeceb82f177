"""Time the index against another checkout of this repository, in one run.

    git worktree add /tmp/before COMMIT      # and compile its library: pip install --no-deps -e .
    python -m benchmarks.embed --data flickr8k --bundle build/cpu --out build/embeddings
    python -m benchmarks.against --before /tmp/before --embeddings build/embeddings

Both open and search the same indexes, of blends of real embeddings, in processes that take turns,
on one thread. A commit of 70,000 photos and 5,000 moves in an index of 50,000 are timed, too. Every
figure is the median of the rounds, each of them the median of its queries; the last column is the
median of the rounds' ratios. Writes benchmarks/results/against.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results" / "against.json"
SIZES = (100_000, 1_000_000)
ROUNDS, QUERIES, K = 5, 200, 10
ADDED, MOVED_IN, MOVED = 70_000, 50_000, 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="the other checkout")
    parser.add_argument("--embeddings", type=Path, required=True)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.embeddings)))
        return
    from benchmarks.blends import blend, blended_index
    from benchmarks.main_job import provenance, store
    from mcad_mobile.base.requirements import tool_versions

    here = Path(__file__).parents[1]
    real = np.load(given.embeddings / "images.npy")
    rounds = []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for size in SIZES:
            blended_index(real, size, work / f"index-{size}").close()
        np.save(work / "photos.npy", blend(real, ADDED))
        for _ in range(ROUNDS):
            rounds.append([of_tree(tree, work, given.embeddings) for tree in (given.before, here)])
            print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)
    rows = {
        name: {
            "before": statistics.median(before[name] for before, _ in rounds),
            "now": statistics.median(now[name] for _, now in rounds),
            "ratio": statistics.median(now[name] / before[name] for before, now in rounds),
        }
        for name in rounds[0][0]
    }
    commit = ["git", "-C", str(given.before), "rev-parse", "--short", "HEAD"]
    before = subprocess.run(commit, check=True, capture_output=True, text=True, timeout=60).stdout
    facts = provenance(tool_versions(("numpy",)))
    store({**facts, "before": before.strip(), "rounds": ROUNDS, "rows": rows}, RESULT)
    print(table({"before": before.strip(), "rows": rows}))


def table(result: dict[str, Any]) -> str:
    lines = [f"| | {result['before']} | now | ratio |", "|---|---:|---:|---:|"]
    for name, row in result["rows"].items():
        lines.append(f"| {name} | {row['before']:.3g} | {row['now']:.3g} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def of_tree(tree: Path, work: Path, embeddings: Path) -> dict[str, float]:
    """Measure a checkout in a process of its own."""
    # Not as a module of the package, and not by the path hook of an editable install: this script
    # imports the package of the checkout.
    start = f"import sys; sys.path.insert(0, {str(tree)!r}); sys.meta_path[:] = [f for f in "
    start += "sys.meta_path if 'Scikit' not in type(f).__name__]; import runpy; "
    start += f"runpy.run_path({__file__!r}, run_name='__main__')"
    command = [sys.executable, "-c", start, "--embeddings", str(embeddings)]
    done = subprocess.run(
        [*command, "--measure", str(work)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(work: Path, embeddings: Path) -> dict[str, float]:
    from mcad_mobile.engine.index import PhotoIndex

    figures: dict[str, float] = {}
    queries = np.load(embeddings / "texts.npy")[:QUERIES]
    for size in SIZES:
        folder, before = work / f"index-{size}", pss_mib()
        opened = [seconds(PhotoIndex.open, folder) for _ in range(9)]
        index = PhotoIndex.open(folder)
        for query in queries[:20]:
            index.search(query, K)
        times = [seconds(index.search, query, K) for query in queries]
        figures |= {
            f"{size:,} photos: open, ms": statistics.median(opened) * 1e3,
            f"{size:,} photos: search p50, ms": statistics.median(times) * 1e3,
            f"{size:,} photos: search p99, ms": statistics.quantiles(times, n=100)[98] * 1e3,
            f"{size:,} photos: PSS, MiB": pss_mib() - before,
        }
        index.close()
    photos = np.load(work / "photos.npy")
    paths = [f"/storage/emulated/0/DCIM/Camera/IMG_{i:08}.jpg" for i in range(len(photos))]
    facts = {"dim": photos.shape[1], "student": "benchmark", "student_sha256": "0" * 64}
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        index = PhotoIndex.create(Path(scratch) / "added", **facts)
        spent = seconds(write, index, "add", paths, photos)
        figures[f"{ADDED:,} photos added and committed, s"] = spent
        index = PhotoIndex.create(Path(scratch) / "moved", **facts)
        write(index, "add", paths[:MOVED_IN], photos[:MOVED_IN])
        some = paths[: MOVED_IN : MOVED_IN // MOVED]
        moves = [(path, path.replace("Camera", "Sorted"), (1, 2)) for path in some]
        spent = seconds(write, index, "move", moves)
        figures[f"{MOVED:,} photos moved in {MOVED_IN:,}, s"] = spent
    return figures


def write(index: Any, change: str, *arguments: object) -> None:
    with index.writer() as writer:
        getattr(writer, change)(*arguments)


def seconds(action: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - started


def pss_mib() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
