"""Measure published students' text towers and whole searches, beside their libraries' towers.

    python -m benchmarks.students                # all; writes benchmarks/results/students.json
    python -m benchmarks.students --bundles DIR  # exports are kept there, and taken from there
    python -m benchmarks.students RN50 ViT-B-16  # these, beside what is stored

Weights are random (random_students.py): time, memory, bytes and cosine to the float tower are real,
and recall is not measured. The text towers take turns, each in its own process on one thread, a few
times over: ours as in a cpu bundle, ours with the token table inside the graph, and the library's
own text encoder in fp32 on ONNX Runtime, with 77 or 64 tokens. The whole search is `mcad-mobile
bench --synthetic 100000`. This machine is no phone.
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

from benchmarks import peers
from benchmarks.main_job import PHOTOS, mcad, summary
from benchmarks.peer_row import Row
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.bench.measure import device_facts
from mcad_mobile.engine.bundle import Bundle

RESULT = Path(__file__).parent / "results" / "students.json"
MEASURED = ("TinyCLIP-ViT-8M-16-Text-3M", "MobileCLIP2-S0", "ViT-B-32", "ViT-B-32-SigLIP2-256")
LIMIT_MS, LIMIT_MIB = 8, 100
BUSY = 0.05  # the share of time from which `bench` warns
_LONGEST_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bundles", type=Path, help="where exports are, or will be")
    parser.add_argument("--only-export", action="store_true")
    parser.add_argument("students", nargs="*", default=MEASURED)
    arguments = parser.parse_args()
    result = stored()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: (arguments.bundles or Path(scratch)) / name for name in arguments.students}
        for name, folder in folders.items():
            export(name, folder)
        if arguments.only_export:
            return
        for name, folder in folders.items():
            result["students"][name] = measure(folder, arguments.runs)
            result["students"] = dict(sorted(result["students"].items(), key=_order))
            RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(table(result))


def stored() -> dict[str, Any]:
    """Return the stored results, also of students not measured now, with their dates."""
    found: dict[str, Any] = {"students": {}}
    return json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else found


def _order(student: tuple[str, Any]) -> int:
    return MEASURED.index(student[0]) if student[0] in MEASURED else len(MEASURED)


def export(name: str, folder: Path) -> None:
    """Export in another process, so that this one shares no library with the measured ones."""
    if (folder / "rows.json").exists():
        return
    print(f"exporting {name}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.student_towers", name, str(folder)]
    subprocess.run(command, stdout=sys.stderr, timeout=_LONGEST_S, check=True)


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Measure each text tower and the whole search, in turn, `runs` times."""
    rows = [Row(**row) for row in json.loads((folder / "rows.json").read_text())]
    bundle = Bundle.load(folder / "bundle")
    taken: list[list[dict[str, Any]]] = [[] for _ in rows]
    benches = []
    for run in range(runs):
        print(f"{folder.name}, run {run + 1} of {runs}", file=sys.stderr, flush=True)
        for number, row in enumerate(rows):
            taken[number].append(peers.in_a_process(row, folder))
        benches.append(mcad("bench", "--bundle", str(bundle.directory), "--synthetic", str(PHOTOS)))
    parity = bundle.text.rungs[0].parity
    assert parity is not None
    return {
        **_circumstances(bundle, runs),
        "text": [
            {**peers.summary(row, found), "bytes": size(Path(row.file))}
            for row, found in zip(rows, taken, strict=True)
        ],
        "token_table_bytes": bundle.token_table.file.bytes,
        "text_cosine": {"mean": parity.cosine_mean, "min": parity.cosine_min},
        **figures(benches),
    }


def figures(benches: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "search_p50_ms": summary([run["latency_ms"]["total"]["p50"] for run in benches]),
        "search_p99_ms": summary([run["latency_ms"]["total"]["p99"] for run in benches]),
        "stages_p50_ms": {
            stage: statistics.median(run["latency_ms"][stage]["p50"] for run in benches)
            for stage in ("tokenize", "text", "scan", "rescore")
        },
        "peak_pss_mib": summary([run["memory_mib"]["peak_pss"] for run in benches]),
        "peak_rss_mib": summary([run["memory_mib"]["peak_rss"] for run in benches]),
        "waited_share": max(run["conditions"].get("waited_share", 0.0) for run in benches),
    }


def _circumstances(bundle: Bundle, runs: int) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": device_facts(),
        "versions": tool_versions((*peers.TOOLS, "transformers")),
        "exported": bundle.created,
        "runs": runs,
        "photos": PHOTOS,
    }


def size(model: Path) -> int:
    """Return the bytes of a model and its external weights."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def table(result: dict[str, Any]) -> str:
    """Return each student's text towers, ours first, then the whole searches."""
    lines = [
        "| student | text tower | MB | table MB | p50 ms | time | peak PSS MiB | worst cosine |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in result["students"].items():
        ours = found["text"][0]
        for row in found["text"]:
            mark = "**" if row is ours else ""
            beside = f"{found['token_table_bytes'] / 1e6:.1f}" if row is ours else "-"
            lines.append(
                f"| {name} | {mark}{row['model']}{mark} | {row['bytes'] / 1e6:.1f} | {beside} "
                f"| {row['p50']:.2f} | {row['p50'] / ours['p50']:.2f}x "
                f"| {row['peak_pss_mib']:.0f} | {row['cosine_min']:.4f} |"
            )
    lines += [
        "",
        f"| whole search, {PHOTOS:,} photos | p50 ms | p99 ms | of it text | "
        "peak PSS MiB | peak RSS MiB | text's mean cosine |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, found in result["students"].items():
        lines.append(
            f"| {name} | {found['search_p50_ms']['median']:.1f} "
            f"| {found['search_p99_ms']['median']:.1f} | {found['stages_p50_ms']['text']:.1f} "
            f"| {found['peak_pss_mib']['median']:.0f} | {found['peak_rss_mib']['median']:.0f} "
            f"| {found['text_cosine']['mean']:.4f} |"
        )
    return "\n".join(lines)


def verdict(result: dict[str, Any]) -> str:
    """Say which whole searches keep to the limits, and how busy the machines were."""
    sentences = []
    for name, found in result["students"].items():
        ms, mib = found["search_p50_ms"]["median"], found["peak_pss_mib"]["median"]
        over = [f"{ms:.1f} ms where {LIMIT_MS} is the limit"] if ms > LIMIT_MS else []
        over += [f"{mib:.0f} MiB where {LIMIT_MIB} is the limit"] if mib > LIMIT_MIB else []
        sentences.append(
            f"{name} {'takes ' + ' and '.join(over) if over else 'keeps to both limits'}."
        )
    loads = [found["device"]["load_average_1m"] for found in result["students"].values()]
    waited = max(found["waited_share"] for found in result["students"].values())
    if waited >= BUSY or max(loads) > 1:
        sentences.append(
            f"The machine was at work for others (load average {min(loads):.1f} to "
            f"{max(loads):.1f}, up to {waited:.0%} of the time without a core): ratios within a "
            "student hold, and its times are too long."
        )
    return " ".join(sentences)


if __name__ == "__main__":
    main()
