"""`mcad-mobile embed` in its own processes, and its output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.embed.phone_index import Shards
from tests.support.paths import ROOT

TIMEOUT_S = 240


def environment() -> dict[str, str]:
    """An environment whose decoders misbehave if a photo asks for it."""
    paths = [str(ROOT / "tests" / "embed" / "decoders"), str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "mcad_mobile", *map(str, arguments)]


def run(
    *arguments: object, code: int = 0, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, which must exit with `code`; `more` are environment variables."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        cwd=cwd,
        env={**environment(), **more},
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def run_json(*arguments: object, **more: str) -> Any:
    """Return the document that the command prints with --json."""
    return json.loads(run(*arguments, "--json", **more).stdout)


def vectors(shards: Path | str) -> dict[str, np.ndarray]:
    """Return every photo of the shards; fails if one appears twice."""
    found: dict[str, np.ndarray] = {}
    for batch in Shards(str(shards)).batches():
        for key, embedding in zip(batch.keys, batch.embeddings, strict=True):
            assert key not in found, f"{key} is there twice"
            found[key] = embedding
    return found


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Whether both hold the same photos with the same bits."""
    keys = first.keys()
    return keys == second.keys() and all(np.array_equal(first[k], second[k]) for k in keys)


def odd_photo(path: Path, action: str, where: Path) -> Path:
    """Write a photo whose decoder does `action` (tests/embed/decoders/sitecustomize.py)."""
    path.write_text(f"ODDPHOTO\n{action}\n{where}\n")
    return path
