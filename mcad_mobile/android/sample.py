"""Build the sample app of the library's archive and one small class, as another app would."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from mcad_mobile.android.apk import complete_manifest, link, write_apk
from mcad_mobile.android.dex import run_d8
from mcad_mobile.android.package import Entry
from mcad_mobile.android.signing import debug_key, sign_apk
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources

PACKAGE = "mcad.sample"
_ANDROID = "http://schemas.android.com/apk/res/android"
_PLACES = {"jni/": "lib/", "assets/": "assets/"}


def build_sample(archive: Path, out: Path, stubs: Path, *, extracted: bool = False) -> None:
    """Write the sample app to `out`. Classes, manifest, native libraries and assets all come out of
    `archive`. `stubs` are the framework's classes to compile against; `extracted`: native libraries
    become files on the phone. BuildError."""
    source = android_demo() / "sample" / "src" / "main" / "AndroidManifest.xml"
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=out.parent) as folder:
        work = Path(folder)
        with zipfile.ZipFile(archive) as packed:
            jars = [
                Path(packed.extract(name, work))
                for name in packed.namelist()
                if name == "classes.jar" or (name.startswith("libs/") and name.endswith(".jar"))
            ]
            manifest = merge_manifests(
                source.read_text("utf-8"), packed.read("AndroidManifest.xml").decode()
            )
            entries = [
                Entry(
                    place + name.removeprefix(start),
                    packed.read(name),
                    start != "jni/" or extracted,
                )
                for name in packed.namelist()
                for start, place in _PLACES.items()
                if name.startswith(start)
            ]
        linked = link(work, complete_manifest(manifest, PACKAGE, extracted=extracted))
        classes = compile_java([main_sources("sample")], [stubs, *jars], work / "sample")
        dex = run_d8([*sorted(classes.rglob("*.class")), *jars], stubs, work)
        unsigned = work / "unsigned.apk"
        write_apk(unsigned, linked, dex.read_bytes(), entries)
        sign_apk(unsigned, out, debug_key())


def merge_manifests(app: str, library: str) -> str:
    """Merge a library's manifest into an app's, as Gradle does: permissions, and the elements
    inside <application>."""
    ElementTree.register_namespace("android", _ANDROID)
    root, other = ElementTree.fromstring(app), ElementTree.fromstring(library)
    inside = root.find("application")
    assert inside is not None  # our own sources
    for element in other:
        if element.tag == "application":
            inside.extend(element)
        elif element.tag != "uses-sdk":
            root.insert(0, element)
    return ElementTree.tostring(root, "unicode")
