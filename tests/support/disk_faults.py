"""Processes whose calls of the system a test watches, fails, or dies before: see disk_faults.c."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

KILL = 0


@lru_cache(maxsize=1)
def _library() -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    library = Path(tempfile.mkdtemp()) / "disk_faults.so"
    command = ["gcc", "-shared", "-fPIC", "-w", Path(__file__).with_suffix(".c"), "-o", library]
    subprocess.run([*map(str, command), "-ldl"], check=True, timeout=60)
    return library


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code`, in which `fault` and `log` work, from the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "LD_PRELOAD": str(_library())},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fault(function: str, nth: int, number: int, file: str = "") -> None:
    """Fail the `nth` call of fsync, rename, unlink, pread or pwrite, from now on, for a file whose
    name ends so, with an errno; `KILL` ends the process before."""
    ctypes.CDLL(None).disk_fault(function.encode(), file.encode(), nth, number)


def log(path: Path) -> None:
    """Write a line for each call: function, offset, size, file."""
    ctypes.CDLL(None).disk_log(os.fsencode(path))
