"""What would be uploaded: a wheel and an sdist that work outside the checkout, and the wheel on
arm64, too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.exported import Exported
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, fails: bool = False, **environment: str) -> str:
    """Return what the command prints, with its errors if it is to fail."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr if fails else done.stdout


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder, ROOT, cwd=folder)
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
    output = run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=uploads)
    assert output.count("PASSED") == 2


def test_the_wheel_is_whole(uploads: Path) -> None:
    """Whatever git has of the package, the default student and the app is in it, and compiled C."""
    (wheel,) = uploads.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "ls-files", "mcad_mobile", "models", "android_demo", cwd=ROOT)
    assert not any("/phrases/" in name for name in names)  # which only training reads
    for name in tracked.split():
        if name.startswith("models/mcad-m/phrases/"):
            continue
        home = name if name.startswith("mcad_mobile") else f"mcad_mobile/{name}"
        assert home in names, name
    for folder in ("", "android/arm64-v8a/", "android/x86_64/"):
        assert f"mcad_mobile/engine/native/{folder}libmcad_search.so" in names
    assert re.fullmatch(r"mcad_mobile-[\d.]+-py3-none-(linux|macosx)_\w+", wheel.stem)
    (home,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {f"{home}/licenses/LICENSE", f"{home}/licenses/NOTICE"} <= names


def test_without_a_compiler_a_build_says_what_to_install(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT)
    missing = str(tmp_path / "no-such-compiler")
    output = " ".join(run(*command, cwd=ROOT, fails=True, CC=missing).split())
    assert "search kernels are in C, and no C compiler was found. Install one" in output
    assert "apt-get install gcc libc6-dev" in output
    assert not list(tmp_path.iterdir())


def test_an_editable_install_compiles_beside_the_sources(tmp_path: Path) -> None:
    """And C that changed is compiled by the next one."""
    tree = tmp_path / "checkout"
    listed = run("git", "ls-files", "-z", "mcad_mobile", "models", cwd=ROOT).split("\0")
    for name in ["LICENSE", "NOTICE", "README.md", "pyproject.toml", *filter(None, listed)]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    install = [*pip, "--no-build-isolation", "--upgrade", "--target", site, "-e", tree]
    run(*install, cwd=tmp_path)
    library = tree / "mcad_mobile" / "engine" / "native" / "libmcad_search.so"
    (pointer,) = site.glob("*.pth")
    assert pointer.read_text().split() == [str(tree)]
    program = "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); print(library.mcad_layout())"
    before = int(run(sys.executable, "-c", program, library, cwd=tmp_path))
    source = tree / "mcad_mobile" / "engine" / "native" / "level.c"
    source.write_text(
        source.read_text().replace(
            f"int mcad_layout(void) {{ return {before}; }}", "int mcad_layout(void) { return 99; }"
        )
    )
    run(*install, cwd=tmp_path)
    assert int(run(sys.executable, "-c", program, library, cwd=tmp_path)) == 99


def test_the_demo_runs_from_an_empty_folder(installed: dict[str, str], tmp_path: Path) -> None:
    program = "import mcad_mobile; print(mcad_mobile.__file__)"
    where = run(sys.executable, "-c", program, cwd=tmp_path, **installed)
    assert where.startswith(installed["PYTHONPATH"])
    output = run(
        sys.executable, "-m", "mcad_mobile", "demo", "-t", "cpu", cwd=tmp_path, **installed
    )
    assert (tmp_path / "build" / "demo" / "report.html").stat().st_size > 20_000
    assert "Memory, peak PSS" in output and "camera.png" in output


@pytest.fixture
def arm64_python(arm64: Path, tmp_path: Path) -> Path:
    """A program that runs arm64's Python, and that this Python takes for itself: it can start
    others."""
    (interpreter,) = (arm64 / "usr" / "bin").glob("python3.*[0-9]")
    program = tmp_path / "python3"
    program.write_text(
        f'#!/bin/sh\nexec qemu-aarch64 -cpu cortex-a76 -0 "$0" -L {arm64} '
        f'-E PYTHONHOME={arm64}/usr {interpreter} "$@"\n'
    )
    program.chmod(0o755)
    return program


def test_a_bare_install_indexes_searches_and_benches_on_arm64(
    recent_qemu,
    installed: dict[str, str],
    arm64_library: Path,
    arm64: Path,
    arm64_python: Path,
    cpu: Exported,
    tmp_path: Path,
) -> None:
    """The wheel's files, the kernels compiled for arm64, and what it needs, as pip picks that for
    arm64. `bench` sees that it is emulated, and compares embeddings alone."""
    site = tmp_path / "site"
    release = (arm64 / "usr" / "bin" / "python3").readlink().name.removeprefix("python")
    glibc = [f"manylinux_2_{minor}_aarch64" for minor in (17, 26, 27, 28, 31, 34)]
    platforms = [
        part for name in [*glibc, "manylinux2014_aarch64"] for part in ("--platform", name)
    ]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    target = ["--target", site, "--only-binary=:all:", "--python-version", release, *platforms]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    run(*pip, *target, *project["dependencies"], cwd=tmp_path)
    shutil.copytree(Path(installed["PYTHONPATH"]) / "mcad_mobile", site / "mcad_mobile")
    shutil.copyfile(arm64_library, site / "mcad_mobile" / "engine" / "native" / arm64_library.name)
    assert not list(site.glob("torch*"))
    photos = tmp_path / "photos"
    photos.mkdir()
    wanted = {"camera.png", "chelsea.png", "rocket.jpg"}
    for photo in packaged_photos():
        if photo.name in wanted:
            (photos / photo.name).write_bytes(photo.read_bytes())

    def mcad(*arguments: object) -> Any:
        command = [arm64_python, "-m", "mcad_mobile", *arguments, "-b", cpu.directory, "--json"]
        return json.loads(run(*command, cwd=tmp_path, PYTHONPATH=str(site)))

    index = tmp_path / "index"
    assert mcad("index", photos, "--index", index)["added"] == len(wanted)
    found = mcad("search", "a cat with green eyes", "--index", index, "-k", "1")
    assert Path(found["results"][0]["path"]).name == "chelsea.png"
    assert found["simulated"] is True
    document = mcad("bench", "--synthetic", "500")
    assert document["device"]["arch"] == "aarch64"
    assert document["device"]["emulator"] == "qemu-aarch64"
    assert document["latency_ms"] == document["samples_ms"] == {}
    assert {rungs[0]["status"] for rungs in document["ladder"].values()} == {"pass"}
    assert document["ladder"]["text"][0]["cosine_min"] > 0.999
