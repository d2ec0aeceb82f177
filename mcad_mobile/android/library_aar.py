"""Build the Android library: engine, platform and a bundle become one archive for other apps."""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mcad_mobile.android.build_tools import MIN_SDK, compile_stubs, prepare, run_d8
from mcad_mobile.android.packages import (
    Entry,
    complete_manifest,
    debug_key,
    link,
    sign_apk,
    write_apk,
    write_package,
)
from mcad_mobile.android.parts import DEFAULTS, BuildOptions, Parts, gather_parts
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.base.files import check_file
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError, require

LIBRARY_MODULES = ("engine", "gallery", "platform")
NAMESPACE = "io.github.mcadmobile.platform"
SAMPLE_PACKAGE = "io.github.mcadmobile.sample"
_ANDROID = "http://schemas.android.com/apk/res/android"
# Gradle checks these in an app that uses the archive: records are in android.jar from API 34 on,
# and Android's plugin reads Java 17 classes only from version 8 on.
_AAR_METADATA = b"""aarFormatVersion=1.0
aarMetadataVersion=1.0
minCompileSdk=34
minCompileSdkExtension=0
minAndroidGradlePluginVersion=8.0.0
coreLibraryDesugaringEnabled=false
"""
# Manifest elements needed only to index the phone's photos.
_PHONE_PHOTOS = re.compile(
    r"\s*<(uses-permission|service|receiver)\b([^>]*/>|[^/>]*>.*?</\1>)", re.DOTALL
)
_PLACES = {"jni/": "lib/", "assets/": "assets/"}


@dataclass(frozen=True)
class BuiltLibrary:
    """A built Android archive (.aar), its size, the bundle's rungs that were left out and why,
    warnings for the user, the software bill of materials, the sample app, if requested, and the
    Maven coordinates (GROUP:NAME:VERSION), if it is in a repository."""

    archive: Path
    bytes: int
    left_out: dict[str, str]
    notes: tuple[str, ...]
    sbom: Path
    sample: Path | None
    coordinates: str | None = None


def build_library(
    bundle: Bundle | None,
    out: Path,
    options: BuildOptions = DEFAULTS,
    *,
    sample: Path | None = None,
    progress: Progress = silent,
) -> BuiltLibrary:
    """Write an Android archive (.aar) that an app adds as one file.

    It contains the classes of engine and platform, ONNX Runtime (classes in libs/, native
    libraries), keep rules, the manifest with permissions, service and job, and `bundle` as
    assets/bundle. `sample` is where to write a sample app of one small class, built from the
    archive. Files are written only when the whole build succeeds. BuildError, DiskError;
    MissingExtra without [android].
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import LIBRARY, sbom, sbom_path

    _check_names(bundle, out, sample)
    listed = sbom_path(out)
    for path in (out, listed, *([] if sample is None else [sample])):
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".library-", dir=out.parent) as folder:
        work = Path(folder)
        if sample is not None:
            prepare(progress)
        parts = gather_parts(bundle, options, work, progress)
        progress("compiling Java")
        stubs, archive = compile_stubs(work), work / "made.aar"
        manifest = library_manifest(own_photos=options.own_photos)
        classpath = [stubs, *parts.libraries.jars]
        jar = write_archive(parts, manifest, classpath, work, archive, progress)
        if sample is not None:
            progress("building the sample app")
            extracted = parts.libraries.extracted
            _build_sample(archive, work / "sample.apk", stubs, extracted=extracted)
        classes = {"classes.jar": jar}
        listed.write_bytes(sbom(archive, out.name, NAMESPACE, parts, classes, kind=LIBRARY))
        archive.replace(out)
        if sample is not None:
            (work / "sample.apk").replace(sample)
    notes = tuple(parts.libraries.notes)
    return BuiltLibrary(out, out.stat().st_size, parts.left_out, notes, listed, sample)


def write_archive(
    parts: Parts,
    manifest: str,
    classpath: Sequence[Path],
    work: Path,
    archive: Path,
    progress: Progress,
) -> bytes:
    """Write an archive with `parts`, `manifest` and the library's classes, compiled against
    `classpath`; return its classes.jar. BuildError."""
    found = parts.libraries
    sources = map(main_sources, LIBRARY_MODULES)
    classes = compile_java(sources, classpath, work / "classes")
    progress("packing")
    jar = work / "classes.jar"
    files = {path.relative_to(classes).as_posix(): path for path in classes.rglob("*.class")}
    write_package(jar, [Entry(name, files[name].read_bytes(), False) for name in sorted(files)])
    rules = android_demo() / "platform" / "consumer-rules.pro"
    entries = [
        Entry("AndroidManifest.xml", manifest.encode()),
        Entry("classes.jar", jar.read_bytes()),
        Entry("R.txt", b""),
        Entry("proguard.txt", rules.read_bytes()),
        Entry("META-INF/com/android/build/gradle/aar-metadata.properties", _AAR_METADATA),
        *(Entry(f"libs/{path.name}", path.read_bytes()) for path in found.jars),
        *(
            Entry(f"jni/{abi}/{name}", data)
            for abi, native in sorted(found.native.items())
            for name, data in sorted(native.items())
        ),
        *parts.assets(),
    ]
    write_package(archive, entries)
    return jar.read_bytes()


def _check_names(bundle: Bundle | None, out: Path, sample: Path | None) -> None:
    if out.suffix != ".aar":
        raise BuildError(f"{out} does not end in .aar.", "Name it: --out mcad-search.aar.")
    if sample is not None and sample.suffix != ".apk":
        raise BuildError(f"{sample} does not end in .apk.", "Name it: --sample sample.apk.")
    if sample is not None and bundle is None:
        raise BuildError("The sample app needs a bundle to search with.", "Give one: --bundle DIR.")


def library_manifest(*, own_photos: bool) -> str:
    """Return the platform's manifest with what Gradle would add; with `own_photos`, without
    permissions, services and receivers."""
    source = android_demo() / "platform" / "src" / "main" / "AndroidManifest.xml"
    text = source.read_text("utf-8")
    if own_photos:
        text = _PHONE_PHOTOS.sub("", text)
    opened = text.index(">", text.index("<manifest ")) + 1
    sdk = f'\n\n    <uses-sdk android:minSdkVersion="{MIN_SDK}" />'
    named = text[:opened].replace("<manifest ", f'<manifest package="{NAMESPACE}" ')
    return named + sdk + text[opened:]


def _build_sample(archive: Path, out: Path, stubs: Path, *, extracted: bool) -> None:
    """Write the sample app to `out`. Its classes, manifest, native libraries and assets all come
    from `archive`. `stubs` are the framework classes to compile against."""
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
        linked = link(work, complete_manifest(manifest, SAMPLE_PACKAGE, extracted=extracted))
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
