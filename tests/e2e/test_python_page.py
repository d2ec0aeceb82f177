"""docs/python.md: what it says can be typed, is typed, and runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import mcad_mobile
from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.exported import Exported
from tests.support.paths import ROOT
from tests.support.processes import run_python

PAGE = ROOT / "docs" / "python.md"
# Not the one in a file of its own, which tests/students/test_own_student.py runs.
EXPORT, *OTHERS = re.findall(r"```python\n([^#].*?)```", PAGE.read_text("utf-8"), re.S)


@pytest.fixture(scope="module")
def place(cpu: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle and photos where the page has them."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(cpu.directory, folder / "build" / "sd")
    (folder / "photos").mkdir()
    for photo in packaged_photos():
        shutil.copy(photo, folder / "photos")
    return folder


def run(code: str, folder: Path) -> str:
    done = run_python("-W", "error", "-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_blocks_run_one_after_the_other(place: Path) -> None:
    indexed, mixed, filtered, alone, wrong = (run(code, place) for code in OTHERS)
    assert indexed.startswith(f"{len(packaged_photos())} new, 0 gone, []")
    assert indexed.splitlines()[1].split()[1].endswith("chelsea.png")
    assert ".jpg" in mixed and "chelsea.png" not in mixed  # not among its own results
    assert filtered.splitlines()[0] == "0 photos of May 2024"
    assert 0.2 < float(alone) < 1
    assert wrong.splitlines()[1] == "Check the path, or export a bundle."


@pytest.mark.slow
def test_a_bundle_is_made_as_it_says(tmp_path: Path) -> None:
    assert run(EXPORT, tmp_path).startswith("SM8750")
    assert (tmp_path / "build" / "sd" / "bundle.json").is_file()


@pytest.mark.slow
def test_a_users_type_checker_sees_the_types(tmp_path: Path) -> None:
    """mypy, strict, on the page's blocks and on a wrong one, in a project of its own."""
    for number, code in enumerate([EXPORT, *OTHERS]):
        (tmp_path / f"block_{number}.py").write_text(code)
    (tmp_path / "wrong.py").write_text("import mcad_mobile\nmcad_mobile.Bundle.load(5)\n")
    mypy = ("-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", ".")
    done = run_python(*mypy, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 2, done.stdout + done.stderr
    assert 'wrong.py:2: error: Argument 1 to "load" of "Bundle"' in done.stdout


def test_the_public_names_are_few_and_there() -> None:
    assert len(mcad_mobile.__all__) <= 13
    for name in mcad_mobile.__all__:
        assert getattr(mcad_mobile, name) is not None
        assert name == "__version__" or f"`{name}" in PAGE.read_text("utf-8"), name
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = mcad_mobile.serach  # type: ignore[attr-defined]
