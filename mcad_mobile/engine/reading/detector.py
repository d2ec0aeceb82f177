"""Finds lines of text in a photo: first in little detail, then in more where there is some."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.bundle import DETECTOR_SHAPE, DETECTOR_STEP
from mcad_mobile.engine.native import load_kernel
from mcad_mobile.engine.towers import LoadedTower

if TYPE_CHECKING:
    from PIL import Image

MOST_LINES = 400  # of a photo
_TILE = DETECTOR_SHAPE[3]
_MARGIN = 32  # pixels by which tiles overlap, twice: near its edge a map is unsure
_GLANCE = 480 * 480  # pixels of the first map
_MOST_PIXELS, _MOST_SIDE = 1 << 22, 1 << 14  # of a map; as in kernel.h
_FINER, _LEVELS = 2, 4
_SMALL = 13  # pixels of a box's height in a map; if less, a finer map shows it better


@dataclass(frozen=True)
class Detector:
    """Calls a tower on tiles of a photo; one of a `fixed` shape on tiles that are filled up."""

    tower: LoadedTower
    fixed: bool = False

    def find(self, photo: Image.Image) -> F32:
        """Return the lines of an RGB photo, [N, 4, 2] float32, N at most MOST_LINES: x and y of
        four corners in pixels, clockwise from the upper left."""
        scales, (width, height) = self._scales(*photo.size), photo.size
        kept = np.empty((0, 4, 2), np.float32)
        wanted = np.array([[(0, 0), (width, 0), (width, height), (0, height)]], np.float32)
        for level, scale in enumerate(scales):
            boxes = self._boxes(photo, scale, wanted)
            boxes = boxes[~_are_inside(boxes.mean(1), kept)]
            small = np.min(_sides(boxes), 1) * scale < _SMALL
            small &= level + 1 < len(scales)
            kept, wanted = np.concatenate([kept, boxes[~small]]), boxes[small]
            if not len(wanted):
                break
        return kept[:MOST_LINES]

    def _scales(self, width: int, height: int) -> list[float]:
        """Return the scales of the maps, ascending."""
        area, long = width * height, max(width, height)
        most = min(1, math.sqrt(_MOST_PIXELS / area), _MOST_SIDE / long)
        glance = _TILE / long if self.fixed else math.sqrt(_GLANCE / area)
        scales = [min(glance, most)]
        while len(scales) < _LEVELS and scales[-1] < most / 1.25:
            scales.append(min(_FINER * scales[-1], most))
        return scales

    def _boxes(self, photo: Image.Image, scale: float, wanted: F32) -> F32:
        """Return the boxes [N, 4, 2] in a map of the photo, of tiles with a `wanted` box alone."""
        from PIL import Image

        width, height = (max(round(side * scale), 1) for side in photo.size)
        image = photo.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
        found = np.zeros((height, width), np.float32)
        around = np.min(_sides(wanted), 1)[:, None]
        low, high = (wanted.min(1) - around) * scale, (wanted.max(1) + around) * scale
        for top, bottom in _tiles(height):
            for left, right in _tiles(width):
                if not np.all((low < [right, bottom]) & (high > [left, top]), axis=1).any():
                    continue
                tile = np.asarray(image.crop((left, top, right, bottom)))
                map_ = self.tower({"pixels": self._pixels(tile)})[0, 0]
                y, x = _inner(top, bottom, height), _inner(left, right, width)
                found[y, x] = map_[y.start - top : y.stop - top, x.start - left : x.stop - left]
        boxes = load_kernel().find_boxes(found, MOST_LINES)[:, :8].reshape(-1, 4, 2)
        return np.asarray(np.clip(boxes, 0, (width, height)) / scale, np.float32)

    def _pixels(self, tile: NDArray[np.uint8]) -> F32:
        """Return a tile as [1, 3, H, W], filled up by its last row and column."""
        height, width = tile.shape[:2]
        down = _TILE - height if self.fixed else -height % DETECTOR_STEP
        aside = _TILE - width if self.fixed else -width % DETECTOR_STEP
        filled = np.pad(tile, ((0, down), (0, aside), (0, 0)), "edge")
        return np.ascontiguousarray(filled.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)


def _tiles(side: int) -> Iterator[tuple[int, int]]:
    """Yield the ends of tiles, none larger than it must be, that cover a side and overlap by two
    margins or more."""
    count = max(math.ceil((side - 2 * _MARGIN) / (_TILE - 2 * _MARGIN)), 1)
    tile = math.ceil((side + (count - 1) * 2 * _MARGIN) / count / DETECTOR_STEP) * DETECTOR_STEP
    for start in np.linspace(0, max(side - tile, 0), count).astype(int).tolist():
        yield start, min(start + tile, side)


def _inner(start: int, end: int, side: int) -> slice:
    """The part of a tile that no other tile shows better."""
    return slice(start and start + _MARGIN, end - _MARGIN if end < side else end)


def _sides(boxes: F32) -> F32:
    """Return widths and heights [N, 2] of boxes [N, 4, 2]."""
    return np.asarray(np.linalg.norm(boxes[:, [1, 3]] - boxes[:, :1], axis=2))


def _are_inside(points: F32, boxes: F32) -> NDArray[np.bool_]:
    """Say which points [N, 2] lie well inside one of the boxes [M, 4, 2]: not where it may reach
    into the line above or below."""
    axes, sides = boxes[:, [1, 3]] - boxes[:, :1], _sides(boxes)
    along = np.einsum("nmk,mak->nma", points[:, None] - boxes[:, 0], axes) / sides
    inside = np.abs(along - sides / 2) <= sides / 2 - sides.min(1, keepdims=True) / 4
    return np.asarray(inside.all(2).any(1))
