"""Photo files of the server: states, stored thumbnails, uploads to search by, videos to play."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import ExifTags
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcad_mobile.base.files import cache_directory
from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.index.moments import file_and_moment
from mcad_mobile.engine.photos.decode import opened, read_photo, regular_file
from mcad_mobile.engine.photos.thumbnails import file_jpeg, jpeg
from mcad_mobile.engine.photos.video import video_behind
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
_CHUNK = 256 << 10
# A request for several ranges is answered with the whole file, as RFC 9110 (14.2) allows.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
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


class VideoResponse(Response):
    """A video, read chunk by chunk as the browser takes it."""

    def __init__(self, request: Request, path: str, run: Callable[..., Awaitable[bytes]]) -> None:
        """Open the file and find the range that is asked for; `run` calls what reads from it.
        PhotoError: it cannot be read, or holds no video."""
        begin = 0 if is_video(path) else video_behind(read_photo(path).data)
        if not begin and not is_video(path):
            raise PhotoError(f"{path} holds no video.")
        self._run, self._request = run, request
        with contextlib.ExitStack() as closing:
            file, found = closing.enter_context(regular_file(path, "video"))
            size = max(found.st_size - begin, 0)
            file.seek(begin)
            head = file.read(64)
            # QuickTime's files are of MP4's kind, and browsers know them by its name.
            kind = "webm" if b"webm" in head else "x-matroska" if head[:1] == b"\x1a" else "mp4"
            tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
            headers = {"content-type": f"video/{kind}", "accept-ranges": "bytes", "etag": tag}
            status, start, end = 200, 0, size
            wanted = _RANGE.fullmatch(request.headers.get("range", ""))
            if wanted and any(wanted.groups()) and request.headers.get("if-range", tag) == tag:
                first, last = wanted.groups()
                start = int(first) if first else max(end - int(last), 0)
                end = min(int(last) + 1, end) if first and last else end
                status = 206 if start < end else 416
                where = f"{start}-{end - 1}" if start < end else "*"
                headers["content-range"] = f"bytes {where}/{size}"
            file.seek(begin + start)
            self._file, self._left = file, max(end - start, 0)
            headers |= {"content-length": str(self._left), "cache-control": "no-store"}
            super().__init__(None, status, headers)
            self._closing = closing.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"status": self.status_code, "headers": self.raw_headers}
        left = 0 if scope["method"] == "HEAD" else self._left
        # Where it ends early (the file was cut off, or the server ends), the connection is closed.
        with contextlib.suppress(asyncio.CancelledError, PhotoError), self._closing:
            await send({"type": "http.response.start", **start})
            while not await self._request.is_disconnected():
                chunk = await self._run(self._file.read, min(left, _CHUNK))
                left -= len(chunk)
                more = left > 0
                if more and not chunk:
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": more})
                if not more:
                    return
