"""Reads the text in the photos of an index, after they were embedded. Each commit saves it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.base.threads import OrderedPool
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.store import Stamp
from mcad_mobile.engine.photos.decode import open_bytes, read_photo
from mcad_mobile.engine.photos.folder import Skipped, stat_or_none
from mcad_mobile.engine.reading.reader import AT_LEAST, Reader
from mcad_mobile.engine.sync import COMMIT_S
from mcad_mobile.engine.words.photo_words import PhotoWords
from mcad_mobile.errors import MissingExtra, PhotoError

_WAITS_S = 2.0, 5.0, COMMIT_S  # before the first commits; then always the last
_LEAST_WAIT = 10  # times what the last commit took, as it writes a segment's words anew
_AHEAD = 4  # photos per thread that may be read during a commit


@dataclass
class ReadResult:
    """What a run read.

    Attributes:
        photos: how many photos were read.
        with_text: how many of them have text.
        skipped: `path` and `why` of photos that could not be read; they are not tried again until
            their files change.
    """

    photos: int = 0
    with_text: int = 0
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class _ReadPhoto:
    path: str
    words: PhotoWords
    why: str = ""


def read_index(
    reader: Reader,
    places_of: Callable[[bytes], tuple[str, ...]],
    index: PhotoIndex,
    progress: Progress = silent,
    *,
    threads: int = 1,
    waits: Sequence[float] = _WAITS_S,
) -> ReadResult:
    """Read the photos of an index whose text was not read, and set their words.

    Args:
        reader: what reads them, on `threads` threads at once.
        places_of: names the places of a photo by the bytes of its file.
        index: the index; photos whose files are gone or have changed are left as they are.
        progress: receives "text", the number of photos that were read, and how many there are.
        threads: how many photos to read at once.
        waits: seconds before each commit; the last is that of all further ones.

    Returns:
        Counts, and the photos that were skipped.

    Raises:
        PhotoIndexError: another writer is at work, or the index is damaged or cannot be written.
        RuntimeUnavailable: a tower fails.
    """
    result, pending = ReadResult(), dict[str, PhotoWords]()

    def commit() -> float:
        started = time.monotonic()
        if pending:
            with index.writer() as writer:
                writer.set_words(pending)
            pending.clear()
        return time.monotonic() - started

    with index.exclusive():
        todo = [
            (path, stamp) for path, stamp in index.unread() if stat_or_none(Path(path)) == stamp[0]
        ]
        progress("text", 0, len(todo))
        left, wait, last = [*waits], 0.0, time.monotonic()
        try:
            for done, photo in enumerate(_on_threads(reader, places_of, todo, threads), 1):
                pending[photo.path] = photo.words
                result.photos += not photo.why
                result.with_text += bool(photo.words.lines)
                if photo.why:
                    result.skipped.append(Skipped(photo.path, photo.why))
                progress("text", done, len(todo))
                if time.monotonic() - last >= max(left[0], wait):
                    wait, last = _LEAST_WAIT * commit(), time.monotonic()
                    left = left[1:] or left
        finally:
            # Even after an interrupt, keep what was read.
            commit()
    return result


def _on_threads(
    reader: Reader,
    places_of: Callable[[bytes], tuple[str, ...]],
    todo: Iterable[tuple[str, Stamp]],
    threads: int,
) -> Iterator[_ReadPhoto]:
    with OrderedPool[_ReadPhoto](threads, _AHEAD * threads) as pool:
        for path, _ in todo:
            yield from pool.submit(_read, reader, places_of, path)
        yield from pool.drain()


def _read(reader: Reader, places_of: Callable[[bytes], tuple[str, ...]], path: str) -> _ReadPhoto:
    try:
        data = read_photo(path).data
        places = places_of(data)
        lines = tuple(reader.read(open_bytes(data, path, at_least=AT_LEAST)))
    except (PhotoError, MissingExtra) as error:
        return _ReadPhoto(path, PhotoWords(read=True), str(error))
    except MemoryError:
        why = f"There is not enough memory to read {path}."
        return _ReadPhoto(path, PhotoWords(read=True), why)
    return _ReadPhoto(path, PhotoWords(lines, places, True))
