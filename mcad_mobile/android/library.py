"""Build the Android library: engine, platform and a bundle become one archive for other apps."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.dex import MIN_SDK, compile_stubs
from mcad_mobile.android.package import EPOCH, Entry, write_package
from mcad_mobile.android.packaged import prepare
from mcad_mobile.android.parts import DEFAULTS, BuildOptions, Parts, gather_parts
from mcad_mobile.android.sample import build_sample
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.base.files import check_file
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError, require

LIBRARY_MODULES = ("engine", "gallery", "platform")
NAMESPACE = "mcad.platform"


@dataclass(frozen=True)
class BuiltLibrary:
    """A built library.

    Attributes:
        archive: the Android archive (.aar).
        bytes: its size.
        left_out: the bundle's rungs that are not in it, with the reason.
        notes: warnings for the user.
        sbom: the software bill of materials.
        sample: the sample app, if there is one.
    """

    archive: Path
    bytes: int
    left_out: dict[str, str]
    notes: tuple[str, ...]
    sbom: Path
    sample: Path | None


def build_library(
    bundle: Bundle | None,
    out: Path,
    options: BuildOptions = DEFAULTS,
    *,
    sample: Path | None = None,
    progress: Progress = silent,
) -> BuiltLibrary:
    """Write an Android archive (.aar) that an app adds as one file.

    It holds the classes of engine and platform, ONNX Runtime (classes in libs/, native
    libraries), keep rules, and the manifest with permissions, service and job. The sources are
    compiled against the framework, of which nothing goes in. Files are written only when the whole
    build succeeds.

    Args:
        bundle: goes in as assets/bundle; None if the app brings its own.
        sample: where to write an app of one small class that is made of the archive and signed
            with the debug key.

    Raises:
        BuildError: a tool is missing or fails, or an option does not fit.
        DiskError: nothing can be written at `out` or `sample`.
        MissingExtra: the extra [android] is not installed.
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import made_component, mcad_mobile, sbom

    _check_names(bundle, out, sample)
    sbom_path = options.sbom_path(out)
    for path in (out, sbom_path, *([] if sample is None else [sample])):
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".library-", dir=out.parent) as folder:
        work = Path(folder)
        if sample is not None:
            prepare(progress)
        parts = gather_parts(bundle, options, work, progress)
        progress("compiling Java")
        stubs, archive = compile_stubs(work), work / "made.aar"
        jar = _package(parts, stubs, work, archive, progress)
        if sample is not None:
            progress("building the sample app")
            extracted = parts.libraries.extracted
            build_sample(archive, work / "sample.apk", stubs, extracted=extracted)
        component = made_component(archive, out.name, NAMESPACE, kind="library")
        sbom_path.write_bytes(sbom(component, parts, {"classes.jar": jar}, [mcad_mobile()]))
        archive.replace(out)
        if sample is not None:
            (work / "sample.apk").replace(sample)
    notes = tuple(parts.libraries.notes)
    return BuiltLibrary(out, out.stat().st_size, parts.left_out, notes, sbom_path, sample)


def _package(parts: Parts, stubs: Path, work: Path, archive: Path, progress: Progress) -> bytes:
    """Write the archive, and return its classes.jar."""
    found = parts.libraries
    sources = map(main_sources, LIBRARY_MODULES)
    classes = compile_java(sources, [stubs, *found.jars], work / "classes")
    progress("packing")
    jar = _jar(classes, work / "classes.jar")
    rules = android_demo() / "platform" / "consumer-rules.pro"
    entries = [
        Entry("AndroidManifest.xml", _manifest().encode()),
        Entry("classes.jar", jar),
        Entry("R.txt", b""),
        Entry("proguard.txt", rules.read_bytes()),
        *(Entry(f"libs/{path.name}", path.read_bytes()) for path in found.jars),
        *(
            Entry(f"jni/{abi}/{name}", data)
            for abi, native in sorted(found.native.items())
            for name, data in sorted(native.items())
        ),
        *parts.assets(),
    ]
    write_package(archive, entries)
    return jar


def _check_names(bundle: Bundle | None, out: Path, sample: Path | None) -> None:
    if out.suffix != ".aar":
        raise BuildError(f"{out} does not end in .aar.", "Name it: --out mcad-search.aar.")
    if sample is not None and sample.suffix != ".apk":
        raise BuildError(f"{sample} does not end in .apk.", "Name it: --sample sample.apk.")
    if sample is not None and bundle is None:
        raise BuildError("The sample app searches with a bundle.", "Give one: --bundle DIR.")


def _manifest() -> str:
    """The platform's manifest with what Gradle would add to it."""
    source = android_demo() / "platform" / "src" / "main" / "AndroidManifest.xml"
    text = source.read_text("utf-8")
    opened = text.index(">", text.index("<manifest ")) + 1
    sdk = f'\n\n    <uses-sdk android:minSdkVersion="{MIN_SDK}" />'
    named = text[:opened].replace("<manifest ", f'<manifest package="{NAMESPACE}" ')
    return named + sdk + text[opened:]


def _jar(classes: Path, out: Path) -> bytes:
    """Undated and sorted, so that the same classes give the same bytes."""
    with zipfile.ZipFile(out, "w") as packed:
        for path in sorted(classes.rglob("*.class")):
            name = path.relative_to(classes).as_posix()
            packed.writestr(zipfile.ZipInfo(name, EPOCH), path.read_bytes())
    return out.read_bytes()
