"""Measure the main job on this machine: export time, search latency, running memory.

    python -m benchmarks.main_job            # writes results/main_job.json

Each run is its own process; figures are medians over runs. This machine is no phone, so these are
not a phone's times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mcad_mobile.base.files import sha256_of
from mcad_mobile.base.machine import device_facts
from mcad_mobile.cli.demo import collect_packaged_photos

RESULT = Path(__file__).parent / "results" / "main_job.json"
COMMAND = str(Path(sys.executable).with_name("mcad-mobile"))
PHOTOS = 100_000
EXPORT_LIMIT_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "snapdragon"
        exports = []
        for _ in range(runs):
            started = time.perf_counter()
            exported = mcad("export", "--target", "snapdragon", "--out", str(bundle))
            exports.append(time.perf_counter() - started)
        arguments = ("bench", "--bundle", str(bundle), "--synthetic", str(PHOTOS))
        benches = [mcad(*arguments) for _ in range(runs)]
        searches = search_sample_photos(bundle)
    result = {
        **provenance(benches[0]["bundle"]["tools"]),
        "runs": runs,
        "photos": PHOTOS,
        "export_snapdragon_s": summary(exports),
        "towers": exported["towers"],
        "search_p50_ms": summary([run["latency_ms"]["total"]["p50"] for run in benches]),
        "stages_p50_ms": {
            stage: statistics.median(run["latency_ms"][stage]["p50"] for run in benches)
            for stage in ("tokenize", "text", "scan", "rescore", "image")
        },
        "peak_pss_mib": summary([run["memory_mib"]["peak_pss"] for run in benches]),
        "peak_rss_mib": summary([run["memory_mib"]["peak_rss"] for run in benches]),
        "waited_share": [run["conditions"].get("waited_share") for run in benches],
        "searches": searches,
    }
    store(result, RESULT)
    print(table([result]))


def search_sample_photos(bundle: Path) -> list[dict[str, Any]]:
    """Run README's searches: with this bundle, and with the multilingual text tower in the index
    that this bundle made."""
    photos = collect_packaged_photos(bundle.with_name("sample-photos"))
    index = f"{bundle}.index"
    mcad("index", str(photos), "--bundle", str(bundle))
    other = bundle.with_name("multilingual")
    mcad("export", "--text", "multilingual", "--target", "cpu", "--out", str(other))
    found = []
    for query, text_tower, first in (
        ("a man taking a photo with a camera", bundle, "3"),
        ("緑の目の猫", other, "1"),
    ):
        arguments = ("--bundle", str(text_tower), "--index", index, "-k", first)
        results = mcad("search", query, *arguments)["results"]
        hits = [{"photo": Path(hit["path"]).name, "score": hit["score"]} for hit in results]
        found.append({"query": query, "results": hits})
    return found


def source() -> dict[str, str]:
    """Return what results_check.py compares: the running script, its SHA-256, and the commit of
    this checkout; "+" after it: package or weights differ from it."""
    script = Path(sys.argv[0])
    return {"commit": _commit(), "script": script.name, "script_sha256": sha256_of(script)}


def _commit() -> str:
    git = ("git", "-C", str(Path(__file__).parent))
    answers = [
        subprocess.run([*git, *command], capture_output=True, text=True, timeout=60, check=True)
        for command in (
            ("rev-parse", "--short", "HEAD"),
            ("status", "--porcelain", "../mcad_mobile", "../models"),
        )
    ]
    head, changed = (done.stdout.strip() for done in answers)
    return head + "+" * bool(changed)


def provenance(versions: dict[str, str]) -> dict[str, Any]:
    """Return a result's date, commit, device and versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        **source(),
        "device": device_facts(),
        "versions": versions,
    }


def store(result: dict[str, Any], path: Path) -> None:
    """Store one result per processor; results of other machines stay, with their dates."""
    here = processor_of(result["device"])
    kept = [old for old in stored(path) if processor_of(old["device"]) != here]
    path.write_text(json.dumps([*kept, result], indent=2) + "\n", "utf-8")


def processor_of(device: dict[str, Any]) -> str:
    """Return the model and its instructions for 8-bit products, which decide the towers' speed."""
    model = device["cpu"].replace("(R)", "").replace(" Processor", "")
    kinds = ("AMX int8", "AVX-512 VNNI", "AVX VNNI")
    found = [kind for kind in kinds if kind in device["instruction_sets"]]
    return f"{model}, {', '.join(found) or 'no VNNI'}"


def stored(path: Path = RESULT) -> list[dict[str, Any]]:
    """Return the stored result of each processor, newest last."""
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return found


def mcad(*arguments: str, environment: dict[str, str] | None = None) -> Any:
    done = subprocess.run(
        [COMMAND, *arguments, "--json"],
        stdout=subprocess.PIPE,
        timeout=900,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout)


def summary(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the medians of each machine's runs, with the least and the most."""
    rows = (
        ("export for Snapdragon, s", EXPORT_LIMIT_S, "export_snapdragon_s"),
        ("search, p50, ms", 8, "search_p50_ms"),
        ("peak PSS, MiB", 100, "peak_pss_mib"),
        ("peak RSS, MiB", "", "peak_rss_mib"),
    )
    machines = [processor_of(result["device"]) for result in results]
    lines = [f"| | limit | {' | '.join(machines)} |", f"|---|---|{'---|' * len(results)}"]
    for name, limit, key in rows:
        found = [
            f"{run[key]['median']} ({run[key]['min']} to {run[key]['max']})" for run in results
        ]
        lines.append(f"| {name} | {limit} | {' | '.join(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
