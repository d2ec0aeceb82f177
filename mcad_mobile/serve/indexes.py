"""The served indexes: each shows one commit, whose photos have ids, folders and dates, and switches
to the next commit when that is complete."""

from __future__ import annotations

import hashlib
import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.locks import held_by_someone
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.index.manifest import LOCK_NAME, MANIFEST
from mcad_mobile.engine.index.writer import NO_TIME
from mcad_mobile.engine.photos.dates import moment
from mcad_mobile.errors import McadError, QueryError
from mcad_mobile.serve.photos import FolderState, file_state, folder_state
from mcad_mobile.serve.records import Filter


def path_id(path: str) -> str:
    """Return the id of a photo or folder in URLs: 80 bits of its path's BLAKE2b. Requests name ids
    in the index, never paths."""
    return hashlib.blake2b(os.fsencode(path), digest_size=10).hexdigest()


def path_text(path: str) -> str:
    """A path for JSON: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def day(minutes: int) -> str:
    """Return the local day of minutes since 1970 (UTC), "2026-11-25"; "" for NO_TIME."""
    return "" if minutes == NO_TIME else time.strftime("%Y-%m-%d", time.localtime(minutes * 60))


@dataclass(frozen=True)
class Folder:
    """A folder, `depth` levels below the first one; `rows` are its photos and its subfolders'."""

    path: str
    depth: int
    rows: range


def _lineage(folder: str) -> tuple[str, ...]:
    """Return the folders that hold a folder, outermost first, and the folder itself. The outermost
    is "", which holds all photos: keys of shards may be relative or addresses."""
    lineage = [folder]
    while (parent := os.path.dirname(lineage[0])) != lineage[0]:  # noqa: PTH120
        lineage.insert(0, parent)
    return tuple(lineage) if lineage[0] == "" else ("", *lineage)


@dataclass(frozen=True)
class Catalog:
    """N photos, sorted by the bytes of their paths. `taken` [N] int64: minutes since 1970 (UTC), or
    NO_TIME."""

    paths: Sequence[str]
    taken: NDArray[np.int64]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by id."""
        return {path_id(path): row for row, path in enumerate(self.paths)}

    @cached_property
    def ids(self) -> list[str]:
        return list(self.row_of)

    @cached_property
    def row_at(self) -> dict[str, int]:
        """Row by path."""
        return {path: row for row, path in enumerate(self.paths)}

    @cached_property
    def newest_first(self) -> NDArray[np.intp]:
        return np.argsort(-self.taken, kind="stable")

    @cached_property
    def days(self) -> tuple[str, str]:
        """The first and the last day on which photos were taken, "" where none is known."""
        known = self.taken[self.taken > NO_TIME]
        return (day(int(known.min())), day(int(known.max()))) if len(known) else ("", "")

    @cached_property
    def folders(self) -> dict[str, Folder]:
        """Folder by id, in order of path; none above the first that holds photos or branches."""
        holders = {os.path.dirname(path) for path in self.paths}  # noqa: PTH120  any bytes
        if not holders:
            return {}
        lineages = list(map(_lineage, holders))
        top = len(os.path.commonprefix(lineages))  # noqa: RUF071  of tuples
        # By component: "2023/jan" comes before "2023 summer", though a space comes before a slash.
        in_order = sorted({line[:end] for line in lineages for end in range(top, len(line) + 1)})
        return {
            path_id(folder): Folder(folder, len(above) + 1 - top, self._rows_in(folder))
            for *above, folder in in_order
        }

    def _rows_in(self, folder: str) -> range:
        if not folder:
            return range(len(self.paths))
        start = os.fsencode(folder.rstrip(os.sep) + os.sep)
        end = start[:-1] + bytes([start[-1] + 1])
        first, last = (bisect_left(self.paths, at, key=os.fsencode) for at in (start, end))
        return range(first, last)

    def row_filter(self, wanted: Filter) -> RowFilter:
        """Return the index's filter. QueryError: the folder is unknown, or the last day is before
        the first."""
        folders: tuple[str, ...] = ()
        if wanted.folder is not None:
            if wanted.folder not in self.folders:
                raise QueryError(
                    f"The index has no folder {wanted.folder!r}.",
                    "Reload the page, or list the folders again.",
                )
            path = self.folders[wanted.folder].path
            folders = (path,) if path else ()
        if wanted.after and wanted.before and wanted.after > wanted.before:
            raise QueryError(
                f"The last day ({wanted.before}) is before the first ({wanted.after}).",
                "Swap the dates.",
            )
        return RowFilter(
            folders,
            None if wanted.after is None else moment(wanted.after.isoformat()),
            None if wanted.before is None else moment(f"{wanted.before.isoformat()}T23:59") + 1,
            PhotoIndex.filter(place=wanted.place).place,
        )

    def passing(self, rows: RowFilter) -> NDArray[np.bool_]:
        """Return which photos [N] pass a filter."""
        passing = np.ones(len(self.paths), np.bool_)
        for folder in rows.folders:
            inside = self._rows_in(folder)
            passing[: inside.start] = passing[inside.stop :] = False
        if rows.after is not None:
            passing &= self.taken >= rows.after
        if rows.before is not None:
            passing &= (self.taken < rows.before) & (self.taken > NO_TIME)
        return passing


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One commit and its photos. It can be searched even after the files have changed."""

    index: PhotoIndex
    catalog: Catalog

    @classmethod
    def open(cls, directory: Path) -> Snapshot:
        index = PhotoIndex.open(directory)
        dates = index.dates()
        catalog = Catalog(list(dates), np.array(list(dates.values()), np.int64))
        # Compute these here, not in the first search.
        _ = catalog.ids, catalog.row_at, catalog.newest_first, catalog.folders
        return cls(index, catalog)

    def passing(self, rows: RowFilter) -> NDArray[np.bool_]:
        """Return which photos [N] of the catalog pass a filter."""
        passing = self.catalog.passing(rows)
        if rows.place:
            at_place = np.zeros_like(passing)
            row_at = self.catalog.row_at
            at_place[[row_at[path] for path in self.index.passing_paths(rows)]] = True
            passing &= at_place
        return passing


class ServedIndex:
    """An index and its current `snapshot`, which any thread may read. `follow` is called every
    second on one thread. `note` says why an older state is served, if it is."""

    def __init__(self, name: str, directory: Path) -> None:
        self.id = name
        self.directory = directory
        self.note: str | None = None
        self._tried: FolderState | None = None
        self._loaded_state = file_state(directory / MANIFEST)
        self.snapshot = Snapshot.open(directory)
        self.student = (self.snapshot.index.student_sha256, self.snapshot.index.dim)

    @property
    def being_written(self) -> bool:
        return held_by_someone(self.directory / LOCK_NAME)

    def follow(self) -> None:
        """Switch to the commit on disk if it is new and can be read. One that cannot is read again
        after its files have changed."""
        state = file_state(self.directory / MANIFEST)
        if state is None:
            self.note = f"{self.directory} is gone; what it held is still served."
            self._tried = None
        elif state == self._loaded_state:
            self.note = self._tried = None
        elif (files := folder_state(self.directory)) != self._tried:
            self._tried = files
            try:
                found = Snapshot.open(self.directory)
                found.index.check_student(*self.student)
                self.snapshot, self._loaded_state, self.note = found, state, None
            except McadError as error:
                self.note = f"An older state is served. {error.message}"
