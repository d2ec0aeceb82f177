"""File locks: one at a time, however a waiting process finds the file."""

from __future__ import annotations

import subprocess
import sys
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
            with locks.open_locked(tmp_path / "lock"):
                inside += 1
                assert inside == 1
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(go) for _ in range(4)]:
            done.result()


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
    with locks.open_locked(path), path.open("ab") as other:
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


def test_a_lock_is_seen_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.touch()
    assert not locks.held_by_someone(file)
    hold = (
        "import sys; from mcad_mobile.base.locks import lock\n"
        "with open(sys.argv[1], 'ab') as file: lock(file); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert locks.held_by_someone(file)
        process.communicate("\n", timeout=30)
    assert not locks.held_by_someone(file)
    assert not locks.held_by_someone(tmp_path / "nothing")
    assert not locks.held_by_someone(file, table=tmp_path / "no table")


def test_a_lock_that_another_has_is_not_waited_for_when_not_asked_to(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as item, (tmp_path / "lock").open("ab") as other:
        assert locks.lock(item, wait=False)
        assert not locks.lock(other, wait=False)


def test_a_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with (
        pytest.raises(PlatformError, match="Linux and macOS"),
        locks.open_locked(tmp_path / "lock"),
    ):
        pytest.fail("let in")
