"""Embed the photos of one shard, for phones' indexes and for teachers, in any process."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.threads import OrderedPool
from mcad_mobile.embed.pieces import Photo
from mcad_mobile.errors import MissingExtra, PhotoError

_READERS = 4  # threads that wait for files and stores
_KILLED = "It crashed two worker processes."
Cause = Literal["decode", "read", "killed"]
Note = Callable[[Literal["begun", "done"], int], None]


class Model(Protocol):
    """Embeds photos: a bundle's image tower, a teacher, or a teacher's trunk. `threads` decode
    photos (if 1, the computing thread does), and `rows` takes at most `at_once` photos."""

    @property
    def threads(self) -> int: ...

    @property
    def at_once(self) -> int: ...

    def prepare(self, photo: bytes, number: int, key: str) -> Any:
        """Decode photo `number` of a shard, on any thread. PhotoError."""
        ...

    def rows(self, prepared: list[Any]) -> NDArray[Any]:
        """Embed B photos to rows [B, ...]."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """A photo without a row. "read": it may be readable later; "killed": two processes died."""

    key: str
    stamp: int
    why: str
    cause: Cause


@dataclass
class ShardRows:
    """Rows [N, ...] of photos, in the order of the shard; stamps [N, 2] uint32 (folder.py)."""

    rows: NDArray[Any] | None = None  # None if there are no photos
    keys: list[str] = field(default_factory=list)
    stamps: NDArray[np.uint32] = field(default_factory=lambda: np.empty((0, 2), np.uint32))
    left_out: list[LeftOut] = field(default_factory=list)


def embed_shard(
    model: Model,
    photos: Iterable[Photo],
    *,
    excluded: AbstractSet[int] = frozenset(),
    isolated: AbstractSet[int] = frozenset(),
    note: Note = lambda event, number: None,
) -> ShardRows:
    """Embed all photos but those `excluded`, by their numbers from 0; while one of those `isolated`
    is in work, no other is. `note` tells a watching process which photos this one holds."""
    ahead = max(2 * model.threads, _READERS)
    with OrderedPool[_PreparedPhoto](max(model.threads, _READERS), ahead) as pool:
        pipeline = _Pipeline(model, note, pool)
        for number, photo in enumerate(photos):
            if number in excluded:
                pipeline.left_out.append(LeftOut(photo.key, photo.stamp, _KILLED, "killed"))
                continue
            if number in isolated:
                pipeline.finish()
            pipeline.begin(number, photo)
            if number in isolated:
                pipeline.finish()
        pipeline.finish()
    return pipeline.embedded()


@dataclass(frozen=True)
class _PreparedPhoto:
    number: int
    key: str
    stamp: tuple[int, int] = (0, 0)
    prepared: Any = None
    left_out: LeftOut | None = None
    data: bytes | None = None  # not prepared yet


class _Pipeline:
    """Photos in work: read and decoded ahead on threads, embedded in batches."""

    def __init__(self, model: Model, note: Note, pool: OrderedPool[_PreparedPhoto]) -> None:
        self._model = model
        self._note = note
        self._pool = pool
        self._batch: list[_PreparedPhoto] = []
        self._rows: list[NDArray[Any]] = []
        self._photos: list[_PreparedPhoto] = []
        self.left_out: list[LeftOut] = []

    def begin(self, number: int, photo: Photo) -> None:
        self._note("begun", number)
        # With one processor, threads only wait for the store.
        prepare = self._model.prepare if self._model.threads > 1 else None
        for read in self._pool.submit(_read, number, photo, prepare):
            self._take(read)

    def finish(self) -> None:
        for read in self._pool.drain():
            self._take(read)
        self._compute()

    def embedded(self) -> ShardRows:
        return ShardRows(
            np.concatenate(self._rows) if self._rows else None,
            [read.key for read in self._photos],
            np.array([read.stamp for read in self._photos], np.uint32).reshape(-1, 2),
            self.left_out,
        )

    def _take(self, read: _PreparedPhoto) -> None:
        if read.data is not None:
            read = _prepared(read.number, read.key, read.stamp[0], read.data, self._model.prepare)
        if read.left_out is not None:
            self.left_out.append(read.left_out)
            self._note("done", read.number)
            return
        self._batch.append(read)
        if len(self._batch) == self._model.at_once:
            self._compute()

    def _compute(self) -> None:
        if not self._batch:
            return
        batch, self._batch = self._batch, []
        self._rows.append(self._model.rows([read.prepared for read in batch]))
        for read in batch:
            self._photos.append(
                _PreparedPhoto(read.number, read.key, read.stamp)
            )  # without its pixels
            self._note("done", read.number)


Prepare = Callable[[bytes, int, str], Any]


def _read(number: int, photo: Photo, prepare: Prepare | None) -> _PreparedPhoto:
    try:
        data, stat = photo.read()
    except OSError as error:
        reason = f"{photo.key} cannot be read: {error}."
        return _PreparedPhoto(number, photo.key, left_out=LeftOut(photo.key, 0, reason, "read"))
    except PhotoError as error:
        left_out = LeftOut(photo.key, photo.stamp, str(error), "decode")
        return _PreparedPhoto(number, photo.key, left_out=left_out)
    if prepare is None:
        return _PreparedPhoto(number, photo.key, (stat, 0), data=data)
    return _prepared(number, photo.key, stat, data, prepare)


def _prepared(number: int, key: str, stat: int, data: bytes, prepare: Prepare) -> _PreparedPhoto:
    try:
        return _PreparedPhoto(number, key, (stat, zlib.crc32(data)), prepare(data, number, key))
    except (PhotoError, MissingExtra, MemoryError) as error:
        reason = str(error) or f"{key} takes more memory than there is."
        return _PreparedPhoto(number, key, left_out=LeftOut(key, stat, reason, "decode"))
