"""The photos of a folder, the files left out, and the stamps that reveal a changed file."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mcad_mobile.base.files import real_path
from mcad_mobile.data.photo_formats import (
    PHOTO_SUFFIXES,
    USUAL,
    VIDEO_SUFFIXES,
    kind_of,
    suffix_of,
)
from mcad_mobile.errors import PhotoError, Remedy

MOST_KINDS = 50
MOST_PATHS = 1000  # listed of each kind
_GIVE_ONE = "Give a folder that holds photos."


@dataclass(frozen=True)
class Skipped:
    path: str
    why: str


@dataclass
class LeftOut:
    """Files of one kind that are not indexed: their number, and the first 1000 paths."""

    count: int = 0
    paths: list[str] = field(default_factory=list)


Leftovers = dict[str, LeftOut]


def is_folder(path: Path) -> bool:
    """Say whether a folder is at `path`; False where Path.is_dir fails: the name is too long."""
    return os.path.isdir(path)  # noqa: PTH112


def has_photos(folder: Path) -> bool:
    """Say whether `folder` or a subfolder has a file with a photo's or a video's suffix."""
    return is_folder(folder) and any(True for _ in walk(real_path(folder), [], videos=True))


def find_photos(folder: Path) -> list[Path]:
    """All photos below `folder`, as walk finds them, sorted. PhotoError if the folder is
    missing or holds none."""
    if not is_folder(folder):
        raise no_folder(folder)
    photos = sorted(Path(path) for path, _ in walk(folder, []))
    if not photos:
        raise no_photos(folder)
    return photos


def no_folder(folder: Path) -> PhotoError:
    return PhotoError(f"No folder at {folder}.", _GIVE_ONE)


def no_photos(folder: Path, hint: str | Remedy = _GIVE_ONE) -> PhotoError:
    return PhotoError(f"No photos in {folder} (looked for {USUAL}, subfolders too).", hint)


def walk(
    folder: Path,
    skipped: list[Skipped],
    left_out: Leftovers | None = None,
    *,
    videos: bool = False,
) -> Iterator[tuple[str, int]]:
    """Yield (path, stat stamp) of all photos below a folder, and of `videos` if wanted: files with
    such a suffix, or links to such files. `left_out` counts other files, hidden ones, and links to
    folders, which may lead to duplicates or loop; `skipped` collects what cannot be read or
    listed."""
    left_out = {} if left_out is None else left_out
    suffixes = PHOTO_SUFFIXES | VIDEO_SUFFIXES if videos else PHOTO_SUFFIXES
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    kind = _why_not(entry, suffixes)
                    if kind is not None:
                        _leave(left_out, kind, entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        try:
                            if not entry.is_file():  # reading a pipe never ends
                                raise OSError("it is not a file, or a link to none")
                            yield entry.path, stat_stamp(entry.stat())
                        except OSError as error:
                            skipped.append(Skipped(entry.path, f"cannot be read: {error}"))
        except OSError as error:
            skipped.append(Skipped(current, f"cannot be listed: {error}"))


def _why_not(entry: os.DirEntry[str], suffixes: Set[str]) -> str | None:
    """The kind under which an entry is left out; None for files to index and folders to walk."""
    folder = entry.is_dir(follow_symlinks=False)
    if entry.name.startswith("."):
        return "hidden folder" if folder else "hidden file"
    if folder:
        return None
    with suppress(OSError):  # a loop of links
        if entry.is_dir():
            return "link to a folder"
    return None if suffix_of(entry.name) in suffixes else kind_of(entry.name)


def _leave(left_out: Leftovers, kind: str, path: str) -> None:
    if kind not in left_out and len(left_out) >= MOST_KINDS:
        kind = "other suffixes"
    of_kind = left_out.setdefault(kind, LeftOut())
    of_kind.count += 1
    if len(of_kind.paths) < MOST_PATHS:
        of_kind.paths.append(path)


def stat_stamp(stat: os.stat_result) -> int:
    """CRC-32 of size (uint64) and time of last change in ms (int64): docs/index-format.md."""
    milliseconds = stat.st_mtime_ns // 1_000_000 % 2**64  # file systems hold seconds of 64 bits
    return zlib.crc32(struct.pack("<QQ", stat.st_size, milliseconds))


def stat_or_none(path: Path) -> int | None:
    try:
        return stat_stamp(path.stat())
    except (OSError, ValueError):
        return None


def is_gone(path: str) -> bool:
    """Say whether no file exists; one that cannot be looked up may still exist. Nothing is known of
    keys of shards that are addresses or relative."""
    if not os.path.isabs(path):  # noqa: PTH117
        return False
    try:
        os.stat(path)  # noqa: PTH116  a path of any bytes
        return False
    except (OSError, ValueError) as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
