"""Draws photos of receipts, tickets, screenshots and signs, the same way every time."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib
import noto_cjk_sans_jp_regular
import numpy as np
from babel import Locale
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from skimage.transform import ProjectiveTransform, warp

from mcad_mobile.data.packaged_photos import packaged_photos

LATIN = ("en", "de", "fr", "es", "pt", "it", "pl", "cs", "sv", "hu", "ro", "tr", "nl", "fi")
LANGUAGES = (*LATIN, "zh_Hans", "zh_Hant", "ja")
# Size of the page, lines, and pixels of a letter.
KINDS = {
    "receipt": ((420, 520), 6, 26),
    "ticket": ((700, 420), 6, 32),
    "screenshot": ((720, 1280), 6, 34),
    "sign": ((640, 360), 3, 44),
}
LATIN_FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
OTHER_FONT = Path(noto_cjk_sans_jp_regular.__file__).with_name("NotoSansCJKjp-Regular.otf")


def draw(number: int, chance: random.Random) -> tuple[Image.Image, list[str]]:
    """Draw a photo of a page; return it and the page's lines."""
    kind, language = [*KINDS][number % len(KINDS)], LANGUAGES[number % len(LANGUAGES)]
    (width, height), count, letters = KINDS[kind]
    locale = Locale.parse(language)
    months = locale.months["format"]["wide"].values()
    names = {*locale.territories.values(), *locale.languages.values(), *months}
    short = (name for name in names if 3 <= len(name) <= 24 and name.replace(" ", "").isalpha())
    lines = chance.sample(sorted(short), count)
    is_dark = kind != "receipt" and chance.random() < 0.5
    paper = tuple(chance.randrange(0, 70) + (0 if is_dark else 185) for _ in "rgb")
    page = Image.new("RGB", (width, height), paper)
    pen, font = ImageDraw.Draw(page), LATIN_FONT if language in LATIN else OTHER_FONT
    for at, line in enumerate(lines):
        place = (30, 20 + at * (height - 40) // count)
        pen.text(place, line, "white" if is_dark else "black", ImageFont.truetype(font, letters))
    if kind == "screenshot":
        return page, lines
    grounds = packaged_photos()
    ground = Image.open(grounds[number % len(grounds)]).convert("RGB").resize((1200, 900))
    size = chance.uniform(0.8, 1.0) * min(1080 / width, 780 / height)
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    moved = corners * size + 60 + [[chance.uniform(-45, 45) for _ in "xy"] for _ in corners]
    # From the photo to the page; what lies outside of the page is NaN.
    view = ProjectiveTransform.from_estimate(moved, corners)
    seen = warp(np.asarray(page, np.float64), view, output_shape=(900, 1200), cval=np.nan)
    laid = Image.fromarray(np.where(np.isnan(seen), np.asarray(ground), seen).astype(np.uint8))
    blurred = np.asarray(laid.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 1.5))))
    noise = np.random.default_rng(number).normal(0, 8, blurred.shape)
    light = chance.uniform(0.6, 1.0)
    return Image.fromarray((blurred * light + noise).clip(0, 255).astype(np.uint8)), lines
