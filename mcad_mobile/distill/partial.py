"""Files that take long to make: whole or not there at all, and gone on with after a kill."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

_SUFFIX = ".partial"


class Partial:
    """What becomes `path` by `finish()`, and lies beside it until then.

    `file` is empty, or holds what a run that was cut off left there. It is locked: whoever else
    wants to make `path` waits, and should look whether it is there by then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + _SUFFIX)
        self.file: BinaryIO

    def __enter__(self) -> Partial:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self.file = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
            fcntl.flock(self.file, fcntl.LOCK_EX)
            if _is_still(self.partial, self.file):
                return self
            self.file.close()  # while this waited, another finished it

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.partial.replace(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.flush()
        if _is_still(self.partial, self.file) and not os.fstat(self.file.fileno()).st_size:
            self.partial.unlink()
        self.file.close()


def remove_partials(folder: Path) -> None:
    """Those that no process is writing: what runs left that were cut off and not called again."""
    for partial in folder.glob(f"*{_SUFFIX}"):
        # Written by another run, or, since they were listed, finished by it.
        with suppress(BlockingIOError, FileNotFoundError), partial.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(partial, file):
                partial.unlink()


def _is_still(partial: Path, file: BinaryIO) -> bool:
    """Whether `file` is what lies at `partial`, and not one that was renamed or removed since."""
    try:
        return os.path.samestat(partial.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
