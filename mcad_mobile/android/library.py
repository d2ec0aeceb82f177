"""build_library(): engine, platform and a bundle -> one Android archive, which other apps add."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.dex import MIN_SDK, compile_stubs
from mcad_mobile.android.package import Entry, write_package
from mcad_mobile.android.packaged import prepare
from mcad_mobile.android.parts import ABI, OURS, Parts, gather
from mcad_mobile.android.sample import build_sample
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.base.files import check_file
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BuildError, require

LIBRARY_MODULES = ("engine", "gallery", "platform")
NAMESPACE = "mcad.platform"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BuiltLibrary:
    """The archive, and the sample app if it was wanted; why rungs of the bundle are not in it, what
    the user should know, and the file that lists all components."""

    archive: Path
    bytes: int
    left_out: dict[str, str]
    notes: tuple[str, ...]
    sbom: Path
    sample: Path | None


def build_library(
    bundle: Bundle | None,
    out: Path,
    *,
    sample: Path | None = None,
    abis: Sequence[str] = (ABI,),
    parts: Parts = OURS,
    keep_float: bool = False,
    sbom_path: Path | None = None,
    progress: Progress = silent,
) -> BuiltLibrary:
    """Write an Android archive (.aar) that an app adds as one file.

    It holds the classes of engine and platform, ONNX Runtime (classes in libs/, native libraries
    for `abis`), keep rules, the manifest with permissions, service and job, and `bundle` as
    assets/bundle, unless the app brings one itself. Compiled against the framework, of which
    nothing goes in. A software bill of materials is written to `sbom_path`, or beside `out`; to
    `sample` an app of one small class that is made of the archive, signed with the debug key.
    Nothing stands at any of these places unless all went well. BuildError; DiskError where nothing
    can be written; MissingExtra without [android].
    """
    require("cyclonedx", "android")
    from mcad_mobile.android.sbom import made_component, mcad_mobile, sbom

    _check_names(bundle, out, sample)
    listed = sbom_path or out.with_name(f"{out.name}.cdx.json")
    for path in (out, listed, *([] if sample is None else [sample])):
        check_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".library-", dir=out.parent) as folder:
        work = Path(folder)
        if sample is not None:
            prepare(progress)
        gathered = gather(bundle, parts, abis, work, keep_float=keep_float, progress=progress)
        found = gathered.found
        progress("compiling Java")
        sources, stubs = map(main_sources, LIBRARY_MODULES), compile_stubs(work)
        classes = compile_java(sources, [stubs, *found.jars], work / "classes")
        progress("packing")
        jar = _jar(classes, work / "classes.jar")
        entries = [
            Entry("AndroidManifest.xml", _manifest().encode()),
            Entry("classes.jar", jar),
            Entry("R.txt", b""),
            Entry("proguard.txt", _rules().read_bytes()),
            *(Entry(f"libs/{lib.name}", lib.read_bytes()) for lib in found.jars),
            *(
                Entry(f"jni/{abi}/{name}", data)
                for abi, native in sorted(found.native.items())
                for name, data in sorted(native.items())
            ),
            *gathered.assets(),
        ]
        archive = work / "made.aar"
        write_package(archive, entries)
        if sample is not None:
            progress("building the sample app")
            build_sample(archive, work / "sample.apk", stubs, extracted=found.extracted)
        made = made_component(archive, out.name, NAMESPACE, kind="library")
        listed.write_bytes(sbom(made, gathered, {"classes.jar": jar}, [mcad_mobile()]))
        archive.replace(out)
        if sample is not None:
            (work / "sample.apk").replace(sample)
    return BuiltLibrary(
        out, out.stat().st_size, gathered.left_out, tuple(found.notes), listed, sample
    )


def _check_names(bundle: Bundle | None, out: Path, sample: Path | None) -> None:
    if out.suffix != ".aar":
        raise BuildError(f"{out} does not end in .aar.", "Name it: --out mcad-search.aar.")
    if sample is not None and sample.suffix != ".apk":
        raise BuildError(f"{sample} does not end in .apk.", "Name it: --sample sample.apk.")
    if sample is not None and bundle is None:
        raise BuildError("The sample app searches with a bundle.", "Give one: --bundle DIR.")


def _rules() -> Path:
    return android_demo() / "platform" / "consumer-rules.pro"


def _manifest() -> str:
    """The platform's manifest with what Gradle would add to it."""
    source = android_demo() / "platform" / "src" / "main" / "AndroidManifest.xml"
    text = source.read_text("utf-8")
    opened = text.index(">", text.index("<manifest ")) + 1
    sdk = f'\n\n    <uses-sdk android:minSdkVersion="{MIN_SDK}" />'
    named = text[:opened].replace("<manifest ", f'<manifest package="{NAMESPACE}" ')
    return named + sdk + text[opened:]


def _jar(classes: Path, out: Path) -> bytes:
    """Undated, and in one order: the same classes give the same bytes."""
    with zipfile.ZipFile(out, "w") as packed:
        for path in sorted(classes.rglob("*.class")):
            name = path.relative_to(classes).as_posix()
            packed.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes())
    return out.read_bytes()
