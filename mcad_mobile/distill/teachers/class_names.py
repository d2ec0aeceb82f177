"""What the classes of a classifier are called, best name first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mcad_mobile.errors import TeacherError

IMAGENET = Path(__file__).parent / "imagenet_names.txt"
ClassNames = tuple[tuple[str, ...], ...]


@cache
def imagenet_names() -> ClassNames:
    """Of ImageNet-1k's 1,000 classes, in the order of their WordNet ids, which is that of every
    classifier of them. Each line of the file is an id and names."""
    lines = IMAGENET.read_text("utf-8").splitlines()
    return tuple(_names(line.split(" ", 1)[1]) for line in lines)


def load_class_names(path: Path, classes: int) -> ClassNames:
    """A text file with one class a line, in the classifier's order; several names of a class are
    parted by semicolons. TeacherError if it cannot be read, if a line is empty, or if it has not
    `classes` lines."""
    hint = "Give a UTF-8 text file with one class a line: NAME; NAME; ..."
    try:
        lines = path.read_text("utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TeacherError(f"The class names in {path} cannot be read: {error}.", hint) from error
    names = tuple(_names(line) for line in lines)
    empty = [number for number, some in enumerate(names, 1) if not some]
    if empty:
        raise TeacherError(f"{path} names no class in line {empty[0]}.", hint)
    if len(names) != classes:
        raise TeacherError(
            f"{path} names {len(names)} classes, and the classifier has {classes}.", hint
        )
    return names


def _names(line: str) -> tuple[str, ...]:
    return tuple(name for part in line.split(";") if (name := part.strip()))


def names_for(classes: int, path: Path | None, labels: Sequence[str] | None = None) -> ClassNames:
    """From `path`; else ImageNet's for 1,000 classes; else the checkpoint's own `labels`.
    TeacherError where nobody knows them."""
    if path is not None:
        return load_class_names(path, classes)
    if labels is not None and len(labels) == classes:
        return tuple(_names(label.replace(",", ";")) for label in labels)
    if classes == len(imagenet_names()):
        return imagenet_names()
    raise TeacherError(
        f"Nobody says what the classifier's {classes} classes are called.",
        "Name them with --class-names FILE, one class a line.",
    )
