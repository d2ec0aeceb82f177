"""What lies in a folder: photo files, and the stamps that tell the states of a file apart."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.preprocess import PHOTO_SUFFIXES

_READ = 1 << 20


@dataclass(frozen=True)
class Skipped:
    path: str
    why: str


def has_photos(folder: Path) -> bool:
    """Say whether `folder` or one below it has a file that is named like a photo."""
    return folder.is_dir() and any(True for _ in walk(folder.resolve(), []))


def walk(folder: Path, skipped: list[Skipped]) -> Iterator[tuple[str, int]]:
    """Yield (path, stat stamp) of all photos below a folder; what can't be listed is skipped."""
    waiting = [str(folder)]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif Path(entry.name).suffix.lower() in PHOTO_SUFFIXES:
                        try:
                            if not entry.is_file():  # a pipe would never end
                                raise OSError("it is not a file, or a link to none")
                            yield entry.path, stat_stamp(entry.stat())
                        except OSError as error:
                            skipped.append(Skipped(entry.path, f"cannot be read: {error}"))
        except OSError as error:
            skipped.append(Skipped(current, f"cannot be listed: {error}"))


def stat_stamp(stat: os.stat_result) -> int:
    """CRC-32 of size (uint64) and time of last change in ms (int64): docs/index-format.md."""
    return zlib.crc32(struct.pack("<Qq", stat.st_size, stat.st_mtime_ns // 1_000_000))


def content_stamp(path: str) -> int:
    """CRC-32 of a file's bytes."""
    crc = 0
    with open(path, "rb") as file:  # noqa: PTH123  a path of any bytes, as the system gave it
        while data := file.read(_READ):
            crc = zlib.crc32(data, crc)
    return crc


def stat_or_none(path: Path) -> int | None:
    """The stat stamp of a file, None where there is none."""
    try:
        return stat_stamp(path.stat())
    except (OSError, ValueError):
        return None


def is_gone(path: str) -> bool:
    """Say whether there is no file; what cannot be looked up is not known to be gone."""
    try:
        os.stat(path)  # noqa: PTH116  a path of any bytes
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
