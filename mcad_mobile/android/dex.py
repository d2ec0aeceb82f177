"""Compile Java sources to one classes.dex with javac and D8."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mcad_mobile.android.build_tools import d8, provide, sdk_file
from mcad_mobile.android.downloads import R8
from mcad_mobile.android.toolchain import (
    JAVAC,
    android_demo,
    compile_java,
    library_classes,
    main_sources,
)
from mcad_mobile.base.files import cache_directory, fingerprint, sha256_of
from mcad_mobile.base.progress import Progress, silent

MIN_SDK = 26


def compile_stubs(folder: Path) -> Path:
    """Compile the stubs of the framework classes that our sources use. They never go into a dex."""
    return compile_java([android_demo() / "stubs"], [], folder / "stubs")


def build_dex(
    modules: Sequence[str],
    jars: Sequence[Path],
    folder: Path,
    *,
    generated: Sequence[Path] = (),
    r8: Path | None = None,
    progress: Progress = silent,
) -> bytes:
    """Make classes.dex from modules of android_demo/, `generated` sources and `jars`, with our D8
    or the one in the user's `r8`. The cache keeps the last result for each set of modules, so a
    build with another bundle or key needs no compiler. BuildError."""
    sources = [*map(main_sources, modules), *generated]
    own = r8 or sdk_file(R8)
    compiler = R8.sha256 if own is None else sha256_of(own)
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
    if own is None:
        provide(R8, progress)
    progress("making classes.dex")
    dex = run_d8([*sorted(classes.rglob("*.class")), *jars], stubs, folder, r8)
    for old in cache_directory().glob(f"{'-'.join(modules)}-*.dex"):
        old.unlink(missing_ok=True)
    partial = folder / "kept.dex"
    shutil.copyfile(dex, partial)
    shutil.move(partial, kept)
    return dex.read_bytes()


def run_d8(inputs: Iterable[Path], stubs: Path, folder: Path, r8: Path | None = None) -> Path:
    """Make classes.dex from class files and jars in `folder`, and return its path. BuildError."""
    out = folder / "dex"
    out.mkdir()
    library = library_classes(folder / "java.jar")
    options = ["--release", "--min-api", MIN_SDK, "--lib", library, "--classpath", stubs]
    d8([*options, "--output", out, *inputs], r8)
    return out / "classes.dex"
