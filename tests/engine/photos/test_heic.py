"""HEIC photos are what libheif decodes, upright, opaque and reduced as JPEGs are."""

from __future__ import annotations

import io
import re
import struct
import sys
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos.decode import open_bytes, open_photo
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import MissingExtra, PhotoError, install_line
from tests.support.variants import first_of

pytestmark = pytest.mark.long


pillow_heif.register_heif_opener()
EXIF_ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    path = next(path for path in packaged_photos() if path.stem == "coffee")
    with Image.open(path) as image:
        return image.convert("RGB").resize((600, 400))


def heic(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    # At its usual care, x265 takes seconds for a small picture.
    image.save(file, "HEIF", quality=90, enc_params={"preset": "ultrafast"}, **options)
    return file.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean distance of two images' values, of 255."""
    assert first.size == second.size
    return float(np.abs(np.asarray(first, np.int16) - np.asarray(second, np.int16)).mean())


@pytest.mark.parametrize(
    ("at_least", "factor"),
    first_of([(101, 1), (100, 2), (50, 4), (51, 2), (25, 8), (3, 8), (0, 1)], run=3),
)
def test_both_sides_keep_twice_the_pixels_that_are_wanted(photo, at_least, factor):
    small = open_bytes(heic(photo), "a.heic", at_least=at_least)
    assert small.size == (600 // factor, 400 // factor)
    assert difference(small, photo.reduce(factor)) < 3


def test_a_file_and_its_bytes_are_the_same_photo(photo, tmp_path):
    path = tmp_path / "photo.HEIC"
    path.write_bytes(heic(photo))
    from_bytes = open_bytes(path.read_bytes(), "", at_least=50)
    assert difference(open_photo(path, at_least=50), from_bytes) == 0


def test_a_photo_in_tiles_is_whole(photo):
    """As iPhones write them: the tiles at the right and below stick out."""
    file = heic(photo, tile_size=256)
    assert b"grid" in file
    assert difference(open_bytes(file, "a.heic", at_least=50), photo.reduce(4)) < 3


@pytest.mark.parametrize("tile", [0, 256])
@pytest.mark.parametrize("orientation", first_of([6, 2, 1, 3, 4, 5, 7, 8], run=2))
def test_a_photo_is_turned_once(photo, orientation, tile):
    """By a box of its file, which libheif applies. EXIF says the same again."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    file = heic(photo, exif=exif.tobytes(), tile_size=tile)
    assert (b"irot" in file or b"imir" in file) == (orientation != 1)
    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", quality=95, exif=exif)
    upright = open_bytes(jpeg.getvalue(), "a.jpg")
    assert difference(open_bytes(file, "a.heic"), upright) < 4
    assert difference(open_bytes(file, "a.heic", at_least=50), upright.reduce(4)) < 3


def test_a_thumbnail_is_not_taken_for_the_photo(photo):
    file = heic(photo, thumbnails=[240])
    assert b"thmb" in file
    assert open_bytes(file, "a.heic", at_least=60).size == (300, 200)


def ten_bits(photo: Image.Image) -> bytes:
    values = np.asarray(photo).astype(np.uint16) * 257
    file = io.BytesIO()
    made = pillow_heif.from_bytes("RGB;16", photo.size, values.tobytes())
    made.save(file, quality=90, enc_params={"preset": "ultrafast"})
    return file.getvalue()


def faded(photo: Image.Image) -> Image.Image:
    clear = photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    return clear


def over_white(photo: Image.Image) -> Image.Image:
    white = Image.new("RGBA", photo.size, "white")
    return Image.alpha_composite(white, faded(photo)).convert("RGB")


KINDS = {
    "ten bits": (ten_bits, lambda photo: photo),
    "transparent": (lambda photo: heic(faded(photo)), over_white),
    "grey": (
        lambda photo: heic(photo.convert("L")),
        lambda photo: photo.convert("L").convert("RGB"),
    ),
    "odd sides": (
        lambda photo: heic(photo.crop((0, 0, 597, 395))),
        lambda photo: photo.crop((0, 0, 597, 395)),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_pixels_becomes_rgb(photo, kind):
    file_of, shown = KINDS[kind]
    small = open_bytes(file_of(photo), "a.heic", at_least=50)
    assert small.mode == "RGB"
    assert difference(small, shown(photo).reduce(4 if kind != "odd sides" else 2)) < 3


def sized(file: bytes, true: tuple[int, int], declared: tuple[int, int]) -> bytes:
    """A file whose head declares another size than its picture has."""
    boxes = [b"ispe" + struct.pack(">III", 0, *size) for size in (true, declared)]
    assert boxes[0] in file
    return file.replace(*boxes)


@pytest.mark.parametrize("declared", [(100, 80), (8001, 8000), (30_000, 30_000)])
def test_a_file_that_declares_another_size_than_it_has_is_an_error(photo, declared):
    file = sized(heic(photo), photo.size, declared)
    with pytest.raises(PhotoError, match=r"false\.heic"):
        open_bytes(file, "false.heic", at_least=5)


def test_more_pixels_than_are_decoded_are_refused_by_the_head(photo):
    file = sized(heic(photo), photo.size, (8001, 8000))
    with pytest.raises(
        PhotoError, match="8001 x 8000 pixels; the limit of its format is 64 million"
    ):
        open_bytes(file, "large.heic", at_least=50)


@pytest.mark.parametrize("kept", first_of([0.9, 0.02, 0.3, 0.999]))
def test_a_file_that_was_cut_off_is_an_error_and_no_grey_photo(photo, kept):
    file = heic(photo)
    with pytest.raises(PhotoError, match=r"cut\.heic"):
        open_bytes(file[: int(kept * len(file))], "cut.heic", at_least=50)


def test_a_broken_photo_is_skipped_and_named_and_the_others_are_indexed(
    photo, engine, index, tmp_path
):
    file = heic(photo)
    (tmp_path / "whole.heic").write_bytes(file)
    (tmp_path / "cut.heic").write_bytes(file[: len(file) // 2])
    (tmp_path / "text.heic").write_text("no photo")
    result = sync_folder(engine, index, tmp_path)
    assert result.added == 1
    assert sorted(skipped.path for skipped in result.skipped) == [
        str(tmp_path / "cut.heic"),
        str(tmp_path / "text.heic"),
    ]


def test_without_pillow_heif_each_heic_photo_is_skipped_with_what_to_install(
    photo, engine, index, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(heic(photo))
    photo.save(tmp_path / "b.jpg")
    with pytest.raises(MissingExtra, match=re.escape(install_line("heic"))):
        open_photo(tmp_path / "a.heic")
    result = sync_folder(engine, index, tmp_path)
    assert result.added == 1
    ((path, why),) = [(skipped.path, skipped.why) for skipped in result.skipped]
    assert path == str(tmp_path / "a.heic")
    assert "[heic]" in why
