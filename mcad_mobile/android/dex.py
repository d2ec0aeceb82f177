"""Java sources -> one classes.dex, by javac and D8."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.android.downloads import BUNDLETOOL, Progress, cache_directory, fetch
from mcad_mobile.android.sources import android_demo, main_sources
from mcad_mobile.android.toolchain import JAVA, JAVAC, compile_java, java_home, run

MIN_SDK = 26
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
    """classes.dex of some modules of android_demo/, of `generated` sources, and of `jars`.

    The last one of these modules is kept in the cache: another bundle or another key needs no
    compiler.
    """
    sources = [*map(main_sources, modules), *generated]
    fingerprint = _fingerprint([*sources, android_demo() / "stubs"], jars)
    kept = cache_directory() / f"{'-'.join(modules)}-{fingerprint}.dex"
    if kept.is_file():
        return kept.read_bytes()
    dex = _compile(sources, jars, folder, progress)
    for old in cache_directory().glob(f"{'-'.join(modules)}-*.dex"):
        old.unlink(missing_ok=True)
    partial = folder / "kept.dex"
    shutil.copyfile(dex, partial)
    shutil.move(partial, kept)
    return dex.read_bytes()


def _compile(
    sources: Sequence[Path], jars: Sequence[Path], folder: Path, progress: Progress
) -> Path:
    progress("compiling Java")
    stubs = compile_stubs(folder)
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
    return out / "classes.dex"


def _fingerprint(sources: Sequence[Path], jars: Sequence[Path]) -> str:
    """Changes with every source and jar, and with the compiler."""
    digest = hashlib.sha256(f"{BUNDLETOOL.sha256} {JAVAC.version}".encode())
    for folder in sources:
        for path in sorted(folder.rglob("*.java")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    for jar in jars:
        digest.update(jar.read_bytes())
    return digest.hexdigest()[:16]
