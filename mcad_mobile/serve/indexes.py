"""Indexes that are served: each as of a commit, changed over to the next one when it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcad_mobile.base.locks import held_by_someone
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.manifest import LOCK_NAME, NAME
from mcad_mobile.errors import McadError
from mcad_mobile.serve.catalog import Catalog, camera_date, file_date

_DATES_A_TURN = 500


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One commit and its photos. What holds it may search it for as long as it likes, whatever
    becomes of the files."""

    index: PhotoIndex
    catalog: Catalog
    generation: int


class ServedIndex:
    """`follow` is called now and then, from one thread; `now` may be read from any."""

    def __init__(self, name: str, directory: Path) -> None:
        self.id = name
        self.directory = directory
        self.note: str | None = None
        # path -> what its file's date is, and its camera's, None until it was looked up
        self._dates: dict[str, tuple[int, int | None]] = {}
        self._undated: list[str] = []
        self._seen = _state(directory)
        self.now = self._open()
        self.student = (self.now.index.student_sha256, self.now.index.dim)

    @property
    def dates_known(self) -> int:
        return len(self.now.catalog.paths) - len(self._undated)

    @property
    def being_written(self) -> bool:
        return held_by_someone(self.directory / LOCK_NAME)

    def follow(self) -> bool:
        """Change over to what is on disk, if it is another commit and can be read; else go on with
        the one at hand, and say why in `note`. Then look up some cameras' dates. True if there is
        more of that to do."""
        seen = _state(self.directory)
        if seen is None:
            self.note = f"{self.directory} is gone; what it held is served still."
        elif seen == self._seen:
            self.note = None
        else:
            try:
                self._change_over()
                self._seen, self.note = seen, None
            except McadError as error:
                self.note = f"An older state is served. {error.message}"
        return self._look_up_dates()

    def _change_over(self) -> None:
        PhotoIndex.open(self.directory).check_student(*self.student)
        self.now = self._open()

    def _open(self) -> Snapshot:
        index = PhotoIndex.open(self.directory)
        return Snapshot(index, self._catalog(index.paths()), index.generation)

    def _catalog(self, paths: Sequence[str]) -> Catalog:
        """By the cameras' dates where they were looked up, and files have not changed since."""
        dates: dict[str, tuple[int, int | None]] = {}
        for path in paths:
            date = file_date(path)
            known = self._dates.get(path)
            dates[path] = known if known is not None and known[0] == date else (date, None)
        self._dates = dates
        self._undated = [path for path, (_, camera) in dates.items() if camera is None]
        taken = [camera or file for file, camera in dates.values()]
        made = Catalog(paths, np.array(taken, np.int64))
        # Here, and not in the first search.
        _ = made.ids, made.row_at, made.newest_first, made.folders
        return made

    def _look_up_dates(self) -> bool:
        if not self._undated:
            return False
        for path in self._undated[-_DATES_A_TURN:]:
            self._dates[path] = (self._dates[path][0], camera_date(path))
        del self._undated[-_DATES_A_TURN:]
        if not self._undated:
            now = self.now
            self.now = Snapshot(now.index, self._catalog(now.catalog.paths), now.generation)
        return bool(self._undated)


def _state(directory: Path) -> tuple[int, int, int] | None:
    """What tells one manifest from the next."""
    try:
        found = (directory / NAME).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
