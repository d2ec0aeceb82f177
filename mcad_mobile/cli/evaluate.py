"""mcad-mobile eval"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from mcad_mobile.base.standard_output import counted, print_json
from mcad_mobile.cli.options import (
    Dim,
    Json,
    Language,
    PreprocessName,
    RuntimeName,
    StudentName,
    Threads,
    TokenizerFile,
    among,
    exclude,
    optional,
    required,
)
from mcad_mobile.cli.output import load_bundle, print_table, progress_bar, warn
from mcad_mobile.data.captions import load_captions
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.towers.ladder import LoadedRung
from mcad_mobile.recall import embed, embed_by_student


def evaluate(
    *,
    context: typer.Context,
    student: StudentName = None,
    tokenizer: TokenizerFile = None,
    preprocess: PreprocessName = None,
    dim: Dim = None,
    data: Path = required(help="A folder of photos with captions: docs/data.md."),
    bundle: Path | None = optional(
        "--bundle", "-b", help="Evaluate this bundle's towers instead of a student."
    ),
    split: str = typer.Option(
        "test",
        autocompletion=among(lambda: ("train", "val", "test")),
        help="Which split of the dataset.",
    ),
    language: Language = None,
    runtime: RuntimeName = None,
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Measure Recall@K in both directions, of a float student or of a bundle's towers.

    \b
      mcad-mobile eval --data flickr8k
      mcad-mobile eval --data flickr8k --bundle build/sd
    """
    if bundle is None:
        exclude(context, "without --bundle", "language", "runtime", "threads")
    else:
        exclude(context, "with --bundle", "student", "tokenizer", "preprocess", "dim")
    photos = load_captions(data, split)
    with progress_bar() as advance:
        if bundle is not None:
            loaded = load_bundle(bundle).for_language(language)
            engine = SearchEngine(loaded, runtime=runtime, threads=threads, warn=warn)
            embedded = embed(photos, engine.embed_photo, engine.embed_text, advance)
            facts = loaded.student
            of_student = {"name": facts.name, "sha256": facts.sha256, "source": facts.source}
            evaluated: dict[str, Any] = {
                "student": of_student,
                "bundle": {"name": loaded.name, "created": loaded.created},
                "runtime": {"image": _used(engine.image_rung), "text": _used(engine.text_rung)},
            }
        else:
            from mcad_mobile.students.load import load_student

            made = load_student(student, dim, tokenizer=tokenizer, preprocess=preprocess)
            embedded = embed_by_student(made, photos, advance)
            of_student = {"name": made.name, "sha256": made.sha256}
            evaluated = {"student": {**of_student, "source": made.source.weights}}
    result = embedded.retrieval()
    if json:
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
        f"{data} {split}: {counted(result.photos, 'photo')}, "
        f"{counted(result.captions, 'caption')}, "
        f"mR {result.mean_recall:.1f}",
        ["", "R@1 %", "R@5 %", "R@10 %"],
        rows,
    )


def _used(loaded: LoadedRung) -> dict[str, str]:
    return {"runtime": loaded.rung.runtime, "precision": loaded.rung.precision}
