"""Photo files of the server: states of files, stored thumbnails, and uploads to search by."""

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

from PIL import ExifTags

from mcad_mobile.base.files import cache_directory
from mcad_mobile.engine.index.moments import file_and_moment
from mcad_mobile.engine.photos.decode import opened
from mcad_mobile.engine.photos.thumbnails import file_jpeg, jpeg
from mcad_mobile.errors import PhotoError, QueryError

THUMBNAIL_PX = 320  # of the shorter side: sharp at 160 CSS pixels, 2 pixels each
VIEW_PX = 1600  # of the longer side
KEPT_BYTES = 512 << 20
MOST_KEPT = KEPT_BYTES // 25_000  # a thumbnail takes fewer bytes than that
_KEPT_S = 60 * 86_400.0
_USED_S = 86_400.0
UPLOAD_BYTES = 32 << 20
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
# How the file of a photo begins, and the suffix for its decoder. Other formats that Pillow reads
# (PostScript, which runs a program) are refused unread.
_FORMATS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: head.startswith(b"\xff\xd8\xff"), ".jpg"),
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), ".png"),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", ".webp"),
    (lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS, ".heic"),
)
_LYING = (5, 6, 7, 8)  # EXIF's orientations of photos that are stored on their side

FolderState = dict[str, tuple[int, int, int]]


def file_state(path: str | Path) -> str | None:
    """A text that changes when the file does; None if there is no readable file."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return None
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"


def photo_state(key: str) -> str | None:
    """Return the state of a photo's file; None for a key that is no absolute path, such as an
    address or a name in shards: no file here is known to be that photo."""
    return file_state(key) if Path(key).is_absolute() else None


def folder_state(folder: Path) -> FolderState:
    """A value that changes when a file in the folder or below it does, or may be read now."""
    found = {}
    for parent, _, names in os.walk(folder):
        for file in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):  # it has just gone
                state = file.stat()
                found[str(file)] = state.st_ino, state.st_ctime_ns, state.st_size
    return found


class Thumbnails:
    """Thumbnails in the user's cache directory, by the path and state of their photo.

    Only the user can read the files. A thumbnail that cannot be stored is made again. Several
    threads and processes may use the directory.
    """

    def __init__(self, px: int = THUMBNAIL_PX, kept_bytes: int = KEPT_BYTES) -> None:
        self._px, self._kept_bytes = px, kept_bytes
        self._folder = cache_directory() / "thumbnails"
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.can_store = os.access(self._folder, os.W_OK | os.X_OK)
        self._added = 0  # bytes since the last pruning; threads may lose a few

    def find(self, path: str, tag: str) -> bytes | None:
        """The stored thumbnail of the row at `path`, whose file is in state `tag`, or None."""
        file = self._file(path, tag)
        try:
            content = file.read_bytes()
            unmarked_s = time.time() - file.stat().st_mtime
        except OSError:
            return None
        if unmarked_s > _USED_S:
            with contextlib.suppress(OSError):  # a cache that can only be read serves all the same
                os.utime(file)  # the day of its last use
        return content

    def has(self, path: str, tag: str) -> bool:
        return self._file(path, tag).is_file()

    def make(self, path: str, tag: str) -> bytes:
        """Make a thumbnail and store it. PhotoError and MissingExtra as open_photo."""
        content = file_jpeg(*file_and_moment(path), shorter=self._px)
        file = self._file(path, tag)
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as partial:
                try:
                    partial.write(content)
                    partial.flush()
                    Path(partial.name).replace(file)
                    self._added += len(content)
                except BaseException:
                    Path(partial.name).unlink(missing_ok=True)
                    raise
        return content

    @property
    def needs_pruning(self) -> bool:
        return self._added > self._kept_bytes // 8

    def prune(self) -> None:
        """Remove thumbnails that were not used for 60 days, and the least recently used ones beyond
        512 MiB."""
        self._added = 0
        now, size = time.time(), 0
        for used, length, name in sorted(self._list_files(), reverse=True):
            size += length
            if size > self._kept_bytes or now - used > _KEPT_S:
                with contextlib.suppress(OSError):
                    os.unlink(name)  # noqa: PTH108  there are very many

    def _list_files(self) -> list[tuple[float, int, str]]:
        """The last use, size in bytes, and path of each file."""
        found = []
        for folder in self._folder.glob("??"):
            with contextlib.suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    state = file.stat(follow_symlinks=False)
                    found.append((state.st_mtime, state.st_size, file.path))
        return found

    def _file(self, path: str, tag: str) -> Path:
        key = os.fsencode(path) + b"\0" + f"{tag} {self._px}".encode()
        name = hashlib.blake2b(key, digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.jpg"


@dataclass(frozen=True)
class UploadedPhoto:
    """An uploaded photo of `size` bytes, its width and height in pixels when it is upright, and its
    thumbnail as JPEG."""

    path: Path
    size: int
    width: int
    height: int
    thumbnail: bytes


class Uploads:
    """The last uploaded photos, up to `max_bytes`, as files that only this user can read. `close`
    removes them."""

    def __init__(self, max_bytes: int = 256 << 20) -> None:
        self._max_bytes = max_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="mcad-serve-")
        self._photos: OrderedDict[str, UploadedPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._folder.cleanup()

    def spool(self) -> IO[bytes]:
        """Return a temporary file for an upload; it disappears when it is closed."""
        return tempfile.TemporaryFile(dir=self._folder.name)

    def take(self, file: IO[bytes]) -> tuple[str, UploadedPhoto]:
        """Store a spooled upload, and return its id. PhotoError: it is no JPEG, PNG, WebP or HEIC,
        or cannot be decoded."""
        file.seek(0)
        head = file.read(16)
        suffix = next((suffix for matches, suffix in _FORMATS if matches(head)), None)
        if suffix is None:
            raise PhotoError(
                "The upload is not a JPEG, PNG, WebP or HEIC.",
                "Give a photo in one of these formats.",
            )
        file.seek(0)
        content = file.read()
        thumbnail = jpeg(content, "The photo", shorter=THUMBNAIL_PX)
        with opened(content, "The photo") as image:
            lying = image.getexif().get(ExifTags.Base.Orientation) in _LYING
            width, height = image.size[::-1] if lying else image.size
        name = secrets.token_hex(10)
        path = Path(self._folder.name) / f"{name}{suffix}"
        size = path.write_bytes(content)
        photo = UploadedPhoto(path, size, width, height, thumbnail)
        with self._lock:
            self._photos[name] = photo
            while sum(photo.size for photo in self._photos.values()) > self._max_bytes:
                self._photos.popitem(last=False)[1].path.unlink(missing_ok=True)
        return name, photo

    def get(self, name: str) -> UploadedPhoto:
        """Return the upload with id `name`. QueryError: it is not stored, or no longer."""
        with self._lock:
            if name not in self._photos:
                raise QueryError(
                    f"There is no uploaded photo {name!r}; only the last ones are kept.",
                    "Upload it again.",
                )
            self._photos.move_to_end(name)
            return self._photos[name]
