"""Write the pages that are made from something else: docs/cli.md from `--help`, and
docs/benchmarks.md from benchmarks/results/*.json."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from mcad_mobile.cli import app

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def cli_page() -> str:
    verbs = list(typer.main.get_group(app).commands)
    parts = ["# Command line\n\nMade from `--help` by `make docs`; a test keeps it true.\n"]
    for arguments in [[], *[[verb] for verb in verbs]]:
        name = " ".join(["mcad-mobile", *arguments])
        shown = CliRunner().invoke(
            app, [*arguments, "--help"], prog_name="mcad-mobile", terminal_width=96
        )
        text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
        parts.append(f"## {name}\n\n```\n{text}\n```\n")
    return "\n".join(parts)


def benchmarks_page() -> str:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import distill_ablation
    import index_vs_peers
    import main_job
    import peers as tower_peers

    job = json.loads((RESULTS / "main_job.json").read_text("utf-8"))
    peers = json.loads((RESULTS / "index_vs_peers.json").read_text("utf-8"))
    towers = json.loads((RESULTS / "peers.json").read_text("utf-8"))
    setup = peers["setup"]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Made from `benchmarks/results/*.json` by `make docs`; a test keeps it true. Run them",
            "again with `make bench DATA=DIR` (Flickr8k in the Karpathy layout). No figure here is",
            "a phone's.",
            "",
            "## The main job",
            "",
            main_job.table(job),
            "",
            _made_with(job["date"], job["device"]["os"], job["versions"]),
            "",
            "Peak PSS and RSS are of the process that searches. Re-run: `benchmarks/main_job.py`.",
            "",
            "## The towers and their peers",
            "",
            "The default student's towers in every runtime, one input at a time, one thread on",
            f"{towers['device']['cpu']}; and two other architectures with random weights, which do",
            "for time and memory. Bold: what a `cpu` bundle ships first, and what ratios are to.",
            "Cosine: the worst of the golden inputs, against the float student.",
            "",
            tower_peers.table(towers),
            "",
            tower_peers.verdict(towers),
            "",
            _made_with(towers["date"], towers["device"]["os"], towers["versions"]),
            "Re-run: `benchmarks/peers.py`.",
            "",
            "## The index and its peers",
            "",
            f"{setup['photos']:,} photo embeddings of {setup['dim']} dimensions, blended from",
            f"{setup['blended_from']:,} real ones, and {setup['queries']} real text queries; one "
            f"thread on {peers['machine']['cpu']}.",
            "Recall is against exact float32 search. Engines with a setting run at the cheapest",
            f"that reaches {setup['recall_goal']}, or at their most thorough. PSS growth is what",
            "opening the index and searching adds to a process.",
            "",
            index_vs_peers.as_markdown(peers["rows"]),
            "",
            _made_with(peers["date"], peers["machine"]["cpu"], peers["versions"]),
            "",
            _verdict(peers["rows"], setup["recall_goal"]),
            "",
            *_java_index(),
            "## What MCAD adds",
            "",
            "Flickr8k, official test split (1,000 photos, 5,000 captions), percent; mean and",
            "standard deviation over seeds, of as many as were run. The dual-stream teachers of",
            "two neighbouring seeds share one of their two members. All students have the same",
            "architecture, the same 30,000 captioned pairs and the same number of epochs. The rows",
            "are in `benchmarks/distill_rows.py`; how it works, and what of it is ours, in",
            "[method.md](method.md). Re-run: `benchmarks/distill_ablation.py`.",
            "",
            distill_ablation.as_markdown(ablation := distill_ablation.stored_rows()),
            "",
            _gain(ablation),
            "",
            *sorted(
                {
                    _made_with(run["date"], run["device"]["cpu"], run["versions"])
                    for run in distill_ablation.stored_runs()
                }
            ),
            "",
        ]
    )


def _verdict(rows: list[dict[str, Any]], goal: float) -> str:
    good = [row for row in rows if row["recall_at_10"] >= goal]
    smallest = sorted(good, key=lambda row: row["pss_growth_mib"])
    fastest = min(good, key=lambda row: row["p50_ms"])
    others = [row for row in smallest if not row["engine"].startswith("mcad-mobile")]
    return (
        f"Of the engines at a recall of {goal} or better, ours adds "
        f"{smallest[0]['pss_growth_mib']:.0f} to {smallest[1]['pss_growth_mib']:.0f} MiB to the "
        f"process and the next ({others[0]['engine']}) {others[0]['pss_growth_mib']:.0f}; the "
        f"fastest, {fastest['engine']}, takes {fastest['p50_ms']:.2f} ms a search, "
        f"{fastest['pss_growth_mib']:.0f} MiB and {fastest['build_s']:.0f} s to build."
    )


def _gain(rows: list[dict[str, Any]]) -> str:
    recall = {row["name"]: row["mean"]["mean_recall"] for row in rows}
    gains = [
        f"{recall[name] - recall['contrastive']:.1f} points of mR {how}"
        for name, how in (("mcad", "without unpaired data"), ("mcad-extra", "with it"))
        if name in recall
    ]
    return "MCAD's gain over contrastive training: " + ", ".join(gains) + "."


def _java_index() -> list[str]:
    """The Java engine's search, once it has been measured on a machine that does nothing else."""
    import java_index

    if not java_index.RESULTS.is_file():
        return []
    result = json.loads(java_index.RESULTS.read_text("utf-8"))
    setup = result["setup"]
    return [
        "## The same index, searched by Java",
        "",
        f"{setup['photos']:,} photos of {setup['dim']} dimensions, blended from "
        f"{setup['blended_from']:,} real ones, {setup['queries']} real text queries;",
        f"one thread on {result['machine']['cpu']}, load average "
        f"{result['machine']['load_average_at_end']} at the end. The goal is",
        f"{setup['limit_ms']} ms for scan and re-score in {setup['heap_limit_mib']} MB of heap. A "
        "server's JVM, not a phone.",
        "",
        java_index.table(result),
        "",
        _made_with(result["date"], result["machine"]["cpu"], result["versions"]),
        "",
    ]


def _made_with(date: str, machine: str, versions: dict[str, str]) -> str:
    return f"{date}, {machine}; " + ", ".join(f"{name} {v}" for name, v in versions.items()) + "."


PAGES: dict[Path, Callable[[], str]] = {
    ROOT / "docs" / "cli.md": cli_page,
    ROOT / "docs" / "benchmarks.md": benchmarks_page,
}


if __name__ == "__main__":
    for page, render in PAGES.items():
        page.write_text(render(), "utf-8")
