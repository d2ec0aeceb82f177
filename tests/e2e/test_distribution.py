"""What would be uploaded: a wheel and an sdist that work outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, CHECKOUT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(uploads: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is the wheel's, unpacked."""
    site = tmp_path_factory.mktemp("site")
    (wheel,) = uploads.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}


def test_the_index_would_take_both(uploads: Path) -> None:
    files = sorted(uploads.iterdir())
    assert [file.suffix for file in files] == [".whl", ".gz"]
    said = run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=uploads)
    assert said.count("PASSED") == 2


def test_the_wheel_is_whole(uploads: Path) -> None:
    """Whatever git has of the package, the default student and the app is in it."""
    (wheel,) = uploads.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "mcad_mobile", "models", "android_demo", cwd=CHECKOUT)
    for name in tracked.split():
        home = name if name.startswith("mcad_mobile") else f"mcad_mobile/{name}"
        assert home in names, name


def test_the_demo_runs_from_an_empty_folder(installed: dict[str, str], tmp_path: Path) -> None:
    program = "import mcad_mobile; print(mcad_mobile.__file__)"
    where = run(sys.executable, "-c", program, cwd=tmp_path, **installed)
    assert where.startswith(installed["PYTHONPATH"])
    said = run(sys.executable, "-m", "mcad_mobile", "demo", "-t", "cpu", cwd=tmp_path, **installed)
    assert (tmp_path / "build" / "demo" / "report.html").stat().st_size > 20_000
    assert "running memory" in said and "camera.png" in said
