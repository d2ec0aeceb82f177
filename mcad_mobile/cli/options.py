"""Options that several commands share, and how a command refuses those that it would ignore."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from mcad_mobile.cli.output import note
from mcad_mobile.engine.bundle import MANIFEST

# Options by what they are without being given.
required = functools.partial(typer.Option, ...)
optional = functools.partial(typer.Option, None)
flag = functools.partial(typer.Option, False)
several = functools.partial(typer.Option, [])


def among(values: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Let a shell complete a value that is often one of these."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values() if value.startswith(incomplete)]

    return complete


def default_bundle() -> Path:
    """The bundle that MCAD_BUNDLE names, or the newest under build/; standard error says which."""
    if any(name.endswith("_MOBILE_COMPLETE") for name in os.environ):  # for a shell's completion
        return Path("build")
    named = os.environ.get("MCAD_BUNDLE")
    found = [path for level in ("*", "*/*") for path in Path("build").glob(f"{level}/{MANIFEST}")]
    if not named and not found:
        raise typer.BadParameter(
            "give --bundle DIR, or set MCAD_BUNDLE; there is no bundle under build/. To make one: "
            "mcad-mobile export --target snapdragon --out build/sd",
            param_hint="--bundle",
        )
    newest = max(found, key=lambda path: path.stat().st_mtime, default=Path()).parent
    bundle = Path(named) if named else newest
    note(f"the bundle is {bundle} ({'MCAD_BUNDLE' if named else 'the newest under build/'})")
    return bundle


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
BundlePath = Annotated[
    Path,
    typer.Option(
        "--bundle",
        "-b",
        default_factory=default_bundle,
        show_default=False,
        help="The bundle, as written by `export`. Default: MCAD_BUNDLE, or the newest under "
        "build/.",
    ),
]
IndexPath = Annotated[
    Path | None, typer.Option("--index", help="The index's folder. Default: BUNDLE.index.")
]
RuntimeName = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        autocompletion=among(lambda: ("onnx", "litert", "qnn")),
        help="onnx, litert, or qnn (simulated). Default: the best that this machine runs natively.",
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        "--language",
        metavar="CODE",
        help="The queries' language, such as de. If the bundle has two text towers, the "
        "multilingual one embeds all but English. Default: en.",
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]
StudentName = Annotated[
    str | None,
    typer.Option(
        "--student",
        help="A folder that `distill` wrote, open_clip:NAME[:CHECKPOINT] (a published tag or a "
        "file of weights), hf:NAME_OR_FOLDER (CLIP, SigLIP 2, TinyCLIP ...), "
        "my_package.my_module:make_student (docs/python.md), onnx:IMAGE.onnx,TEXT.onnx, or "
        "litert:IMAGE.tflite,TEXT.tflite. Default: mcad-s; any app may ship mcad-o.",
    ),
]
TokenizerFile = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        metavar="FILE",
        help="For ONNX and LiteRT files: the text tower's tokenizer.json. Default: the one "
        "beside it.",
    ),
]
PreprocessName = Annotated[
    Literal["clip", "siglip", "imagenet", "mobileclip"] | None,
    typer.Option(
        "--preprocess", help="For ONNX and LiteRT files: how photos are resized and normalized."
    ),
]
Dim = Annotated[
    int | None,
    typer.Option(
        "--dim",
        help="Only the first DIM numbers of embeddings, for a smaller index. The student must have "
        "been trained for it (docs/distillation.md); mcad-s takes 128 or 64.",
    ),
]


def given(context: typer.Context) -> dict[str, str]:
    """The parameters that the command line sets: name -> flag ({"drop_gone": "--prune"}); an
    argument is in capitals ({"photos": "PHOTOS"})."""
    flags = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flags[name] = (
                name.upper() if parameter.param_type_name == "argument" else parameter.opts[0]
            )
    return flags


def exclude(context: typer.Context, when: str, *names: str) -> None:
    """Raise BadParameter if the command line sets one of these parameters, which are ignored `when`
    ("with --rebuild", "without --data")."""
    for name, flag in given(context).items():
        if name in names:
            raise typer.BadParameter(f"{flag} cannot be used {when}: leave it out")


def at_most_one(context: typer.Context, *names: str) -> None:
    """Raise BadParameter if the command line sets several of these parameters."""
    flags = [flag for name, flag in given(context).items() if name in names]
    if len(flags) > 1:
        raise typer.BadParameter(f"{flags[1]} cannot be used with {flags[0]}: leave one out")


def allow_only(context: typer.Context, when: str, *names: str) -> None:
    """Raise BadParameter if the command line sets any parameter but these."""
    exclude(context, when, *given(context).keys() - {*names})
