"""A folder and its index: embed what is new or changed, carry over what was moved, drop what is
gone. Nothing is done twice: every commit keeps what was embedded so far, also of a run that is
stopped."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import MissingExtra, PhotoError
from mcad_mobile.folder import (
    Skipped,
    content_stamp,
    is_gone,
    stat_or_none,
    stat_stamp,
    walk,
)
from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.census import Census, Known
from mcad_mobile.preprocess import PHOTO_SUFFIXES, Preprocess
from mcad_mobile.taken import taken

Progress = Callable[[int, int], None]
Stamp = tuple[int, int]

# What a crash can cost (an interrupt costs nothing), and a segment worth having.
_COMMIT_PHOTOS = 1000
_COMMIT_S = 20.0
_LOOKUP = 1024


class Embedder(Protocol):
    """What makes photos into embeddings: a SearchEngine."""

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def threads(self) -> int:
        """On which photos are decoded."""
        ...

    @property
    def image_rung(self) -> Any:
        """Loaded when it is asked for; as text, a rung and whose arithmetic runs it."""
        ...

    def embed_pixels(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass
class Synced:
    """What a run did, in photos. `skipped` could not be read or decoded; what the index held of
    them, it holds still."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def sync_folder(
    embedder: Embedder,
    index: PhotoIndex,
    folder: Path,
    progress: Progress = lambda done, total: None,
    *,
    drop_gone: bool = False,
) -> Synced:
    """Make `index` hold the photos of `folder` as they are now; photos elsewhere are left alone,
    unless `drop_gone`, which drops those whose files are gone.

    Subfolders are read, links to folders are not followed. A subfolder that cannot be listed loses
    no photo. Memory does not grow with the number of files. PhotoError when the folder is missing
    or, without `drop_gone`, holds no photo: an empty mount point is no reason to drop what the
    index has of it. PhotoIndexError, before anything is done, when another writer is at work.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise PhotoError(f"No folder at {folder}.", "Give a folder that holds photos.")
    result = Synced()
    with index.exclusive(), tempfile.TemporaryFile() as file:
        work = _Worklist(file)
        census = index.census()
        photos = walk(folder, result.skipped)
        while batch := list(islice(photos, _LOOKUP)):
            stamps = census.find([path for path, _ in batch])
            for (path, stat), known in zip(batch, stamps, strict=True):
                if _as_known(known, stat):
                    result.unchanged += 1
                else:
                    work.put(path, stat, known.stamp if known else None)
        if not work.count and not result.unchanged and not drop_gone:
            kinds = ", ".join(sorted(PHOTO_SUFFIXES))
            raise PhotoError(
                f"No photos in {folder} (looked for {kinds}, subfolders too).",
                "Give a folder that holds photos; --prune drops those whose files are gone.",
            )
        unseen = {skip.path for skip in result.skipped}
        closed = tuple(f"{path}{os.sep}" for path in unseen)
        inside = f"{str(folder).rstrip(os.sep)}{os.sep}"
        gone = {
            path: stamp
            for path, stamp in census.missing(inside)
            if path not in unseen and not path.startswith(closed)
        }
        moved = _settle_gone(index, work, gone, _elsewhere(census, work, inside), result)
        total = result.unchanged + work.count
        todo = ((path, known) for path, known in work.items() if path not in moved)
        _embed_all(embedder, index, todo, result, lambda done: progress(done, total))
        if drop_gone:
            result.removed += prune(index)
    return result


def add_photos(
    embedder: Embedder,
    index: PhotoIndex,
    photos: Sequence[Path],
    progress: Progress = lambda done, total: None,
) -> Synced:
    """Embed those of `photos` that `index` lacks or that have changed, and drop none.
    PhotoIndexError, before anything is done, when another writer is at work."""
    result = Synced()
    with index.exclusive():
        census = index.census()
        todo: list[tuple[str, Stamp | None]] = []
        for photo, known in zip(photos, census.find([str(p) for p in photos]), strict=True):
            if _as_known(known, stat_or_none(photo)):
                result.unchanged += 1
            else:
                todo.append((str(photo), known.stamp if known else None))
        _embed_all(embedder, index, todo, result, lambda done: progress(done, len(photos)))
    return result


def _as_known(known: Known | None, stat: int | None) -> bool:
    """Say whether a photo need not be read. One whose time is not known is read once more."""
    return known is not None and known.timed and known.stamp != (0, 0) and known.stamp[0] == stat


def prune(index: PhotoIndex) -> int:
    """Drop the photos whose files are gone, wherever they were; return how many."""
    gone = [path for path, _ in index.census().missing("") if is_gone(path)]
    if not gone:
        return 0
    with index.writer() as writer:
        return writer.delete(gone)


class _Worklist:
    """Photos to embed, with the stamps that the index knows of them, in a file."""

    _HEAD = struct.Struct("<?IIIH")

    def __init__(self, file: IO[bytes]) -> None:
        self.count = 0
        self._file = file

    def put(self, path: str, stat: int, known: Stamp | None) -> None:
        raw = os.fsencode(path)
        head = self._HEAD.pack(known is not None, stat, *(known or (0, 0)), len(raw))
        self._file.write(head + raw)
        self.count += 1

    def items(self) -> Iterator[tuple[str, Stamp | None]]:
        for path, _, known in self._all():
            yield path, known

    def new_stamps(self) -> NDArray[np.uint32]:
        """Sorted stat stamps of the photos that the index lacks."""
        new = (stat for _, stat, known in self._all() if known is None)
        return np.unique(np.fromiter(new, np.uint32))

    def _all(self) -> Iterator[tuple[str, int, Stamp | None]]:
        self._file.seek(0)
        for _ in range(self.count):
            held, stat, first, second, length = self._HEAD.unpack(self._file.read(self._HEAD.size))
            path = os.fsdecode(self._file.read(length))
            yield path, stat, (first, second) if held else None


def _elsewhere(census: Census, work: _Worklist, inside: str) -> dict[str, Stamp]:
    """Return photos of other folders whose files are gone and whose stat stamps new photos have:
    their folder may have been renamed."""
    new = work.new_stamps()
    if not len(new):
        return {}
    return {
        path: stamp
        for path, stamp in census.missing("")
        if new[min(int(np.searchsorted(new, stamp[0])), len(new) - 1)] == stamp[0]
        and not path.startswith(inside)
        and is_gone(path)
    }


def _settle_gone(
    index: PhotoIndex,
    work: _Worklist,
    gone: dict[str, Stamp],
    elsewhere: dict[str, Stamp],
    result: Synced,
) -> set[str]:
    """Move what is new and equal to a gone photo, here or `elsewhere`, drop the others that are
    gone here; return the new paths moved."""
    if not gone and not elsewhere:
        return set()
    moves = _moves(work, elsewhere | gone)
    if not gone and not moves:
        return set()
    with index.writer() as writer:
        writer.move([(old, new, stamp) for new, (old, stamp) in moves.items()])
        result.removed = writer.delete([*(gone.keys() - {old for old, _ in moves.values()})])
    result.moved = len(moves)
    return set(moves)


def _moves(work: _Worklist, gone: dict[str, Stamp]) -> dict[str, tuple[str, Stamp]]:
    """Return new path -> (gone path, stamp) of photos that only changed their place."""
    by_stamp: dict[Stamp, str] = {stamp: path for path, stamp in gone.items() if stamp != (0, 0)}
    first_stamps = {stamp[0] for stamp in by_stamp}
    moves = {}
    for path, known in work.items():
        if known is not None or not by_stamp:
            continue
        stat = stat_or_none(Path(path))
        if stat is None or stat not in first_stamps:
            continue
        try:
            stamp = (stat, content_stamp(path))
        except OSError:
            continue
        old = by_stamp.pop(stamp, None)
        if old is not None:
            moves[path] = (old, stamp)
    return moves


@dataclass(frozen=True)
class _Read:
    """A photo file that was read: pixels, or the reason why there are none; `same` when its bytes
    are those that the index knows."""

    path: str
    known: bool
    stamp: Stamp = (0, 0)
    minutes: int = 0
    pixels: NDArray[np.float32] | None = None
    same: bool = False
    why: str = ""


def _read(embedder: Embedder, path: str, known: Stamp | None) -> _Read:
    held = known is not None
    try:
        stat = os.stat(path)  # noqa: PTH116  a path of any bytes
        minutes = taken(path, stat)
        if known is not None and known != (0, 0) and known[0] == stat_stamp(stat):
            return _Read(path, held, known, minutes, same=True)
        stamp = (stat_stamp(stat), content_stamp(path))
        if known is not None and known != (0, 0) and known[1] == stamp[1]:
            return _Read(path, held, stamp, minutes, same=True)
        return _Read(path, held, stamp, minutes, embedder.preprocess(Path(path)))
    except (PhotoError, MissingExtra) as error:
        return _Read(path, held, why=str(error))
    except (OSError, ValueError) as error:
        return _Read(path, held, why=f"{path} cannot be read: {error}.")


def _embed_all(
    embedder: Embedder,
    index: PhotoIndex,
    work: Iterable[tuple[str, Stamp | None]],
    result: Synced,
    progress: Callable[[int], None],
) -> None:
    """Decode on as many threads as the embedder has, embed here, commit now and then."""
    done = result.unchanged + result.moved
    progress(done)
    batch = _Batch(index, result)
    try:
        for read in _read_ahead(embedder, work):
            if read.why:
                result.skipped.append(Skipped(read.path, read.why))
            elif read.pixels is None:
                batch.touch(read)
            else:
                batch.add(read, embedder.embed_pixels(read.pixels), str(embedder.image_rung))
            done += 1
            progress(done)
    finally:
        # Also when the user interrupts: what is embedded is kept.
        batch.commit()


def _read_ahead(embedder: Embedder, work: Iterable[tuple[str, Stamp | None]]) -> Iterator[_Read]:
    _ = embedder.image_rung  # a runtime that is missing is an error, not a photo to skip
    waiting: deque[Future[_Read]] = deque()
    with ThreadPoolExecutor(embedder.threads) as pool:
        try:
            for path, known in work:
                waiting.append(pool.submit(_read, embedder, path, known))
                if len(waiting) >= 2 * embedder.threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class _Batch:
    """Photos that are embedded and not yet committed."""

    def __init__(self, index: PhotoIndex, result: Synced) -> None:
        self._index = index
        self._result = result
        self._since = time.monotonic()
        self._added: list[tuple[_Read, NDArray[np.float32]]] = []
        self._touched: list[_Read] = []
        self._arithmetic = ""

    def add(self, read: _Read, embedding: NDArray[np.float32], arithmetic: str) -> None:
        self._added.append((read, embedding))
        self._arithmetic = arithmetic
        self._commit_if_due()

    def touch(self, read: _Read) -> None:
        self._touched.append(read)
        self._commit_if_due()

    def _commit_if_due(self) -> None:
        held = len(self._added) + len(self._touched)
        if held >= _COMMIT_PHOTOS or time.monotonic() - self._since >= _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        added, touched = self._added, self._touched
        if added or touched:
            with self._index.writer() as writer:
                if added:
                    writer.add(
                        [read.path for read, _ in added],
                        np.stack([embedding for _, embedding in added]),
                        np.array([read.stamp for read, _ in added], np.uint32),
                        np.array([read.minutes for read, _ in added], np.int32),
                    )
                    writer.filled_by(self._arithmetic)
                writer.move([(read.path, read.path, read.stamp) for read in touched])
                writer.retake({read.path: read.minutes for read in touched})
            self._result.added += sum(not read.known for read, _ in added)
            self._result.changed += sum(read.known for read, _ in added)
            self._result.unchanged += len(touched)
            # Not before: what an interrupt kept from being committed is committed at the end.
            self._added, self._touched = [], []
        self._since = time.monotonic()
