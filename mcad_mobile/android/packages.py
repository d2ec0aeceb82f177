"""Zip packages whose native libraries Android can map: writing them, APKs among them, and signing
them with a debug key that is made when needed, or with the user's own."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mcad_mobile.android.build_tools import MIN_SDK, aapt2, apksigner, provide
from mcad_mobile.android.downloads import FRAMEWORK
from mcad_mobile.android.toolchain import JARSIGNER, KEYTOOL, run
from mcad_mobile.base import VERSION
from mcad_mobile.base.files import cache_directory
from mcad_mobile.errors import BuildError

PAGE = 16384  # some devices with Android 15 or later have 16 KB pages
_WORD = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that packages are reproducible
# Extra field "Android alignment" (apksig, ZipUtils): id, size, alignment, then zeros.
_EXTRA_ID = 0xD935
_EXTRA = struct.Struct("<HHH")
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class Entry:
    """A file in a package: its name, its bytes, and whether it is deflated. Stored files start at a
    multiple of 4 bytes, stored native libraries at a page boundary."""

    name: str
    data: bytes
    deflated: bool = True

    @property
    def alignment(self) -> int:
        if self.deflated:
            return 1
        return PAGE if self.name.endswith(".so") else _WORD


def write_package(out: Path, entries: Iterable[Entry]) -> None:
    """Write entries in order, dated 1980, so that the same entries give the same bytes."""
    with zipfile.ZipFile(out, "w") as package:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if entry.deflated else zipfile.ZIP_STORED
            if entry.alignment > 1:
                start = package.start_dir + _LOCAL_HEADER + len(entry.name.encode()) + _EXTRA.size
                zeros = -start % entry.alignment
                info.extra = _EXTRA.pack(_EXTRA_ID, 2 + zeros, entry.alignment) + bytes(zeros)
            package.writestr(info, entry.data)
            info.extra = b""  # the directory at the end needs no padding


def entries_of(archive: Path) -> list[Entry]:
    """Read the files of a zip, each deflated or stored as in the zip."""
    with zipfile.ZipFile(archive) as source:
        return [
            Entry(info.filename, source.read(info), info.compress_type != zipfile.ZIP_STORED)
            for info in source.infolist()
            if not info.is_dir()
        ]


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


PASSWORD_VARIABLE = "MCAD_KEYSTORE_PASSWORD"
_DEBUG_PASSWORD = "android"  # the usual one of debug keys: it protects nothing
_DEBUG_VARIABLE = "MCAD_DEBUG_PASSWORD"


@dataclass(frozen=True)
class Key:
    """A keystore, the alias of its key, and the environment variable that holds its password."""

    keystore: Path
    alias: str
    variable: str = PASSWORD_VARIABLE

    @property
    def environment(self) -> dict[str, str]:
        return {_DEBUG_VARIABLE: _DEBUG_PASSWORD, **os.environ}


def debug_key() -> Key:
    """Return this user's debug key, created at its first use and kept, so that a new build of an
    app installs over the last one. BuildError."""
    key = Key(cache_directory() / "debug.keystore", "androiddebugkey", _DEBUG_VARIABLE)
    if not key.keystore.is_file():
        key.keystore.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "10950"]
        arguments += ["-dname", "CN=Android Debug,O=Android,C=US", "-storetype", "PKCS12"]
        arguments += ["-keystore", str(key.keystore), "-alias", key.alias]
        arguments += ["-storepass:env", key.variable, "-keypass:env", key.variable]
        run(KEYTOOL, arguments, environment=key.environment)
    return key


def own_key(keystore: Path, alias: str | None) -> Key:
    """Return the user's key. BuildError if the file, alias or password is missing."""
    if not keystore.is_file():
        raise BuildError(f"No keystore at {keystore}.", "Make one with keytool -genkeypair.")
    if PASSWORD_VARIABLE not in os.environ:
        raise BuildError(
            f"The password of {keystore} is not known.",
            f"Put it into the environment variable {PASSWORD_VARIABLE}.",
        )
    if alias is None:
        raise BuildError(
            f"{keystore} may hold several keys, and none is named.",
            "Name it: --key-alias NAME (keytool -list shows them).",
        )
    return Key(keystore, alias)


def sign_apk(unsigned: Path, out: Path, key: Key) -> None:
    """Sign with APK signature schemes 2 and 3, which phones with Android 8 or later verify."""
    arguments = ["sign", "--ks", key.keystore, "--ks-key-alias", key.alias]
    arguments += ["--ks-pass", f"env:{key.variable}", "--min-sdk-version", MIN_SDK]
    arguments += ["--v1-signing-enabled", "false"]
    arguments += ["--alignment-preserved", "true", "--out", out, unsigned]
    apksigner(arguments, key.environment)
    out.with_name(f"{out.name}.idsig").unlink(missing_ok=True)  # for incremental installs


def sign_aab(bundle: Path, key: Key) -> None:
    """Sign in place with a jar signature, which Google Play checks at upload."""
    arguments = ["-keystore", key.keystore, "-storepass:env", key.variable, bundle, key.alias]
    run(JARSIGNER, arguments, environment=key.environment)
