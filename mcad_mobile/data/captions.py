"""Captioned photos, in the three layouts that people have: docs/data.md."""

from __future__ import annotations

import os
from pathlib import Path

from mcad_mobile.data.caption_files import read_caption_files
from mcad_mobile.data.caption_table import TABLES, read_table
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.data.karpathy import read_karpathy
from mcad_mobile.errors import DataError

_LAYOUT = (
    "Give a folder with dataset_NAME.json and images/ (the Karpathy layout), with captions.csv, or "
    "of photos that have a text file beside them each: docs/data.md."
)


def load_captions(directory: Path, split: str | None) -> list[CaptionedPhoto]:
    """The photos of one split with their captions; None: of all. DataError names what is missing
    or broken."""
    if not directory.is_dir():
        raise DataError(f"No folder at {directory}.", _LAYOUT)
    source, everything = _read(directory)
    photos = [photo for photo in everything if split in (None, photo.split)]
    if not photos:
        known = ", ".join(sorted({photo.split for photo in everything}))
        raise DataError(
            f"{source} has no photo in split {split!r}.",
            f"It has: {known}." if known else _LAYOUT,
        )
    _check(photos, source)
    return photos


def has_captions(directory: Path) -> bool:
    """Whether a folder says that it is a captioned dataset."""
    return bool(_sources(directory))


def _sources(directory: Path) -> list[Path]:
    tables = [directory / name for name in TABLES]
    return [*sorted(directory.glob("dataset_*.json")), *filter(Path.is_file, tables)]


def _read(directory: Path) -> tuple[Path, list[CaptionedPhoto]]:
    """A dataset, all splits, and the file or folder that it is in."""
    sources = _sources(directory)
    if len(sources) > 1:
        raise DataError(
            f"{directory} holds {', '.join(source.name for source in sources)}: which of them?",
            "Leave one of them there.",
        )
    if sources:
        (source,) = sources
        return source, read_karpathy(source) if source.suffix == ".json" else read_table(source)
    photos = read_caption_files(directory)
    if not photos:
        raise DataError(f"{directory} holds no captioned photos.", _LAYOUT)
    return directory, photos


def _check(photos: list[CaptionedPhoto], source: Path) -> None:
    # Not Path.is_file(), which raises for a name that is too long for the system.
    missing = [photo.path for photo in photos if not os.path.isfile(photo.path)]  # noqa: PTH113
    if missing:
        raise DataError(
            f"{len(missing)} photos of {source} are not there, the first: {missing[0]}.",
            "Complete the folder, or take them out of the dataset.",
        )
    empty = [p.path.name for p in photos if not p.captions or not all(p.captions)]
    if empty:
        raise DataError(
            f"{len(empty)} photos of {source} have an empty caption or none, first: {empty[0]}.",
            "Every photo needs at least one caption, and no caption may be empty.",
        )
