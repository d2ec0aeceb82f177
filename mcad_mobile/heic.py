"""HEIC photos at a half, a quarter or an eighth: by FFmpeg's HEVC decoder, which is faster
than libheif's, and never in colour at full size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mcad_mobile.heif_file import CodedPhoto, Unusual, coded_photo

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL import Image

_EIGHT_BITS = ("yuv420p", "yuvj420p")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# Matrix coefficients as JPEG has them: BT.470BG and SMPTE 170M; 2 is unspecified.
_BT601 = frozenset({2, 5, 6})


def reduction(width: int, height: int, at_least: int) -> int:
    """By which of 1, 2, 4, 8 a photo is reduced so that both sides keep twice `at_least` pixels:
    the rule of Pillow's `Image.draft` for JPEG."""
    scale = min(width, height) // (2 * at_least)
    return next(factor for factor in (8, 4, 2, 1) if factor <= max(scale, 1))


def decoded_small(file: bytes, at_least: int, most_pixels: int) -> Image.Image | None:
    """The bytes of a HEIC file -> RGB, upright, reduced.

    None for what is left to pillow-heif: photos that are not reduced, or of a rarer kind (10 bits,
    an alpha plane, other colours); damaged ones and those of more than `most_pixels`, because it
    tells what is wrong; and all where PyAV is not installed.
    """
    try:
        import av
    except ImportError:
        return None
    try:
        photo = coded_photo(file)
        factor = reduction(photo.width, photo.height, at_least)
        if factor == 1 or photo.width * photo.height > most_pixels:
            return None
        return _decoded(photo, factor, most_pixels)
    except (Unusual, av.FFmpegError):
        return None


def _decoded(photo: CodedPhoto, factor: int, most_pixels: int) -> Image.Image:
    from av import CodecContext, Packet
    from PIL import Image

    if photo.colours is not None and photo.colours not in {(matrix, True) for matrix in _BT601}:
        raise Unusual(f"colours {photo.colours}")
    decoder = CodecContext.create("hevc", "r")
    decoder.extradata = photo.setup
    decoder.thread_count = 1  # other photos are decoded beside it
    # What is damaged is an error, and not painted over. A coded image has up to 64 pixels more
    # across and down than are shown.
    decoder.options = {"err_detect": "explode", "max_pixels": str(2 * most_pixels)}
    small = Image.new("YCbCr", (-(-photo.width // factor), -(-photo.height // factor)))
    done = 0
    for number, tile in enumerate([*photo.tiles, None]):
        packet = None if tile is None else Packet(tile)
        if packet is not None:
            packet.pts = number
        for frame in decoder.decode(packet):
            row, column = divmod(frame.pts or 0, photo.columns)
            part = _reduced(frame, factor, photo)
            small.paste(part, (column * part.width, row * part.height))
            done += 1
    if done != len(photo.tiles):
        raise Unusual(f"{done} of {len(photo.tiles)} tiles")
    upright = small.convert("RGB")
    if not photo.turns:
        return upright
    return upright.transpose(Image.Transpose[f"ROTATE_{90 * photo.turns}"])


def _reduced(frame: VideoFrame, factor: int, photo: CodedPhoto) -> Image.Image:
    """A tile in YCbCr, averaged over squares of `factor` pixels; chroma has half as many."""
    from PIL import Image

    usual = frame.format.name in _EIGHT_BITS and frame.color_range == _FULL_RANGE
    if (
        frame.is_corrupt
        or not usual
        or frame.colorspace not in _BT601
        or not _fits(frame, factor, photo)
    ):
        raise Unusual(f"{frame} of colours {frame.colorspace}")
    planes = []
    for plane, one in zip(frame.planes, (factor, factor // 2, factor // 2), strict=True):
        size = plane.width, plane.height
        samples = np.frombuffer(memoryview(plane), np.uint8)
        planes.append(
            Image.frombuffer("L", size, samples, "raw", "L", plane.line_size, 1).reduce(one)
        )
    return Image.merge("YCbCr", planes)


def _fits(frame: VideoFrame, factor: int, photo: CodedPhoto) -> bool:
    if len(photo.tiles) == 1:
        return (frame.width, frame.height) == (photo.width, photo.height)
    across = 0 <= frame.width * photo.columns - photo.width < frame.width
    down = 0 <= frame.height * photo.rows - photo.height < frame.height
    return across and down and frame.width % (2 * factor) == frame.height % (2 * factor) == 0
