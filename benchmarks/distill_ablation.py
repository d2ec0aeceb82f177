"""Measure what each part of MCAD adds: one student, trained in every way, on the test split.

python -m benchmarks.distill_ablation --data flickr8k --things objects \\
    --extra-photos coco_nocaption/images coco_more/images --extra-captions captions.txt

Each (row, seed) is a file under benchmarks/results/distill_ablation/, written as soon as it is
done, and measured again only if its recipe or unpaired data has changed. So the work can be
interrupted, split among processes (--seed, --row), and continued on another machine. The table
shows the existing files; files of one row with different recipes are an error.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import asdict
from rich.console import Console
from rich.table import Table

from benchmarks.distill_rows import ROWS, Row, evaluate_cached, teacher_rows
from benchmarks.main_job import source
from benchmarks.recall import by_word, right_for_caption_words, right_for_words
from mcad_mobile.base.machine import device_facts
from mcad_mobile.base.progress import silent
from mcad_mobile.base.requirements import tool_versions
from mcad_mobile.cli.output import progress_bar
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.accelerator import choose_arithmetic, keep_freed_memory
from mcad_mobile.distill.dataset import Extra, load_extra, load_pairs
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.train_student import Material, train
from mcad_mobile.recall import embed_by_student
from mcad_mobile.students.load import load_student
from mcad_mobile.students.student import Student

RESULTS = Path(__file__).parent / "results" / "distill_ablation"
COLUMNS = ("t2i R@1", "R@5", "R@10", "i2t R@1", "R@5", "R@10", "mR")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Karpathy layout, all splits")
    parser.add_argument("--things", type=Path, help="photos of kinds of things, a test split")
    parser.add_argument("--extra-photos", type=Path, nargs="*", default=[])
    parser.add_argument("--extra-captions", type=Path, nargs="*", default=[])
    parser.add_argument("--seed", type=int, nargs="*", default=[0, 1, 2])
    names = [row.name for row in ROWS]
    parser.add_argument("--row", nargs="*", choices=names, default=names, metavar="ROW")
    parser.add_argument("--work", type=Path, default=Path("build/ablation"))
    parser.add_argument("--recipe", type=Path, help="what differs from the default recipe")
    arguments = parser.parse_args()

    keep_freed_memory()
    pairs = {split: load_pairs([arguments.data], split) for split in ("train", "val", "test")}
    if arguments.things:
        pairs["things"] = load_pairs([arguments.things], "test")
    extra = load_extra(arguments.extra_photos, arguments.extra_captions)
    for row in ROWS:
        for kind in row.extra if row.name in arguments.row else ():
            if not getattr(extra, kind):
                parser.error(f"row {row.name} needs --extra-{kind}, or leave it out of --row")
    start = StudentRecipe.load(arguments.recipe) if arguments.recipe else StudentRecipe()
    for seed in arguments.seed:
        for row in ROWS:
            if row.name in arguments.row:
                run(row, seed, start, pairs, extra, arguments.work)
    show(stored_rows())


def run(
    row: Row, seed: int, start: StudentRecipe, pairs: dict[str, Any], extra: Extra, work: Path
) -> None:
    """Measure one row and seed: recall on the test split, the inputs, and the seconds taken. Does
    nothing if that is stored."""
    recipe = row.recipe(start, seed)
    depends = asdict(recipe.teachers) if row.teacher else recipe.to_json()
    depends.pop("arithmetic", None)
    given = Extra(**{kind: getattr(extra, kind) for kind in row.extra})
    counts = {"photos": len(given.photos), "captions": len(given.captions)}
    as_stored = msgspec.json.decode(msgspec.json.encode(depends))
    inputs = {"recipe": as_stored, "extra": counts if row.extra else None}
    path = RESULTS / f"{row.name}-{seed}.json"
    with_things = "things" in pairs and not row.teacher
    if path.exists():
        stored = json.loads(path.read_text("utf-8"))
        # A field that recipes have gained since changes nothing by default.
        used = _used(as_stored)
        same = all(
            used.get(name, value) == value for name, value in _used(stored["recipe"]).items()
        )
        same = same and stored["extra"] == inputs["extra"]
        if same and ("things" in stored or not with_things):
            return
    of_things: dict[str, Any] = {}
    before = time.monotonic()
    arithmetic = choose_arithmetic(recipe.arithmetic)
    with progress_bar() as advance:
        cache = FeatureCache(work / "cache", advance)
        if row.teacher:
            found = teacher_rows(
                row.teacher, recipe, pairs["train"], pairs["test"], cache, arithmetic
            )
        else:
            out = work / f"student-{row.name}-{seed}"
            material = Material(pairs["train"], pairs["val"], given)
            train(material, out, recipe, work / "cache", advance)
            student = load_student(str(out))
            found = evaluate_cached(student, pairs["test"], cache, arithmetic)
            if with_things:
                named = evaluate_cached(student, pairs["things"], cache, arithmetic)
                words = search_words(student, pairs["test"], pairs["things"])
                of_things = {"things": named.to_json(), **words}
    result = {
        **found.to_json(),
        **of_things,
        "seconds": round(time.monotonic() - before),
        **inputs,
        "device": device_facts(),
        "versions": tool_versions(("torch", "accelerate")),
        "date": time.strftime("%Y-%m-%d"),
        **source(),
    }
    partial = path.with_suffix(".partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    partial.replace(path)


def search_words(
    student: Student, test: list[CaptionedPhoto], things: list[CaptionedPhoto]
) -> dict[str, float]:
    """Return how many of the first ten photos are right for a word, on average: general words, and
    words of captions (see recall.py)."""
    captioned, named = (
        embed_by_student(student, photos, silent).images for photos in (test, things)
    )
    both = np.concatenate([captioned, named])
    found = {
        "general_words": by_word(student, both, right_for_words(test, things)),
        "caption_words": by_word(student, captioned, right_for_caption_words(test)),
    }
    return {
        name: round(float(np.mean([row["of_ten"] for row in rows.values()])), 2)
        for name, rows in found.items()
    }


def stored_runs() -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(RESULTS.glob("*.json"))]


def stored_rows() -> list[dict[str, Any]]:
    """Return for each row with results: its label, its mean, its spread (standard deviation over
    seeds; None for one seed), and the number of seeds."""
    rows = []
    for row in ROWS:
        files = sorted(RESULTS.glob(f"{row.name}-[0-9].json"))
        if not files:
            continue
        runs = [json.loads(file.read_text("utf-8")) for file in files]
        for file, run in zip(files, runs, strict=True):
            if _but_for_seeds(run) != _but_for_seeds(runs[0]):
                raise SystemExit(f"{file} and {files[0]} are of different recipes: run one again")
        values = np.array([_seven(run) for run in runs])
        named = [_seven(run["things"]) for run in runs if "things" in run]
        words = {
            kind: float(np.mean([run[kind] for run in runs if kind in run]))
            for kind in _WORDS
            if any(kind in run for run in runs)
        }
        spread = _named(values.std(0, ddof=1)) if len(values) > 1 else None
        rows.append(
            {
                "row": row.label,
                "name": row.name,
                "mean": _named(values.mean(0)),
                "spread": spread,
                "seeds": len(values),
                **({"things": _named(np.array(named).mean(0))} if named else {}),
                **words,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    shown = Table("", *COLUMNS, "seeds")
    for row in rows:
        shown.add_row(row["row"], *_cells(row), str(row["seeds"]))
    Console().print(shown)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| | text to image R@1 / 5 / 10 | image to text R@1 / 5 / 10 | mR | seeds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = _cells(row)
        both = " | ".join([" / ".join(cells[:3]), " / ".join(cells[3:6])])
        lines.append(f"| {row['row']} | {both} | {cells[6]} | {row['seeds']} |")
    if named := [row for row in rows if "things" in row]:
        lines += [
            "",
            "Photos of kinds of things, by name. General words and words of captions: how many of "
            "the first ten photos are right "
            "([how that is judged](../models/mcad-s/README.md#how-good-it-is)).",
            "",
            lines[0].replace("mR", "mR | general words | words of captions"),
            f"{lines[1]}---|---|",
        ]
        for row in named:
            means = [f"{row['things'][key]:.1f}" for key in _KEYS]
            both = " | ".join([" / ".join(means[:3]), " / ".join(means[3:6])])
            words = " | ".join(f"{row[kind]:.1f}" if kind in row else "" for kind in _WORDS)
            lines.append(f"| {row['row']} | {both} | {means[6]} | {words} | {row['seeds']} |")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    mean, spread = row["mean"], row["spread"]
    return [f"{mean[key]:.1f}" + (f" ± {spread[key]:.1f}" if spread else "") for key in _KEYS]


_WORDS = ("general_words", "caption_words")
_KEYS = ("t2i_r1", "t2i_r5", "t2i_r10", "i2t_r1", "i2t_r5", "i2t_r10", "mean_recall")


def _but_for_seeds(run: dict[str, Any]) -> dict[str, Any]:
    """A field that is off counts as absent, since recipes gained some after the first runs."""
    used = _used(run["recipe"])
    recipe = {name: value for name, value in used.items() if value and name != "seed"}
    if "teachers" in recipe:
        recipe["teachers"] = {**recipe["teachers"], "seed": None}
    return {"recipe": recipe, "extra": run["extra"]}


def _used(recipe: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says how a single-stream teacher is trained, if none teaches."""
    if "teachers" not in recipe or recipe["teaching"] == "mcad":
        return recipe
    teachers = recipe["teachers"].items()
    kept = {name: value for name, value in teachers if not name.startswith("single_")}
    return {**recipe, "teachers": kept}


def _named(seven: np.ndarray[Any, Any]) -> dict[str, float]:
    return dict(zip(_KEYS, seven.round(4).tolist(), strict=True))


def _seven(found: dict[str, Any]) -> list[float]:
    both = [found["text_to_image"], found["image_to_text"]]
    return [side[k] for side in both for k in ("r1", "r5", "r10")] + [found["mean_recall"]]


if __name__ == "__main__":
    main()
