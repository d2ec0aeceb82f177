"""Reads a photo's file once and decodes it, within limits that hold for every command.

A photo takes less than 1 GiB of memory and 20 seconds. A running decoder cannot be stopped, so its
input is limited, by the measured cost of the worst files (test_limits.py).
"""

from __future__ import annotations

import io
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

import numpy as np

from mcad_mobile.data.photo_formats import FORMATS
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.errors import McadError, MissingExtra, PhotoError, install_line

# Pillow is imported only to decode photos: a process that only searches does not need it.
if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

# Most bytes of a file, in formats that are often barely compressed and in others. A 66-megapixel
# TIFF of 16 bits has 400 MB, a 48-megapixel HEIC 5.
MOST_BYTES, _MOST_OTHER_BYTES = 400_000_000, 50_000_000
_LARGE = (b"\xff\xd8", b"\x89PNG", b"II*\0", b"MM\0*", b"BM")
# Most pixels to decode. Phones store 108 and 200 megapixels as baseline JPEGs, which are decoded
# at a smaller size. Other libraries keep several copies: a WebP takes 20 bytes a pixel.
MOST_PIXELS = 80_000_000
_PIXELS_BY = {"HEIF": 64_000_000, "AVIF": 51_000_000, "WEBP": 48_000_000, "JPEG2000": 24_000_000}
# A decoder in Python takes 1.5 µs a pixel.
_PIXELS_BY_PYTHON = 8_000_000
# Ratio of the sides: a panorama has 20; resizing a thin photo to a square may widen it first.
MOST_ASPECT = 100
# JPEG segments (cameras write 10 to 50), JPEG scans (cameras write 10), PNG chunks, GIF blocks
# before the first image; bytes between JPEG segments, and of a PPM's header: Pillow reads them one
# by one.
_MOST_SEGMENTS, _MOST_SCANS, _MOST_CHUNKS, _MOST_BLOCKS = 500, 100, 100_000, 10_000
_MOST_BYTEWISE = 1 << 20

_AVIF_BRANDS = (b"avif", b"avis")
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_PPM = re.compile(rb"P[0-9fFy]")
_PPM_HEAD = re.compile(
    rb"P(?:[14](?:@+\d+){2}|\w+(?:@+[^\s#]+){3})\s".replace(b"@", rb"(?:\s|#.*[\r\n])")
)
_END, _SCAN = b"\xd9", b"\xda"
_SEQUENTIAL, _PROGRESSIVE = (b"\xc0", b"\xc1"), b"\xc2"
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class PhotoFile:
    """A file as it was when opened, so that all facts about a photo come from the same bytes even
    while another program writes it."""

    path: str
    stat: os.stat_result
    data: bytes

    def stamp(self) -> tuple[int, int]:
        return stat_stamp(self.stat), zlib.crc32(self.data)


@contextmanager
def regular_file(path: str, kind: str = "photo") -> Iterator[tuple[FileIO, os.stat_result]]:
    """Open the file of a photo, or of another `kind`, and give it with its state. PhotoError if it
    cannot be opened or read, or is not a regular file."""
    try:
        # O_NONBLOCK: opening a pipe would wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with FileIO(descriptor) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise PhotoError(f"{path} is not a regular file.", f"Give a {kind}'s file.")
            yield file, found
    except FileNotFoundError:
        raise PhotoError(f"No {kind} at {path}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path} cannot be read: {error}.", "Check its permissions.") from error


def read_photo(path: str) -> PhotoFile:
    """Read a photo's file. PhotoError if it is unreadable, not a regular file, or too large."""
    with regular_file(path) as (file, found):
        check_bytes(found.st_size, path)
        # No more: another program may be writing it.
        return PhotoFile(path, found, file.read(found.st_size))


def check_bytes(size: int, name: str, most: int = MOST_BYTES) -> None:
    """Raise PhotoError for a file of more than `most` bytes."""
    if size > most:
        raise PhotoError(
            f"{name} has {size / 1e6:,.0f} MB; the limit is {most / 1e6:,.0f} MB.",
            "Save a smaller copy of it, such as a JPEG that is not progressive.",
        )


def open_photo(path: Path | str, *, at_least: int = 0) -> Image.Image:
    """Decode a file's first photo: upright, RGB, transparent parts over white. A JPEG or HEIC may
    be reduced to 1/2, 1/4 or 1/8 while both sides keep twice `at_least` pixels."""
    return open_bytes(read_photo(str(path)).data, str(path), at_least=at_least)


def open_bytes(photo: bytes, name: str, *, at_least: int = 0) -> Image.Image:
    """Like open_photo, for a file's bytes, which determine the format; errors call it `name`."""
    from PIL import ImageOps, UnidentifiedImageError

    try:
        with opened(photo, name) as image:
            width, height = image.size
            if at_least:
                image.draft("RGB", (2 * at_least, 2 * at_least))
            # libjpeg holds a photo of several scans at full size, even to decode it small.
            held = (width, height) if _has_many_scans(photo, name) else image.size
            _check_size(image, held, name)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()  # while its file is open
            rgb = _opaque(image)
            # libheif decodes at full size only; a reduced photo is faster to resize.
            heic = at_least and image.format == "HEIF"
            factor = _reduction(*rgb.size, at_least) if heic else 1
            return rgb if factor == 1 else rgb.reduce(factor)
    except McadError:
        raise
    except UnidentifiedImageError:
        raise PhotoError(
            f"{name} is not an image in a format that mcad-mobile reads.",
            "Convert it to a JPEG or PNG.",
        ) from None
    except MemoryError:
        raise PhotoError(
            f"There is not enough memory to decode {name}.",
            "Close other programs, or save a smaller copy of it.",
        ) from None
    except Exception as error:  # Pillow's plugins raise anything on broken files
        raise PhotoError(
            f"{name} cannot be decoded: {error}.",
            "If another program shows it, save it again with that; else copy it from a backup.",
        ) from error


def opened(photo: bytes, name: str) -> Image.Image:
    """Open a photo and read only its header. PhotoError if that would take long, MissingExtra for
    HEIC without its extra, and Pillow's own errors for unreadable files."""
    from PIL import Image, JpegImagePlugin

    most = MOST_BYTES if photo.startswith(_LARGE) else _MOST_OTHER_BYTES
    # Pillow decodes the text of a PPM slowly.
    check_bytes(len(photo), name, most // 2 if photo.startswith(b"P") else most)
    if photo.startswith(b"GIF"):
        _check_gif(photo, name)
    if _PPM.match(photo):
        plain = photo[1:2] in b"123"  # a text, in which each comment takes time
        if not _PPM_HEAD.match(photo, 0, _MOST_BYTEWISE) or (
            plain and photo.count(b"#") > _MOST_SEGMENTS
        ):
            raise _too_complex(f"{name} has a header of too many bytes, or too many comments.")
    # Image.open refuses 179 megapixels or more, even of a JPEG that is decoded small.
    if photo.startswith(_LARGE[0]):
        _has_many_scans(photo, name)  # raises PhotoError if decoding it would take long
        return JpegImagePlugin.JpegImageFile(io.BytesIO(photo))
    if photo[4:8] == b"ftyp" and photo[8:12] not in _AVIF_BRANDS:  # ISO/IEC 14496-12, 4.3
        register_heic()
    Image.init()
    exif = _png_exif(photo, name) if photo.startswith(_LARGE[1]) else b""
    image = Image.open(io.BytesIO(photo), formats=[name for name in FORMATS if name in Image.OPEN])
    image.info.update({"exif": exif} if exif else {})
    return image


def register_heic() -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra(
            "HEIC photos need pillow-heif, which is not installed.",
            f"Install it with: {install_line('heic')}",
        ) from error
    pillow_heif.register_heif_opener(thumbnails=False)  # else draft() uses the thumbnail


def _check_size(image: Image.Image, held: tuple[int, int], name: str) -> None:
    """Raise PhotoError for too many pixels in a photo or TIFF tile, or for a thin photo."""
    from PIL import Image as pillow

    width, height = held
    most = _PIXELS_BY.get(image.format or "", MOST_PIXELS)
    if any(tile[0] in pillow.DECODERS for tile in getattr(image, "tile", [])):
        most = _PIXELS_BY_PYTHON
    most = min(most, MOST_PIXELS)
    tags = getattr(image, "tag_v2", {})
    tile = tags.get(322, 0) * tags.get(323, 0)  # TileWidth, TileLength
    if max(width * height, tile) > most:
        raise PhotoError(
            f"{name} has {width} x {height} pixels; the limit of its format is {most // 10**6} "
            "million.",
            "Make it smaller, or save it as a JPEG that is not progressive.",
        )
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise PhotoError(
            f"{name} has {width} x {height} pixels: a side is more than {MOST_ASPECT} times the "
            "other.",
            "Crop or split it.",
        )


def _has_many_scans(photo: bytes, name: str) -> bool:
    """Whether a file is a JPEG that is progressive or stores its colours in separate scans.
    PhotoError for far more segments or scans than a camera writes: each takes time."""
    at, segments, scans, sequential, colours = 0, 0, 0, False, 0
    if not photo.startswith(_LARGE[0]):
        return False
    between = 0
    while (found := _JPEG_MARKER.search(photo, at)) and found[1] != _END:
        between += 0 if scans else found.start() - at
        at = found.end()
        segments += 1
        if found[1] in (*_SEQUENTIAL, _PROGRESSIVE):
            sequential, colours = found[1] in _SEQUENTIAL, int.from_bytes(photo[at + 7 : at + 8])
        if found[1] == _SCAN:
            scans += 1
            if sequential and int.from_bytes(photo[at + 2 : at + 3]) == colours:
                return False
        if segments > _MOST_SEGMENTS or scans > _MOST_SCANS or between > _MOST_BYTEWISE:
            raise _too_complex(
                f"{name} has more than {_MOST_SEGMENTS} segments or {_MOST_SCANS} scans, or "
                f"{_MOST_BYTEWISE:,} bytes between them."
            )
        if scans:
            check_bytes(len(photo), f"{name}, which is progressive,", _MOST_OTHER_BYTES)
        at += int.from_bytes(photo[at : at + 2])
    if not scans and len(photo) - at > _MOST_BYTEWISE:  # what follows may be fill alone
        raise _too_complex(f"{name} has no scan.")
    return scans > 0


def _check_gif(photo: bytes, name: str) -> None:
    """Raise PhotoError for too many blocks before the first image: each takes time and memory."""
    flags = photo[10] if len(photo) > 10 else 0
    at, extension = 13 + (flags >> 7) * (6 << (flags & 7)), False
    for _ in range(_MOST_BLOCKS):
        if at >= len(photo) or (not extension and photo[at] in b",;"):
            return
        if extension:  # in blocks, to an empty one
            extension = photo[at] > 0
            at += 1 + photo[at]
        else:  # Pillow skips any other byte
            extension = photo[at] == ord("!")
            at += 2 if extension else 1
    raise _too_complex(f"{name} has more than {_MOST_BLOCKS} blocks before its image.")


def _too_complex(message: str) -> PhotoError:
    return PhotoError(message, "Save it again with another program.")


def _png_exif(photo: bytes, name: str) -> bytes:
    """The EXIF of a PNG. It may follow the pixels, which Pillow would decode to find it.
    PhotoError for too many chunks: each takes time."""
    at, exif = 8, b""
    for _ in range(_MOST_CHUNKS):
        end = at + 12 + int.from_bytes(photo[at : at + 4])
        kind = photo[at + 4 : at + 8]
        if kind == b"eXIf":
            exif = b"Exif\0\0" + photo[at + 8 : end - 4]
        if kind == b"IEND" or end >= len(photo):
            return exif
        at = end
    raise _too_complex(f"{name} has more than {_MOST_CHUNKS} chunks.")


def _opaque(image: Image.Image) -> Image.Image:
    """An image as RGB: 16-bit values keep their upper 8 bits (Pillow's convert() clips them), and
    transparent parts become white. Strips avoid a full copy at each step."""
    from PIL import Image

    def upper_bits(part: Image.Image) -> Image.Image:
        return Image.fromarray((np.asarray(part) >> 8).astype(np.uint8))

    def over_white(part: Image.Image) -> Image.Image:
        white = Image.new("RGBA", part.size, "white")
        return Image.alpha_composite(white, part.convert("RGBA")).convert("RGB")

    if image.mode.startswith("I"):
        image = _by_strips(image, "L", upper_bits)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        return _by_strips(image, "RGB", over_white)
    # Most photos are RGB already; a copy takes as long as decoding a small photo.
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_strips(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    from PIL import Image

    whole = Image.new(mode, image.size)
    rows = max(_STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        whole.paste(convert(image.crop(box)), box)
    return whole


def _reduction(width: int, height: int, at_least: int) -> int:
    """The largest of 1, 2, 4, 8 that keeps twice `at_least` pixels a side, as `Image.draft`."""
    scale = min(width, height) // (2 * at_least)
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(scale, 1))
