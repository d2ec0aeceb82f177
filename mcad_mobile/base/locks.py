"""File locks, which the kernel releases when a process is killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any, BinaryIO

from mcad_mobile.errors import PlatformError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def check_platform() -> None:
    """Raise PlatformError on a system without the file locks that writers need."""
    if fcntl is None:
        raise PlatformError(
            f"mcad-mobile runs on Linux and macOS; this is {os.name!r}, which has no flock.",
            "On Windows, run it in WSL (the Windows Subsystem for Linux).",
        )


def lock(file: IO[Any], *, wait: bool = True) -> bool:
    """Lock an open file exclusively until it is closed; return False if another process holds the
    lock and `wait` is False. PlatformError if the system has no such locks."""
    check_platform()
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def held_by_someone(path: Path, table: Path = Path("/proc/locks")) -> bool:
    """Say whether a process holds a lock on the file at `path`; False, too, on a system without
    `table`. Source: proc_locks(5)."""
    try:
        inode = str(path.stat().st_ino)
        lines = table.read_text("ascii").splitlines()
    except (OSError, ValueError):
        return False
    return any(inode in part.split(":")[2:] for line in lines for part in line.split())


def is_still(path: Path, file: IO[Any]) -> bool:
    """Say whether `path` still names the open `file`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def open_locked(path: Path) -> BinaryIO:
    """Open a file to read and write it, made if there is none, and wait until no other process
    holds its lock. PlatformError if the system has no such locks."""
    check_platform()
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        lock(file)
        if is_still(path, file):
            return file
        file.close()  # another process removed or renamed it meanwhile
