"""Photo file -> pixels [3, S, S] float32. The reference for every other implementation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mcad_mobile.base.documents import Positive, Record

# Imported only to decode photos: a process that only searches does not need Pillow.
if TYPE_CHECKING:
    from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]
Side = Annotated[int, Meta(ge=1, le=4096)]  # pixels
Level = Annotated[int, Meta(ge=0, le=255)]


class Preprocess(Record, frozen=True):
    """How a photo becomes a tower's input: resized by Pillow's antialiased filters, then
    (value / 255 - mean) / std for each of R, G, B."""

    size: Side
    # squash: resize both sides to `resize_to`, so that search sees the edges; shortest: resize the
    # shorter side, crop the centre; longest: resize the longer side, pad with colour `fill`.
    resize: Literal["squash", "shortest", "longest"]
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    resize_to: Side | None = None  # None: `size`
    # How to halve an odd number of spare pixels: round down as transformers does, or to even as
    # torchvision does.
    centre: Literal["floor", "round"] = "floor"
    fill: tuple[Level, Level, Level] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.resize_to is not None and self.resize_to < self.size:
            raise ValueError(f"resize_to is {self.resize_to}, less than the size, {self.size}")

    def to_json(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in msgspec.structs.fields(self)
            if getattr(self, field.name) != field.default
        }

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """An opened image, upright and RGB -> [3, size, size] float32."""
        samples = self._samples(image)
        pixels = np.empty((3, self.size, self.size), np.float32)
        for channel, table in enumerate(_normalized(self.mean, self.std)):
            np.take(table, samples[..., channel], out=pixels[channel], mode="clip")
        return pixels

    def __call__(self, path: Path) -> NDArray[np.float32]:
        """A photo file -> [3, size, size] float32. PhotoError if it cannot be decoded."""
        from mcad_mobile.engine.photos.decode import open_photo

        return self.pixels(open_photo(path, at_least=self.resize_to or self.size))

    def decoded(self, photo: bytes, name: str) -> NDArray[np.float32]:
        """Like a call, for a photo file's bytes; errors call it `name`."""
        from mcad_mobile.engine.photos.decode import open_bytes

        return self.pixels(open_bytes(photo, name, at_least=self.resize_to or self.size))

    def _samples(self, image: Image.Image) -> NDArray[np.uint8]:
        """[size, size, 3]."""
        width, height = _scaled(image.size, self.resize, self.resize_to or self.size)
        small = _resized(image, width, height, self.interpolation)
        if (width, height) == (self.size, self.size):
            return small
        left, top = (_start(length - self.size, self.centre) for length in (width, height))
        if self.resize != "longest":
            return small[top : top + self.size, left : left + self.size]
        square = np.empty((self.size, self.size, 3), np.uint8)
        square[:] = self.fill
        square[-top : height - top, -left : width - left] = small
        return square


@functools.cache
def _normalized(
    mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """[3, 256]: the normalized value of each byte, by channel."""
    scaled = np.arange(256, dtype=np.float32) / np.float32(255)
    centred = scaled - np.array(mean, np.float32)[:, None]
    return np.asarray(centred / np.array(std, np.float32)[:, None])


def _scaled(size: tuple[int, int], resize: str, side: int) -> tuple[int, int]:
    """Width and height to resize a photo to, as torchvision (`_compute_resized_output_size`) or,
    for "longest", open_clip (`ResizeKeepRatio`) computes them."""
    width, height = size
    if resize == "squash":
        return side, side
    if resize == "longest":
        ratio = max(height / side, width / side)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    short, long = sorted(size)
    longer = int(side * long / short)
    return (side, longer) if width <= height else (longer, side)


def _resized(
    image: Image.Image, width: int, height: int, interpolation: Interpolation
) -> NDArray[np.uint8]:
    """An RGB image -> [height, width, 3] uint8, resized across, then down. Pillow 13 chooses the
    order by the photo's shape; a fixed order rounds as older versions and our Java code do."""
    from PIL import Image

    resample = Image.Resampling[interpolation.upper()]
    across = image.resize((width, image.height), resample)
    return np.asarray(across.resize((width, height), resample))


def _start(spare: int, centre: str) -> int:
    """Where a square starts in a side of `spare` more pixels; below 0 in a shorter side."""
    if spare < 0:
        return -(-spare // 2)
    return round(spare / 2) if centre == "round" else spare // 2
