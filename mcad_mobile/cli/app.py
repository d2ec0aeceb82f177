"""mcad-mobile app"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    BundleOption,
    JsonOption,
    OnnxRuntimeAarOption,
    as_document,
    count_steps,
    load_bundle,
    progress_bar,
    warn,
)

if TYPE_CHECKING:
    from mcad_mobile.android.app import BuiltApp

_STEPS = 6  # about as many as a build announces


class Abi(StrEnum):
    arm64 = "arm64-v8a"
    x86_64 = "x86_64"


def app(
    bundle: BundleOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The app: demo.apk, or demo.aab with --aab.")
    ],
    aab: Annotated[
        bool, typer.Option("--aab", help="An Android App Bundle, which Google Play takes.")
    ] = False,
    abi: Annotated[
        list[Abi] | None,
        typer.Option(
            "--abi",
            help="Processors that it runs on: arm64-v8a (phones, the default), x86_64 (emulators, "
            "CI). May be given more than once.",
        ),
    ] = None,
    aar: Annotated[
        list[Path] | None,
        typer.Option(
            "--aar",
            help="An Android archive to merge: Qualcomm's qnn-runtime, an ONNX Runtime with QNN. "
            "May be given more than once.",
        ),
    ] = None,
    npu: Annotated[
        bool,
        typer.Option(
            "--npu",
            help="Fetch what the Snapdragon rungs of a bundle need: ONNX Runtime with QNN, and "
            "Qualcomm's runtime, which is under Qualcomm's own licence.",
        ),
    ] = False,
    onnxruntime_aar: OnnxRuntimeAarOption = None,
    r8: Annotated[
        Path | None, typer.Option("--r8", help="Your own r8.jar, whose D8 makes the dex file.")
    ] = None,
    keystore: Annotated[
        Path | None,
        typer.Option(
            "--keystore",
            help="Sign with a key of this file; its password in MCAD_KEYSTORE_PASSWORD. "
            "Default: a debug key.",
        ),
    ] = None,
    key_alias: Annotated[
        str | None, typer.Option("--key-alias", help="Which key of the keystore.")
    ] = None,
    keep_float: Annotated[
        bool,
        typer.Option("--keep-float", help="Keep float rungs behind 8-bit ones: 55 MB more."),
    ] = False,
    sbom: Annotated[
        Path | None,
        typer.Option(
            "--sbom",
            help="Where the list of all that is in the app goes, CycloneDX as JSON. Default: "
            "beside the app, demo.apk.cdx.json.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Build the Android demo app with a bundle in it: search your own photos, offline.

    It needs a JDK and Maven, and no Android SDK. The first build fetches 190 MB of tools, once.
    Android 8 and later. Rungs that nothing in the app can run are left out, and it says which.

    \b
      mcad-mobile app --bundle build/cpu --out demo.apk
      adb install demo.apk
      mcad-mobile app --bundle build/sd --npu --out demo.apk
      mcad-mobile app --bundle build/cpu --abi x86_64 --out emulator.apk
    """
    from mcad_mobile.android.app import build_app
    from mcad_mobile.android.parts import BuildOptions
    from mcad_mobile.android.signing import own_key

    options = BuildOptions(
        abis=tuple(abi or (Abi.arm64,)),
        aars=tuple(aar or ()),
        onnxruntime=onnxruntime_aar,
        r8=r8,
        npu=npu,
        keep_float=keep_float,
        sbom=sbom,
    )
    loaded = load_bundle(bundle)
    key = None if keystore is None else own_key(keystore, key_alias)
    with progress_bar() as bar:
        progress = count_steps(bar, _STEPS)
        built = build_app(loaded, out, options, key=key, aab=aab, progress=progress)
    _print(built, "debug key" if keystore is None else str(keystore), json)


def _print(built: BuiltApp, signed_by: str, json: bool) -> None:
    if json:
        print_json({**as_document(built), "signed_by": signed_by})
        return
    print(f"{built.package}: {megabytes(built.bytes)} MB, signed by {signed_by}")
    for tower, rungs in built.rungs.items():
        print(f"  {tower} tower: {', then '.join(rungs)}")
    print_parts(built.left_out, built.sbom)
    for note in built.notes:
        warn(note)


def print_parts(left_out: dict[str, str], sbom: Path) -> None:
    """Print which rungs a built app or library lacks, and where the list of its parts is."""
    for rung, reason in left_out.items():
        print(f"  left out: {rung} ({reason})")
    print(f"  what is in it: {sbom}")
