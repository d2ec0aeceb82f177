"""Brings an index up to date with a folder: embeds new and changed photos, keeps moved ones, drops
those that are gone from folders that still hold photos. Each commit saves what was embedded."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.base.files import real_path
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.threads import OrderedPool
from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.moments import moment_path
from mcad_mobile.engine.index.store import KnownPhoto, Membership, Stamp
from mcad_mobile.engine.photos.dates import minutes_changed, minutes_taken
from mcad_mobile.engine.photos.decode import read_photo
from mcad_mobile.engine.photos.folder import (
    Leftovers,
    Skipped,
    is_folder,
    is_gone,
    no_folder,
    no_photos,
    stat_or_none,
    walk,
)
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.photos.video import choose_moments, key_frames, read_stamp, video_behind
from mcad_mobile.engine.towers import LoadedRung, normalize
from mcad_mobile.engine.words.photo_words import PhotoWords
from mcad_mobile.errors import MissingExtra, PhotoError, PhotoIndexError, Remedy

COMMIT_PHOTOS = 1000  # the most that a crash loses; enough for a segment
COMMIT_S = 20.0
_EARLY_PHOTOS, _EARLY_S = 50, 1.0
_SAVED_S = 2.0, 5.0  # from the start; what is embedded by then is written, and again by a commit
_LOOKUP = 1024
_LEAST_COSINE = 0.8  # of two rungs' embeddings of a photo; other photos have less
_AHEAD = 16  # photos per thread that may be embedded during a commit


class Worklist:
    """A file of photos to embed, with the stamps that the index has of them."""

    def __init__(self, file: IO[str]) -> None:
        self.count = 0
        self._file = file

    def put(self, path: str, stat: int, known: Stamp | None) -> None:
        print(json.dumps([path, stat, known]), file=self._file)
        self.count += 1

    def items(self) -> Iterator[tuple[str, int, Stamp | None]]:
        """Yield path, stat stamp and, for known photos, the index's stamp."""
        self._file.seek(0)
        for line in self._file:
            path, stat, known = json.loads(line)
            yield path, stat, tuple(known) if known else None


def renamed_elsewhere(membership: Membership, work: Worklist, inside: str) -> dict[str, Stamp]:
    """Return photos of other folders whose files are gone and whose stat stamp a new photo has."""
    new = np.sort(np.fromiter((stat for _, stat, known in work.items() if not known), np.uint32))
    if not len(new):
        return {}
    return {
        path: stamp
        for path, stamp in membership.missing("")
        if new[min(int(np.searchsorted(new, stamp[0])), len(new) - 1)] == stamp[0]
        and not path.startswith(inside)
        and is_gone(path)
    }


def moved(work: Worklist, gone: dict[str, Stamp]) -> dict[str, tuple[str, Stamp]]:
    """Return new path -> (gone path, stamp) of photos that only moved. Of equal photos, the last of
    `gone` are taken."""
    by_stamp: dict[Stamp, list[str]] = {}
    for path, stamp in gone.items():
        if stamp != (0, 0):
            by_stamp.setdefault(stamp, []).append(path)
    first_stamps = {stamp[0] for stamp in by_stamp}
    moves = {}
    for path, stat, known in work.items():
        if known is not None or stat not in first_stamps:
            continue
        try:
            stamp = read_stamp(path)[1] if is_video(path) else read_photo(path).stamp()
        except PhotoError:
            continue
        equal = by_stamp.get(stamp, [])
        if equal and is_video(equal[-1]) == is_video(path):
            moves[path] = (equal.pop(), stamp)
    return moves


class Embedder(Protocol):
    """Embeds photos on `threads` threads, as a SearchEngine does."""

    @property
    def preprocess(self) -> Preprocess: ...

    @property
    def threads(self) -> int: ...

    @property
    def folder_rung(self) -> LoadedRung: ...

    def words_of(self, photo: bytes) -> PhotoWords | None: ...


@dataclass
class SyncResult:
    """What a run did.

    Attributes:
        added: photos that are new in the index.
        changed: photos whose files had changed, embedded again.
        moved: photos that were found at another path, not embedded again.
        removed: photos that are gone from the index.
        unchanged: photos that were in the index as they are.
        skipped: `path` and `why` of photos that could not be read or decoded; what the index holds
            of them stays.
        left_out: files that are not indexed, by kind: `count`, and the first `paths`.
        kept: photos that stay in the index although their folder is gone or holds no photo any
            more: it may be on a drive that is not mounted.
    """

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    left_out: Leftovers = field(default_factory=dict)
    kept: int = 0


def sync_folder(
    engine: Embedder,
    index: PhotoIndex,
    folder: Path,
    progress: Progress = silent,
    *,
    drop_gone: bool = False,
    commit_photos: int = COMMIT_PHOTOS,
    early_commits: bool = False,
) -> SyncResult:
    """Like SearchEngine.index_folder, in memory that hardly grows with the number of files. A crash
    loses at most `commit_photos`; with `early_commits`, photos are found after 50 or a second."""
    folder = real_path(folder)
    if not is_folder(folder):
        raise no_folder(folder)
    index.check_apart(index._directory, folder)
    result = SyncResult()
    with index.exclusive(), tempfile.TemporaryFile("w+", encoding="ascii") as file:
        work = Worklist(file)
        membership = index.membership()
        photos = walk(folder, result.skipped, result.left_out, videos=True)
        folders: set[str] = set()  # those that hold a photo
        while batch := list(islice(photos, _LOOKUP)):
            folders.update(path.rpartition(os.sep)[0] for path, _ in batch)
            stamps = membership.find([path for path, _ in batch])
            for (path, stat), known in zip(batch, stamps, strict=True):
                if _is_unchanged(known, stat):
                    result.unchanged += 1
                else:
                    work.put(path, stat, known.stamp if known else None)
            progress("photos", result.unchanged + work.count, 0)
        # An unmounted drive looks like an empty folder: keep its photos.
        if not work.count and not result.unchanged and not drop_gone:
            raise no_photos(folder, Remedy.DROP_GONE)
        # The index keeps photos of hidden folders and of those that cannot be listed.
        unseen = {skip.path for skip in result.skipped}
        closed = tuple(f"{path}{os.sep}" for path in unseen)
        inside = f"{str(folder).rstrip(os.sep)}{os.sep}"
        hidden = f"{os.sep}."  # indexed by a run on the hidden folder
        missing = {
            path: stamp
            for path, stamp in membership.missing(inside)
            if path not in unseen
            and not path.startswith(closed)
            and hidden not in path[len(inside) - 1 :]
        }
        # Photos of an unmounted subfolder come back, but a renamed one's are here by another name.
        gone = {path: missing[path] for path in missing if path.rpartition(os.sep)[0] in folders}
        absent = {path: missing[path] for path in missing if path not in gone}
        elsewhere = renamed_elsewhere(membership, work, inside) | absent
        moves = _move_or_delete_gone(index, work, gone, elsewhere, result)
        result.kept = len(absent.keys() - {old for old, _ in moves.values()})
        total = result.unchanged + work.count
        todo = ((path, known) for path, _, known in work.items() if path not in moves)
        embedded = _Batch(index, result, str(engine.folder_rung), commit_photos, early_commits)
        _embed_all(engine, todo, embedded, progress, total)
        if drop_gone:
            result.removed += prune(index)
            result.kept = 0
    return result


def add_photos(
    engine: Embedder, index: PhotoIndex, photos: Sequence[str], progress: Progress = silent
) -> SyncResult:
    """Embed those of `photos` that are new to `index` or have changed, and drop none.
    PhotoIndexError if another writer is at work."""
    result = SyncResult()
    with index.exclusive():
        membership = index.membership()
        todo: list[tuple[str, Stamp | None]] = []
        for photo, known in zip(photos, membership.find(photos), strict=True):
            if _is_unchanged(known, stat_or_none(Path(photo))):
                result.unchanged += 1
            else:
                todo.append((photo, known.stamp if known else None))
        batch = _Batch(index, result, str(engine.folder_rung), COMMIT_PHOTOS)
        _embed_all(engine, todo, batch, progress, len(photos))
    return result


def recheck(engine: Embedder, index: PhotoIndex, photos: int = 8) -> None:
    """Embed up to `photos` of the index's photos again, those whose files are as they were.
    PhotoIndexError if the index holds something else of one."""
    paths = index.paths()
    for path in paths[:: max(len(paths) // photos, 1)][:photos]:
        again, (known,) = _embed(engine, path, None), index.membership().find([path])
        held = index.embedding(path)
        if not len(again.embeddings) or known is None or held is None or known.stamp != again.stamp:
            continue
        cosine = float(held @ again.embeddings[0])
        if not cosine >= _LEAST_COSINE:
            raise PhotoIndexError(
                f"What the index {index._directory} holds of {path} has a cosine of {cosine:.2f} "
                "to the photo's embedding.",
                Remedy.EMBED_AGAIN(index=index._directory),
            )


def _is_unchanged(known: KnownPhoto | None, stat: int | None) -> bool:
    """Say whether a photo need not be read. One without a known time is read again."""
    return known is not None and known.timed and known.stamp != (0, 0) and known.stamp[0] == stat


def prune(index: PhotoIndex) -> int:
    """Drop the photos whose files are gone, wherever they were; return how many."""
    gone = [path for path, _ in index.membership().missing("") if is_gone(path)]
    if not gone:
        return 0
    with index.writer() as writer:
        return writer.delete(gone)


def _move_or_delete_gone(
    index: PhotoIndex,
    work: Worklist,
    gone: dict[str, Stamp],
    elsewhere: dict[str, Stamp],
    result: SyncResult,
) -> dict[str, tuple[str, Stamp]]:
    """Move new photos that equal a gone one, here or `elsewhere`; drop the other photos gone from
    here; return the moves as `moved` does."""
    if not gone and not elsewhere:
        return {}
    moves = moved(work, elsewhere | gone)
    if not gone and not moves:
        return {}
    with index.writer() as writer:
        writer.move([(old, new, stamp) for new, (old, stamp) in moves.items()])
        result.removed = writer.delete([*(gone.keys() - {old for old, _ in moves.values()})])
    result.moved = len(moves)
    return moves


@dataclass(frozen=True)
class _EmbeddedPhoto:
    """A file that was read: its embeddings [N, D], the paths of their N rows in the index, and its
    words, or why there are none; neither, if its bytes have not changed."""

    path: str
    known: bool
    stamp: Stamp = (0, 0)
    minutes: int = 0
    embeddings: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    words: PhotoWords | None = None
    rows: Sequence[str] = ()
    why: str = ""


def _embed(engine: Embedder, path: str, known: Stamp | None) -> _EmbeddedPhoto:
    is_known = known is not None
    try:
        if is_video(path):
            return _embed_video(engine, path, known)
        file = read_photo(path)
        stamp, minutes = file.stamp(), minutes_taken(file.data, file.stat)
        if known is not None and known != (0, 0) and known[1] == stamp[1]:
            return _EmbeddedPhoto(path, is_known, stamp, minutes)
        pixels, words = engine.preprocess.decoded(file.data, path), engine.words_of(file.data)
    except (PhotoError, MissingExtra) as error:
        return _EmbeddedPhoto(path, is_known, why=str(error))
    except MemoryError:
        return _EmbeddedPhoto(path, is_known, why=f"There is not enough memory to resize {path}.")
    embeddings, rows = normalize(engine.folder_rung.tower({"pixels": pixels[None]})), [path]
    if start := video_behind(file.data):
        with suppress(PhotoError, MissingExtra):  # the photo itself can be searched
            times, frames, _ = _embed_frames(engine, path, start)
            every = np.concatenate([embeddings, frames])
            chosen = choose_moments([0, *times], every)
            embeddings = every[chosen]
            rows += [moment_path(path, times[number - 1]) for number in chosen[1:]]
    return _EmbeddedPhoto(path, is_known, stamp, minutes, embeddings, words, rows)


def _embed_video(engine: Embedder, path: str, known: Stamp | None) -> _EmbeddedPhoto:
    stat, stamp = read_stamp(path)
    if known is not None and known != (0, 0) and known[1] == stamp[1]:
        return _EmbeddedPhoto(path, True, stamp, minutes_changed(stat))
    times, frames, taken = _embed_frames(engine, path)
    chosen = choose_moments(times, frames)
    return _EmbeddedPhoto(
        path,
        known is not None,
        stamp,
        minutes_changed(stat) if taken is None else taken,
        frames[chosen],
        rows=[moment_path(path, times[number]) for number in chosen],
    )


def _embed_frames(
    engine: Embedder, path: str, start: int = 0
) -> tuple[list[int], NDArray[np.float32], int | None]:
    """Return N times in milliseconds, embeddings [N, D], and when a video was taken."""
    preprocess, tower = engine.preprocess, engine.folder_rung.tower
    times: list[int] = []
    rows: list[NDArray[np.float32]] = []
    taken: int | None = None
    for frame in key_frames(path, preprocess.resize_to or preprocess.size, start=start):
        rows.append(normalize(tower({"pixels": preprocess.pixels(frame.image)[None]}))[0])
        times.append(frame.milliseconds)
        taken = frame.taken
    return times, np.array(rows), taken


def _embed_all(
    engine: Embedder,
    work: Iterable[tuple[str, Stamp | None]],
    batch: _Batch,
    progress: Progress,
    total: int,
) -> None:
    """Embed on the engine's threads; commit on this one now and then."""
    before = batch.result.unchanged + batch.result.moved
    progress("photos", before, total)
    try:
        for done, photo in enumerate(_on_threads(engine, work), before + 1):
            batch.add(photo)
            progress("photos", done, total)
    finally:
        # Even after an interrupt, keep what is embedded.
        batch.commit()


def _on_threads(
    engine: Embedder, work: Iterable[tuple[str, Stamp | None]]
) -> Iterator[_EmbeddedPhoto]:
    """Yield photos in the order of `work`. Each thread takes a photo from file to embedding, so no
    pixels queue up and all cores are busy whatever the format."""
    with OrderedPool[_EmbeddedPhoto](engine.threads, _AHEAD * engine.threads) as pool:
        for path, known in work:
            yield from pool.submit(_embed, engine, path, known)
        yield from pool.drain()


class _Batch:
    """Photos that are embedded by `rung` and not yet committed."""

    def __init__(
        self,
        index: PhotoIndex,
        result: SyncResult,
        rung: str,
        commit_photos: int,
        early_commits: bool = False,
    ) -> None:
        self.result = result
        self._index, self._rung, self._commit_photos = index, rung, commit_photos
        # Each commit makes a segment, so early commits become rarer and rarer.
        self._limits = (_EARLY_PHOTOS, _EARLY_S) if early_commits else (commit_photos, COMMIT_S)
        self._saves = [] if early_commits else [*_SAVED_S]
        self._last_commit = time.monotonic()
        self._photos: list[_EmbeddedPhoto] = []

    def add(self, photo: _EmbeddedPhoto) -> None:
        if photo.why:
            self.result.skipped.append(Skipped(photo.path, photo.why))
            return
        self._photos.append(photo)
        photos, seconds = self._limits
        waited = time.monotonic() - self._last_commit
        if len(self._photos) >= photos or waited >= seconds:
            self.commit()
            self._limits = min(2 * photos, self._commit_photos), min(2 * seconds, COMMIT_S)
        elif self._saves and waited >= self._saves[0]:
            del self._saves[0]
            self._write()  # a commit writes these photos again, as if they came then

    def commit(self) -> None:
        if self._photos:
            added = self._write()
            self.result.added += sum(not photo.known for photo in added)
            self.result.changed += sum(photo.known for photo in added)
            self.result.unchanged += len(self._photos) - len(added)
            # Not earlier: photos whose commit was interrupted are committed at the end.
            self._photos = []
        self._last_commit = time.monotonic()

    def _write(self) -> list[_EmbeddedPhoto]:
        """Write all photos to the index; return those that have an embedding."""
        added = [photo for photo in self._photos if len(photo.embeddings)]
        touched = [photo for photo in self._photos if not len(photo.embeddings)]
        with self._index.writer() as writer:
            if added:
                # A changed file may have other moments.
                writer.delete([photo.path for photo in added if photo.known])
                each = [len(photo.embeddings) for photo in added]
                writer.add(
                    [row for photo in added for row in photo.rows],
                    np.concatenate([photo.embeddings for photo in added]).astype(np.float32),
                    np.repeat(np.array([photo.stamp for photo in added], np.uint32), each, axis=0),
                    np.repeat(np.array([photo.minutes for photo in added], np.int32), each),
                )
                writer.set_words({photo.path: photo.words for photo in added if photo.words})
                writer.record_filler(self._rung)
            writer.move([(photo.path, photo.path, photo.stamp) for photo in touched])
            writer.set_times({photo.path: photo.minutes for photo in touched})
        return added
