"""A folder that takes another's place: whenever it is cut off, one of the two stands there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from mcad_mobile.base import files
from mcad_mobile.base.files import aside_path, check_movable, replace_folder, restore
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import BundleError, DiskError
from tests.support.processes import run_python
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
    assert run_python("-c", KILLED, out, made).returncode == -signal.SIGKILL
    assert not out.exists()


def test_the_new_one_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    out = folder(tmp_path / "out", "old")
    for content in ("new", "newer"):
        folder(aside_path(out), "of a run that was killed before it removed it")
        replace_folder(out, folder(tmp_path / "made", content))
        assert (out / "file").read_text() == content
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_and_the_folder_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    target = folder(tmp_path / "v1", "old")
    link = tmp_path / "current"
    link.symlink_to("v1")
    for content in ("new", "newer"):
        replace_folder(link, folder(tmp_path / "made", content))
        assert (target / "file").read_text() == content
        assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]
        assert link.is_symlink()
    kill_between_the_renames(link, folder(tmp_path / "made", "new"))
    restore(link)
    assert (target / "file").read_text() == "newer"


def test_what_cannot_be_moved_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for place in ("new", "../other"):
        check_movable(Path(place))
    for place in (".", "..", str(tmp_path)):
        with pytest.raises(DiskError, match="cannot be replaced: it is the current folder, or"):
            check_movable(Path(place))
    with pytest.raises(DiskError, match="/dev cannot be replaced: a disk is mounted there"):
        check_movable(Path("/dev"))


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
    assert not aside_path(made.directory).exists()


def test_what_was_set_aside_is_put_back_only_where_nothing_stands(tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(out)
    assert not out.exists()
    folder(aside_path(out), "old")
    link = tmp_path / "link" / "out"
    link.parent.mkdir()
    link.symlink_to(out)
    restore(link)
    assert (out / "file").read_text() == (link / "file").read_text() == "old"
    folder(aside_path(out), "older")
    restore(out)
    assert (out / "file").read_text() == "old"


def test_a_bundle_that_never_was_is_still_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for directory in (Path("no"), Path("."), Path("/")):  # noqa: PTH201
        with pytest.raises(BundleError, match="No bundle at"):
            Bundle.load(directory)


def error(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), *([] if file is None else [file]))


def test_errors_of_a_disk_say_what_is_the_matter_and_others_are_not_the_disk_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, denied, full = tmp_path / "out", os.strerror(errno.EACCES), os.strerror(errno.ENOSPC)
    for raised, about, message in (
        (error(errno.EACCES, "/b"), path, f"{path} cannot be written: {denied} (/b)."),
        (error(errno.EACCES, str(path)), path, f"{path} cannot be written: {denied}."),
        (error(errno.EACCES), path, f"{path} cannot be written: {denied}."),
        (error(errno.ENOSPC, "/b"), None, f"/b cannot be read or written: {full}."),
        (error(errno.ENOSPC), None, f"A file cannot be read or written: {full}."),
    ):
        found = files.disk_error(about, raised)
        assert found is not None and found.message == message
        room = raised.errno == errno.ENOSPC
        assert found.hint.startswith("Free some space" if room else "Choose another place")
    for number in (errno.EDQUOT, errno.EFBIG):
        assert files.as_disk_error(path, error(number)).hint.startswith("Free some space")
    of_a_disk = (errno.EROFS, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR)
    assert all(files.disk_error(path, error(number)) for number in of_a_disk)
    usage = shutil.disk_usage(tmp_path)._replace(free=(1 << 20) - 1)
    others = (ValueError("no"), error(errno.ENOENT, "/b"))
    assert [files.disk_error(path, raised) for raised in others] == [None, None]
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    # Libraries say it in their own words: where nothing is free, it is believed.
    for raised in others:
        found = files.disk_error(path, raised)
        assert found is not None and found.message == f"The disk of {tmp_path} is full: {raised}"
    assert files.disk_error(path, KeyboardInterrupt()) is files.disk_error(None, others[0]) is None
    usage = usage._replace(free=1 << 20)
    assert files.disk_error(path, others[0]) is None


def test_what_cannot_be_overwritten_is_refused_before_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").touch()
    files.check_file(tmp_path / "there")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(DiskError, match="there exists and cannot be overwritten"):
        files.check_file(tmp_path / "there")
