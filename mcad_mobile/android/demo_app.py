"""Build the demo app: a bundle and the app's Java sources become a signed APK or AAB."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.app_bundle import write_app_bundle
from mcad_mobile.android.build_tools import build_dex, prepare, used_tools
from mcad_mobile.android.packages import (
    Key,
    complete_manifest,
    debug_key,
    link,
    native_entries,
    sign_aab,
    sign_apk,
    write_apk,
)
from mcad_mobile.android.parts import DEFAULTS, BuildOptions, Parts, gather_parts
from mcad_mobile.android.toolchain import android_demo
from mcad_mobile.base.files import check_file
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError, require

PACKAGE = "io.github.mcadmobile.demo"
APP_MODULES = ("engine", "gallery", "platform", "app")


@dataclass(frozen=True)
class BuiltApp:
    """A built APK or AAB, its size, the rungs of each tower in it, the rungs left out and why,
    warnings for the user, and the software bill of materials."""

    package: Path
    bytes: int
    rungs: dict[str, list[str]]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    sbom: Path


def build_app(
    bundle: Bundle,
    out: Path,
    options: BuildOptions = DEFAULTS,
    *,
    key: Key | None = None,
    aab: bool = False,
    progress: Progress = silent,
) -> BuiltApp:
    """Build the demo app with `bundle` as its assets: an APK or, with `aab`, an Android App Bundle.

    Rungs that the app cannot run are left out. `key` None means the debug key. `out` and the
    bill of materials are written only when the whole build succeeds. BuildError, DiskError;
    MissingExtra without [android].
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import sbom, sbom_path

    if out.suffix not in (".apk", ".aab") or (out.suffix == ".aab") != aab:
        kind = ".aab" if aab else ".apk"
        raise BuildError(f"{out} does not end in {kind}.", f"Name it: --out demo{kind}.")
    listed = sbom_path(out)
    for path in (out, listed):
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".app-", dir=out.parent) as folder:
        work = Path(folder)
        prepare(progress, aab=aab)
        tools = used_tools(aab=aab)
        parts = gather_parts(bundle, options, work, progress)
        made, dex = work / f"made{out.suffix}", _package(parts, work, aab, progress)
        if aab:
            sign_aab(made, key or debug_key())
        else:
            sign_apk(work / "unsigned.apk", made, key or debug_key())
        listed.write_bytes(sbom(made, out.name, PACKAGE, parts, {"classes.dex": dex}, tools))
        made.replace(out)
    packed = parts.bundle or bundle
    rungs: dict[str, list[str]] = {
        name: [rung.name for rung in packed.tower(name).rungs] for name in packed.towers
    }
    notes = tuple(parts.libraries.notes)
    return BuiltApp(out, out.stat().st_size, rungs, parts.left_out, notes, listed)


def _package(parts: Parts, work: Path, aab: bool, progress: Progress) -> bytes:
    """Write work/made.aab or work/unsigned.apk, unsigned, and return classes.dex."""
    found = parts.libraries
    progress("compiling resources")
    main = android_demo() / "app" / "src" / "main"
    text = (main / "AndroidManifest.xml").read_text("utf-8")
    manifest = complete_manifest(text, PACKAGE, extracted=found.extracted)
    linked = link(work, manifest, main / "res", proto=aab)
    generated = [work / "generated"]
    dex = build_dex(APP_MODULES, found.jars, work, generated=generated, progress=progress)
    progress("packing and signing")
    entries = [*parts.assets(), *native_entries(found.native, extracted=found.extracted)]
    if aab:
        named = PACKAGE, parts.bundle
        write_app_bundle(
            work, linked, main / "res", dex, entries, *named, extracted=found.extracted
        )
    else:
        write_apk(work / "unsigned.apk", linked, dex, entries)
    return dex
