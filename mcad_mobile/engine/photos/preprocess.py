"""Photo file -> pixels [3, S, S] float32. The reference for every other implementation."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mcad_mobile.base.documents import Positive, Record
from mcad_mobile.data.photo_formats import FORMATS, HEIC_SUFFIXES, USUAL
from mcad_mobile.errors import McadError, MissingExtra, PhotoError

# Pillow is imported where a photo is decoded: a process that only searches has no use for it.
if TYPE_CHECKING:
    from PIL import Image

# What a photo may have once it is decoded, at up to 16 bytes each for a moment, on every thread.
# Phones' HEIC of 48 megapixels and panoramas of 64 have less; their photos of 108 and 200 are
# baseline JPEGs, which are decoded small. Pillow warns from 89 on.
MOST_PIXELS = 80_000_000
_AVIF_BRANDS = (b"avif", b"avis")

Interpolation = Literal["bilinear", "bicubic"]
Side = Annotated[int, Meta(ge=1, le=4096)]  # pixels
Level = Annotated[int, Meta(ge=0, le=255)]


class Preprocess(Record, frozen=True):
    """How a photo becomes a tower's input.

    `resize` is "squash" (the whole photo, both sides to `resize_to`: nothing at the edges is lost
    to search), "shortest" (shorter side to `resize_to`, then the centre square of `size`) or
    "longest" (longer side to `size`, the rest of the square in colour `fill`). All average over the
    pixels that shrink into one (Pillow's antialiased filters). Then (value / 255 - mean) / std for
    each of R, G, B.

    `resize_to` is `size` if it is not given. `centre` tells where a square starts when an odd
    number of pixels is left over: "floor" as transformers does, "round" as torchvision (to even).
    """

    size: Side
    resize: Literal["squash", "shortest", "longest"]
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    resize_to: Side | None = None
    centre: Literal["floor", "round"] = "floor"
    fill: tuple[Level, Level, Level] = (0, 0, 0)

    def __post_init__(self) -> None:
        if self.resize_to is not None and self.resize_to < self.size:
            raise ValueError(f"resize_to is {self.resize_to}, less than the size, {self.size}")

    def to_json(self) -> dict[str, Any]:
        """Fields that are at their defaults are left out."""
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
        return self.pixels(open_photo(path, at_least=self.resize_to or self.size))

    def decoded(self, photo: bytes, name: str) -> NDArray[np.float32]:
        """The bytes of a photo file -> [3, size, size] float32. PhotoError, which calls it `name`,
        if they cannot be decoded."""
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
    """[3, 256]: what each value of each channel becomes."""
    scaled = np.arange(256, dtype=np.float32) / np.float32(255)
    centred = scaled - np.array(mean, np.float32)[:, None]
    normalized: NDArray[np.float32] = centred / np.array(std, np.float32)[:, None]
    return normalized


def _scaled(size: tuple[int, int], resize: str, side: int) -> tuple[int, int]:
    """Width and height that a photo is resized to: torchvision's (`_compute_resized_output_size`),
    and open_clip's for "longest" (`ResizeKeepRatio`)."""
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
    """An RGB image -> [height, width, 3] uint8.

    Across, then down: Pillow 13 chooses the order by the photo's shape, older ones do not, and the
    rounding between the two would differ from theirs, and from Java's.
    """
    from PIL import Image

    resample = Image.Resampling[interpolation.upper()]
    across = image.resize((width, image.height), resample)
    return np.asarray(across.resize((width, height), resample))


def _start(spare: int, centre: str) -> int:
    """Where a square starts in what has `spare` pixels more; below 0 where it has less."""
    if spare < 0:
        return -(-spare // 2)
    return round(spare / 2) if centre == "round" else spare // 2


def open_photo(path: Path, *, at_least: int = 0) -> Image.Image:
    """Decode a photo: upright (EXIF orientation honoured), RGB, transparent parts over white; of a
    file that holds several, as GIF and TIFF may, the first.

    A JPEG or HEIC photo may come at 1/2, 1/4 or 1/8 of its size, as long as both sides keep twice
    `at_least` pixels. A JPEG is decoded at that size, which takes a fraction of the time.
    Raises PhotoError with the reason, also for more than 80 megapixels that have to be decoded.
    """
    return _decoded(path, str(path), at_least)


def open_bytes(photo: bytes, name: str, *, at_least: int = 0) -> Image.Image:
    """As open_photo, for the bytes of a file that errors call `name`; what it is, its bytes say."""
    return _decoded(photo, name, at_least)


def _decoded(photo: Path | bytes, path: str, at_least: int) -> Image.Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with opened(photo) as image:
            width, height = image.size
            if at_least:
                image.draft("RGB", (2 * at_least, 2 * at_least))
            # A progressive JPEG is held whole to be decoded small.
            held = (width, height) if "progressive" in image.info else image.size
            if held[0] * held[1] > MOST_PIXELS:
                raise PhotoError(
                    f"{path} has {width} x {height} pixels, and {MOST_PIXELS // 10**6} million at "
                    "most are decoded.",
                    "Make it smaller, or a JPEG that is not progressive.",
                )
            ImageOps.exif_transpose(image, in_place=True)
            upright: Image.Image = image
            if upright.mode.startswith("I"):  # 16 bits a pixel, which Pillow's convert() clips
                eight_bits = (np.asarray(upright) >> 8).astype(np.uint8)
                upright = Image.fromarray(eight_bits)
            if "transparency" in upright.info or upright.mode in ("RGBA", "LA", "PA"):
                upright = upright.convert("RGBA")
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright)
            upright.load()  # while its file is open
            # A photo is RGB already, and a copy would take as long as a small one's decoding.
            rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
            # libheif decodes at full size alone, and a photo that was reduced is resized sooner.
            heic = at_least and image.format == "HEIF"
            factor = _reduction(*rgb.size, at_least) if heic else 1
            return rgb if factor == 1 else rgb.reduce(factor)
    except McadError:
        raise
    except FileNotFoundError:
        raise PhotoError(f"No photo at {path}.", "Check the path.") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not an image that Pillow can read.") from None
    except Exception as error:  # Pillow's plugins raise all kinds on broken files
        raise PhotoError(f"{path} cannot be decoded: {error}.") from error


def _reduction(width: int, height: int, at_least: int) -> int:
    """By which of 1, 2, 4, 8 both sides keep twice `at_least` pixels, as `Image.draft` has it."""
    scale = min(width, height) // (2 * at_least)
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(scale, 1))


def opened(photo: Path | bytes) -> Image.Image:
    """A photo whose head is read, not its pixels. MissingExtra for HEIC without its extra; what
    Pillow raises for what it cannot read."""
    from PIL import Image, JpegImagePlugin

    if _is_heic(photo):
        register_heic()
    source = io.BytesIO(photo) if isinstance(photo, bytes) else photo
    # Image.open refuses any file of 179 megapixels or more, also a JPEG that is decoded small.
    try:
        return JpegImagePlugin.JpegImageFile(source)
    except SyntaxError:  # which is how Pillow says: no JPEG
        if isinstance(source, io.BytesIO):
            source.seek(0)
        Image.init()
        return Image.open(source, formats=[name for name in FORMATS if name in Image.OPEN])


def _is_heic(photo: Path | bytes) -> bool:
    if isinstance(photo, bytes):
        return photo[4:8] == b"ftyp" and photo[8:12] not in _AVIF_BRANDS  # ISO/IEC 14496-12, 4.3
    return photo.suffix.lower() in HEIC_SUFFIXES


def find_photos(folder: Path) -> list[Path]:
    """All photos below `folder`, as folder.walk finds them, sorted. PhotoError if the folder is
    missing or holds none."""
    from mcad_mobile.engine.photos.folder import (
        walk,  # of which a process that searches has no use either
    )

    if not folder.is_dir():
        raise PhotoError(f"No folder at {folder}.", "Give a folder that holds photos.")
    photos = sorted(Path(path) for path, _ in walk(folder, []))
    if not photos:
        raise PhotoError(
            f"No photos in {folder} (looked for {USUAL}, subfolders too).",
            "Give a folder that holds photos.",
        )
    return photos


def register_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra(
            "HEIC photos need pillow-heif, which is not installed.",
            "Install it with: pip install 'mcad-mobile[heic]'",
        ) from error
    pillow_heif.register_heif_opener(thumbnails=False)  # whose pixels a draft would take
