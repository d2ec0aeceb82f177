"""`mcad-mobile index` as a process: runs that are cut short, runs beside each other, --prune."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.cli.wording import hint_of
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import McadError, Remedy
from tests.support.paths import ROOT
from tests.support.processes import run_python
from tests.support.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.long


# The command, killed before the manifest of the first commit takes its name.
KILLED = """
import os, signal
from pathlib import Path
from mcad_mobile.cli import main
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
main()
"""
COMMAND = "from mcad_mobile.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in packaged_photos()[:3]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    make_tiny_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def index(
    photos: Path | str, bundle: Path, *options: str, code: str = COMMAND
) -> subprocess.CompletedProcess[str]:
    arguments = ("index", photos, "--bundle", bundle, "--json", *options)
    return run_python("-c", code, *arguments, env={"OMP_NUM_THREADS": "1"})


def document_of(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_first_run_that_was_killed_is_simply_run_again(
    tmp_path: Path, folder: Path, bundle: Path
) -> None:
    directory = tmp_path / "index"
    killed = index(folder, bundle, "--index", str(directory), code=KILLED)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert sorted(path.name for path in directory.iterdir()) == ["lock", "manifest.json.tmp"]
    assert document_of(index(folder, bundle, "--index", str(directory)))["photos"] == 3
    PhotoIndex.open(directory).verify()


def test_an_empty_folder_becomes_an_index(tmp_path: Path, folder: Path, bundle: Path) -> None:
    (tmp_path / "index").mkdir()
    assert document_of(index(folder, bundle, "--index", str(tmp_path / "index")))["added"] == 3


def test_an_empty_folder_is_an_error_that_prune_is_the_way_out_of(
    tmp_path: Path, folder: Path, bundle: Path
) -> None:
    document_of(index(folder, bundle))
    for path in folder.iterdir():
        path.unlink()
    refused = index(folder, bundle)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--prune" in refused.stderr
    pruned = document_of(index(folder, bundle, "--prune"))
    assert (pruned["removed"], pruned["photos"]) == (3, 0)
    missing = index(tmp_path / "mistyped", bundle, "--prune")
    assert (missing.returncode, "No folder at" in missing.stderr) == (1, True)


def test_photos_of_a_deleted_folder_are_dropped_by_prune_alone(folder: Path, bundle: Path) -> None:
    document_of(index(folder, bundle))
    first, *others = sorted(folder.iterdir())
    for path in others:
        path.unlink()
    assert document_of(index("--prune", bundle))["removed"] == 2
    first.unlink()
    folder.rmdir()
    pruned = document_of(index("--prune", bundle))
    assert (pruned["removed"], pruned["photos"]) == (1, 0)


# A run that stops at its second photo until it is told to go on.
WAITING = """
import sys
from pathlib import Path
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.sync import sync_folder

def wait(step, done, total):
    if done == 1:
        print("waiting", flush=True)
        sys.stdin.readline()

bundle = Bundle.load(Path(sys.argv[2]))
index = create_index(bundle, Path(sys.argv[3]))
print(sync_folder(SearchEngine(bundle, threads=1), index, Path(sys.argv[1]), wait).added)
"""


def test_a_second_run_beside_the_first_is_refused_at_once_and_readers_are_not(
    tmp_path: Path, folder: Path, bundle: Path
) -> None:
    directory = tmp_path / "index"
    first = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(folder), str(bundle), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert first.stdout
        assert first.stdout.readline() == "waiting\n"
        second = index(folder, bundle, "--index", str(directory))
        assert (second.returncode, second.stdout) == (1, "")
        assert "Another writer is at work" in second.stderr
        assert PhotoIndex.open(directory).paths() == []
        out, _ = first.communicate("go on\n", timeout=120)
    finally:
        first.kill()
    assert (first.returncode, out) == (0, "3\n")
    assert document_of(index(folder, bundle, "--index", str(directory)))["unchanged"] == 3


def test_a_folder_of_which_nothing_can_be_read_is_an_error(
    tmp_path: Path, folder: Path, bundle: Path
) -> None:
    for number in range(2):
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / f"{number}.jpg").write_bytes(b"no photo")
    failed = index(tmp_path / "broken", bundle)
    assert failed.returncode == 1
    assert len(json.loads(failed.stdout)["skipped"]) == 2
    assert f"No photo in {tmp_path / 'broken'} could be read, 2 tried" in failed.stderr
    shutil.copy(next(folder.iterdir()), tmp_path / "broken")
    assert len(document_of(index(tmp_path / "broken", bundle))["skipped"]) == 2
    assert document_of(index(tmp_path / "broken", bundle))["unchanged"] == 1


def test_a_damaged_index_is_named_by_verify_and_doctor_and_mended(
    tmp_path: Path, folder: Path, bundle: Path
) -> None:
    index(folder, bundle)
    place = tmp_path / "bundle.index"
    runner, where = CliRunner(), ["--bundle", str(bundle)]

    def run(*arguments: str) -> tuple[int, str]:
        done = runner.invoke(app, [*arguments])
        hint = hint_of(done.exception) if isinstance(done.exception, McadError) else ""
        return done.exit_code, f"{done.output}{done.exception}{hint}"

    assert run("index", "--verify", *where, "--json")[0] == 0
    assert json.loads(runner.invoke(app, ["index", "--verify", *where, "--json"]).stdout) == {
        "index": str(place),
        "photos": 3,
        "whole": True,
    }
    code, text = run("doctor", "--index", str(place))
    assert code == 0 and "intact, 3 photos" in text
    (segment,) = place.glob("*.mcs")
    raw = segment.read_bytes()
    segment.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    code, text = run("index", "--verify", *where)
    assert code == 1 and segment.name in text and "--repair" in text
    code, text = run("doctor", "--index", str(place))
    assert code == 1 and segment.name in text and "--repair" in text
    done = runner.invoke(app, ["index", "--repair", *where, "--json"])
    assert json.loads(done.stdout) == {"index": str(place), "photos": 0, "dropped": 3}
    index(folder, bundle)
    assert run("index", "--verify", *where)[0] == 0
    opened = PhotoIndex.open(place)
    assert opened.photos == 3
    # Numbers of no photo, under checksums that are right.
    stamps, paths = dict(opened.membership().missing("")), opened.paths()
    with opened.writer() as writer:
        writer.add(paths, np.eye(3, opened.dim, dtype=np.float32), np.array([*stamps.values()]))
    code, text = run("index", "--verify", *where)
    assert code == 1 and paths[0] in text
    for wrong in (
        ["--verify", str(folder)],
        ["--verify", "--repair"],
        ["--rebuild", "--verify"],
    ):
        assert run("index", *wrong, *where)[0] == 2


def test_no_index_is_made_in_the_folder_of_the_photos(folder: Path, bundle: Path) -> None:
    before = sorted(folder.iterdir())
    done = index(folder, bundle, "--index", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert hint_of(McadError("", Remedy.MOVE_INDEX)) in done.stderr
    assert sorted(folder.iterdir()) == before
