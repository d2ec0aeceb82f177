"""Where a photo was taken, by its EXIF."""

from __future__ import annotations

import io
import math

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from mcad_mobile.engine.photos.coordinates import coordinates

LISBON = {1: "N", 2: (38.0, 43.0, 12.0), 3: "W", 4: (9.0, 8.0, 24.0)}


def photo(gps: dict[int, object], kind: str = "JPEG") -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x8825] = gps
    Image.new("RGB", (8, 8)).save(file, kind, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "HEIF"])
def test_a_photo_was_taken_where_its_file_says(kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    assert coordinates(photo(LISBON, kind)) == pytest.approx((38.72, -9.14))
    south_east = LISBON | {1: "S", 3: "E"}
    assert coordinates(photo(south_east, kind)) == pytest.approx((-38.72, 9.14))


@pytest.mark.parametrize(
    "wrong",
    [
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {2: (91.0, 0.0, 0.0)},
        {4: (180.0, 0.0, 1.0)},
        {2: (IFDRational(1, 0), 0.0, 0.0)},
        {4: (IFDRational(0, 0), 0.0, 0.0)},
        {4: ()},
        {2: (38.0, 43.0)},
    ],
)
def test_a_coordinate_that_is_none_on_earth_is_unknown(wrong: dict[int, object]) -> None:
    assert coordinates(photo(LISBON | wrong)) is None


def test_a_photo_without_coordinates_and_a_broken_one_have_none() -> None:
    assert coordinates(photo({})) is None
    assert coordinates(photo({1: "N", 2: (38.0, 43.0, 12.0)})) is None
    assert coordinates(b"\xff\xd8\xff\xe1 and then nothing") is None
    whole = photo(LISBON)
    found = [coordinates(whole[:end]) for end in range(0, len(whole), 7)]
    assert all(near is None or math.dist(near, (38.72, -9.14)) < 1 for near in found)
