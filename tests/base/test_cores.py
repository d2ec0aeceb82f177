"""How many threads `index` starts: what the process may use, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcad_mobile.base.machine import allowed_cores


def test_the_affinity_counts() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from mcad_mobile.base.machine import allowed_cores; print(allowed_cores())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000", 2), ("50000 100000", 1), ("800000 100000", 4), ("max 100000", 4), ("", 4)],
)
def test_a_containers_share_counts(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 7})
    file = tmp_path / "cpu.max"
    file.write_text(quota + "\n")
    assert allowed_cores(file) == cores
    assert allowed_cores(tmp_path / "none") == 4
