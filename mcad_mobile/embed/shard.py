"""Embed the photos of one shard, for phones' indexes and for teachers, in any process.

A photo that cannot be read or decoded is skipped here: embed_shard leaves it out, with the reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.threads import OrderedPool
from mcad_mobile.errors import MissingExtra, PhotoError

_READERS = 4  # threads that wait for files and stores
Cause = Literal["decode", "read", "killed"]
Note = Callable[[Literal["begun", "done"], int], None]


class OnePhoto(Protocol):
    """A photo's name, its stat stamp as it was listed (0 where nobody looked), and how to have its
    bytes and its stamp now."""

    @property
    def key(self) -> str: ...

    @property
    def stamp(self) -> int: ...

    @property
    def read(self) -> Callable[[], tuple[bytes, int]]: ...


class Model(Protocol):
    """What makes photos into rows: a bundle's image tower, a teacher, a trunk of one."""

    @property
    def threads(self) -> int:
        """On which photos are decoded; with one, that which computes does it."""
        ...

    @property
    def at_once(self) -> int:
        """How many photos `rows` is asked for at once, at most."""
        ...

    def prepare(self, photo: bytes, number: int, key: str) -> Any:
        """A photo's bytes, and which of its shard it is -> what `rows` takes. PhotoError if they
        cannot be decoded. Called from several threads."""
        ...

    def rows(self, prepared: list[Any]) -> NDArray[Any]:
        """[B, ...], a row each."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """A photo that has no row: what it was called, its stat stamp, and why. `read`: it may be
    readable another day; `killed`: it ended two processes, one after the other."""

    key: str
    stamp: int
    why: str
    cause: Cause


@dataclass
class Embedded:
    """Rows [N, ...] of photos, in the order of the shard; stamps [N, 2] uint32 (folder.py)."""

    rows: NDArray[Any] | None = None  # None: of no photo
    keys: list[str] = field(default_factory=list)
    stamps: NDArray[np.uint32] = field(default_factory=lambda: np.empty((0, 2), np.uint32))
    left_out: list[LeftOut] = field(default_factory=list)


def embed_shard(
    model: Model,
    photos: Iterable[OnePhoto],
    *,
    without: AbstractSet[int] = frozenset(),
    alone: AbstractSet[int] = frozenset(),
    note: Note = lambda what, number: None,
) -> Embedded:
    """What `model` gives for each photo; the same for the same photos, wherever it runs.

    Photos are known by their numbers, from 0. Those of `without` are left out: they killed the
    processes that had them in hand. While one of `alone` is at work no other photo is. `note` hears
    which are begun and done with: whoever watches this process from outside then knows what it had
    in hand when it ended. Photos that cannot be read or decoded are left out.
    """
    ahead = max(2 * model.threads, _READERS)
    with OrderedPool[_Read](max(model.threads, _READERS), ahead) as pool:
        line = _Line(model, note, pool)
        for number, photo in enumerate(photos):
            if number in without:
                line.leave_out(LeftOut(photo.key, photo.stamp, _KILLED, "killed"))
                continue
            if number in alone:
                line.finish()
            line.begin(number, photo)
            if number in alone:
                line.finish()
        line.finish()
    return line.embedded()


_KILLED = "It ended the process that had it in hand, twice."


@dataclass(frozen=True)
class _Read:
    number: int
    key: str
    stamp: tuple[int, int] = (0, 0)
    prepared: Any = None
    left_out: LeftOut | None = None
    data: bytes | None = None  # not prepared yet


class _Line:
    """Photos on their way: read and decoded ahead on threads, a batch at a time into rows."""

    def __init__(self, model: Model, note: Note, pool: OrderedPool[_Read]) -> None:
        self._model = model
        self._note = note
        self._pool = pool
        self._batch: list[_Read] = []
        self._rows: list[NDArray[Any]] = []
        self._kept: list[_Read] = []
        self._left_out: list[LeftOut] = []

    def leave_out(self, photo: LeftOut) -> None:
        self._left_out.append(photo)

    def begin(self, number: int, photo: OnePhoto) -> None:
        self._note("begun", number)
        # With one processor all but the wait for a store's answer is done on this thread.
        prepare = self._model.prepare if self._model.threads > 1 else None
        for read in self._pool.submit(_read, number, photo, prepare):
            self._take(read)

    def finish(self) -> None:
        for read in self._pool.drain():
            self._take(read)
        self._compute()

    def embedded(self) -> Embedded:
        return Embedded(
            np.concatenate(self._rows) if self._rows else None,
            [read.key for read in self._kept],
            np.array([read.stamp for read in self._kept], np.uint32).reshape(-1, 2),
            self._left_out,
        )

    def _take(self, read: _Read) -> None:
        if read.data is not None:
            read = _prepared(read.number, read.key, read.stamp[0], read.data, self._model.prepare)
        if read.left_out is not None:
            self.leave_out(read.left_out)
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
            self._kept.append(_Read(read.number, read.key, read.stamp))  # its pixels are let go
            self._note("done", read.number)


Prepare = Callable[[bytes, int, str], Any]


def _read(number: int, photo: OnePhoto, prepare: Prepare | None) -> _Read:
    """A photo's bytes; what a model prepares of them, if it is given."""
    try:
        data, stat = photo.read()
    except OSError as error:
        why = f"{photo.key} cannot be read: {error}."
        return _Read(number, photo.key, left_out=LeftOut(photo.key, 0, why, "read"))
    if prepare is None:
        return _Read(number, photo.key, (stat, 0), data=data)
    return _prepared(number, photo.key, stat, data, prepare)


def _prepared(number: int, key: str, stat: int, data: bytes, prepare: Prepare) -> _Read:
    try:
        return _Read(number, key, (stat, zlib.crc32(data)), prepare(data, number, key))
    except (PhotoError, MissingExtra) as error:
        return _Read(number, key, left_out=LeftOut(key, stat, str(error), "decode"))


def rows_of(embedded: Embedded, shape: Sequence[int]) -> NDArray[np.float32]:
    """Rows [N, *shape] float32, also of no photo."""
    if embedded.rows is None:
        return np.empty((0, *shape), np.float32)
    return np.asarray(embedded.rows, np.float32)
