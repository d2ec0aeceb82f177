"""Pictures of text to calibrate and to compare on: lines rendered into the photos of packages."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mcad_mobile.data.augmentation import augment
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import DETECTOR_SHAPE, RECOGNIZER_SHAPE
from mcad_mobile.engine.photos.decode import open_photo

# Pillow finds them by these names where a system has them. Its own font has no accents.
_FONTS = (
    *("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf"),
    *("LiberationSans-Regular.ttf", "LiberationSerif-Italic.ttf", "NotoSans-Regular.ttf"),
    *("arial.ttf", "Arial.ttf", "times.ttf", "Georgia.ttf"),
)


class TextPicture(NamedTuple):
    """A picture of text, and its lines as they were rendered."""

    image: Image.Image
    lines: tuple[str, ...]


def plain_picture(text: str, width: int, height: int) -> Image.Image:
    """Return dark text on white, which every rung reads alike."""
    picture = Image.new("RGB", (width, height), "white")
    font = ImageFont.load_default(28)
    ImageDraw.Draw(picture).text((8, height // 2), text, "black", font, anchor="lm")
    return picture


def line_pictures(count: int, seed: int) -> list[TextPicture]:
    """Return pictures of one line, as high as the recognizer's input and at most as wide."""
    _, _, height, width = RECOGNIZER_SHAPE
    found: list[TextPicture] = []
    random, photos = np.random.default_rng(seed), _photos(DETECTOR_SHAPE[2], seed)
    while len(found) < count:
        text = _text(random)
        line = _rendered(text, int(random.integers(26, 36)), random)
        if line.width > width - 8:
            continue
        left, top = (int(random.integers(0, 640 - side)) for side in (width, height))
        ground = _toned(photos[len(found) % len(photos)], line, random)
        picture = ground.crop((left, top, left + line.width + 8, top + height))
        picture.paste(line, (4, (height - line.height) // 2), line)
        found.append(TextPicture(_worn(picture, random), (text,)))
    return found


def scene_pictures(count: int, seed: int) -> list[TextPicture]:
    """Return pictures as large as the detector's input: photos with signs, and pages of text."""
    side = DETECTOR_SHAPE[2]
    random, photos = np.random.default_rng(seed), _photos(side, seed)
    return [
        (_page if number % 4 == 3 else _signs)(photos[number % len(photos)].copy(), random)
        for number in range(count)
    ]


def pixels(images: Sequence[Image.Image], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return pictures as the reader's towers take them, [N, 3, H, W] float32 from -1 to 1, filled
    up with 0 on the right."""
    found = np.zeros((len(images), *shape[1:]), np.float32)
    for row, image in zip(found, images, strict=True):
        scaled = np.asarray(image.convert("RGB"), np.float32) / 127.5 - 1
        row[:, : image.height, : image.width] = scaled.transpose(2, 0, 1)
    return found


def _signs(photo: Image.Image, random: Generator) -> TextPicture:
    lines = []
    free = [(0, top) for top in range(0, photo.height, 80)]
    for number in random.permutation(len(free))[: random.integers(0, 7)]:
        text = _text(random)
        line = _rendered(text, int(random.integers(14, 52)), random)
        if line.width > photo.width - 40:
            continue
        if random.random() < 0.4:  # on a plate
            plate = Image.new("RGBA", (line.width + 12, line.height + 8), _against(line, random))
            plate.alpha_composite(line, (6, 4))
            line = plate
        turned = line.rotate(float(random.normal(0, 3)), Image.Resampling.BICUBIC, expand=True)
        left = int(random.integers(0, max(photo.width - turned.width, 1)))
        photo.paste(turned, (left, free[number][1]), turned)
        lines.append(text)
    return TextPicture(_worn(photo, random), tuple(lines))


def _page(photo: Image.Image, random: Generator) -> TextPicture:
    """Return a receipt, a letter or a screenshot."""
    size = int(random.integers(15, 24))
    dark = random.random() < 0.3
    page = Image.new("RGB", photo.size, (24, 24, 28) if dark else (250, 249, 245))
    lines = []
    for top in range(12, page.height - 2 * size, int(size * 1.6)):
        text = " ".join(_text(random) for _ in range(int(random.integers(1, 3))))
        line = _rendered(text, size, random, (235, 235, 235) if dark else (20, 20, 20))
        if line.width < page.width - 24:
            page.paste(line, (12, top), line)
            lines.append(text)
    return TextPicture(_worn(page, random), tuple(lines))


def _photos(side: int, seed: int) -> list[Image.Image]:
    return [
        augment(open_photo(path).convert("RGB"), 1 + seed, number).resize((side, side))
        for number, path in enumerate(packaged_photos())
    ] or [Image.effect_noise((side, side), 60).convert("RGB")]


def _text(random: Generator) -> str:
    """Return a few words of a caption or of a sign, or a number as it stands on receipts."""
    lines = (
        _lines("quantization", "captions") if random.random() < 0.5 else _lines("reader", "lines")
    )
    line = lines[random.integers(0, len(lines))].format(random.lognormal(4, 1.5))
    words = line.split()
    first = int(random.integers(0, len(words)))
    text = " ".join(words[first : first + int(random.integers(1, 5))])
    return str(random.choice([text, text.upper(), text.title(), text.capitalize()]))


@functools.cache
def _lines(folder: str, name: str) -> list[str]:
    file = resources.files(f"mcad_mobile.export.{folder}").joinpath(f"{name}.txt")
    return [line for line in file.read_text("utf-8").splitlines() if line.isascii() or _fonts()]


def _rendered(
    text: str, size: int, random: Generator, colour: tuple[int, ...] | None = None
) -> Image.Image:
    """Return a line with a transparent ground."""
    names: list[str | None] = [*_fonts(), *([None] if text.isascii() else [])]
    name = names[random.integers(0, len(names))]
    font = ImageFont.truetype(name, size) if name else ImageFont.load_default(size)
    left, top, right, bottom = (round(end) for end in font.getbbox(text))
    if colour is None:
        dark = random.random() < 0.5
        colour = tuple(int(x) for x in random.integers(0, 90, 3) + (0 if dark else 165))
    image = Image.new("RGBA", (max(right - left, 1) + 2, max(bottom - top, 1) + 2), (*colour, 0))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, (*colour, 255), font)
    return image


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Return the names of fonts that are installed here, and have accents."""
    found = []
    for name in _FONTS:
        with suppress(OSError):
            ImageFont.truetype(name)
            found.append(name)
    return tuple(found)


def _against(line: Image.Image, random: Generator) -> tuple[int, ...]:
    """Return a colour on which a line can be read."""
    is_dark = np.asarray(line)[0, 0, :3].mean() < 128
    return (*(int(x) for x in random.integers(0, 70, 3) + (185 if is_dark else 0)), 255)


def _toned(photo: Image.Image, line: Image.Image, random: Generator) -> Image.Image:
    plain = Image.new("RGB", photo.size, _against(line, random)[:3])
    return Image.blend(photo, plain, float(random.uniform(0.5, 1)))


def _worn(picture: Image.Image, random: Generator) -> Image.Image:
    """Return a picture as a camera takes it: a little blurred, with noise."""
    blurred = picture.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 0.9))))
    noise = random.normal(0, random.uniform(0, 8), (*blurred.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8))
