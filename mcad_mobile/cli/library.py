"""mcad-mobile library"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.app import (
    Abi,
    Abis,
    AcceptLicence,
    Archives,
    KeepFloat,
    Npu,
    OnnxRuntimeArchive,
    print_parts,
)
from mcad_mobile.cli.options import Json, exclude, flag, optional
from mcad_mobile.cli.output import load_bundle, progress_bar


def library(
    *,
    context: typer.Context,
    abi: Abis = [Abi.arm64],
    aar: Archives = [],
    npu: Npu = False,
    onnxruntime_aar: OnnxRuntimeArchive = None,
    keep_float: KeepFloat = False,
    accept_licence: AcceptLicence = None,
    out: Path | None = optional("--out", "-o", help="The archive: mcad-search.aar."),
    maven: Path | None = optional(
        metavar="DIR",
        help="Instead of --out: a folder for a Maven repository, with sources, API pages, and ONNX "
        "Runtime as a dependency.",
    ),
    coordinates: str | None = optional(
        metavar="GROUP:NAME:VERSION",
        help="Its Maven coordinates. Default: io.github.mcadmobile:mcad-search:VERSION.",
    ),
    bundle: Path | None = optional(
        "--bundle",
        "-b",
        help="A bundle to include as assets. Default: none; the app brings its own.",
    ),
    own_photos: bool = flag(
        "--own-photos",
        help="For an app that searches only its own photos: the manifest has no permission, no "
        "service and no job.",
    ),
    litert: bool = flag(
        "--litert",
        help="Keep the bundle's w8a8 LiteRT rungs. The app must add com.google.ai.edge.litert:"
        "litert, which runs them on the CPU.",
    ),
    sample: Path | None = optional(
        help="Also build a small app from the archive, to try it out: sample.apk."
    ),
    json: Json = False,
) -> None:
    """Build the Android library, which lets other apps search their users' photos.

    It is one archive with ONNX Runtime, keep rules and a manifest, or a Maven repository.
    android_demo/README.md shows the ten lines that an app needs. Weights with a restrictive
    licence, such as the default student's, need --accept-licence.

    \b
      mcad-mobile library --bundle build/siglip2 --out mcad-search.aar
      mcad-mobile library --bundle build/siglip2 --maven build/maven
      mcad-mobile library --bundle build/siglip2 --out mcad-search.aar --sample sample.apk
    """
    from mcad_mobile.android.library_aar import build_library
    from mcad_mobile.android.library_maven import COORDINATES, build_maven
    from mcad_mobile.android.parts import BuildOptions

    if maven is None:
        exclude(context, "without --maven", "coordinates")
    else:
        exclude(context, "with --maven", "out", "sample")
    if own_photos:  # the sample searches the phone's photos
        exclude(context, "with --own-photos", "sample")
    loaded = None if bundle is None else load_bundle(bundle)
    build = BuildOptions(
        abis=tuple(abi),
        aars=tuple(aar),
        onnxruntime=onnxruntime_aar,
        npu=npu,
        keep_float=keep_float,
        accept_licence=accept_licence,
        own_photos=own_photos,
        litert=litert,
    )
    with progress_bar() as progress:
        if maven is not None:
            built = build_maven(loaded, maven, coordinates or COORDINATES, build, progress=progress)
        elif out is not None:
            built = build_library(loaded, out, build, sample=sample, progress=progress)
        else:
            raise typer.BadParameter("give either --out FILE or --maven DIR")
    if json:
        print_json(asdict(built))
        return
    print(f"{built.archive}: {megabytes(built.bytes)} MB")
    if built.coordinates is not None:
        print(f"  Maven coordinates: {built.coordinates}")
    if built.sample is not None:
        print(f"{built.sample}: an app built from it, signed by debug key")
    print_parts(built.left_out, built.sbom, built.notes)
