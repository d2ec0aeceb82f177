"""Files that take long to make: whole or not there at all, and gone on with after a kill."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mcad_mobile.locks import is_still, lock

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
            lock(self.file)
            if is_still(self.partial, self.file):
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
        if is_still(self.partial, self.file) and not os.fstat(self.file.fileno()).st_size:
            self.partial.unlink()
        self.file.close()


def remove_partials(folder: Path) -> None:
    """Those that no process is writing: what runs left that were cut off and not called again."""
    for partial in folder.glob(f"*{_SUFFIX}"):
        # Written by another run, or, since they were listed, finished by it.
        with suppress(FileNotFoundError), partial.open("r+b") as file:
            if lock(file, wait=False) and is_still(partial, file):
                partial.unlink()
