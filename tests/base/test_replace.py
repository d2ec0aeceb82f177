"""A folder that takes another's place: whenever it is cut off, one of the two stands there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mcad_mobile.base.files import replace_folder, restore, set_aside
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BundleError
from tests.support.paths import ROOT
from tests.support.tiny_bundle import make_tiny_bundle

# Killed between the two renames.
KILLED = """
import os, signal, sys
from pathlib import Path
from mcad_mobile.base.files import replace_folder

rename = Path.rename

def once(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)

Path.rename = once
replace_folder(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def kill_between_the_renames(out: Path, made: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(out), str(made)],
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()


def test_the_new_one_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", "old")
    for content in ("new", "newer"):
        replace_folder(out, folder(tmp_path / "made", content))
        assert (out / "file").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupt_at_a_rename_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    out, made = folder(tmp_path / "out", "old"), folder(tmp_path / "made", "new")
    rename, count = Path.rename, 0

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == at:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(out, made)
    assert (out / "file").read_text() == "old"


def test_a_bundle_that_was_set_aside_is_found_by_the_next_load(tmp_path: Path) -> None:
    made = make_tiny_bundle(tmp_path / "bundle")
    kill_between_the_renames(made.directory, folder(tmp_path / ".bundle.partial", "new"))
    assert Bundle.load(made.directory).name == "tiny"
    assert not set_aside(made.directory).exists()


def test_what_was_set_aside_is_put_back_only_where_nothing_stands(tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(out)
    assert not out.exists()
    folder(set_aside(out), "old")
    folder(out, "new")
    restore(out)
    assert (out / "file").read_text() == "new"


def test_a_bundle_that_never_was_is_still_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in (Path("no"), Path("."), Path("/")):  # noqa: PTH201
        with pytest.raises(BundleError, match="No bundle at"):
            Bundle.load(directory)
