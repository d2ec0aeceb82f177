"""The Karpathy layout: dataset_NAME.json beside images/."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mcad_mobile.data.captioned_photo import CaptionedPhoto
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


def read_karpathy(file: Path) -> list[CaptionedPhoto]:
    """DataError names what is not as it should be."""
    what = f"{file} is not Karpathy JSON: it"
    hint = "It needs images[].filename, images[].split and images[].sentences[].raw."
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}.", "Check its permissions.") from error
    return [
        CaptionedPhoto(
            file.parent / "images" / image.filename,
            tuple(sentence.raw.strip() for sentence in image.sentences),
            image.split,
        )
        for image in decode(raw, _Karpathy, what, DataError, hint).images
    ]
