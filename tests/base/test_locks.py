"""File locks: one at a time, however a waiting process finds the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from mcad_mobile.base import files, locks
from mcad_mobile.errors import PlatformError


def test_those_who_name_one_lock_are_alone_in_turn(tmp_path: Path) -> None:
    inside = 0

    def go() -> None:
        nonlocal inside
        for _ in range(50):
            with locks.exclusive_lock(tmp_path / "lock"):
                inside += 1
                assert inside == 1
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(go) for _ in range(4)]:
            done.result()
    with pytest.raises(ZeroDivisionError), locks.exclusive_lock(tmp_path / "lock"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_went_while_it_was_waited_for_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had it before removes it: a lock on what is no longer there would keep nobody out."""
    path, lock, times = tmp_path / "lock", locks.lock, 0

    def gone_the_first_time(file: IO[bytes]) -> bool:
        nonlocal times
        times += 1
        if times == 1:
            path.unlink()
        return lock(file)

    monkeypatch.setattr(locks, "lock", gone_the_first_time)
    with locks.exclusive_lock(path), path.open("ab") as other:
        assert not lock(other, wait=False)


def test_partial_files_are_removed_when_they_are_old_and_nobody_writes_them(
    tmp_path: Path,
) -> None:
    with files.Partial(tmp_path / "written"), files.Partial(tmp_path / "left") as left:
        left.file.write(b"what an interrupted run wrote")
        left.file.flush()
        files.remove_partials(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["left.partial"]
    files.remove_partials(tmp_path, least_age_s=3600)
    assert [path.name for path in tmp_path.iterdir()] == ["left.partial"]
    files.remove_partials(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_held_while_a_process_has_its_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    inode = (tmp_path / "lock").stat().st_ino
    table = tmp_path / "locks"
    for at, held in ((f"08:01:{inode}", True), (f"{inode}:01:77", False), ("08:01:77", False)):
        table.write_text(f"1: FLOCK  ADVISORY  WRITE 1234 {at} 0 EOF\n")
        assert locks.held_by_someone(tmp_path / "lock", table) == held
    assert not locks.held_by_someone(tmp_path / "lock", tmp_path / "none")
    assert not locks.held_by_someone(tmp_path / "none", table)


def test_a_lock_that_another_has_is_not_waited_for_when_not_asked_to(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as item, (tmp_path / "lock").open("ab") as other:
        assert locks.lock(item, wait=False)
        assert not locks.lock(other, wait=False)


def test_a_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with (
        pytest.raises(PlatformError, match="Linux and macOS"),
        locks.exclusive_lock(tmp_path / "lock"),
    ):
        pytest.fail("let in")
