"""All Java compiles against Android itself to the same calls as against our stubs of it: a call
that only one of the two has is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.jvm import JSON_JVM, jvm_libraries
from mcad_mobile.android.build_tools import compile_stubs
from mcad_mobile.android.demo_app import APP_MODULES, PACKAGE
from mcad_mobile.android.packages import complete_manifest, link
from mcad_mobile.android.toolchain import android_demo, compile_java, main_sources
from mcad_mobile.errors import BuildError
from tests.android.robolectric import built_app as robolectric
from tests.support.framework import called_methods

pytestmark = pytest.mark.long

MODULES = (*APP_MODULES, "runner")


@pytest.fixture(scope="module")
def android() -> Path:
    try:
        return robolectric.android_jar()
    except BuildError as error:
        pytest.skip(f"Maven Central is out of reach: {error.message}")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All modules, the sample, and R.java."""
    folder = tmp_path_factory.mktemp("generated")
    main = android_demo() / "app" / "src" / "main"
    text = (main / "AndroidManifest.xml").read_text("utf-8")
    link(folder, complete_manifest(text, PACKAGE, extracted=False), main / "res")
    return [*map(main_sources, (*MODULES, "sample")), folder / "generated"]


def calls(folder: Path) -> dict[str, set[tuple[str, str, str]]]:
    """The methods that each class calls: owner, name, types. Constants are left out: javac copies
    Android's, and the stubs have none to copy."""
    return {
        str(path.relative_to(folder)): set(called_methods(path.read_bytes()))
        for path in sorted(folder.rglob("*.class"))
    }


def test_stubs_and_android_give_the_same_calls(
    android: Path, sources: list[Path], tmp_path: Path
) -> None:
    jars = [jar for jar in jvm_libraries() if jar.name != JSON_JVM.name]
    stubs = compile_stubs(tmp_path)
    by_stubs = calls(compile_java(sources, [stubs, *jars], tmp_path / "stubs-classes"))
    by_android = calls(
        robolectric.compile_for_android(sources, [android, *jars], tmp_path / "android-classes")
    )
    assert len(set().union(*by_stubs.values())) > 1000
    assert by_stubs == by_android


@pytest.mark.parametrize(
    "call", ["new android.app.Activity().finish(1)", "android.os.Build.ANDROID.length()"]
)
def test_what_android_does_not_have_is_an_error(call: str, android: Path, tmp_path: Path) -> None:
    folder = tmp_path / "java"
    folder.mkdir()
    (folder / "Wrong.java").write_text(f"class Wrong {{ void run() {{ {call}; }} }}")
    with pytest.raises(BuildError, match=r"Wrong\.java"):
        robolectric.compile_for_android([folder], [android], tmp_path / "out")
