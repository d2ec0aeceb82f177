"""Measure a whole search among a million photos, including the text tower.

    python -m benchmarks.million --bundle build/cpu    # writes benchmarks/results/million.json

Runs `mcad-mobile bench` on one index a few times. This machine is no phone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import mcad, processor_of, provenance, store, stored, summary
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.samples import synthetic_index
from mcad_mobile.engine.bundle import Bundle

RESULT = Path(__file__).parent / "results" / "million.json"
PHOTOS = 1_000_000
TOOLS = ("numpy", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        synthetic_index(Bundle.load(options.bundle), index, PHOTOS)
        arguments = ("bench", "--bundle", str(options.bundle), "--index", str(index))
        runs = [mcad(*arguments) for _ in range(options.runs)]
    result = {
        **provenance(tool_versions(TOOLS)),
        "runs": options.runs,
        "photos": PHOTOS,
        "search_p50_ms": summary([run["latency_ms"]["total"]["p50"] for run in runs]),
        "search_p99_ms": summary([run["latency_ms"]["total"]["p99"] for run in runs]),
        "peak_pss_mib": summary([run["memory_mib"]["peak_pss"] for run in runs]),
        "peak_rss_mib": summary([run["memory_mib"]["peak_rss"] for run in runs]),
        "waited_share": [run["conditions"].get("waited_share") for run in runs],
    }
    store(result, RESULT)
    print(table(stored(RESULT)))


def table(results: list[dict[str, Any]]) -> str:
    lines = [
        "| processor | search p50 ms (limit 8) | min to max | p99 ms | peak PSS MiB (limit 100) "
        "| peak RSS MiB | waited for a core, at most |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        p50, p99, pss = (result[of] for of in ("search_p50_ms", "search_p99_ms", "peak_pss_mib"))
        waited = max(share for share in result["waited_share"] if share is not None)
        lines.append(
            f"| {processor_of(result['device'])}, {result['date']} | {p50['median']:.2f} "
            f"| {p50['min']:.2f} to {p50['max']:.2f} | {p99['median']:.2f} "
            f"| {pss['median']:.1f} | {result['peak_rss_mib']['median']:.1f} | {waited:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
