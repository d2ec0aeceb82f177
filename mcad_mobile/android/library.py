"""build_library(): engine, platform and a bundle -> one Android archive, which other apps add."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.android.aar import libraries
from mcad_mobile.android.dex import MIN_SDK, compile_stubs
from mcad_mobile.android.downloads import Progress
from mcad_mobile.android.lean import NO_NPU, lean
from mcad_mobile.android.package import Entry, write_package
from mcad_mobile.android.sources import android_demo, main_sources
from mcad_mobile.android.toolchain import compile_java
from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.disk import check_file
from mcad_mobile.errors import BuildError

LIBRARY_MODULES = ("engine", "platform")
NAMESPACE = "mcad.platform"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class BuiltLibrary:
    """The archive, and why rungs of the bundle are not in it."""

    archive: Path
    bytes: int
    left_out: dict[str, str]


def build_library(
    bundle: Bundle | None,
    out: Path,
    *,
    abis: Sequence[str] = ("arm64-v8a",),
    aars: Sequence[Path] = (),
    keep_float: bool = False,
    progress: Progress = lambda step: None,
) -> BuiltLibrary:
    """Write an Android archive (.aar) that an app adds as one file.

    It holds the classes of engine and platform, ONNX Runtime (classes in libs/, native libraries
    for `abis`), keep rules, the manifest with permissions, service and job, and `bundle` as
    assets/bundle, unless the app brings one itself. Compiled against the framework, of which
    nothing goes in. Nothing stands at `out` unless all went well. BuildError; DiskError where
    nothing can be written.
    """
    if out.suffix != ".aar":
        raise BuildError(f"{out} does not end in .aar.", "Name it: --out mcad-search.aar.")
    check_file(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".library-", dir=out.parent) as folder:
        work = Path(folder)
        found = libraries(work, abis, aars, progress=progress)
        assets: list[Entry] = []
        left_out: dict[str, str] = {}
        if bundle is not None:
            no_npu = None if found.runs_npu() else NO_NPU
            packed, left_out = lean(bundle, work / "bundle", keep_float=keep_float, no_npu=no_npu)
            names = sorted({MANIFEST, *(record.path for record in packed.files())})
            assets = [
                Entry(f"assets/bundle/{name}", (packed.directory / name).read_bytes())
                for name in names
            ]
        progress("compiling Java")
        sources = map(main_sources, LIBRARY_MODULES)
        classes = compile_java(sources, [compile_stubs(work), *found.jars], work / "classes")
        progress("packing")
        entries = [
            Entry("AndroidManifest.xml", _manifest().encode()),
            Entry("classes.jar", _jar(classes, work / "classes.jar")),
            Entry("R.txt", b""),
            Entry("proguard.txt", _rules().read_bytes()),
            *(Entry(f"libs/{jar.name}", jar.read_bytes()) for jar in found.jars),
            *(
                Entry(f"jni/{abi}/{name}", data)
                for abi, native in sorted(found.native.items())
                for name, data in sorted(native.items())
            ),
            *assets,
        ]
        write_package(work / "made.aar", entries)
        (work / "made.aar").replace(out)
    return BuiltLibrary(out, out.stat().st_size, left_out)


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
