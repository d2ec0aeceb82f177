"""A whole search among a million photos, tower included.

    python benchmarks/million.py --bundle build/cpu    # writes benchmarks/results/million.json

`mcad-mobile bench` of one index, a few times; with --before CHECKOUT in turns with that of another
commit, on an index of its own. This machine is no phone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from main_job import mcad, processor_of, store, stored, summary

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.bench.samples import synthetic_index
from mcad_mobile.bundle import Bundle
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "million.json"
PHOTOS = 1_000_000
TOOLS = ("numpy", "onnxruntime")
TIMEOUT_S = 1800


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of a commit before")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        synthetic_index(Bundle.load(given.bundle), given.build, PHOTOS)
        return
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(given.bundle, Path(folder) / "now", None)]
        if given.before:
            sides.append(Side(given.bundle, Path(folder) / "before", given.before.resolve()))
        for _ in range(given.runs):
            for side in sides:
                side.run()
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions(TOOLS),
        "runs": given.runs,
        "photos": PHOTOS,
        **sides[0].summary(),
    }
    if given.before:
        result["before"] = sides[1].summary()
    store(result, RESULT)
    print(table(stored(RESULT)))


class Side:
    """A commit, and its index of a million photos; `package` is its checkout, if not this one."""

    def __init__(self, bundle: Path, index: Path, package: Path | None) -> None:
        self._environment = {**os.environ, **({"PYTHONPATH": str(package)} if package else {})}
        self._arguments = ("bench", "--bundle", str(bundle), "--index", str(index))
        self._runs: list[dict[str, Any]] = []
        subprocess.run(
            [sys.executable, __file__, "--bundle", str(bundle), "--build", str(index)],
            env=self._environment,
            timeout=TIMEOUT_S,
            check=True,
        )

    def run(self) -> None:
        self._runs.append(mcad(*self._arguments, environment=self._environment))

    def summary(self) -> dict[str, Any]:
        runs = self._runs
        return {
            "search_p50_ms": summary([run["latency_ms"]["total"]["p50"] for run in runs]),
            "search_p99_ms": summary([run["latency_ms"]["total"]["p99"] for run in runs]),
            "peak_pss_mib": summary([run["memory_mib"]["peak_pss"] for run in runs]),
            "waited_share": [run["conditions"].get("waited_share") for run in runs],
        }


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| processor | search p50 ms (limit 8) | min to max | p99 ms | peak PSS MiB (limit 100) "
        "| waited for a core, at most | by the commit before: p50 and p99 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results:
        p50, p99, pss = (one[of] for of in ("search_p50_ms", "search_p99_ms", "peak_pss_mib"))
        waited = max(share for share in one["waited_share"] if share is not None)
        before = ""
        if "before" in one:
            medians = (one["before"][of]["median"] for of in ("search_p50_ms", "search_p99_ms"))
            before = "{:.2f} and {:.2f}".format(*medians)
        lines.append(
            f"| {processor_of(one['device'])}, {one['date']} | {p50['median']:.2f} "
            f"| {p50['min']:.2f} to {p50['max']:.2f} | {p99['median']:.2f} "
            f"| {pss['median']:.1f} | {waited:.0%} "
            f"| {before} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
