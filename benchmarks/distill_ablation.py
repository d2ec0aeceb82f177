"""What each part of MCAD adds: the same student trained in every way, on the official test split.

python benchmarks/distill_ablation.py --data flickr8k \\
    --extra-photos coco_nocaption/images coco_more/images --extra-captions captions.txt

Each (row, seed) is kept under --work as soon as it is done: a run that was cut off goes on, and
--seed and --row let several processes share the work. The table is printed, and stored, once all
of it is there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from distill_rows import ROWS, Row, exported_row, teacher_rows
from rich.console import Console
from rich.table import Table

from mcad_mobile.bench.measure import device_facts
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.distill.dataset import Extra, load_extra, load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.train import Material, retrieval, train
from mcad_mobile.students.load import load_student
from mcad_mobile.versions import tool_versions

RESULT = Path(__file__).parent / "results" / "distill_ablation.json"
COLUMNS = ("t2i R@1", "R@5", "R@10", "i2t R@1", "R@5", "R@10", "mR")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout, all splits")
    parser.add_argument("--extra-photos", type=Path, nargs="*", default=[])
    parser.add_argument("--extra-captions", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, nargs="*", help="only these, and no table")
    parser.add_argument("--row", nargs="*", help="only these, and no table")
    parser.add_argument("--work", type=Path, default=Path("build/ablation"))
    parser.add_argument("--recipe", type=Path, help="what differs from the default recipe")
    arguments = parser.parse_args()

    pairs = {split: load_pairs([arguments.data], split) for split in ("train", "val", "test")}
    extra = load_extra(arguments.extra_photos, arguments.extra_captions)
    start = Recipe.load(arguments.recipe) if arguments.recipe else Recipe()
    for seed in arguments.seed or range(arguments.seeds):
        for row in ROWS:
            if arguments.row and row.name not in arguments.row:
                continue
            if seed and not row.every_seed:
                continue
            done = arguments.work / f"{row.name}-{seed}.json"
            if not done.exists():
                found = run(row, seed, start, pairs, extra, arguments.work)
                partial = done.with_suffix(".partial")
                partial.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
                partial.replace(done)
    if arguments.seed or arguments.row:
        return
    table = {
        row.name: [
            json.loads((arguments.work / f"{row.name}-{seed}.json").read_text("utf-8"))
            for seed in range(arguments.seeds if row.every_seed else 1)
        ]
        for row in ROWS
    }
    report(table, start, len(pairs["test"]), extra)


def run(
    row: Row,
    seed: int,
    start: Recipe,
    pairs: dict[str, Any],
    extra: Extra,
    work: Path,
) -> dict[str, Any]:
    """Recalls of one row and seed on the test split, and the seconds it took."""
    recipe = replace(start, seed=seed, teachers=replace(start.teachers, seed=seed), **row.changes)
    before = time.monotonic()
    with progress_bar() as advance:
        cache = FeatureCache(work / "cache", advance)
        if row.teacher:
            found = teacher_rows(row.teacher, recipe, pairs["train"], pairs["test"], cache)
        elif row.exported:
            student = work / f"student-{row.exported}-{seed}"
            found = exported_row(student, pairs["test"], work / f"{row.name}-{seed}", advance)
        else:
            material = Material(pairs["train"], pairs["val"], extra if row.extra else Extra())
            out = work / f"student-{row.name}-{seed}"
            train(material, out, recipe, work / "cache", advance)
            found = retrieval(load_student(str(out)), pairs["test"], cache)
    return {**found.to_json(), "seconds": round(time.monotonic() - before)}


def report(
    table: dict[str, list[dict[str, Any]]], recipe: Recipe, photos: int, extra: Extra
) -> None:
    """Print mean and spread (standard deviation over seeds; one seed has none), and store
    them."""
    rows = []
    shown = Table("", *COLUMNS)
    for row in ROWS:
        values = np.array([_seven(found) for found in table[row.name]])
        mean, spread = values.mean(0), None
        cells = [f"{m:.1f}" for m in mean]
        if len(values) > 1:
            spread = values.std(0, ddof=1)
            cells = [f"{cell} ± {s:.1f}" for cell, s in zip(cells, spread, strict=True)]
        shown.add_row(row.label, *cells)
        rows.append(
            {
                "row": row.label,
                "mean": _named(mean),
                "spread": None if spread is None else _named(spread),
                "seeds": values.round(2).tolist(),
                "seconds": [found["seconds"] for found in table[row.name]],
            }
        )
    Console().print(shown)
    result = {
        "what": f"Flickr8k, official test split, {photos} photos; standard deviation over seeds",
        "columns": _KEYS,
        "rows": rows,
        "recipe": recipe.to_json(),
        "extra": {"photos": len(extra.photos), "captions": len(extra.captions)},
        "device": device_facts(),
        "versions": tool_versions(("torch", "accelerate", "ai-edge-litert")),
        "date": time.strftime("%Y-%m-%d"),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


_KEYS = ("t2i_r1", "t2i_r5", "t2i_r10", "i2t_r1", "i2t_r5", "i2t_r10", "mean_recall")


def _named(seven: np.ndarray[Any, Any]) -> dict[str, float]:
    return dict(zip(_KEYS, seven.round(2).tolist(), strict=True))


def _seven(found: dict[str, Any]) -> list[float]:
    both = [found["text_to_image"], found["image_to_text"]]
    return [side[k] for side in both for k in ("r1", "r5", "r10")] + [found["mean_recall"]]


if __name__ == "__main__":
    main()
