"""Sections of docs/benchmarks.md on how students are trained."""

from __future__ import annotations

import json
from typing import Any

import distill_ablation
import distill_recipe
import single_stream as tried
import widths as widths_result

from pages.results import made_with


def _gain(rows: list[dict[str, Any]]) -> str:
    recall = {row["name"]: row["mean"]["mean_recall"] for row in rows}
    gains = [
        f"{recall[name] - recall['contrastive']:.1f} points of mR {how}"
        for name, how in (("mcad", "without unpaired data"), ("mcad-extra", "with unpaired data"))
        if name in recall
    ]
    return "MCAD's gain over contrastive training: " + ", ".join(gains) + "."


def _recipe() -> list[str]:
    """The default recipe from nothing, once it has been timed."""
    if not distill_recipe.RESULT.is_file():
        return []
    result = json.loads(distill_recipe.RESULT.read_text("utf-8"))
    return [
        "The recipe of `mcad-extra` from nothing, teachers and caches included, and what came out:",
        "",
        distill_recipe.as_markdown(result),
        "",
        "Re-run: `benchmarks/distill_recipe.py`.",
        "",
    ]


def ablation() -> list[str]:
    """What each part of MCAD adds, and the default recipe from nothing."""
    rows = distill_ablation.stored_rows()
    return [
        "## What MCAD adds",
        "",
        "Flickr8k, official test split (1,000 photos, 5,000 captions), percent; mean and",
        "standard deviation over seeds, of as many as were run. The dual-stream teachers of",
        "two neighbouring seeds share one of their two members. All students have the same",
        "architecture and the same 30,000 captioned pairs, of which the default takes 16 passes",
        "and all others 12. Where no dual-stream teacher draws the student, labels weigh 1.0",
        "instead of 0.1, with more dropout: without that, they score lower. Rows are in",
        "`benchmarks/distill_rows.py`; how it works, and what of it is ours, in",
        "[method.md](method.md). Re-run:",
        "`benchmarks/distill_ablation.py`.",
        "",
        distill_ablation.as_markdown(rows),
        "",
        _gain(rows),
        "",
        *_recipe(),
        *sorted(
            {
                made_with(run["date"], run["device"]["cpu"], run["versions"])
                for run in distill_ablation.stored_runs()
            }
        ),
        "",
    ]


def single_stream() -> list[str]:
    """Single-stream teachers that were tried."""
    results = tried.stored()
    return [
        "## Single-stream teachers that were tried",
        "",
        f"Each re-ranks the top {results[0]['reranked']} of the dual-stream teachers of its seed "
        "on Flickr8k's",
        "validation split (1,000 photos, 5,000 captions), photos for each caption and captions",
        "for each photo: by its scores alone, and by their mean with the dual-stream similarity.",
        "What of it reaches a student: [method.md](method.md).",
        "",
        tried.as_markdown(results),
        "",
        *(made_with(one["date"], one["device"]["cpu"], one["versions"]) for one in results),
        "Re-run: `benchmarks/single_stream.py`.",
        "",
    ]


def widths() -> list[str]:
    """The default student, cut to its first numbers."""
    result = json.loads(widths_result.RESULT.read_text("utf-8"))
    return [
        "## Narrower embeddings",
        "",
        "The default student in float, by how many of an embedding's first numbers are kept: on",
        "Flickr8k's test split, and among photos of 200 kinds of things, each asked for by name.",
        "",
        widths_result.as_markdown(result),
        "",
        made_with(result["date"], result["device"]["cpu"], result["versions"]),
        "Re-run: `benchmarks/widths.py`.",
        "",
    ]
