"""Photos as files: which state one is in, and those that were uploaded to search by."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mcad_mobile.base.files import cache_directory
from mcad_mobile.engine.photos.thumbnails import jpeg
from mcad_mobile.errors import PhotoError, QueryError

# Small pictures of photos, made once.

THUMBNAIL_PX = 320  # of the shorter side: sharp at 160 CSS pixels on a screen of twice as many
KEPT_BYTES = 512 << 20
MOST_KEPT = KEPT_BYTES // 25_000  # what a thumbnail takes, rather more than less
_KEPT_S = 60 * 86_400.0
_USED_S = 86_400.0


class Thumbnails:
    """Kept in the user's cache directory, as files that only the user can read, by the path and
    state of their photo. What cannot be kept is made again. For several threads and processes."""

    def __init__(self) -> None:
        self._folder = cache_directory() / "thumbnails"
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.keeps = os.access(self._folder, os.W_OK | os.X_OK)
        self._added = 0  # bytes since the last pruning; what threads lose of it does not matter

    def held(self, path: str, tag: str) -> bytes | None:
        """The thumbnail of the photo at `path` in the state that `tag` names, if it is kept."""
        file = self._file(path, tag)
        try:
            content = file.read_bytes()
            if time.time() - file.stat().st_mtime > _USED_S:
                os.utime(file)  # when it was used last, to the day
        except OSError:
            return None
        return content

    def has(self, path: str, tag: str) -> bool:
        return self._file(path, tag).is_file()

    def make(self, path: str, tag: str) -> bytes:
        """Make and keep it. PhotoError and MissingExtra as open_photo."""
        made = jpeg(Path(path), shorter=THUMBNAIL_PX)
        file = self._file(path, tag)
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as partial:
                try:
                    partial.write(made)
                    partial.flush()
                    Path(partial.name).replace(file)
                    self._added += len(made)
                except BaseException:
                    Path(partial.name).unlink(missing_ok=True)
                    raise
        return made

    @property
    def grown(self) -> bool:
        """By so much that it is time to prune."""
        return self._added > KEPT_BYTES // 8

    def prune(self) -> None:
        """Remove what was not used for 60 days, and of the rest what was used longest ago, until
        512 MiB are left."""
        self._added = 0
        now, size = time.time(), 0
        for used, length, name in sorted(self._kept(), reverse=True):
            size += length
            if size > KEPT_BYTES or now - used > _KEPT_S:
                with contextlib.suppress(OSError):
                    os.unlink(name)  # noqa: PTH108  one of very many

    def _kept(self) -> list[tuple[float, int, str]]:
        """When each was used, its bytes, and its file."""
        found = []
        for folder in self._folder.glob("??"):
            with contextlib.suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    state = file.stat(follow_symlinks=False)
                    found.append((state.st_mtime, state.st_size, file.path))
        return found

    def _file(self, path: str, tag: str) -> Path:
        key = os.fsencode(path) + b"\0" + f"{tag} {THUMBNAIL_PX}".encode()
        name = hashlib.blake2b(key, digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.jpg"


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
                told = error.message.replace(str(path), "The photo")
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
