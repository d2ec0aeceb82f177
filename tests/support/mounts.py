"""Run commands on a full or read-only disk: a small tmpfs, mounted for them alone. Permissions
would prove nothing, since root ignores them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@functools.cache
def _can_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except FileNotFoundError:
        return False


def run_on_disk(
    folder: Path, options: str, *arguments: object, first: str = "true", timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` while `folder` is a tmpfs with mount options `options`; `first`
    is a shell command to run before."""
    if not _can_mount():
        if os.environ.get("CI") == "true":
            pytest.fail("no tmpfs can be mounted, and under CI=true nothing may be skipped")
        pytest.skip("no tmpfs can be mounted here")
    script = 'mount -t tmpfs -o "$1" none "$2" && cd "$2" && eval "$3" && shift 3 && exec "$@"'
    mounting = ["unshare", "--mount", "sh", "-c", script, "sh", options, str(folder), first]
    return subprocess.run(
        [*mounting, sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def mcad_on_disk(
    folder: Path, options: str, arguments: Sequence[object]
) -> subprocess.CompletedProcess[str]:
    """Run the command in the same way."""
    return run_on_disk(folder, options, "-m", "mcad_mobile", *arguments)
