"""Photos, each with a text file of its name beside it: a caption a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.errors import DataError
from mcad_mobile.kinds import PHOTO_SUFFIXES

_SPLITS = ("train", "val", "test")


def read_caption_files(directory: Path) -> list[CaptionedPhoto]:
    """Of the folders train, val and test, or of `directory` itself, all of which is `test`; with
    their subfolders. Photos without such a file are left out. DataError: a file is no text."""
    folders = [name for name in _SPLITS if (directory / name).is_dir()]
    if not folders:
        return list(_read(directory, "test"))
    return [photo for name in folders for photo in _read(directory / name, name)]


def _read(folder: Path, split: str) -> Iterator[CaptionedPhoto]:
    for path in sorted(folder.rglob("*")):
        beside = path.with_suffix(".txt")
        if path.suffix.lower() not in PHOTO_SUFFIXES or not beside.is_file():
            continue
        try:
            lines = beside.read_text("utf-8-sig").strip().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{beside} cannot be read: {error}.", "Give UTF-8 text.") from error
        yield CaptionedPhoto(path, tuple(line.strip() for line in lines), split)
