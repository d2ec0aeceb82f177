"""A table of photos and captions: captions.csv, .tsv or .txt, a row a caption."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.errors import DataError

TABLES = ("captions.csv", "captions.tsv", "captions.txt")
# Names that such columns have in what people publish.
_PHOTO = ("photo", "image", "filename", "file", "filepath", "file_name", "path")
_CAPTION = ("caption", "text", "title", "sentence", "description", "comment")
_SPLIT = "split"
_HINT = (
    "Its first row names the columns: photo, caption and, where there are splits, split; "
    "docs/data.md has an example."
)


def read_table(file: Path) -> list[CaptionedPhoto]:
    """Photos in the order of their first row, each with the captions of all of its rows. Photos lie
    beside the table or in images/. DataError names the row that is not as it should be."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}.", "Give a table in UTF-8.") from error
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
                    f"Line {reader.line_num} of {file} has not {len(names)} columns.",
                    'A caption with a comma in it stands between quotes: "a dog, running".',
                )
            key = (row[photo].strip(), row.get(_SPLIT, "test").strip())
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
        what = f"has {' and '.join(found)}" if found else f"has no {wanted[0]}"
        raise DataError(f"{file} {what} among its columns: {', '.join(names)}.", _HINT)
    return found[0]
