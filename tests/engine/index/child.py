"""A separate Python process, which a test may kill."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.paths import ROOT


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start `code` with the checkout on its path, one thread and its output in pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
