"""mcad-mobile app"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcad_mobile.cli.output import BundleOption, JsonOption, load_bundle, progress_bar
from mcad_mobile.cli.results import print_json

_STEPS = 6  # about as many as a build announces


def app(
    bundle: BundleOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The app: demo.apk, or demo.aab with --aab.")
    ],
    aab: Annotated[
        bool, typer.Option("--aab", help="An Android App Bundle, which Google Play takes.")
    ] = False,
    aar: Annotated[
        list[Path] | None,
        typer.Option(
            "--aar",
            help="An Android archive to merge: Qualcomm's qnn-runtime, an ONNX Runtime with QNN. "
            "May be given more than once.",
        ),
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
    json: JsonOption = False,
) -> None:
    """Build the Android demo app with a bundle in it: search your own photos, offline.

    No Android SDK is needed: `mcad-mobile doctor` says which packages are. The first build fetches
    250 MB of tools, once. Android 8 and later, arm64.

    \b
      mcad-mobile app --bundle build/cpu --out demo.apk
      adb install demo.apk
      mcad-mobile app --bundle build/sd --aar qnn-runtime-2.40.0.aar \\
                      --aar onnxruntime-android-qnn-1.24.0.aar --out demo.apk
    """
    from mcad_mobile.android.app import build_app
    from mcad_mobile.android.signing import own_key

    loaded = load_bundle(bundle)
    key = None if keystore is None else own_key(keystore, key_alias)
    done = 0
    with progress_bar() as advance:

        def progress(step: str) -> None:
            nonlocal done
            advance(step, done, max(done, _STEPS))
            done += 1

        built = build_app(
            loaded,
            out,
            aab=aab,
            key=key,
            aars=aar or (),
            keep_float=keep_float,
            progress=progress,
        )
    signed_by = "debug key" if keystore is None else str(keystore)
    if json:
        print_json(
            {
                "package": str(built.package),
                "bytes": built.bytes,
                "rungs": built.rungs,
                "left_out": built.left_out,
                "signed_by": signed_by,
            }
        )
        return
    print(f"{built.package}: {built.bytes / 1e6:.1f} MB, signed by {signed_by}")
    for tower, rungs in built.rungs.items():
        print(f"  {tower} tower: {', then '.join(rungs)}")
    if built.left_out:
        print(f"  left out: {', '.join(built.left_out)}")
