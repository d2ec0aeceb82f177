"""The served indexes: each at one commit, and switched to the next when that one is complete."""

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
from mcad_mobile.serve.photos import file_state

_DATES_A_TURN = 500


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One commit and its photos. It can be searched even after the files have changed."""

    index: PhotoIndex
    catalog: Catalog
    generation: int


class ServedIndex:
    """An index and its current snapshot, `now`, which any thread may read. `follow` is called every
    second on one thread. `note` says why an older state is served, if it is."""

    def __init__(self, name: str, directory: Path) -> None:
        self.id = name
        self.directory = directory
        self.note: str | None = None
        # path -> the file's date and the camera's, which is None until it is looked up
        self._dates: dict[str, tuple[int, int | None]] = {}
        self._undated: list[str] = []
        self._seen = file_state(directory / NAME)
        self.now = self._open()
        self.student = (self.now.index.student_sha256, self.now.index.dim)

    @property
    def dates_known(self) -> int:
        return len(self.now.catalog.paths) - len(self._undated)

    @property
    def being_written(self) -> bool:
        return held_by_someone(self.directory / LOCK_NAME)

    def follow(self) -> bool:
        """Switch to the commit on disk if it is new and can be read; then look up the camera dates
        of some photos. Return whether there are more to look up."""
        seen = file_state(self.directory / NAME)
        if seen is None:
            self.note = f"{self.directory} is gone; what it held is served still."
        elif seen == self._seen:
            self.note = None
        else:
            try:
                self._switch()
                self._seen, self.note = seen, None
            except McadError as error:
                self.note = f"An older state is served. {error.message}"
        return self._look_up_dates()

    def _switch(self) -> None:
        PhotoIndex.open(self.directory).check_student(*self.student)
        self.now = self._open()

    def _open(self) -> Snapshot:
        index = PhotoIndex.open(self.directory)
        return Snapshot(index, self._catalog(index.paths()), index.generation)

    def _catalog(self, paths: Sequence[str]) -> Catalog:
        """A catalog with the camera dates that are known of files that have not changed since."""
        dates: dict[str, tuple[int, int | None]] = {}
        for path in paths:
            date = file_date(path)
            known = self._dates.get(path)
            dates[path] = known if known is not None and known[0] == date else (date, None)
        self._dates = dates
        self._undated = [path for path, (_, camera) in dates.items() if camera is None]
        taken = [camera or file for file, camera in dates.values()]
        catalog = Catalog(paths, np.array(taken, np.int64))
        # Compute these here, not in the first search.
        _ = catalog.ids, catalog.row_at, catalog.newest_first, catalog.folders
        return catalog

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
