"""An index without compiled kernels, or with those of another version, says what to do."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcad_mobile.cli import doctor
from mcad_mobile.engine import native
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import KernelError
from tests.support.index_embeddings import filled
from tests.support.kernels import LIBRARY


@pytest.fixture(autouse=True)
def loaded_anew() -> Iterator[None]:
    native.load_kernel.cache_clear()
    yield
    native.load_kernel.cache_clear()


def assert_reported(folder: Path, message: str) -> None:
    """Opening an index raises, and doctor reports the same."""
    with pytest.raises(KernelError, match=message) as caught:
        PhotoIndex.open(folder)
    assert "pip install --no-deps -e ." in caught.value.hint
    finding = doctor.examine_kernels()
    assert finding.version is None
    assert finding.how_to_get == caught.value.hint


def test_a_library_of_another_version_is_an_error_that_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "index")
    native.load_kernel.cache_clear()
    monkeypatch.setattr(native, "LAYOUT", 99)
    assert_reported(tmp_path / "index", r"libmcad_search.so have layout \d+; .* needs layout 99")


@pytest.mark.parametrize("content", [None, b"", b"no library"], ids=["missing", "empty", "text"])
def test_a_library_that_does_not_load_is_an_error_when_it_is_needed(
    tmp_path: Path, content: bytes | None
) -> None:
    """The index is imported without it."""
    filled(tmp_path / "index")
    library = tmp_path / "none.so"
    if content is not None:
        library.write_bytes(content)
    program = (
        "import sys\n"
        "from mcad_mobile.engine import native\n"
        "from mcad_mobile.engine.index import PhotoIndex\n"
        "try:\n    PhotoIndex.open(sys.argv[1])\n"
        "except native.KernelError as error:\n    print(native.LIBRARY, error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "index")],
        env=os.environ | {native.LIBRARY_VARIABLE: str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(f"{library} The search kernels could not be loaded: ")
    assert done.stderr == ""


def test_doctor_names_the_instructions() -> None:
    finding = doctor.examine_kernels()
    assert finding.version in [f"C, {level}" for level in native.LEVELS]


# level.c, to which a test tells what CPUID and XGETBV say. What it includes is read before.
PROCESSOR = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#define _CPUID_H_INCLUDED
static uint32_t told[4]; /* leaf 1, ECX; leaf 7, EBX and ECX; XCR0 */
static int __get_cpuid(unsigned leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    *a = *b = *d = 0, *c = told[0];
    return leaf == 1;
}
static int __get_cpuid_count(unsigned leaf, unsigned part, uint32_t *a, uint32_t *b, uint32_t *c,
                             uint32_t *d) {
    *a = *d = 0, *b = told[1], *c = told[2];
    return leaf == 7 && part == 0;
}
#define __asm__(...) (saved = told[3], edx = 0)
#include "level.c"
int level_of(const uint32_t *says) { return memcpy(told, says, sizeof told), find_level(); }
"""
# By the manuals of Intel and AMD: POPCNT, OSXSAVE and AVX; AVX2 and BMI2; 128 and 256 bits saved.
FOR_AVX2 = [(0, 23), (0, 27), (0, 28), (1, 5), (1, 8), (3, 1), (3, 2)]
# AVX512F, DQ, BW, VL; VPOPCNTDQ; masks, and both halves of the registers saved.
FOR_AVX512 = [(1, 16), (1, 17), (1, 30), (1, 31), (2, 14), (3, 5), (3, 6), (3, 7)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="CPUID is of x86-64")
def test_a_level_is_used_where_processor_and_system_have_all_of_it(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source, library = tmp_path / "processor.c", tmp_path / "processor.so"
    source.write_text(PROCESSOR)
    command = ["gcc", "-shared", "-fPIC", "-w", f"-I{Path(native.__file__).parent}", source]
    subprocess.run([*map(str, command), "-o", str(library)], check=True, timeout=60)
    level_of = ctypes.CDLL(str(library)).level_of

    def level(without: tuple[int, int] | None, features: list[tuple[int, int]]) -> int:
        words = [0, 0, 0, 0]
        for word, bit in features:
            words[word] |= ((word, bit) != without) << bit
        return int(level_of((ctypes.c_uint32 * 4)(*words)))

    both = FOR_AVX2 + FOR_AVX512
    assert (level(None, both), level(None, FOR_AVX2), level(None, [])) == (2, 1, 0)
    assert {level(feature, both) for feature in FOR_AVX2} == {0}
    assert {level(feature, both) for feature in FOR_AVX512} == {1}
    assert LIBRARY.mcad_page() == mmap.PAGESIZE
