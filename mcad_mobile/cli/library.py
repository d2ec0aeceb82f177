"""mcad-mobile library"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.app import Abi, print_parts
from mcad_mobile.cli.output import (
    JsonOption,
    OnnxRuntimeAarOption,
    as_document,
    count_steps,
    load_bundle,
    progress_bar,
    warn,
)

if TYPE_CHECKING:
    from mcad_mobile.android.library import BuiltLibrary

_STEPS = 3


def library(
    out: Annotated[Path, typer.Option("--out", "-o", help="The archive: mcad-search.aar.")],
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", "-b", help="A bundle to go in as assets. Default: none, the app has one."
        ),
    ] = None,
    abi: Annotated[
        list[Abi] | None,
        typer.Option("--abi", help="Processors, as for app. May be given more than once."),
    ] = None,
    aar: Annotated[
        list[Path] | None,
        typer.Option("--aar", help="An Android archive to merge, as for app."),
    ] = None,
    npu: Annotated[
        bool, typer.Option("--npu", help="Fetch what Snapdragon rungs need, as for app.")
    ] = False,
    onnxruntime_aar: OnnxRuntimeAarOption = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            "--sample",
            help="Also build an app of one small class out of the archive, to see it work: "
            "sample.apk.",
        ),
    ] = None,
    keep_float: Annotated[
        bool, typer.Option("--keep-float", help="Keep float rungs behind 8-bit ones.")
    ] = False,
    sbom: Annotated[
        Path | None,
        typer.Option(
            "--sbom",
            help="Where the list of all that is in it goes, CycloneDX as JSON. Default: beside "
            "the archive, mcad-search.aar.cdx.json.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the Android library that other apps add: search over their user's photos.

    One file, with ONNX Runtime, keep rules and what the manifest needs. android_demo/README.md has
    the ten lines that an app writes.

    \b
      mcad-mobile library --bundle build/cpu --out mcad-search.aar
      mcad-mobile library --bundle build/cpu --out mcad-search.aar --sample sample.apk
    """
    from mcad_mobile.android.library import build_library
    from mcad_mobile.android.parts import BuildOptions

    options = BuildOptions(
        abis=tuple(abi or (Abi.arm64,)),
        aars=tuple(aar or ()),
        onnxruntime=onnxruntime_aar,
        npu=npu,
        keep_float=keep_float,
        sbom=sbom,
    )
    loaded = None if bundle is None else load_bundle(bundle)
    with progress_bar() as bar:
        progress = count_steps(bar, _STEPS)
        built = build_library(loaded, out, options, sample=sample, progress=progress)
    _print(built, json)


def _print(built: BuiltLibrary, json: bool) -> None:
    if json:
        print_json(as_document(built))
        return
    print(f"{built.archive}: {megabytes(built.bytes)} MB")
    print_parts(built.left_out, built.sbom)
    if built.sample is not None:
        print(f"{built.sample}: an app made of it, signed by debug key")
    for note in built.notes:
        warn(note)
