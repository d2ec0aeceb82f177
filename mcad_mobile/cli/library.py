"""mcad-mobile library"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.standard_output import print_json
from mcad_mobile.cli.app import PackageOptions, print_parts
from mcad_mobile.cli.output import flag, load_bundle, option, progress_bar


@dataclass(frozen=True, kw_only=True)
class LibraryOptions(PackageOptions):
    out: Path | None = option("--out -o", "The archive: mcad-search.aar.")
    maven: Path | None = option(
        "--maven",
        "Instead of --out: a folder for a Maven repository, with sources, API pages, and ONNX "
        "Runtime as a dependency.",
        metavar="DIR",
    )
    coordinates: str | None = option(
        "--coordinates",
        "Its Maven coordinates. Default: mcad.mobile:mcad-search:VERSION.",
        metavar="GROUP:NAME:VERSION",
    )
    bundle: Path | None = option(
        "--bundle -b", "A bundle to include as assets. Default: none; the app brings its own."
    )
    own_photos: bool = flag(
        "--own-photos",
        "For an app that searches only its own photos: the manifest has no permission, no service "
        "and no job.",
    )
    litert: bool = flag(
        "--litert",
        "Keep the bundle's w8a8 LiteRT rungs. The app must add com.google.ai.edge.litert:litert, "
        "which runs them on the CPU.",
    )
    sample: Path | None = option(
        "--sample",
        "Also build a small app from the archive, to try it out: sample.apk.",
    )


def library(options: LibraryOptions) -> None:
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

    if (options.out is None) == (options.maven is None):
        raise typer.BadParameter("give either --out FILE or --maven DIR")
    if options.sample is not None and (options.maven is not None or options.own_photos):
        raise typer.BadParameter(
            "--sample needs a single archive that may read the phone's photos: leave out --maven "
            "and --own-photos"
        )
    if options.maven is None and options.coordinates is not None:
        raise typer.BadParameter("--coordinates is for --maven DIR")
    bundle = None if options.bundle is None else load_bundle(options.bundle)
    build = replace(options.build_options(), own_photos=options.own_photos, litert=options.litert)
    with progress_bar() as progress:
        if options.out is not None:
            built = build_library(
                bundle, options.out, build, sample=options.sample, progress=progress
            )
        elif options.maven is not None:
            coordinates = options.coordinates or COORDINATES
            built = build_maven(bundle, options.maven, coordinates, build, progress=progress)
    if options.json:
        print_json(asdict(built))
        return
    print(f"{built.archive}: {megabytes(built.bytes)} MB")
    if built.coordinates is not None:
        print(f"  Maven coordinates: {built.coordinates}")
    if built.sample is not None:
        print(f"{built.sample}: an app built from it, signed by debug key")
    print_parts(built.left_out, built.sbom, built.notes)
