"""Compiles the search kernels for Android with Zig, without an NDK: same source, same bytes.

CMake runs this file when it builds a wheel, so it imports nothing from the package.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY = "libmcad_search.so"
PROCESSORS = {"arm64-v8a": "aarch64", "x86_64": "x86_64"}  # by Android's ABI
_API = 26
_PAGE = 16384  # some phones have 16 KB pages since Android 15
FOLDER = Path(__file__).parent
CARRIED = FOLDER / "android"  # in wheels
# The kernels' compiler options on every system; CMakeLists.txt repeats them for wheels.
COMPILE = "-O3 -std=gnu11 -fPIC -ffp-contract=off"
# No errno from math: Android's and Linux's differ.
# Bionic has another name for errno's address than musl, whose headers these are.
_COMPILE = (
    f"-c {COMPILE} -fno-math-errno -g0 -D__errno_location=__errno "
    "-fvisibility=hidden -ffunction-sections"
)
_LINK = (
    "-shared -s --gc-sections --build-id=none --no-undefined -z now -z relro "
    f"-z max-page-size={_PAGE} -z common-page-size={_PAGE}"
)
# The Android functions that the kernels use: we link against stand-ins that define them.
IMPORTS = {
    "libc.so": (
        "__errno calloc clock_gettime close free fstat fsync getauxval madvise malloc memchr "
        "memcmp memcpy memset mincore mmap munmap open posix_fadvise pread pthread_mutex_lock "
        "pthread_mutex_unlock pwrite qsort realloc strerror strlen unlink"
    ),
}


def sources() -> list[Path]:
    """The C files, and the headers that they include."""
    return sorted(FOLDER.glob("*.[ch]"))


def has_compiler() -> bool:
    return importlib.util.find_spec("ziglang") is not None


def compile_kernels(abi: str) -> bytes:
    """Compile the library for one of `PROCESSORS`. CalledProcessError if the compiler fails."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        target = ["-target", f"{PROCESSORS[abi]}-linux-android.{_API}"]
        headers = _headers(PROCESSORS[abi])
        code = [str(path) for path in sources() if path.suffix == ".c"]
        _zig(["cc", *target, *_COMPILE.split(), *headers, *code], work)
        objects = sorted(path.name for path in work.glob("*.o"))
        for name, functions in IMPORTS.items():
            stand_in = work / f"{name}.c"
            stand_in.write_text(
                "".join(f"void {function}(void) {{}}\n" for function in functions.split())
            )
            _zig(["cc", *target, "-c", "-g0", "-fno-builtin", stand_in.name], work)
            _zig(["ld.lld", "-shared", "-soname", name, f"{name}.o", "-o", name], work)
        link = ["ld.lld", *_LINK.split(), "-soname", LIBRARY, *objects, *IMPORTS, "-o", LIBRARY]
        _zig(link, work)
        return (work / LIBRARY).read_bytes()


def _headers(processor: str) -> list[str]:
    """Compiler options for C headers: Zig ships musl's, which fit Android."""
    (home,) = importlib.util.find_spec("ziglang").submodule_search_locations  # type: ignore
    include = Path(home) / "lib" / "libc" / "include"
    folders = (include / f"{processor}-linux-musl", include / "generic-musl")
    return [part for folder in folders for part in ("-isystem", str(folder))]


def _zig(arguments: list[str], folder: Path) -> None:
    cache = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(folder / "cache"))
    subprocess.run(
        [sys.executable, "-m", "ziglang", *arguments],
        cwd=folder,
        env=os.environ | cache,
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )


if __name__ == "__main__":
    for name in PROCESSORS:
        made = Path(sys.argv[1]) / name / LIBRARY
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(compile_kernels(name))
