"""Embed the photos of one shard, in any process."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
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
    """Embeds photos, such as a bundle's image tower. `threads` decode them; if 1, the computing
    thread does."""

    @property
    def threads(self) -> int: ...

    def prepare(self, photo: bytes, key: str) -> Any:
        """Decode a photo, on any thread. PhotoError."""
        ...

    def row(self, prepared: Any) -> NDArray[np.float32]:
        """Embed a photo: [D]."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """A photo without a row. "read": it may be readable later; "killed": two processes died."""

    key: str
    stamp: int
    why: str
    cause: Cause


@dataclass(frozen=True)
class ShardRows:
    """Rows [N, D] of photos, in the order of the shard; stamps [N, 2] uint32 (folder.py)."""

    rows: NDArray[np.float32]
    keys: list[str]
    stamps: NDArray[np.uint32]
    left_out: list[LeftOut]


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
    rows: list[NDArray[np.float32]] = []
    keys: list[str] = []
    stamps: list[tuple[int, int]] = []
    left_out: list[LeftOut] = []
    # With one processor, threads only wait for the store.
    decodes_ahead = model.threads > 1

    def read(number: int, photo: Photo) -> tuple[int, str, _Result]:
        found = _read(photo)
        return number, photo.key, _decoded(model, photo.key, found) if decodes_ahead else found

    def embed(results: Iterable[tuple[int, str, _Result]]) -> None:
        for number, key, found in results:
            decoded = _decoded(model, key, found)
            if isinstance(decoded, LeftOut):
                left_out.append(decoded)
            else:
                rows.append(model.row(decoded.prepared))
                keys.append(key)
                stamps.append(decoded.stamps)
            note("done", number)

    ahead = max(2 * model.threads, _READERS)
    with OrderedPool[tuple[int, str, _Result]](max(model.threads, _READERS), ahead) as pool:
        for number, photo in enumerate(photos):
            if number in excluded:
                left_out.append(LeftOut(photo.key, photo.stamp, _KILLED, "killed"))
                continue
            if number in isolated:
                embed(pool.drain())
            note("begun", number)
            embed(pool.submit(read, number, photo))
            if number in isolated:
                embed(pool.drain())
        embed(pool.drain())
    return ShardRows(
        np.array(rows, np.float32), keys, np.array(stamps, np.uint32).reshape(-1, 2), left_out
    )


_Read = tuple[bytes, int]  # a photo's bytes and its stat stamp


@dataclass(frozen=True)
class _Decoded:
    prepared: Any
    stamps: tuple[int, int]


_Result = _Read | _Decoded | LeftOut


def _read(photo: Photo) -> _Read | LeftOut:
    try:
        return photo.read()
    except OSError as error:
        return LeftOut(photo.key, 0, f"{photo.key} cannot be read: {error}.", "read")
    except PhotoError as error:
        return LeftOut(photo.key, photo.stamp, str(error), "decode")


def _decoded(model: Model, key: str, read: _Result) -> _Decoded | LeftOut:
    if not isinstance(read, tuple):
        return read
    data, stat = read
    try:
        return _Decoded(model.prepare(data, key), (stat, zlib.crc32(data)))
    except (PhotoError, MissingExtra, MemoryError) as error:
        reason = str(error) or f"{key} takes more memory than there is."
        return LeftOut(key, stat, reason, "decode")
