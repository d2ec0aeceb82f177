"""Photos as files: which state one is in, and those that were uploaded to search by."""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcad_mobile.errors import PhotoError, QueryError
from mcad_mobile.serve.thumbnails import THUMBNAIL_PX
from mcad_mobile.thumbnail import jpeg

VIEW_PX = 1600
UPLOAD_BYTES = 32 << 20
_UPLOADS_BYTES = 256 << 20
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# What a photo's file begins with, and how it is to be named for whoever decodes it. All else that
# Pillow can read (PostScript, say, by running a program) is refused unread.
_KINDS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.startswith(b"\xff\xd8\xff"), ".jpg"),
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), ".png"),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", ".webp"),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS, ".heic"),
)


def state_of(path: str) -> str | None:
    """What changes when a file does; None where there is none that can be read."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


@dataclass(frozen=True)
class Uploaded:
    """A photo to search by, as it came, and its thumbnail as JPEG. `size` in bytes, width
    and height in pixels."""

    path: Path
    size: int
    width: int
    height: int
    thumbnail: bytes


class Uploads:
    """The last photos that were uploaded, up to 256 MiB, as files that only this user can read.
    `close` removes them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mcad-serve-")
        self._kept: OrderedDict[str, Uploaded] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._folder.cleanup()

    def spool(self) -> IO[bytes]:
        """A file to write an upload into before it is taken; gone when it is closed."""
        return tempfile.TemporaryFile(dir=self._folder.name)

    def take(self, file: IO[bytes]) -> tuple[str, Uploaded]:
        """Keep what was spooled, under a new id. PhotoError if it is no JPEG, PNG, WebP or HEIC,
        or cannot be decoded."""
        file.seek(0)
        head = file.read(16)
        suffix = next((suffix for matches, suffix in _KINDS if matches(head)), None)
        if suffix is None:
            raise PhotoError(
                "What was uploaded is no JPEG, PNG, WebP or HEIC.", "Give a photo of these kinds."
            )
        name = secrets.token_hex(10)
        path = Path(self._folder.name) / f"{name}{suffix}"
        file.seek(0)
        try:
            size = path.write_bytes(file.read())
            thumbnail = jpeg(path, shorter=THUMBNAIL_PX)
            width, height = _size(path)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, PhotoError):  # whose message names a file of ours
                told = error.what.replace(str(path), "The photo")
                raise PhotoError(told, error.hint) from error
            raise
        made = Uploaded(path, size, width, height, thumbnail)
        with self._lock:
            self._kept[name] = made
            while sum(one.size for one in self._kept.values()) > _UPLOADS_BYTES:
                self._kept.popitem(last=False)[1].path.unlink(missing_ok=True)
        return name, made

    def get(self, name: str) -> Uploaded:
        """QueryError if it is not here (any more)."""
        with self._lock:
            held = self._kept.get(name)
            if held is None:
                raise QueryError(
                    f"There is no uploaded photo {name!r}; only the last ones are kept.",
                    "Upload it again.",
                )
            self._kept.move_to_end(name)
            return held


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        return width, height
