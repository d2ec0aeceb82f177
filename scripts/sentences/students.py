"""Figures in docs/targets.md and models/mcad-s/README.md: what the default student is, and what
8 bits cost it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from figures import Sentence, given, stored

from sentences.results import ROOT, TOKEN_TABLE, Results


def targets(read: Results) -> list[Sentence]:
    return [
        stored("its token table, {:.1f} MB of 16-bit rows", TOKEN_TABLE / 1e6),
        stored(
            "that of the float student, {:.1f}", read("recall")["whole"]["float"]["mean_recall"]
        ),
    ]


def model_card(read: Results) -> list[Sentence]:
    recall, widths = read("recall")["whole"], read("widths")["rows"]
    training = json.loads((ROOT / "models" / "mcad-s" / "training.json").read_text("utf-8"))
    weights = ROOT / "models" / "mcad-s" / "model.safetensors"
    image, text = _parameters(weights)
    return [
        stored("| parameters | {:.1f} M | {:.1f} M |", image / 1e6, text / 1e6),
        stored("Weights are float16, {:.1f} MB", weights.stat().st_size / 1e6),
        given("four crops of 50 to 100 % of its area", "mcad_mobile/data/augment.py"),
        stored(
            "that took {:.1f} minutes on two cores of an AMD EPYC, in bfloat16",
            sum(training["minutes"].values()),
        ),
        _recall_row("| float |", recall["float"]),
        _recall_row("(the fallback of every bundle) |", recall["cpu"]),
        *(_width_row(row) for row in widths),
    ]


def _recall_row(beginning: str, found: Any) -> Sentence:
    ways = (found["text_to_image"], found["image_to_text"])
    return stored(
        f"{beginning} {{:.1f}} / {{:.1f}} / {{:.1f}} | {{:.1f}} / {{:.1f}} / {{:.1f}} | {{:.1f}} |",
        *(way[k] for way in ways for k in ("r1", "r5", "r10")),
        found["mean_recall"],
    )


def _width_row(row: Any) -> Sentence:
    data, things = row["data"], row["things"]
    ways = ("image_to_text", "text_to_image")
    return stored(
        f"| {row['width']} | {row['bytes_per_photo']} | {{:.1f}} "
        "| {:.1f} / {:.1f} | {:.1f} / {:.1f} |",
        data["mean_recall"],
        *(things[way][k] for way in ways for k in ("r1", "r10")),
    )


def _parameters(weights: Path) -> tuple[int, int]:
    """Numbers of the image tower and of the text tower, from a safetensors header."""
    with weights.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    counts = {"image": 0, "text": 0}
    for name, tensor in header.items():
        if name != "__metadata__":
            start, end = tensor["data_offsets"]
            counts[name.partition(".")[0]] += (end - start) // 2
    return counts["image"], counts["text"]
