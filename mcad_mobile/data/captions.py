"""Captioned-photo datasets in the Karpathy layout: DIR/dataset_*.json and DIR/images/."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.errors import DataError

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
    try:
        records = json.loads(files[0].read_text("utf-8"))["images"]
        photos = [
            CaptionedPhoto(
                directory / "images" / record["filename"],
                tuple(sentence["raw"].strip() for sentence in record["sentences"]),
            )
            for record in records
            if record["split"] == split
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{files[0]} is not Karpathy JSON: {type(error).__name__} {error}.",
            "It needs images[].filename, images[].split and images[].sentences[].raw.",
        ) from error
    if not photos:
        known = ", ".join(sorted({record["split"] for record in records}))
        raise DataError(f"{files[0]} has no photo in split {split!r}.", f"It has: {known}.")
    _check(photos, files[0])
    return photos


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
