"""Write an APK from its parts: linked manifest and resources, dex, assets and native libraries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from mcad_mobile.android.build_tools import aapt2, provide
from mcad_mobile.android.dex import MIN_SDK
from mcad_mobile.android.downloads import FRAMEWORK
from mcad_mobile.android.zip_package import Entry, entries_of, write_package
from mcad_mobile.base import VERSION
from mcad_mobile.errors import BuildError

TARGET_SDK = 36


def link(
    work: Path,
    manifest: str,
    resources: Path | None = None,
    *,
    proto: bool = False,
    keep_rules: Path | None = None,
) -> Path:
    """Link `manifest` and the compiled `resources` folder into a package, and return its path.
    R.java goes to work/generated; R8's rules for the manifest go to `keep_rules`. BuildError."""
    manifest_path = work / "AndroidManifest.xml"
    manifest_path.write_text(manifest, "utf-8")
    linked = work / "linked.apk"
    arguments: list[object] = ["link", "-o", linked, "-I", provide(FRAMEWORK)]
    arguments += ["--manifest", manifest_path, "--java", work / "generated", "--auto-add-overlay"]
    arguments += ["--min-sdk-version", MIN_SDK, "--target-sdk-version", TARGET_SDK]
    arguments += ["--version-code", version_code(VERSION), "--version-name", VERSION]
    arguments += ["--proto-format"] if proto else []
    arguments += ["--proguard", keep_rules] if keep_rules is not None else []
    if resources is not None:
        compiled = work / "resources.zip"
        aapt2(["compile", "--dir", resources, "-o", compiled])
        arguments.append(compiled)
    aapt2(arguments)
    return linked


def complete_manifest(text: str, package: str, *, extracted: bool) -> str:
    """Add to a manifest what Gradle would add. `extracted`: native libraries become files when the
    app is installed, as an NPU's loader needs them. BuildError if `text` is not a manifest."""
    extract = "true" if extracted else "false"
    added = {
        "<manifest ": f'<manifest package="{package}" ',
        "<application": f'<application android:extractNativeLibs="{extract}"',
    }
    for before, after in added.items():
        if before not in text:
            raise BuildError(f"The manifest of {package} has no {before.strip()}.")
        text = text.replace(before, after, 1)
    return text


def native_entries(native: Mapping[str, Mapping[str, bytes]], *, extracted: bool) -> list[Entry]:
    """List native libraries by ABI, deflated if the phone extracts them to files. The largest of an
    ABI comes last, because an entry after a library starts on a new page."""
    return [
        Entry(f"lib/{abi}/{name}", data, deflated=extracted)
        for abi, files in sorted(native.items())
        for name, data in sorted(files.items(), key=lambda file: (len(file[1]), file[0]))
    ]


def write_apk(out: Path, linked: Path, dex: bytes, entries: Iterable[Entry]) -> None:
    """Write an unsigned APK."""
    resources = [
        replace(entry, deflated=entry.name != "resources.arsc") for entry in entries_of(linked)
    ]
    write_package(out, [*resources, Entry("classes.dex", dex), *entries])


def version_code(version: str) -> int:
    """Return a number that grows with every release: 1.2.3 -> 10203."""
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    return major * 10_000 + minor * 100 + patch
