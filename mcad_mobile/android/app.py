"""build_app(): a bundle and the demo app's sources -> a signed APK or AAB."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mcad_mobile import __version__
from mcad_mobile.android.aar import Libraries, libraries
from mcad_mobile.android.dex import MIN_SDK, build_dex
from mcad_mobile.android.downloads import BUNDLETOOL, Progress, fetch
from mcad_mobile.android.package import Entry, entries_of, write_package
from mcad_mobile.android.signing import Key, debug_key, sign_aab, sign_apk
from mcad_mobile.android.sources import android_demo
from mcad_mobile.android.toolchain import AAPT2, JAVA, framework, run
from mcad_mobile.bundle import MANIFEST, Bundle, Rung, Tower
from mcad_mobile.disk import check_file
from mcad_mobile.errors import BuildError

TARGET_SDK = 36
PACKAGE = "mcad.demo"
ABI = "arm64-v8a"
ASSETS = "assets/bundle"
APP_MODULES = ("engine", "platform", "app")
# The runtimes that the engine has: rungs of others would only take room on the phone.
_RUNTIMES = ("qnn", "onnx")


@dataclass(frozen=True)
class Built:
    """The package, and the rungs that each tower has in it, best first."""

    package: Path
    bytes: int
    rungs: dict[str, list[str]]
    left_out: list[str]


def build_app(
    bundle: Bundle,
    out: Path,
    *,
    aab: bool = False,
    key: Key | None = None,
    aars: Sequence[Path] = (),
    keep_float: bool = False,
    progress: Progress = lambda step: None,
) -> Built:
    """Build the demo app with `bundle` as its assets.

    Signed with the debug key unless `key` is given. An Android App Bundle if `aab`. `aars` are
    Android archives to merge (a QNN runtime). Float rungs behind quantized ones stay out unless
    `keep_float`, or the quantized one was exported with low parity: they are most of a bundle's
    bytes. Nothing stands at `out` unless all went well.
    Raises BuildError, and DiskError where nothing can be written.
    """
    if out.suffix not in (".apk", ".aab") or (out.suffix == ".aab") != aab:
        kind = ".aab" if aab else ".apk"
        raise BuildError(f"{out} does not end in {kind}.", f"Name it: --out demo{kind}.")
    check_file(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".app-", dir=out.parent) as folder:
        work = Path(folder)
        packed, left_out = _lean(bundle, work / "bundle", keep_float)
        found = libraries(work, ABI, aars, progress)
        progress("compiling resources")
        linked = _link(work, found, proto=aab)
        generated = [work / "generated"]
        dex = build_dex(APP_MODULES, found.jars, work, generated=generated, progress=progress)
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
        made.replace(out)
    rungs = {
        name: [f"{rung.runtime} {rung.precision}" for rung in packed.tower(name).rungs]
        for name in ("image", "text")
    }
    return Built(out, out.stat().st_size, rungs, left_out)


def _lean(bundle: Bundle, directory: Path, keep_float: bool) -> tuple[Bundle, list[str]]:
    """The bundle as the app carries it, in a folder of its own, and what was left out."""
    left_out: list[str] = []

    def lean(name: str, tower: Tower) -> Tower:
        kept = []
        quantized = False
        for rung in tower.rungs:
            drop = rung.runtime not in _RUNTIMES
            drop |= rung.precision == "fp32" and quantized and not keep_float
            if drop:
                left_out.append(f"{name} {rung.runtime} {rung.precision}")
            else:
                kept.append(rung)
                quantized |= rung.runtime == "onnx" and _is_enough(rung)
        if not kept:
            raise BuildError(
                f"{bundle.directory} has no {name} tower that the app can run.",
                "Export it again: every bundle ends in an ONNX CPU model.",
            )
        return msgspec.structs.replace(tower, rungs=tuple(kept))

    image, text = lean("image", bundle.image), lean("text", bundle.text)
    packed = msgspec.structs.replace(bundle, directory=directory, image=image, text=text)
    for record in packed.files():
        copy = directory / record.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path(record), copy)
    packed.save()
    packed.verify()
    return packed, left_out


def _is_enough(rung: Rung) -> bool:
    """Whether a CPU rung needs no float one behind it."""
    return rung.precision != "fp32" and not rung.low_parity


def _assets(bundle: Bundle) -> list[Entry]:
    names = sorted({MANIFEST, *(record.path for record in bundle.files())})
    return [Entry(f"{ASSETS}/{name}", (bundle.directory / name).read_bytes()) for name in names]


def _link(work: Path, found: Libraries, *, proto: bool) -> Path:
    """Manifest and resources, compiled; R.java goes to work/generated."""
    main = android_demo() / "app" / "src" / "main"
    compiled = work / "resources.zip"
    run(AAPT2, ["compile", "--dir", main / "res", "-o", compiled])
    manifest = work / "AndroidManifest.xml"
    manifest.write_text(_manifest(main / "AndroidManifest.xml", found), "utf-8")
    linked = work / "linked.apk"
    arguments: list[object] = ["link", "-o", linked, "-I", framework(), "--manifest", manifest]
    arguments += ["--java", work / "generated", "--auto-add-overlay"]
    arguments += ["--min-sdk-version", MIN_SDK, "--target-sdk-version", TARGET_SDK]
    arguments += ["--version-code", _version_code(), "--version-name", __version__]
    arguments += ["--proto-format"] if proto else []
    run(AAPT2, [*arguments, compiled])
    return linked


def _manifest(source: Path, found: Libraries) -> str:
    """The sources' manifest with what Gradle would add to it."""
    # An NPU's libraries are opened by the NPU's own loader, which needs them as files.
    extract = "true" if found.supplied else "false"
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
    deflated = found.supplied  # they are extracted at installation then
    return [
        Entry(f"lib/{ABI}/{name}", data, deflated=deflated)
        for name, data in sorted(found.native.items())
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
    native = {"enabled": not found.supplied, "alignment": "PAGE_ALIGNMENT_16K"}
    config = work / "config.json"
    config.write_text(json.dumps({"optimizations": {"uncompressNativeLibraries": native}}))
    arguments = ["build-bundle", f"--modules={module}", f"--config={config}", f"--output={out}"]
    run(JAVA, ["-jar", fetch(BUNDLETOOL), *arguments])
