"""What cannot be imported is told with the way to get it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcad_mobile.errors import MissingExtra, require
from tests.support.paths import ROOT


@pytest.mark.parametrize("error", ["OSError", "RuntimeError", "AttributeError", "ImportError"])
def test_a_library_that_is_there_and_does_not_load_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    (tmp_path / "broken_library.py").write_text(f"raise {error}('libgone.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match=r"broken_library .*libgone\.so") as caught:
        require("broken_library", "export")
    assert "pip install 'mcad-mobile[export]'" in caught.value.hint


def test_export_with_a_torch_that_does_not_load_ends_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libtorch_cpu.so: cannot open')")
    done = subprocess.run(
        [sys.executable, "-m", "mcad_mobile", "export", "-t", "cpu", "-o", str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "torch is installed and does not load (OSError: libtorch_cpu.so" in done.stderr
    assert "Traceback" not in done.stderr
