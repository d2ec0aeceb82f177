"""Small JPEGs of photos, upright and without metadata such as place and time."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.photos.decode import open_bytes, read_photo
from mcad_mobile.engine.photos.video import key_frames, video_behind
from mcad_mobile.errors import MissingExtra, PhotoError

if TYPE_CHECKING:
    from PIL import Image

_QUALITY = 80


def jpeg(
    photo: bytes, name: str, *, shorter: int | None = None, longer: int | None = None
) -> bytes:
    """A photo's bytes, which errors call `name`, as a JPEG whose shorter side has `shorter` pixels
    or whose longer side has `longer`; never enlarged."""
    # open_bytes keeps at least twice `at_least` pixels, so half of the size is enough.
    image = open_bytes(photo, name, at_least=(shorter or longer or 0) // 2)
    return _small(image, name, shorter, longer)


def _small(image: Image.Image, name: str, shorter: int | None, longer: int | None) -> bytes:
    from PIL import Image

    image.info.clear()  # Pillow would write the photo's comment
    scales = [1.0]
    scales += [shorter / min(image.size)] if shorter else []
    scales += [longer / max(image.size)] if longer else []
    scale = min(scales)
    out = io.BytesIO()
    try:
        if scale < 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        image.save(out, "JPEG", quality=_QUALITY)
    except (OSError, ValueError, MemoryError) as error:
        raise PhotoError(f"{name} cannot be made into a thumbnail: {error}.") from error
    return out.getvalue()


def file_jpeg(
    path: str, at_ms: int | None = None, *, shorter: int | None = None, longer: int | None = None
) -> bytes:
    """A photo's file, or a video's or motion photo's at a moment, as `jpeg` makes it. PhotoError,
    MissingExtra."""
    start = 0
    if not is_video(path):
        photo = read_photo(path).data
        start = 0 if at_ms is None else video_behind(photo)
        if not start:
            return jpeg(photo, path, shorter=shorter, longer=longer)
    for frame in key_frames(path, (shorter or longer or 0) // 2, at_ms or 0, start=start):
        return _small(frame.image, path, shorter, longer)
    raise PhotoError(f"{path} has no frame at {at_ms} ms.")


def inline_jpeg(path: Path, shorter: int, at_ms: int | None = None) -> str:
    """Like file_jpeg, in base64 for a page with inline photos; "" if the file is unreadable."""
    try:
        content = file_jpeg(str(path), at_ms, shorter=shorter)
    except (PhotoError, MissingExtra):
        return ""
    return base64.b64encode(content).decode("ascii")
