"""Captioned-photo datasets in the Karpathy layout: DIR/dataset_*.json and DIR/images/."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from mcad_mobile.errors import DataError
from mcad_mobile.typed import Word, decode

# As others write it: of each, what we read, and more.


class _Sentence(msgspec.Struct, frozen=True):
    raw: str


class _Image(msgspec.Struct, frozen=True):
    filename: Word
    split: str
    sentences: tuple[_Sentence, ...]


class _Karpathy(msgspec.Struct, frozen=True):
    images: tuple[_Image, ...]


_LAYOUT = "Give a folder in the Karpathy layout: dataset_NAME.json and images/."


@dataclass(frozen=True)
class CaptionedPhoto:
    path: Path
    captions: tuple[str, ...]


def load_captions(directory: Path, split: str) -> list[CaptionedPhoto]:
    """The photos of one split with their captions. DataError names what is missing or broken."""
    if not directory.is_dir():
        raise DataError(f"No folder at {directory}.", _LAYOUT)
    files = sorted(directory.glob("dataset_*.json"))
    if len(files) != 1:
        raise DataError(
            f"{directory} holds {len(files)} files named dataset_*.json; one is needed.",
            _LAYOUT,
        )
    what = f"{files[0]} is not Karpathy JSON: it"
    hint = "It needs images[].filename, images[].split and images[].sentences[].raw."
    records = decode(_read(files[0]), _Karpathy, what, DataError, hint).images
    photos = [
        CaptionedPhoto(
            directory / "images" / record.filename,
            tuple(sentence.raw.strip() for sentence in record.sentences),
        )
        for record in records
        if record.split == split
    ]
    if not photos:
        known = ", ".join(sorted({record.split for record in records}))
        raise DataError(f"{files[0]} has no photo in split {split!r}.", f"It has: {known}.")
    _check(photos, files[0])
    return photos


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.", "Check its permissions.") from error


def _check(photos: list[CaptionedPhoto], source: Path) -> None:
    missing = [photo.path.name for photo in photos if not photo.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} photos of {source} are not in images/, the first: {missing[0]}.",
            "Complete the folder, or take them out of the JSON.",
        )
    empty = [p.path.name for p in photos if not p.captions or not all(p.captions)]
    if empty:
        raise DataError(
            f"{len(empty)} photos of {source} have an empty caption or none, first: {empty[0]}.",
            "Every photo needs at least one caption, and no caption may be empty.",
        )
