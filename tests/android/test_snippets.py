"""The Java lines of the pages compile as they stand there, inside an app's screen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.build_tools import compile_stubs
from mcad_mobile.android.library_aar import LIBRARY_MODULES
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.errors import BuildError
from tests.support.kotlin import compile_kotlin
from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "android_demo/README.md"]
LINES = {
    f"{page.name} {number}": lines
    for page in PAGES
    for number, lines in enumerate(re.findall(r"```java\n(.*?)```", page.read_text("utf-8"), re.S))
}
SCREEN = """
import android.content.Context;
import android.os.Build;
import java.util.concurrent.ExecutorService;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.*;
import io.github.mcadmobile.platform.*;

abstract class {name} extends android.app.Activity {{
    abstract void show(android.net.Uri uri, float score);
    abstract void report(Indexing state);
    void lines(Context context, ExecutorService background) {{
{body}
    }}
    {members}
}}
"""


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("library")
    path = [compile_stubs(folder), *jvm_libraries()]
    library = compile_java(map(main_sources, LIBRARY_MODULES), path, folder / "classes")
    return [library, *path]


def compile_lines(lines: dict[str, str], classpath: list[Path], folder: Path) -> None:
    (folder / "java").mkdir()
    for number, text in enumerate(lines.values()):
        body, override, members = text.partition("@Override")
        screen = SCREEN.format(name=f"Screen{number}", body=body, members=override + members)
        (folder / "java" / f"Screen{number}.java").write_text(screen)
    compile_java([folder / "java"], classpath, folder / "classes")


def test_the_java_of_each_page_compiles(classpath: list[Path], tmp_path: Path) -> None:
    assert {name.split()[0] for name in LINES} == {"for-app-developers.md", "README.md"}
    compile_lines(LINES, classpath, tmp_path)


SUSPENDED = """
import android.content.Context
import io.github.mcadmobile.kotlin.suspending
import io.github.mcadmobile.kotlin.uri
import io.github.mcadmobile.platform.MediaSearch

fun show(uri: android.net.Uri, score: Float) = println("$uri $score")

suspend fun lines(context: Context): Int {{
{lines}
    return found.results().size
}}
"""


def compile_lines_of_kotlin(lines: str, classpath: list[Path], folder: Path) -> None:
    (folder / "Lines.kt").write_text(SUSPENDED.format(lines=lines))
    sources = [folder / "Lines.kt", android_demo() / "kotlin" / "Search.kt"]
    compile_kotlin(sources, classpath, folder / "classes")


@pytest.mark.slow
def test_the_kotlin_of_each_page_compiles(classpath: list[Path], tmp_path: Path) -> None:
    """By Kotlin's own compiler, out of Maven Central."""
    found = [
        lines
        for page in PAGES
        for lines in re.findall(r"```kotlin\n(.*?)```", page.read_text("utf-8"), re.S)
    ]
    assert found
    for lines in found:
        compile_lines_of_kotlin(lines, classpath, tmp_path)
    with pytest.raises(BuildError, match="unresolved reference"):
        compile_lines_of_kotlin(
            "val found = MediaSearch.of(context).nothingOfTheKind()", classpath, tmp_path
        )


def test_lines_that_do_not_compile_would_be_named(classpath: list[Path], tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="IOException"):
        compile_lines({"": 'MediaSearch.of(context).search("dog", 5);'}, classpath, tmp_path)
