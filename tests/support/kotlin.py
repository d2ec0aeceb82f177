"""Kotlin's own compiler, from Maven Central."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mcad_mobile.android.downloads import Artifact, fetch_unpinned
from mcad_mobile.android.toolchain import JAVA, run

LIBRARIES = (
    Artifact("org.jetbrains.kotlin", "kotlin-stdlib", "2.2.0"),
    Artifact("org.jetbrains.kotlinx", "kotlinx-coroutines-core-jvm", "1.10.2"),
)
_COMPILER = (
    *LIBRARIES,
    Artifact("org.jetbrains.kotlin", "kotlin-compiler-embeddable", "2.2.0"),
    Artifact("org.jetbrains.kotlin", "kotlin-script-runtime", "2.2.0"),
    Artifact("org.jetbrains.kotlin", "kotlin-daemon-embeddable", "2.2.0"),
    Artifact("org.jetbrains.kotlin", "kotlin-reflect", "1.6.10"),
    Artifact("org.jetbrains.intellij.deps", "trove4j", "1.0.20200330"),
    Artifact("org.jetbrains", "annotations", "13.0"),
)


_COMPOSE_PLUGIN = Artifact(
    "org.jetbrains.kotlin", "kotlin-compose-compiler-plugin-embeddable", LIBRARIES[0].version
)
# As JetBrains publishes Google's for computers.
_COMPOSE = "1.8.2"
_OF_COMPOSE = {
    "material3": ("material3",),
    "foundation": ("foundation", "foundation-layout"),
    "runtime": ("runtime", "runtime-saveable"),
    "ui": ("ui", "ui-unit", "ui-text", "ui-graphics", "ui-geometry"),
}


def compile_compose(sources: Sequence[Path], classpath: Sequence[Path], out: Path) -> Path:
    """Compile sources as `compile_kotlin` does, with Compose."""
    libraries = [
        fetch_unpinned(Artifact(f"org.jetbrains.compose.{group}", f"{name}-desktop", _COMPOSE))
        for group, names in _OF_COMPOSE.items()
        for name in names
    ]
    plugin = f"-Xplugin={fetch_unpinned(_COMPOSE_PLUGIN)}"
    return compile_kotlin(sources, [*libraries, *classpath], out, plugin)


def kotlin_libraries() -> list[Path]:
    """Fetch Kotlin's standard library and coroutines. BuildError if that fails."""
    return [fetch_unpinned(artifact) for artifact in LIBRARIES]


def compile_kotlin(
    sources: Sequence[Path], classpath: Sequence[Path], out: Path, *options: str
) -> Path:
    """Compile sources against `classpath` to classes in `out`, and return it; warnings are errors.
    BuildError if that fails."""
    path = ":".join(map(str, [*classpath, *kotlin_libraries()]))
    compiler = ":".join(str(fetch_unpinned(artifact)) for artifact in _COMPILER)
    arguments = ["-cp", compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib"]
    arguments += ["-no-reflect", "-Werror", "-jvm-target", "17"]
    arguments += ["-classpath", path, "-d", str(out)]
    run(JAVA, [*arguments, *options, *sources])
    return out
