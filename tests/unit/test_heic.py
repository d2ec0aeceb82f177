"""HEIC photos by FFmpeg's decoder are libheif's, reduced; rarer kinds are decoded by libheif."""

from __future__ import annotations

import functools
import io
import struct
import sys

import numpy as np
import pillow_heif
import pytest
from heic_files import box, heic, tiled, turn
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.errors import PhotoError
from mcad_mobile.heic import decoded_small, reduction
from mcad_mobile.preprocess import open_bytes, open_photo

pillow_heif.register_heif_opener()
MOST = 80_000_000


def scene(size: tuple[int, int]) -> Image.Image:
    with Image.open(next(path for path in packaged_photos() if path.stem == "coffee")) as image:
        return image.convert("RGB").resize(size)


def by_libheif(file: bytes) -> Image.Image:
    with Image.open(io.BytesIO(file)) as image:
        return image.convert("RGB")


def off(one: Image.Image, other: Image.Image) -> float:
    """Mean distance of two images' values, of 255."""
    assert one.size == other.size
    return float(np.abs(np.asarray(one, np.int16) - np.asarray(other, np.int16)).mean())


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return scene((600, 400))


@pytest.mark.parametrize(("at_least", "factor"), [(100, 2), (50, 4), (25, 8), (3, 8)])
def test_a_photo_is_that_of_libheif_averaged_over_squares(photo, at_least, factor):
    file = heic(photo)
    small = decoded_small(file, at_least, MOST)
    assert small.size == (600 // factor, 400 // factor)
    assert off(small, by_libheif(file).reduce(factor)) < 1


def test_a_photo_whose_sides_no_square_divides_keeps_its_last_pixels(photo):
    file = heic(photo.crop((0, 0, 598, 394)))
    small = decoded_small(file, 45, MOST)
    assert small.size == (150, 99)
    assert off(small, by_libheif(file).reduce(4)) < 1


@pytest.mark.parametrize("quarters", range(4))
def test_a_grid_of_tiles_is_put_together_and_turned_as_by_libheif(photo, quarters):
    file = tiled(photo.crop((0, 0, 600, 392)), 128, extra=[turn(quarters)])
    small = decoded_small(file, 40, MOST)
    assert small.size == ((150, 98) if quarters % 2 == 0 else (98, 150))
    assert off(small, by_libheif(file).reduce(4)) < 1


def test_exif_does_not_turn_what_its_file_turned_already(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = heic(photo, exif=exif.tobytes())
    assert off(open_bytes(file, "a.heic", at_least=50), by_libheif(file).reduce(4)) < 1


def test_a_file_and_its_bytes_are_the_same_photo_however_it_is_called(photo, tmp_path):
    path = tmp_path / "photo.HEIC"
    path.write_bytes(heic(photo))
    assert open_photo(path, at_least=50).size == (150, 100)
    assert off(open_photo(path, at_least=50), open_bytes(path.read_bytes(), "", at_least=50)) == 0


def test_a_photo_that_is_not_to_be_reduced_is_as_large_as_it_is(photo):
    file = heic(photo)
    assert decoded_small(file, 101, MOST) is None
    assert off(open_bytes(file, "a.heic", at_least=101), by_libheif(file)) == 0
    assert open_bytes(file, "a.heic").size == photo.size


def ten_bits(photo: Image.Image) -> bytes:
    values = np.asarray(photo).astype(np.uint16) * 257
    out = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", photo.size, values.tobytes()).save(out, quality=90)
    return out.getvalue()


def with_alpha(photo: Image.Image) -> bytes:
    faded = photo.copy()
    faded.putalpha(Image.linear_gradient("L").resize(photo.size))
    return heic(faded)


RARE = {
    "ten bits": ten_bits,
    "alpha": with_alpha,
    "grey": lambda photo: heic(photo.convert("L")),
    "chroma as fine as luma": lambda photo: heic(photo, chroma=444),
    "limited range": lambda photo: heic(photo, full_range_flag=0),
    "BT.709": lambda photo: heic(photo, matrix_coefficients=1),
    "limited range, its file says": lambda photo: tiled(photo, 128, colours=(6, 0)),
    "BT.709, its file says": lambda photo: tiled(photo, 128, colours=(1, 128)),
    "odd sides": lambda photo: heic(photo.crop((0, 0, 597, 395))),  # of an even image, cropped
    "mirrored": lambda photo: tiled(photo, 128, extra=[box(b"imir", b"\1")]),
    "cropped": lambda photo: tiled(
        photo,
        128,
        extra=[box(b"clap", struct.pack(">IIIIiIiI", 300, 1, 200, 1, 0, 1, 0, 1))],
    ),
    "tiles that no square of 8 divides": lambda photo: tiled(photo.resize((800, 800)), 100),
}


@pytest.mark.parametrize("kind", RARE)
def test_a_rarer_kind_is_left_to_libheif_and_reduced_as_much(photo, kind):
    file = RARE[kind](photo)
    assert decoded_small(file, 20, MOST) is None
    with Image.open(io.BytesIO(file)) as image:
        whole = image.convert("RGBA")
    white = Image.new("RGBA", whole.size, "white")
    shown = Image.alpha_composite(white, whole).convert("RGB")
    factor = reduction(*shown.size, 20)
    assert factor > 1
    assert off(open_bytes(file, "a.heic", at_least=20), shown.reduce(factor)) < 1


def test_a_photo_is_nearly_the_same_where_pyav_is_missing(photo, monkeypatch):
    file = heic(photo)
    by_ffmpeg = open_bytes(file, "a.heic", at_least=50)
    monkeypatch.setitem(sys.modules, "av", None)
    assert decoded_small(file, 50, MOST) is None
    alone = open_bytes(file, "a.heic", at_least=50)
    assert 0 < off(alone, by_ffmpeg) < 1


def test_a_grid_that_claims_another_size_than_its_tiles_have_is_not_believed(photo):
    assert decoded_small(tiled(photo, 128, size=(600, 400)), 40, MOST) is not None
    assert decoded_small(tiled(photo, 128, size=(641, 400)), 40, MOST) is None
    assert decoded_small(tiled(photo, 128, size=(512, 400)), 40, MOST) is None
    assert decoded_small(tiled(photo, 128, size=(600, 600)), 40, MOST) is None


def test_more_pixels_than_may_be_decoded_are_not_decoded(photo):
    file = heic(photo)
    assert decoded_small(file, 50, 600 * 400) is not None
    assert decoded_small(file, 50, 600 * 400 - 1) is None


def test_a_coded_image_much_larger_than_its_file_says_is_not_decoded(photo, monkeypatch):
    said, true = (b"ispe" + struct.pack(">III", 0, *size) for size in ((100, 80), photo.size))
    monkeypatch.setattr("mcad_mobile.heic._reduced", lambda *given: pytest.fail("decoded"))
    assert decoded_small(heic(photo).replace(true, said), 5, 10_000) is None


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_an_error_and_no_grey_photo(photo, kept):
    file = heic(photo)
    cut = file[: int(kept * len(file))]
    assert decoded_small(cut, 50, MOST) is None
    with pytest.raises(PhotoError, match=r"cut\.heic"):
        open_bytes(cut, "cut.heic", at_least=50)


@functools.cache
def whole_or_tiles(kind: str) -> bytes:
    photo = scene((256, 192))
    return heic(photo) if kind == "whole" else tiled(photo, 128, extra=[turn(1)])


@pytest.mark.parametrize("kind", ["whole", "tiles"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_anywhere_is_a_photo_or_left_to_libheif(kind, data):
    file = bytearray(whole_or_tiles(kind))
    head = file.index(b"mdat") + 64
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, data.draw(st.sampled_from([head, len(file)])) - 1))
        file[at] = data.draw(st.integers(0, 255))
    small = decoded_small(bytes(file), 20, MOST)
    assert small is None or small.mode == "RGB"


def test_boxes_of_other_versions_are_read_too(photo):
    narrow, wide = (tiled(photo, 128, wide=wide) for wide in (False, True))
    assert narrow[:200] != wide[:200]
    assert off(by_libheif(narrow), by_libheif(wide)) == 0
    assert off(decoded_small(narrow, 40, MOST), decoded_small(wide, 40, MOST)) == 0
