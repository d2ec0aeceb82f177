"""Small pictures of photos, made once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

from mcad_mobile.cache import cache_directory
from mcad_mobile.thumbnail import jpeg

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
