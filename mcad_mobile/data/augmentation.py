"""Seeded crops and flips of photos."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps


def augment(image: Image.Image, view: int, photo: int) -> Image.Image:
    """View 0 is the image; others are crops of 50 to 100 % of its area, half of them mirrored. The
    same (view, photo) gives the same crop."""
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
