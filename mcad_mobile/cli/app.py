"""mcad-mobile app"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.output import (
    BundleOptions,
    Options,
    flag,
    load_bundle,
    option,
    progress_bar,
    warn,
)

if TYPE_CHECKING:
    from mcad_mobile.android.parts import BuildOptions


class Abi(StrEnum):
    arm64 = "arm64-v8a"
    x86_64 = "x86_64"


@dataclass(frozen=True, kw_only=True)
class PackageOptions(Options):
    """Options of apps and of libraries."""

    abi: list[Abi] = option(
        "--abi",
        "Processors to build for: arm64-v8a (phones), x86_64 (emulators, CI). May be given more "
        "than once.",
        default=[Abi.arm64],
    )
    aar: list[Path] = option(
        "--aar",
        "An Android archive to merge: Qualcomm's qnn-runtime, an ONNX Runtime with QNN. May be "
        "given more than once.",
        default=[],
    )
    npu: bool = flag(
        "--npu",
        "Fetch what a bundle's Snapdragon rungs need: ONNX Runtime with QNN, and Qualcomm's "
        "runtime, which has Qualcomm's own licence.",
    )
    onnxruntime_aar: Path | None = option(
        "--onnxruntime-aar", "Your own build of ONNX Runtime for Android instead of ours."
    )
    keep_float: bool = flag(
        "--keep-float",
        "Also keep the float fallback of 8-bit towers; it is four times as large.",
    )
    sbom: Path | None = option(
        "--sbom",
        "Where to write the bill of materials, CycloneDX as JSON. Default: the name of the built "
        "file plus .cdx.json, beside it.",
    )
    accept_licence: str | None = option(
        "--accept-licence",
        "The name of the weights' licence, which you have read and accept. Needed for a "
        "restrictive licence: research only, no commercial use, or unknown.",
        metavar="NAME",
    )

    def build_options(self, r8: Path | None = None) -> BuildOptions:
        from mcad_mobile.android.parts import BuildOptions

        return BuildOptions(
            abis=tuple(self.abi),
            aars=tuple(self.aar),
            onnxruntime=self.onnxruntime_aar,
            r8=r8,
            npu=self.npu,
            keep_float=self.keep_float,
            sbom=self.sbom,
            accept_licence=self.accept_licence,
        )


@dataclass(frozen=True, kw_only=True)
class AppOptions(PackageOptions, BundleOptions):
    out: Path = option("--out -o", "The app: demo.apk, or demo.aab with --aab.", default=...)
    aab: bool = flag("--aab", "Build an Android App Bundle for Google Play.")
    r8: Path | None = option("--r8", "Your own r8.jar, whose D8 makes the dex file.")
    keystore: Path | None = option(
        "--keystore",
        "Sign with a key from this file, whose password is in MCAD_KEYSTORE_PASSWORD. Default: a "
        "debug key.",
    )
    key_alias: str | None = option("--key-alias", "The alias of the key in the keystore.")


def app(options: AppOptions) -> None:
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
    from mcad_mobile.android.signing import own_key

    if options.key_alias and options.keystore is None:
        raise typer.BadParameter("--key-alias is of a key in a file: give --keystore, too")
    bundle = load_bundle(options.bundle)
    key = None if options.keystore is None else own_key(options.keystore, options.key_alias)
    build = options.build_options(options.r8)
    with progress_bar() as progress:
        built = build_app(bundle, options.out, build, key=key, aab=options.aab, progress=progress)
    signed_by = str(options.keystore or "debug key")
    if options.json:
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
