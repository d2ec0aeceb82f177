"""Seeded crops and flips of photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mcad_mobile.preprocess import open_photo


@dataclass(frozen=True)
class PhotoView:
    """One look at one photo: whoever opens it, teacher or student, sees the same crop."""

    path: Path
    view: int
    number: int  # of the photo in its set; with `view` it seeds the crop

    def open(self) -> Image.Image:
        """RGB. PhotoError if the photo cannot be decoded."""
        return augment(open_photo(self.path), self.view, self.number)


def augment(image: Image.Image, view: int, photo: int) -> Image.Image:
    """View 0 is the image itself; each other is a crop of 50 to 100 % of its area, half of them
    mirrored. The same (view, photo) always gives the same crop."""
    if view == 0:
        return image
    random = np.random.default_rng((view, photo))
    area, ratio = random.uniform(0.5, 1.0), np.exp(random.uniform(np.log(0.8), np.log(1.25)))
    width = min(image.width, round(image.width * (area * ratio) ** 0.5))
    height = min(image.height, round(image.height * (area / ratio) ** 0.5))
    left = int(random.integers(0, image.width - width + 1))
    top = int(random.integers(0, image.height - height + 1))
    crop = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(crop) if random.random() < 0.5 else crop
