"""Preprocess: upright, RGB, the whole photo, and a clear word for what cannot be read."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.photos import decode
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.photos.thumbnails import jpeg
from mcad_mobile.errors import PhotoError

HALF = (0.5, 0.5, 0.5)
SQUASH = Preprocess(32, "squash", "bilinear", HALF, HALF)
EXIF_ORIENTATION = 0x0112
# How a camera that was held in each of EXIF's eight ways stores an upright picture.
STORED = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    path = next(path for path in packaged_photos() if path.name == "chelsea.png")
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_is_upright_whatever_its_exif_orientation(tmp_path, photo, orientation):
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    STORED[orientation](photo).save(path, exif=exif)
    assert np.array_equal(np.asarray(open_photo(path)), np.asarray(photo))
    assert np.array_equal(SQUASH(path), SQUASH.pixels(photo))


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpeg_that_is_decoded_small_is_upright_too(tmp_path, photo, orientation):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    STORED[orientation](photo).save(path, exif=exif, quality=95)
    assert np.abs(SQUASH(path) - SQUASH.pixels(photo)).mean() < 0.05


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".heic"])
def test_each_format_decodes_to_nearly_the_same_pixels(tmp_path, photo, suffix):
    import pillow_heif

    pillow_heif.register_heif_opener()
    path = tmp_path / f"photo{suffix}"
    photo.save(path, quality=95)
    assert np.abs(SQUASH(path) - SQUASH.pixels(photo)).mean() < 0.03


def test_pixels_are_scaled_and_normalized_per_channel(tmp_path):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    image = Image.new("RGB", (50, 20), (255, 128, 0))
    pixels = Preprocess(8, "squash", "bilinear", mean, std).pixels(image)
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.float32
    expected = (np.array([1, 128 / 255, 0]) - mean) / std
    assert np.allclose(pixels.mean((1, 2)), expected, atol=1e-6)


def by_pillow(
    image: Image.Image,
    side: int,
    interpolation: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> np.ndarray:
    """What "squash" is: across, then down, by Pillow, and normalized by numpy."""
    resample = Image.Resampling[interpolation.upper()]
    small = image.resize((side, image.height), resample).resize((side, side), resample)
    scaled = np.asarray(small).astype(np.float32) / np.float32(255)
    pixels = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    return pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("black_and_white", [False, True])
@pytest.mark.parametrize(
    ("size", "side"),
    [
        ((640, 480), 224),
        ((480, 640), 224),
        ((500, 333), 97),
        ((97, 801), 31),
        ((40, 30), 224),  # made larger
        ((224, 224), 224),
        ((224, 300), 224),
        ((2500, 2500), 64),  # which Pillow holds in several blocks of memory
    ],
)
def test_pixels_are_those_of_pillow_and_numpy(size, side, interpolation, black_and_white):
    """Bit by bit, for noise, and for black and white, which bicubic weights overshoot."""
    values = np.random.default_rng(0).integers(0, 256, (*reversed(size), 3), dtype=np.uint8)
    image = Image.fromarray(
        np.where(values < 128, 0, 255).astype(np.uint8) if black_and_white else values
    )
    before = image.tobytes()
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    expected = by_pillow(image, side, interpolation, mean, std)
    found = Preprocess(side, "squash", interpolation, mean, std).pixels(image)
    assert np.array_equal(found, expected)
    assert image.tobytes() == before


def test_squash_keeps_the_edges_and_shortest_keeps_the_proportions():
    wide = Image.new("RGB", (96, 32), "black")
    wide.paste("white", (0, 0, 32, 32))
    squashed = SQUASH.pixels(wide)
    cropped = Preprocess(32, "shortest", "bilinear", HALF, HALF).pixels(wide)
    assert squashed[0, 16, 2] > 0.9
    assert cropped.max() < -0.9


@pytest.mark.parametrize(("wide", "high"), [(96, 32), (32, 96)])
def test_longest_keeps_the_whole_photo_and_fills_the_rest_of_the_square(wide, high):
    longest = Preprocess(32, "longest", "bilinear", HALF, HALF, fill=(255, 0, 255))
    pixels = longest.pixels(Image.new("RGB", (wide, high), "black"))
    pixels = pixels if wide > high else pixels.transpose(0, 2, 1)
    assert (pixels[:, 10:21] == -1).all()  # 32 x 11 pixels of photo
    for rest in (pixels[:, :10], pixels[:, 21:]):
        assert (rest == np.array([1, -1, 1])[:, None, None]).all()


def test_a_photo_may_be_resized_to_more_than_is_cropped():
    stripes = Image.new("RGB", (64, 64), "black")
    stripes.paste("white", (0, 0, 8, 64))
    cropped = Preprocess(32, "squash", "bilinear", HALF, HALF, resize_to=64)
    assert cropped.pixels(stripes).max() == -1
    assert np.array_equal(cropped.pixels(stripes), SQUASH.pixels(stripes.crop((16, 16, 48, 48))))


def test_a_jpeg_keeps_the_pixels_that_are_resized_to(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    noise = Image.fromarray(values).resize((1200, 1200))
    noise.save(tmp_path / "noise.jpg", quality=95)
    cropped = Preprocess(32, "squash", "bilinear", HALF, HALF, resize_to=256)
    expected = cropped.pixels(noise)
    found = cropped.decoded((tmp_path / "noise.jpg").read_bytes(), "noise.jpg")
    assert np.abs(found - expected).mean() < 0.05
    assert np.array_equal(cropped(tmp_path / "noise.jpg"), found)


def test_no_photo_is_resized_to_less_than_is_cropped():
    assert Preprocess(32, "shortest", "bilinear", HALF, HALF, resize_to=32).resize_to == 32
    with pytest.raises(ValueError, match="resize_to is 31, less than the size, 32"):
        Preprocess(32, "shortest", "bilinear", HALF, HALF, resize_to=31)


def test_fields_at_their_defaults_are_not_written():
    assert set(SQUASH.to_json()) == {"size", "resize", "interpolation", "mean", "std"}
    other = Preprocess(32, "longest", "bilinear", HALF, HALF, centre="round", fill=(1, 2, 3))
    assert msgspec.json.decode(json.dumps(other.to_json()), type=Preprocess) == other


def test_a_large_jpeg_decoded_small_gives_the_pixels_of_one_decoded_whole(tmp_path, photo):
    path = tmp_path / "large.jpg"
    photo.resize((3600, 2400)).save(path, quality=95)
    whole = SQUASH.pixels(Image.open(path).convert("RGB"))
    assert np.abs(SQUASH(path) - whole).mean() < 0.01
    assert not np.array_equal(SQUASH(path), whole)
    # Of bytes the same: a photo has one embedding, however it came.
    assert np.array_equal(SQUASH.decoded(path.read_bytes(), "large.jpg"), SQUASH(path))


def test_a_jpeg_of_more_pixels_than_pillow_opens_is_decoded_small(tmp_path, photo, monkeypatch):
    path = tmp_path / "200 megapixels.jpg"
    photo.resize((3600, 2400)).save(path)
    before = SQUASH(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    monkeypatch.setattr(decode, "MOST_PIXELS", 1_000_000)
    assert np.array_equal(SQUASH(path), before)
    with pytest.raises(PhotoError, match="3600 x 2400 pixels"):
        open_photo(path)


@pytest.mark.parametrize("name", ["large.png", "large.webp", "large.heic", "progressive.jpg"])
def test_too_many_pixels_are_an_error_where_no_smaller_image_can_be_decoded(
    tmp_path, monkeypatch, name
):
    import pillow_heif

    pillow_heif.register_heif_opener()
    path = tmp_path / name
    fast = {"preset": "ultrafast"}  # of x265
    Image.new("RGB", (2000, 1000), "teal").save(path, progressive=True, enc_params=fast)
    SQUASH(path)
    monkeypatch.setattr(decode, "MOST_PIXELS", 1_000_000)
    with pytest.raises(
        PhotoError, match=f"{name} has 2000 x 1000 pixels; the limit of its format is 1 million"
    ):
        SQUASH(path)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "I;16", "1"])
def test_every_colour_mode_becomes_three_channels(tmp_path, photo, mode):
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    if mode == "I;16":
        Image.fromarray((np.asarray(photo.convert("L")).astype(np.uint16)) * 257).save(path)
    else:
        photo.convert(mode).save(path)
    pixels = SQUASH(path)
    assert pixels.shape == (3, 32, 32)
    assert np.corrcoef(pixels.mean(0).ravel(), SQUASH.pixels(photo).mean(0).ravel())[0, 1] > 0.9


def test_a_palette_with_a_transparent_colour_shows_white(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(0, (0, 0, 8, 16))
    image.save(tmp_path / "a.png", transparency=0)
    shown = np.asarray(open_photo(tmp_path / "a.png"))
    assert shown[4, 2].tolist() == [255, 255, 255]
    assert shown[4, 12].tolist() == [0, 255, 0]


def test_sixteen_bits_become_the_upper_eight(tmp_path):
    Image.fromarray(np.full((8, 8), 0x8123, np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_photo(tmp_path / "a.png"))[4, 4].tolist() == [0x81] * 3


def test_eighty_megapixels_are_opened_and_not_one_more(tmp_path):
    """By what the head of a file says: there is no picture behind it."""
    for width, why in ((10_001, "10001 x 8000 pixels"), (10_000, "cannot be decoded")):
        head = struct.pack(">4sIIBBBBB", b"IHDR", width, 8000, 1, 0, 0, 0, 0)
        parts = [struct.pack(">I", 13), head, struct.pack(">I", zlib.crc32(head))]
        end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + end)
        with pytest.raises(PhotoError, match=why):
            open_photo(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(192, 64), (64, 192)])
def test_shortest_scales_the_short_side_and_takes_the_middle(size, photo):
    image = photo.resize(size)
    across = image.resize((size[0] // 2, size[1]), Image.Resampling.BILINEAR)
    scaled = across.resize((size[0] // 2, size[1] // 2), Image.Resampling.BILINEAR)
    left, top = ((side - 32) // 2 for side in scaled.size)
    middle = scaled.crop((left, top, left + 32, top + 32))
    shortest = Preprocess(32, "shortest", "bilinear", HALF, HALF)
    squash = Preprocess(32, "squash", "bilinear", HALF, HALF)
    assert np.array_equal(shortest.pixels(image), squash.pixels(middle))


def test_of_a_line_of_pixels_one_is_left():
    line = Image.new("RGB", (6400, 10), "white")
    pixels = Preprocess(32, "longest", "bilinear", HALF, HALF).pixels(line)
    assert (pixels[0] == 1).any(axis=1).sum() == 1


def test_the_rest_of_the_square_is_black_unless_told():
    white = Image.new("RGB", (64, 32), "white")
    pixels = Preprocess(32, "longest", "bilinear", HALF, HALF).pixels(white)
    assert (pixels[:, 0] == -1).all()
    assert (pixels[:, 16] == 1).all()


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("LA", "png"), ("PA", "tif")])
def test_transparency_shows_white(mode, suffix, tmp_path):
    path = tmp_path / f"clear.{suffix}"
    clear = Image.new(mode, (40, 40))
    if mode == "PA":
        clear.putpalette([0] * 768)
    clear.save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    assert np.allclose(SQUASH(path), 1.0)


def test_a_truncated_photo_is_an_error_that_names_it(tmp_path, photo):
    path = tmp_path / "half.jpg"
    photo.save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PhotoError, match=r"(?s)half\.jpg cannot be decoded.*save it again"):
        SQUASH(path)


def test_a_text_file_called_jpg_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("not a photo")
    with pytest.raises(PhotoError, match=r"notes\.jpg is not an image"):
        SQUASH(path)


def test_photos_are_found_in_subfolders_and_in_order(tmp_path, photo):
    for name in ("b.JPG", "sub/a.png", "notes.txt", "sub/deep/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["b.JPG", "sub/a.png", "sub/deep/c.webp"]


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_photos_is_an_error_that_names_it(tmp_path: Path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match=folder):
        find_photos(tmp_path / folder)


@pytest.mark.parametrize("size", [(3000, 500), (500, 3000), (3000, 3000)])
def test_a_jpeg_is_decoded_small_but_no_side_below_twice_what_is_wanted(size, tmp_path):
    Image.new("RGB", size, "green").save(tmp_path / "photo.jpg")
    whole, small = (open_photo(tmp_path / "photo.jpg", at_least=least).size for least in (0, 120))
    assert whole == size
    assert min(small) >= 240
    assert min(small) < 480


@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_an_image_of_several_strips_is_converted_whole(mode: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (2100, 1100, 4), dtype=np.uint8)
    image = Image.fromarray(values)
    if mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        expected = Image.alpha_composite(white, image).convert("RGB")
    else:
        image = Image.fromarray(values[..., 0].astype(np.uint16) << 8 | values[..., 1])
        expected = Image.fromarray(values[..., 0]).convert("RGB")
    image.save(tmp_path / "a.png", compress_level=1)
    assert np.array_equal(np.asarray(open_photo(tmp_path / "a.png")), np.asarray(expected))


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ({"shorter": 60}, (80, 60)),
        ({"longer": 60}, (60, 45)),
        ({"shorter": 60, "longer": 70}, (70, 52)),
        ({"shorter": 30, "longer": 70}, (40, 30)),
        ({"shorter": 4000}, (800, 600)),
        ({}, (800, 600)),
    ],
)
def test_a_thumbnail_has_neither_side_larger_than_is_asked_for(
    sides: dict[str, int], size: tuple[int, int], tmp_path: Path
) -> None:
    Image.new("RGB", (800, 600), "teal").save(tmp_path / "a.png")
    with Image.open(io.BytesIO(jpeg((tmp_path / "a.png").read_bytes(), "a.png", **sides))) as small:
        assert small.size == size


def test_a_thumbnail_differs_little_from_the_photo(photo: Image.Image, tmp_path: Path) -> None:
    """Less than with a quarter of the quality, or with only the nearest pixels."""
    photo.save(tmp_path / "a.png")
    made = jpeg((tmp_path / "a.png").read_bytes(), "a.png", shorter=75)
    with Image.open(io.BytesIO(made)) as small:
        expected = photo.resize(small.size, Image.Resampling.BOX)
        differences = np.asarray(small, np.float32) - np.asarray(expected, np.float32)
    assert np.abs(differences).mean() < 5.1


def test_a_thumbnail_of_a_large_jpeg_is_as_large_as_is_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "teal").save(tmp_path / "a.jpg")
    photo = (tmp_path / "a.jpg").read_bytes()
    with Image.open(io.BytesIO(jpeg(photo, "a.jpg", shorter=300))) as small:
        assert small.size == (400, 300)
