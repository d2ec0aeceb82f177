"""The Kotlin file for apps: compiled by Kotlin's own compiler, and run on a JVM."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.build_tools import compile_stubs
from mcad_mobile.android.library_aar import LIBRARY_MODULES
from mcad_mobile.android.toolchain import JAVA, android_demo, compile_java, main_sources, run
from mcad_mobile.errors import BuildError
from tests.support.kotlin import compile_compose, compile_kotlin, kotlin_libraries
from tests.support.paths import ROOT
from tests.support.probe import KERNELS
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("central")]

SEARCH = android_demo() / "kotlin" / "Search.kt"
NULLS = """
import io.github.mcadmobile.gallery.PhotoFinder
import io.github.mcadmobile.gallery.PhotoSearch

fun lines(search: PhotoSearch, finder: PhotoFinder): Any {{
    return {line}
}}
"""


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The library, with the decoder of computers."""
    folder = tmp_path_factory.mktemp("library")
    path = [compile_stubs(folder), *jvm_libraries()]
    sources = map(main_sources, (*LIBRARY_MODULES, "desktop"))
    return [compile_java(sources, path, folder / "classes"), *path]


def test_coroutines_search_and_index_and_what_is_cancelled_ends(classpath, tmp_path):
    main = ROOT / "tests" / "android" / "kotlin" / "Main.kt"
    classes = compile_kotlin([SEARCH, main], classpath, tmp_path / "classes")
    tiny = make_tiny_bundle(tmp_path / "tiny")
    (rung,) = tiny.text.rungs
    text = replace(tiny.text, rungs=(replace(rung, runtime="qnn"), rung))
    replace(tiny, text=text).save()
    (tmp_path / "photos").mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (32, 24), colour).save(tmp_path / "photos" / f"{colour}.png")
    # Before the stubs of what Android has itself.
    path = ":".join(map(str, [classes, *jvm_libraries(), *classpath, *kotlin_libraries()]))
    folders = [tmp_path / name for name in ("tiny", "photos", "index")]
    assert run(
        JAVA, [KERNELS, "-cp", path, "io.github.mcadmobile.test.MainKt", *folders]
    ).splitlines() == [
        "fake: [content://media/external/images/media/7], []",
        "fake: no more",
        "fake: 3 of 9, asked [a dog, a cat, a dog]",
        "fake: the run of another ended at 9 of 9",
        "fake: cancelled",
        "cancelled after 1 of 3: all can be searched: false",
        "then 3 of 3, running: false",
        "found 2 of 3",
        "npu: text: NO_LIBRARY",
    ]


def test_the_screen_in_compose_compiles(classpath, tmp_path):
    screen = SEARCH.with_name("SearchScreen.kt")
    classes = compile_compose([SEARCH, screen], classpath, tmp_path / "classes")
    assert (classes / "io/github/mcadmobile/kotlin/SearchScreenKt.class").is_file()


def test_paged_search_gives_the_next_photos_until_there_are_no_more(classpath, tmp_path):
    """Against stand-ins for the three classes of androidx.paging, which only Google's Maven has."""
    folder = ROOT / "tests" / "android" / "kotlin"
    sources = [SEARCH, SEARCH.with_name("Paging.kt"), *folder.glob("Pag*.kt")]
    classes = compile_kotlin(sources, classpath, tmp_path / "classes")
    path = ":".join(map(str, [classes, *classpath, *kotlin_libraries()]))
    assert run(JAVA, ["-cp", path, "io.github.mcadmobile.test.PagesKt"]).splitlines() == [
        "[a, b], next 2",
        "[c], next null",
        "no more",
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("search.imageTower().cosine()", r"only safe \(\?\.\)"),
        ("search.indexing().failure().name", r"only safe \(\?\.\)"),
        ("finder.search(null, 5)", "null cannot be a value of a non-null type"),
    ],
)
def test_kotlin_knows_what_may_be_null(classpath, tmp_path, line, complaint):
    (tmp_path / "Nulls.kt").write_text(NULLS.format(line=line))
    with pytest.raises(BuildError, match=f"(?i){complaint}"):
        compile_kotlin([tmp_path / "Nulls.kt"], classpath, tmp_path / "classes")


def test_what_is_not_null_needs_no_question(classpath, tmp_path):
    lines = 'finder.search("a dog", 5).results()[0].path()'
    (tmp_path / "Nulls.kt").write_text(NULLS.format(line=lines))
    compile_kotlin([tmp_path / "Nulls.kt"], classpath, tmp_path / "classes")
