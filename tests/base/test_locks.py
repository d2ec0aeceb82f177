"""File locks: one at a time, however a waiting process finds the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import pytest

from mcad_mobile.base import locks
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
