"""mcad-mobile eval"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    StudentOptions,
    TowerOptions,
    among,
    command_line_options,
    load_bundle,
    option,
    print_table,
    progress_bar,
    warn,
)
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers.ladder import LoadedRung
from mcad_mobile.recall import embed, embed_by_student


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(StudentOptions, TowerOptions):
    data: Path = option("--data", "A folder of photos with captions: docs/data.md.", default=...)
    bundle: Path | None = option(
        "--bundle -b", "Evaluate this bundle's towers instead of a student."
    )
    split: str = option(
        "--split",
        "Which split of the dataset.",
        default="test",
        autocompletion=among(lambda: ("train", "val", "test")),
    )


def evaluate(options: EvaluateOptions, context: typer.Context) -> None:
    """Measure Recall@K in both directions, of a float student or of a bundle's towers.

    \b
      mcad-mobile eval --data flickr8k
      mcad-mobile eval --data flickr8k --bundle build/sd
    """
    if options.student is not None and options.bundle is not None:
        raise typer.BadParameter("give --student or --bundle, not both")
    if options.dim is not None and options.bundle is not None:
        raise typer.BadParameter(
            "--dim cannot be used with --bundle, whose width was fixed at export: leave it out"
        )
    flags = command_line_options(context)
    for name in ("runtime", "threads"):
        if name in flags and options.bundle is None:
            raise typer.BadParameter(
                f"{flags[name]} is for the towers of a bundle: add --bundle DIR, or leave it out"
            )
    photos = load_captions(options.data, options.split)
    with progress_bar() as advance:
        if options.bundle is not None:
            bundle = load_bundle(options.bundle)
            engine = SearchEngine(
                bundle, runtime=options.runtime, threads=options.threads, warn=warn
            )
            embedded = embed(photos, engine.embed_photo, engine.embed_text, advance)
            facts = bundle.student
            of_student = {"name": facts.name, "sha256": facts.sha256, "source": facts.source}
            evaluated: dict[str, Any] = {
                "student": of_student,
                "bundle": {"name": bundle.name, "created": bundle.created},
                "runtime": {"image": _used(engine.image_rung), "text": _used(engine.text_rung)},
            }
        else:
            from mcad_mobile.students.load import load_student

            student = load_student(options.student, options.dim)
            embedded = embed_by_student(student, photos, advance)
            of_student = {"name": student.name, "sha256": student.sha256()}
            evaluated = {"student": {**of_student, "source": student.source.weights}}
    result = embedded.retrieval()
    if options.json:
        print_json({**result.to_json(), **evaluated})
        return
    rows = [
        [way, f"{recall.r1:.1f}", f"{recall.r5:.1f}", f"{recall.r10:.1f}"]
        for way, recall in (
            ("text to image", result.text_to_image),
            ("image to text", result.image_to_text),
        )
    ]
    print_table(
        f"{options.data} {options.split}: {result.photos} photos, {result.captions} captions, "
        f"mR {result.mean_recall:.1f}",
        ["", "R@1 %", "R@5 %", "R@10 %"],
        rows,
    )


def _used(loaded: LoadedRung) -> dict[str, str]:
    return {"runtime": loaded.rung.runtime, "precision": loaded.rung.precision}
