"""Crops of photos: as large as they say, upright or mirrored, the same for the same numbers."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mcad_mobile.data.augmentation import augment

WIDTH, HEIGHT = 120, 80


def position_map() -> Image.Image:
    """A photo whose pixels say where they lie: red is the column, green the row."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    return Image.fromarray(pixels)


def test_a_view_is_a_crop_of_half_the_photo_or_more_and_half_of_them_are_mirrored():
    photo = position_map()
    assert augment(photo, 0, 5) is photo
    mirrored, areas, shapes, corners = [], [], [], set()
    for number in range(200):
        crop = np.asarray(augment(photo, 1, number)).astype(int)
        columns, rows = crop[0, :, 0], crop[:, 0, 1]
        mirrored.append(columns[0] > columns[-1])
        columns = np.sort(columns)
        assert (np.diff(columns) == 1).all() and (np.diff(rows) == 1).all()
        areas.append(crop.shape[0] * crop.shape[1] / (WIDTH * HEIGHT))
        shapes.append((crop.shape[1] / WIDTH) / (crop.shape[0] / HEIGHT))
        corners |= {(columns[0] == 0, rows[0] == 0), (columns[-1] == WIDTH - 1, "right")}
        corners.add((rows[-1] == HEIGHT - 1, "bottom"))
    assert 0.45 < min(areas) < 0.6 and 0.9 < max(areas) <= 1.0
    assert 0.78 < min(shapes) < 0.9 and 1.1 < max(shapes) < 1.28
    assert 70 < sum(mirrored) < 130
    assert {(False, False), (True, "right"), (True, "bottom")} <= corners


def test_a_crop_depends_on_the_view_and_on_the_photo_and_on_nothing_else():
    photo = position_map()
    crops = {place: augment(photo, *place).tobytes() for place in ((1, 0), (1, 1), (2, 0), (2, 1))}
    assert len(set(crops.values())) == 4
    assert all(augment(photo, *place).tobytes() == crop for place, crop in crops.items())
