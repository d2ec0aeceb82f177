"""mcad-mobile app"""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.options import BundlePath, Json, exclude, flag, optional, required
from mcad_mobile.cli.output import load_bundle, progress_bar, warn


class Abi(StrEnum):
    arm64 = "arm64-v8a"
    x86_64 = "x86_64"


# Options of apps and of libraries.
Abis = Annotated[
    list[Abi],
    typer.Option(
        "--abi",
        help="Processors to build for: arm64-v8a (phones), x86_64 (emulators, CI). May be given "
        "more than once.",
    ),
]
Archives = Annotated[
    list[Path],
    typer.Option(
        "--aar",
        help="An Android archive to merge: Qualcomm's qnn-runtime, an ONNX Runtime with QNN. May "
        "be given more than once.",
    ),
]
Npu = Annotated[
    bool,
    typer.Option(
        "--npu",
        help="Fetch what a bundle's Snapdragon rungs need: ONNX Runtime with QNN, and Qualcomm's "
        "runtime, which has Qualcomm's own licence.",
    ),
]
OnnxRuntimeArchive = Annotated[
    Path | None,
    typer.Option(
        "--onnxruntime-aar", help="Your own build of ONNX Runtime for Android instead of ours."
    ),
]
KeepFloat = Annotated[
    bool,
    typer.Option(
        "--keep-float",
        help="Also keep the float fallback of 8-bit towers; it is four times as large.",
    ),
]
AcceptLicence = Annotated[
    str | None,
    typer.Option(
        "--accept-licence",
        metavar="NAME",
        help="The name of the weights' licence, which you have read and accept. Needed for a "
        "restrictive licence: research only, no commercial use, or unknown.",
    ),
]


def app(
    *,
    context: typer.Context,
    bundle: BundlePath,
    abi: Abis = [Abi.arm64],
    aar: Archives = [],
    npu: Npu = False,
    onnxruntime_aar: OnnxRuntimeArchive = None,
    keep_float: KeepFloat = False,
    accept_licence: AcceptLicence = None,
    out: Path = required("--out", "-o", help="The app: demo.apk, or demo.aab with --aab."),
    aab: bool = flag("--aab", help="Build an Android App Bundle for Google Play."),
    keystore: Path | None = optional(
        help="Sign with a key from this file, whose password is in MCAD_KEYSTORE_PASSWORD. "
        "Default: a debug key."
    ),
    key_alias: str | None = optional(help="The alias of the key in the keystore."),
    json: Json = False,
) -> None:
    """Build the Android demo app with a bundle inside: search your own photos, offline.

    You need a JDK and Maven, but no Android SDK. The first build fetches 190 MB of tools; if
    ANDROID_HOME names an SDK, its tools are used instead. The app runs on Android 8 and later.
    Rungs that the app cannot run are left out and named. Weights with a restrictive licence, such
    as the default student's, need --accept-licence.

    \b
      mcad-mobile app --bundle build/siglip2 --out demo.apk
      adb install demo.apk
      mcad-mobile app --bundle build/siglip2 --npu --out demo.apk
      mcad-mobile app --bundle build/siglip2 --abi x86_64 --out emulator.apk
      mcad-mobile app --bundle build/sd --out demo.apk --accept-licence non-commercial-research
    """
    from mcad_mobile.android.demo_app import build_app
    from mcad_mobile.android.packages import own_key
    from mcad_mobile.android.parts import BuildOptions

    if keystore is None:
        exclude(context, "without --keystore", "key_alias")
    build = BuildOptions(
        abis=tuple(abi),
        aars=tuple(aar),
        onnxruntime=onnxruntime_aar,
        npu=npu,
        keep_float=keep_float,
        accept_licence=accept_licence,
    )
    loaded = load_bundle(bundle)
    key = None if keystore is None else own_key(keystore, key_alias)
    with progress_bar() as progress:
        built = build_app(loaded, out, build, key=key, aab=aab, progress=progress)
    signed_by = str(keystore or "debug key")
    if json:
        print_json({**asdict(built), "signed_by": signed_by})
        return
    print(f"{built.package}: {megabytes(built.bytes)} MB, signed by {signed_by}")
    for tower, rungs in built.rungs.items():
        print(f"  {tower} tower: {', then '.join(rungs)}")
    print_parts(built.left_out, built.sbom, built.notes)


def print_parts(left_out: dict[str, str], sbom: Path, notes: tuple[str, ...]) -> None:
    """Print which rungs a built app or library lacks, and where the list of its parts is."""
    for rung, reason in left_out.items():
        print(f"  left out: {rung} ({reason})")
    print(f"  bill of materials: {sbom}")
    for note in notes:
        warn(note)
