"""The search kernels for Android: libraries that a phone loads, the same bytes each time."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mcad_mobile.android.demo_app import build_app
from mcad_mobile.android.java_runner import runner_files
from mcad_mobile.android.library_aar import build_library
from mcad_mobile.android.native_libraries import MACHINES, read_elf, search_kernels
from mcad_mobile.android.packages import PAGE
from mcad_mobile.android.parts import BuildOptions
from mcad_mobile.android.toolchain import android_demo
from mcad_mobile.base.files import cache_directory
from mcad_mobile.engine.native import android
from mcad_mobile.errors import BuildError
from tests.support.elf_library import dynamic_strings
from tests.support.fake_android_tools import FakeAndroidTools
from tests.support.tiny_bundle import make_tiny_bundle

ABIS = ("arm64-v8a", "x86_64")
# What Android has had since 8.0.
LIBC = {
    "__errno",
    "calloc",
    "clock_gettime",
    "close",
    "free",
    "fstat",
    "fsync",
    "getauxval",
    "madvise",
    "malloc",
    "memchr",
    "memcmp",
    "memcpy",
    "memset",
    "mincore",
    "mmap",
    "munmap",
    "open",
    "posix_fadvise",
    "pread",
    "pthread_mutex_lock",
    "pthread_mutex_unlock",
    "pwrite",
    "qsort",
    "realloc",
    "strerror",
    "strlen",
    "unlink",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Compiled in another folder, as CMake does it for a wheel."""
    folder = tmp_path_factory.mktemp("kernels")
    sources = folder / "elsewhere"
    shutil.copytree(android.FOLDER, sources)
    out = folder / "out"
    subprocess.run([sys.executable, sources / "android.py", out], check=True, timeout=600)
    return {abi: out / abi / "libmcad_search.so" for abi in ABIS}


@pytest.mark.parametrize("abi", ABIS)
def test_a_phone_of_android_8_loads_it_and_one_with_large_pages(
    built: dict[str, Path], abi: str
) -> None:
    data = built[abi].read_bytes()
    elf = read_elf(data)
    assert elf is not None
    assert (elf.machine, elf.page) == (MACHINES[abi], PAGE)
    strings = dynamic_strings(data)
    assert strings["name"] == {"libmcad_search.so"}
    assert strings["needs"] == {"libc.so"}
    assert strings["imports"] <= LIBC
    engine = android_demo() / "engine/src/main/java"
    assert {name for name in strings["exports"] if name.startswith("Java")} == {
        f"Java_{'_'.join(path.relative_to(engine).with_suffix('').parts)}_{name}"
        for path in engine.rglob("*.java")
        for name in re.findall(r"static native \S+ (\w+)\(", path.read_text())
    }


@pytest.mark.slow
def test_packages_hold_the_bytes_that_any_build_gives(
    built: dict[str, Path], tools: FakeAndroidTools, tmp_path: Path
) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    options = BuildOptions(abis=ABIS)
    app = build_app(bundle, tmp_path / "demo.apk", options).package
    library = build_library(None, tmp_path / "search.aar", options).archive
    with zipfile.ZipFile(app) as apk, zipfile.ZipFile(library) as aar:
        for abi in ABIS:
            expected = built[abi].read_bytes()
            assert apk.read(f"lib/{abi}/libmcad_search.so") == expected
            assert aar.read(f"jni/{abi}/libmcad_search.so") == expected
            pushed = runner_files(abi)["lib/libmcad_search.so"]
            assert pushed.read_bytes() == expected


def test_without_zig_a_build_says_what_to_install_and_a_wheel_needs_none(
    tools: FakeAndroidTools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(android, "has_compiler", lambda: False)
    with pytest.raises(BuildError, match="no search kernels for arm64-v8a") as caught:
        build_library(None, tmp_path / "search.aar")
    assert "pip install ziglang" in caught.value.hint
    assert not (tmp_path / "search.aar").exists()
    monkeypatch.setattr(android, "CARRIED", tmp_path / "android")
    carried = tmp_path / "android" / "arm64-v8a" / "libmcad_search.so"
    carried.parent.mkdir(parents=True)
    carried.write_bytes(b"the wheel's")
    library = build_library(None, tmp_path / "search.aar").archive
    with zipfile.ZipFile(library) as aar:
        assert aar.read("jni/arm64-v8a/libmcad_search.so") == b"the wheel's"


def test_kernels_are_compiled_again_for_other_sources_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, compiled = tmp_path / "scan.c", []

    def compile_kernels(abi: str) -> bytes:
        compiled.append(abi)
        return f"{abi} {source.read_text()}".encode()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(android, "CARRIED", tmp_path / "none")
    monkeypatch.setattr(android, "sources", lambda: [source])
    monkeypatch.setattr(android, "has_compiler", lambda: True)
    monkeypatch.setattr(android, "compile_kernels", compile_kernels)
    for text in ("first", "first", "other", "other"):
        source.write_text(text)
        assert [search_kernels(abi) for abi in ABIS] == [f"{abi} {text}".encode() for abi in ABIS]
    assert compiled == [*ABIS, *ABIS]
    kept = sorted(path.name.rpartition("-")[0] for path in cache_directory().glob("*.so"))
    assert kept == [f"kernels-{abi}" for abi in ABIS]


def test_kernels_that_do_not_compile_are_an_error_that_shows_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan.c").write_text("int scan = nothing;")
    monkeypatch.setattr(android, "FOLDER", tmp_path)
    with pytest.raises(BuildError, match="nothing"):
        runner_files("arm64-v8a")
    assert not list(cache_directory().glob("kernels-arm64-v8a-*.partial"))
