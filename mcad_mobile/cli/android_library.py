"""mcad-mobile library"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.android_app import Abi
from mcad_mobile.cli.output import JsonOption, counted, load_bundle, progress_bar
from mcad_mobile.cli.results import print_json

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
    keep_float: Annotated[
        bool, typer.Option("--keep-float", help="Keep float rungs behind 8-bit ones.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Build the Android library that other apps add: search over their user's photos.

    One file, with ONNX Runtime, keep rules and what the manifest needs. android_demo/README.md has
    the ten lines that an app writes.

    \b
      mcad-mobile library --bundle build/cpu --out mcad-search.aar
    """
    from mcad_mobile.android.library import build_library

    loaded = None if bundle is None else load_bundle(bundle)
    with progress_bar() as advance:
        built = build_library(
            loaded,
            out,
            abis=[choice.value for choice in abi] if abi else ["arm64-v8a"],
            aars=tuple(aar or ()),
            keep_float=keep_float,
            progress=counted(advance, _STEPS),
        )
    if json:
        print_json(
            {"archive": str(built.archive), "bytes": built.bytes, "left_out": built.left_out}
        )
        return
    print(f"{built.archive}: {built.bytes / 1e6:.1f} MB")
    for rung, why in built.left_out.items():
        print(f"  left out: {rung} ({why})")
