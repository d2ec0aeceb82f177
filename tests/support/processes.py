"""Python programs, run by the interpreter of the tests in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


def run_python(
    *arguments: object, env: Mapping[str, str] = {}, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS`, with these changes of the environment; options are those of
    subprocess.run."""
    options = {"capture_output": True, "text": True, "timeout": 600, **options}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **env}, check=check, **options)


def run_command(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `mcad-mobile WORDS`."""
    return run_python("-m", "mcad_mobile", *words, **options)
