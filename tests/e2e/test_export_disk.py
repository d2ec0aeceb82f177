"""An export whose disk fills up while it works, and one that is interrupted: whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mounts import run_on_disk
from tests.support.processes import run_command

# As if the room had gone after it was looked at.
FILLS_UP = """
import sys
from pathlib import Path
from mcad_mobile.cli import main
from mcad_mobile.export import pipeline

pipeline.check_place = lambda *_: None
try:
    main()
finally:
    print(sorted(path.name for path in Path.cwd().iterdir()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [3, 9, 20])
def test_a_disk_that_fills_up_is_told_and_nothing_is_left(tmp_path: Path, megabytes: int) -> None:
    arguments = ("-c", FILLS_UP, "export", "-t", "cpu", "-o", "bundle")
    done = run_on_disk(tmp_path, f"size={megabytes}m", *arguments, timeout_s=900)
    assert done.returncode == 1, done.stderr
    assert done.stdout == "[]\n"
    assert "error: " in done.stderr
    assert "No space left on device" in done.stderr or "is full" in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_fewer_samples_than_were_asked_for_are_told_by_their_number(tmp_path: Path) -> None:
    place = tmp_path / "emoji \N{GRINNING FACE}"
    words = ("export", "-t", "cpu", "--samples", 50, "-o", place)
    done = run_command(*words, check=True, env={"PYTHONIOENCODING": "ascii"})
    assert "warning: 50 samples were asked for; there were" in done.stderr
    assert "captions to calibrate on" in done.stderr
    assert "Traceback" not in done.stderr
