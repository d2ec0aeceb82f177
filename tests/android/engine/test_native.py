"""The index in C behind the Java engine: what damage, wrong arguments and full memory come to."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.jvm import jvm_libraries, run_java
from mcad_mobile.android.native_libraries import search_kernels
from mcad_mobile.android.toolchain import JAVA, executable, java_home
from mcad_mobile.engine import native
from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from mcad_mobile.engine.native import LIBRARY
from tests.android.engine.test_index import SHA, JavaIndex, names, unit, write_manifest
from tests.engine.index.test_words import TICKET
from tests.engine.reading.fake_reader import photo
from tests.engine.reading.test_reader import PAGE
from tests.support.index_embeddings import create
from tests.support.paths import ROOT
from tests.support.probe import EngineError
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader

_MAIN = "io.github.mcadmobile.engine.index.KernelProbe"
NATIVE = Path(native.__file__).parent
SOURCES = sorted(NATIVE.glob("*.c"))
COMPILE = ("-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off")
STOPPED_AND_CLOSED = ("work on the index {} was stopped", "index {} is closed")
# In `make test`; `make test-slow` takes the number that a release is held to.
MUTANTS, ALL_MUTANTS = 400, 100_000
JNI = re.compile(r"\b([A-Z_]+) = (\d+),")
FUNCTIONS = {
    "BYTES": "GetByteArrayRegion",
    "INTS": "GetIntArrayRegion",
    "LONGS": "GetLongArrayRegion",
    "FLOATS": "GetFloatArrayRegion",
    "DOUBLES": "GetDoubleArrayRegion",
    "SET_BYTES": "SetByteArrayRegion",
    "SET_INTS": "SetIntArrayRegion",
    "SET_LONGS": "SetLongArrayRegion",
    "SET_FLOATS": "SetFloatArrayRegion",
    "SET_DOUBLES": "SetDoubleArrayRegion",
    "NEW_BYTES": "NewByteArray",
    "NEW_INTS": "NewIntArray",
    "NEW_LONGS": "NewLongArray",
    "NEW_OBJECTS": "NewObjectArray",
    "SET_OBJECT": "SetObjectArrayElement",
    "FIND_CLASS": "FindClass",
    "THROW_NEW": "ThrowNew",
    "DELETE_LOCAL": "DeleteLocalRef",
    "ARRAY_LENGTH": "GetArrayLength",
    "OBJECT_AT": "GetObjectArrayElement",
    "BUFFER_ADDRESS": "GetDirectBufferAddress",
    "BUFFER_CAPACITY": "GetDirectBufferCapacity",
}


def gcc(*arguments: object) -> str:
    compiler = shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("gcc is missing")
        pytest.skip("gcc is not installed")
    command = [compiler, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of three segments, of which one has cells and one words, all searched in both
    passes."""
    directory = tmp_path_factory.mktemp("searched") / "index"
    limits = TuningLimits(cells_from=300, cells_gain=0.0, photos_per_cell=15)
    index = PhotoIndex.create(directory, dim=512, student="tiny", student_sha256=SHA, limits=limits)
    for start, stop in ((0, 300), (300, 400), (400, 440)):
        with index.writer() as writer:
            writer.add(names(440)[start:stop], unit(440, 512)[start:stop])
    with index.writer() as writer:
        writer.delete(names(440)[:399:9])
        writer.set_words(dict.fromkeys(names(440)[310:330], TICKET))
    few = {"factor": 0.0, "exponent": 0.0, "growth": 0.0}
    file = directory / "manifest.json"
    document = json.loads(file.read_text())
    assert [entry["cells"] is None for entry in document["segments"]] == [False, True, True]
    for entry in document["segments"]:
        entry["candidates"] = few
        entry["cells"] = entry["cells"] and few
    document["segments"][1]["prescan"] = {"bits": 64, "candidates": few}
    write_manifest(file, document)
    return directory


def kernel_probe(
    classes: Path, library: Path, arguments: Sequence[object], **environment: str
) -> dict[str, Any]:
    """What KernelProbe prints, with a library of its own and HotSpot's checks of JNI, which print
    what they find."""
    classpath = ":".join(map(str, [classes, *jvm_libraries()]))
    options = ["-Xcheck:jni", "-Xmx256m", "-XX:+UseSerialGC", f"-Dmcad.search.library={library}"]
    done = subprocess.run(
        [executable(JAVA), *options, "-cp", classpath, _MAIN, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=7200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-4000:]
    assert not re.search("WARNING|runtime error|Sanitizer", done.stdout + done.stderr), done
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The kernels with the checks of AddressSanitizer and UBSan, and the environment in which a
    JVM, whose own signals they must leave alone, can load them."""
    library = tmp_path_factory.mktemp("sanitized") / "libmcad_search.so"
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    gcc(*COMPILE, "-O1", "-g", *sanitizers, *SOURCES, "-lm", "-o", library)
    runtime = gcc("-print-file-name=libasan.so").strip()
    options = "detect_leaks=0:handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1"
    return library, {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": "halt_on_error=1",
    }


def test_jni_functions_have_the_numbers_of_the_specification(tmp_path: Path) -> None:
    table = (NATIVE / "jni.c").read_text().partition("enum {")[2].partition("}")[0]
    numbers = dict(JNI.findall(table))
    assert numbers.keys() == FUNCTIONS.keys()
    lines = ["#include <stddef.h>", "#include <jni.h>"]
    for name, number in numbers.items():
        where = f"offsetof(struct JNINativeInterface_, {FUNCTIONS[name]}) / sizeof(void *)"
        lines.append(f'_Static_assert({where} == {number}, "{name}");')
    source = tmp_path / "numbers.c"
    source.write_text("\n".join(lines) + "\n")
    include = java_home() / "include"
    gcc("-fsyntax-only", f"-I{include}", f"-I{include / 'linux'}", source)


def test_java_words_every_error_of_the_index_in_the_order_of_its_codes() -> None:
    header = re.sub(r"/\*.*?\*/", "", (NATIVE / "mcad_index.h").read_text(), flags=re.DOTALL)
    errors = ROOT / "android_demo/engine/src/main/java/io/github/mcadmobile/engine/index"
    source = (errors / "IndexErrors.java").read_text().partition("enum Code {")[2].partition(";")[0]
    named = re.findall(r"\bMCAD_([A-Z_]+)", header.partition("enum {")[2].partition("}")[0])
    assert re.findall(r"\b[A-Z]+_?[A-Z_]+\b(?=[(,])", source) == named


def test_kernels_of_another_version_than_the_engine_are_refused(java_classes, tmp_path) -> None:
    source, library = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text(
        "int Java_io_github_mcadmobile_engine_base_NativeLibrary_layout(void) { return 5; }\n"
    )
    gcc(*COMPILE, source, "-o", library)
    with pytest.raises(AssertionError, match="are of another version than the engine"):
        kernel_probe(java_classes, library, ["arguments", tmp_path])


def test_wrong_arguments_are_refused_before_memory_is_used(
    java_classes, sanitized, tmp_path: Path
) -> None:
    library, environment = sanitized
    answer = kernel_probe(java_classes, library, ["arguments", tmp_path], **environment)
    assert answer == {"accepted": []}


def test_work_that_is_stopped_changes_nothing_and_what_is_closed_says_so(
    java_classes, sanitized, tmp_path: Path
) -> None:
    library, environment = sanitized
    answer = kernel_probe(java_classes, library, ["stopped", tmp_path], **environment)
    stopped, closed = (f"The {what}." for what in STOPPED_AND_CLOSED)
    expected = [text.format(tmp_path) for text in 2 * [stopped] + 5 * [closed]]
    assert answer == {"said": expected, "photos": 5}


@pytest.mark.parametrize("rounds", [MUTANTS, pytest.param(ALL_MUTANTS, marks=pytest.mark.slow)])
def test_damaged_segments_are_exceptions(
    java_classes, sanitized, searched: Path, tmp_path: Path, rounds: int
) -> None:
    library, environment = sanitized
    arguments = ["damage", searched, tmp_path, rounds, rounds]
    answer = kernel_probe(java_classes, library, arguments, **environment)
    assert answer["rounds"] == rounds
    assert answer["opened"] > rounds / 3  # the others are refused before they are searched
    assert answer["found"] > answer["opened"]
    assert 0 < answer["committed"] < answer["opened"]


def test_allocations_that_fail_are_exceptions_and_leave_nothing(
    java_classes, searched: Path, tmp_path: Path
) -> None:
    library = tmp_path / "libmcad_search.so"
    renamed = [f"-D{name}=probe_{name}" for name in ("malloc", "calloc", "realloc", "free")]
    kernels = [tmp_path / f"{source.stem}.o" for source in SOURCES]
    for source, out in zip(SOURCES, kernels, strict=True):
        gcc(*COMPILE, "-O1", "-c", *renamed, source, "-o", out)
    allocator = ROOT / "tests" / "support" / "failing_memory.c"
    gcc(*COMPILE, allocator, *kernels, "-lm", "-o", library)
    answer = kernel_probe(java_classes, library, ["memory", searched, tmp_path / "index"])
    # There are as many allocations, and each that fails is told.
    assert answer["failed"] == answer["enough"] > 30
    assert answer["left"] == 0


def test_a_file_that_was_cut_short_under_a_search_is_an_exception(probe, tmp_path: Path) -> None:
    java = JavaIndex(probe, tmp_path / "index", tmp_path)
    java.change(names(3000), unit(3000, 64), dim=64)
    (segment,) = java.directory.glob("*.mcs")
    with pytest.raises(EngineError, match=r"is damaged: it was cut off at byte 5000"):
        java.search(unit(1, 64), k=5, cut=str(segment), bytes=5000)


def test_an_index_that_is_replaced_under_a_search_is_searched_to_the_end(
    probe, tmp_path: Path
) -> None:
    """The reader keeps the commit that it opened: its files stay readable."""
    java = JavaIndex(probe, tmp_path / "index", tmp_path)
    java.change(names(3000), unit(3000, 64), dim=64)
    before = java.search(unit(1, 64), k=5)
    gone = [str(file) for file in java.directory.iterdir()]
    assert java.search(unit(1, 64), k=5, gone=gone) == before
    assert not list(java.directory.iterdir())


def benchmarked(
    java: Sequence[object], library: Path, classes: Path, index: Path, folder: Path
) -> dict[str, Any]:
    """What SearchBenchmark measures, which finds what Python finds."""
    queries = unit(5, 512, seed=2)
    (folder / "queries").write_bytes(queries.tobytes())
    classpath = ":".join(map(str, [classes, *jvm_libraries()]))
    options = ["-XX:TieredStopAtLevel=1", f"-Dmcad.search.library={library}", "-cp", classpath]
    main = ["io.github.mcadmobile.desktop.SearchBenchmark", index, folder / "queries", 0, 5, 10]
    output = subprocess.check_output([*map(str, [*java, *options, *main])], text=True, timeout=600)
    result: dict[str, Any] = json.loads(output)
    python = PhotoIndex.open(index)
    assert result["found"] == [python.search(query, 10).paths for query in queries]
    return result


def test_a_benchmark_of_words_tells_time_and_memory(java_classes: Path, tmp_path: Path) -> None:
    bundle = with_reader(make_tiny_bundle(tmp_path / "tiny"))
    page = tmp_path / "page.png"
    photo(1000, 700, *PAGE).save(page)
    index = create(tmp_path / "index", 16)
    with index.writer() as writer:
        writer.add(["/a.jpg"], unit(1, 16))
        writer.set_words({"/a.jpg": TICKET})
    (tmp_path / "classes").symlink_to(java_classes)
    for asked in (["search", index._directory, "boarding"], ["read", bundle.directory, page]):
        found = run_java("WordsBenchmark", asked, tmp_path)
        assert found["processor_ms"][str(asked[2])] > 0 and 0 < found["mib"] < 500
        assert (found["heap_mib_a_search"] > 0) == (asked[0] == "search")


def test_a_benchmark_of_searches_counts_the_processor_s_time_in_parts_of_a_ms(
    java_classes: Path, searched: Path, tmp_path: Path
) -> None:
    result = benchmarked([executable(JAVA)], LIBRARY, java_classes, searched, tmp_path)
    assert (result["photos"], result["dim"]) == (PhotoIndex.open(searched).photos, 512)
    cpu, scan, rescore, total = (
        np.array(result[key]) for key in ("cpu", "scan", "rescore", "total")
    )
    assert (
        (cpu > 0).all()
        and (cpu < total + 1).all()
        and (scan + rescore < total).all()
        and (scan > 0).all()
    )
    assert 0 < result["heap_mib"] < result["heap_limit_mib"] and result["pss_mib"] > 10


@pytest.mark.slow
@pytest.mark.parametrize("processor", ["cortex-a53", "cortex-a76"])
def test_the_build_for_phones_finds_on_arm_what_python_finds(
    arm64: Path, java_classes, searched: Path, tmp_path: Path, processor: str
) -> None:
    """The library of the app itself, in an arm64 JVM on an emulated processor: Linux's libc and
    libm stand in for Android's, under their names."""
    (tmp_path / "libmcad_search.so").write_bytes(search_kernels("arm64-v8a"))
    for name in ("libc", "libm"):
        (tmp_path / f"{name}.so").symlink_to(arm64 / f"lib/aarch64-linux-gnu/{name}.so.6")
    java = next((arm64 / "usr" / "lib" / "jvm").glob("java-*-openjdk-arm64/bin/java"))
    emulated = ["qemu-aarch64", "-cpu", processor, "-L", arm64, "-E", f"LD_LIBRARY_PATH={tmp_path}"]
    library = tmp_path / "libmcad_search.so"
    benchmarked([*emulated, java], library, java_classes, searched, tmp_path)
