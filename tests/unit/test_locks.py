"""File locks: one at a time, however a waiting process finds the file."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mcad_mobile import locks
from mcad_mobile.errors import PlatformError


def test_those_who_name_one_lock_are_alone_in_turn(tmp_path: Path) -> None:
    inside, most, times = 0, 0, 40
    guard = threading.Lock()

    def go() -> None:
        nonlocal inside, most
        for _ in range(times):
            with locks.alone(tmp_path / "lock"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_another_has_is_not_waited_for_when_not_asked_to(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as one, (tmp_path / "lock").open("ab") as other:
        assert locks.lock(one, wait=False)
        assert not locks.lock(other, wait=False)


def test_a_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with pytest.raises(PlatformError, match="Linux and macOS"), locks.alone(tmp_path / "lock"):
        pytest.fail("let in")
