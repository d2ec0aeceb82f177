"""What others wrote is read or refused, whatever it is: some hundreds of inputs of each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["photos", "indexes", "bundles", "requests", "commands"])
def test_no_input_that_reaches_new_code_ends_in_a_crash(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    counts = tmp_path / "counts.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.coverage_guided", kind, "300", str(counts)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(counts.read_text())
    assert outcomes.pop("inputs") == 300
    assert len(outcomes) > 2  # kind, what is read, and what is refused
