"""Small JPEGs for pages: nothing but pixels."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from mcad_mobile.engine.photos import thumbnails

_SECRET = b"written by its owner"


def _photo(kind: str) -> bytes:
    """A photo of 64 x 48 pixels that has the secret wherever its format may hold it."""
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E] = _SECRET.decode()  # ImageDescription
    text.add_text("comment", _SECRET.decode())
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(
        file, kind, comment=_SECRET, exif=exif, xmp=_SECRET, icc_profile=_SECRET, pnginfo=text
    )
    assert _SECRET in file.getvalue()
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("side", [16, 640])
def test_a_photo_made_small_keeps_no_comment_or_other_metadata(
    tmp_path: Path, kind: str, side: int
) -> None:
    (tmp_path / "a").write_bytes(_photo(kind))
    small = [
        thumbnails.jpeg(_photo(kind), "a", shorter=side),
        thumbnails.jpeg(_photo(kind), "a", longer=side),
        base64.b64decode(thumbnails.inline_jpeg(tmp_path / "a", side)),
    ]
    assert not any(_SECRET in made for made in small)
    for made in small:
        with Image.open(io.BytesIO(made)) as image:
            image.load()
            assert image.info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
