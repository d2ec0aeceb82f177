"""Captioned photos in three common layouts: docs/data.md."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mcad_mobile.base.documents import Word, decode, read_text
from mcad_mobile.data.photo_formats import PHOTO_SUFFIXES
from mcad_mobile.errors import DataError


@dataclass(frozen=True)
class CaptionedPhoto:
    """A photo, the captions that people wrote for it, and its split: "train", "val" or "test"."""

    path: Path
    captions: tuple[str, ...]
    split: str = "test"


_SPLITS = ("train", "val", "test")
_UTF_8 = "Give UTF-8 text."


def read_caption_files(directory: Path) -> Iterator[CaptionedPhoto]:
    """Read photos that have a .txt file of the same name, one caption per line, from the folders
    train, val and test or from `directory` itself. DataError: a file is not text."""
    for path, beside, split in _caption_files(directory):
        lines = read_text(beside, DataError, _UTF_8).strip().split("\n")
        yield CaptionedPhoto(path, tuple(line.strip() for line in lines), split)


def _caption_files(directory: Path) -> Iterator[tuple[Path, Path, str]]:
    """Yield photos, the text files beside them, and their splits."""
    splits = [name for name in _SPLITS if (directory / name).is_dir()]
    folders = {name: directory / name for name in splits} or {"test": directory}
    for split, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            beside = path.with_suffix(".txt")
            if path.suffix.lower() in PHOTO_SUFFIXES and beside.is_file():
                yield path, beside, split


TABLES = ("captions.csv", "captions.tsv", "captions.txt")
# Column names in published datasets.
_PHOTO = ("photo", "image", "filename", "file", "filepath", "file_name", "path")
_CAPTION = ("caption", "text", "title", "sentence", "description", "comment")
_HINT = (
    "Its first row names the columns: photo, caption and, where there are splits, split; "
    "docs/data.md has an example."
)


def read_table(file: Path) -> list[CaptionedPhoto]:
    """Read photos in the order of their first row, each with all of its captions; the files are in
    images/ or beside the table. DataError names the malformed row."""
    text = read_text(file, DataError, _UTF_8)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    captions: dict[tuple[str, str], list[str]] = {}
    try:
        names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        photo, caption = _column(file, names, _PHOTO), _column(file, names, _CAPTION)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(
                    f"Line {reader.line_num} of {file} does not have {len(names)} columns.",
                    'Put a caption that contains a comma in quotes: "a dog, running".',
                )
            key = (row[photo].strip(), row.get("split", "").strip() or "test")
            captions.setdefault(key, []).append(row[caption].strip())
    except csv.Error as error:
        raise DataError(f"{file}, after line {reader.line_num}: {error}.", _HINT) from error
    images = file.parent / "images"
    folder = images if images.is_dir() else file.parent
    return [
        CaptionedPhoto(folder / name, tuple(texts), split)
        for (name, split), texts in captions.items()
    ]


def _column(file: Path, names: list[str], wanted: tuple[str, ...]) -> str:
    found = [name for name in wanted if name in names]
    if len(found) != 1:
        problem = f"has {' and '.join(found)}" if found else f"has no {wanted[0]}"
        raise DataError(f"{file} {problem} among its columns: {', '.join(names)}.", _HINT)
    return found[0]


# Karpathy's JSON has more fields; these are the ones we read.


class _Sentence(msgspec.Struct, frozen=True):
    raw: str


class _Image(msgspec.Struct, frozen=True):
    filename: Word
    split: str
    sentences: tuple[_Sentence, ...]


class _Karpathy(msgspec.Struct, frozen=True):
    images: tuple[_Image, ...]
    dataset: str = ""


def read_karpathy(file: Path) -> list[CaptionedPhoto]:
    where = f"{file} is not Karpathy JSON: it"
    hint = "It needs images[].filename, images[].split and images[].sentences[].raw."
    karpathy = decode(
        read_text(file, DataError, _UTF_8).encode(), _Karpathy, where, DataError, hint
    )
    # Most of COCO's validation photos are usually trained on. The few of Flickr8k never are.
    read_as = {"restval": "train"} if karpathy.dataset == "coco" else {}
    return [
        CaptionedPhoto(
            file.parent / "images" / image.filename,
            tuple(sentence.raw.strip() for sentence in image.sentences),
            read_as.get(image.split, image.split),
        )
        for image in karpathy.images
    ]


_LAYOUT = (
    "Give a folder with dataset_NAME.json and images/ (the Karpathy layout), with captions.csv, or "
    "of photos that have a text file beside them each: docs/data.md."
)


def load_captions(directory: Path, split: str | None) -> list[CaptionedPhoto]:
    """Load the captioned photos of one split, or of all (None). DataError names what is missing or
    broken."""
    if not directory.is_dir():
        raise DataError(f"No folder at {directory}.", _LAYOUT)
    source, everything = _read(directory)
    photos = [photo for photo in everything if split in (None, photo.split)]
    if not photos:
        known = ", ".join(sorted({photo.split for photo in everything}))
        raise DataError(
            f"{source} has no photo in split {split!r}.",
            f"Its splits are: {known}. Photos without one count as test: docs/data.md."
            if known
            else _LAYOUT,
        )
    _check(photos, source)
    return photos


def has_captions(directory: Path) -> bool:
    """Whether a folder has captions in one of the three layouts."""
    return bool(_sources(directory)) or any(True for _ in _caption_files(directory))


def _sources(directory: Path) -> list[Path]:
    tables = [directory / name for name in TABLES]
    return [*sorted(directory.glob("dataset_*.json")), *filter(Path.is_file, tables)]


def _read(directory: Path) -> tuple[Path, list[CaptionedPhoto]]:
    """The file or folder that holds a dataset, and its photos of all splits."""
    sources = _sources(directory)
    if len(sources) > 1:
        raise DataError(
            f"{directory} holds {', '.join(source.name for source in sources)}: only one is read.",
            "Keep only one of them there.",
        )
    if sources:
        (source,) = sources
        return source, read_karpathy(source) if source.suffix == ".json" else read_table(source)
    photos = list(read_caption_files(directory))
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
