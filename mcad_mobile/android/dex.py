"""Java sources -> one classes.dex, by javac and D8."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.android.downloads import BUNDLETOOL, Progress, fetch
from mcad_mobile.android.sources import android_demo, main_sources
from mcad_mobile.android.toolchain import JAVA, compile_java, java_home, run

MIN_SDK = 26
# The desugaring that D8 does for older phones holds class by class; warnings of its own would be
# about libraries that we do not write.
_D8 = "com.android.tools.r8.D8"


def compile_stubs(folder: Path) -> Path:
    """The classes of the framework that our sources name: to compile against, never in a dex."""
    return compile_java([android_demo() / "stubs"], [], folder / "stubs")


def build_dex(
    modules: Sequence[str],
    jars: Sequence[Path],
    folder: Path,
    *,
    generated: Sequence[Path] = (),
    progress: Progress = lambda step: None,
) -> bytes:
    """classes.dex of some modules of android_demo/, of `generated` sources, and of `jars`."""
    progress("compiling Java")
    stubs = compile_stubs(folder)
    sources = [*map(main_sources, modules), *generated]
    classes = compile_java(sources, [stubs, *jars], folder / "classes")
    bundletool = fetch(BUNDLETOOL, progress)
    progress("making classes.dex")
    jar = folder / "classes.jar"
    with zipfile.ZipFile(jar, "w") as packed:
        for path in sorted(classes.rglob("*.class")):
            packed.write(path, path.relative_to(classes).as_posix())
    out = folder / "dex"
    out.mkdir()
    options = ["--release", "--min-api", MIN_SDK, "--lib", java_home(), "--classpath", stubs]
    run(JAVA, ["-Xmx1g", "-cp", bundletool, _D8, *options, "--output", out, jar, *jars])
    return (out / "classes.dex").read_bytes()
