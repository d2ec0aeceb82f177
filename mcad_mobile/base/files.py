"""Checks before reading and writing files, atomic replacement, locked partial files, hashes."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from mcad_mobile.base.locks import is_still, lock, open_locked
from mcad_mobile.errors import DiskError

_CHOOSE = "Choose another place, or change its permissions."
_MAKE_ROOM = "Free some space, or choose a place on another disk (temporary files: TMPDIR=DIR)."
# Error codes for a full disk, an exhausted quota or a file-size limit
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# ... and for a path that cannot be written. Other errors are not the disk's fault.
_REFUSED = (
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
)
_FULL_BELOW_BYTES = 1 << 20
_PARTIAL = ".partial"


class UnusualFileError(OSError):
    """A file that no writer of ours leaves: a link, no regular file, or one that is too large."""


def open_regular(path: Path) -> int:
    """Open a regular file to read and return its descriptor, without waiting for the other end of a
    pipe. UnusualFileError for anything else, such as a link."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UnusualFileError(errno.ELOOP, "It is a link", str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnusualFileError(errno.EINVAL, "It is not a regular file", str(path))
    return descriptor


def read_regular(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file of up to `most`. UnusualFileError for another file, or a
    link."""
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise UnusualFileError(errno.EFBIG, f"It has {size} bytes, over {most}", str(path))
        return file.read(size)  # no more: another program may be writing it


def check_writable(path: Path, needed: int = 0) -> None:
    """Check that a file or folder, and its parents, can be created at `path`, and that `needed`
    bytes are free there. DiskError otherwise."""
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(prefix=".mcad-", dir=folder):
            pass
    except OSError as error:
        raise as_disk_error(path, error) from error
    check_room(folder, needed)


def check_file(path: Path) -> None:
    """Check that a file can be written or overwritten at `path`. DiskError otherwise."""
    if path.is_dir():
        raise DiskError(f"{path} is a folder, but a file is to be written there.", _CHOOSE)
    if path.exists() and not os.access(path, os.W_OK):
        raise DiskError(f"{path} exists and cannot be overwritten.", _CHOOSE)
    if not path.exists():
        check_writable(path)


def check_room(folder: Path, needed: int) -> None:
    """Check that `needed` bytes are free on `folder`'s disk. DiskError otherwise."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"{folder} has {free / 1e6:,.0f} MB free; at least {needed / 1e6:,.0f} are needed.",
            _MAKE_ROOM,
        )


def as_disk_error(path: Path | None, error: OSError) -> DiskError:
    """Convert an `error` raised while writing `path` to a DiskError."""
    at = error.filename
    where = f" ({at})" if path is not None and at not in (None, str(path)) else ""
    name = path or at or "A file"
    done = "read or written" if path is None else "written"
    hint = _MAKE_ROOM if error.errno in _FULL else _CHOOSE
    return DiskError(f"{name} cannot be {done}: {error.strerror or error}{where}.", hint)


def disk_error(path: Path | None, error: BaseException) -> DiskError | None:
    """Return a DiskError if the disk caused the `error` that ended work on `path`, else None.
    Libraries report a full disk in many ways, so this checks the free space."""
    if isinstance(error, OSError) and error.errno in (*_FULL, *_REFUSED):
        return as_disk_error(path, error)
    if path is None or not isinstance(error, Exception):
        return None
    for folder in (path.absolute().parent, Path(tempfile.gettempdir())):
        if folder.is_dir() and shutil.disk_usage(folder).free < _FULL_BELOW_BYTES:
            return DiskError(f"The disk of {folder} is full: {error}", _MAKE_ROOM)
    return None


def real_path(path: Path | str) -> Path:
    """Return `path` absolute and without links; a loop of links stays, where resolve() fails."""
    return Path(os.path.realpath(path))


def is_address(path: str) -> bool:
    """Say whether a photo's path is an address, such as s3://bucket/a.jpg. `Path` would change it:
    it drops a slash."""
    return "://" in path


def check_movable(out: Path) -> None:
    """Check that `replace_folder` can move the folder at `out`, if there is one. DiskError
    otherwise."""
    if Path.cwd().is_relative_to(real_path(out)):
        why = "it is the current folder, or holds it"
    elif out.is_mount():
        why = "a disk is mounted there"
    else:
        return
    raise DiskError(f"{out} cannot be replaced: {why}.", "Choose another folder.")


def replace_folder(out: Path, made: Path) -> None:
    """Replace the folder `out` by `made` with two renames; put the old one back if that fails. If
    `out` is a link, replace the folder that it leads to, beside which `made` lies."""
    out, old = real_path(out), aside_path(out)
    shutil.rmtree(old, ignore_errors=True)
    try:
        if out.exists():
            out.rename(old)
        made.rename(out)
    except BaseException:
        restore(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore(out: Path) -> None:
    """Put the old `out` back if a process was killed between the two renames of
    `replace_folder`."""
    if not out.exists():
        with suppress(OSError):
            aside_path(out).rename(real_path(out))


def aside_path(out: Path) -> Path:
    """Return the path that holds the old `out` while it is replaced."""
    whole = real_path(out)
    return whole.parent / f".{whole.name}.old"


def write_atomically(path: Path, data: bytes) -> None:
    """Write or replace a file: others see the old content or all of the new, even after a crash."""
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def fingerprint(parts: Iterable[bytes]) -> str:
    """Hash what a cached file is made of, for its name."""
    import hashlib

    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    import hashlib  # loads OpenSSL, 3 MiB that a search does not need

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def megabytes(count: int) -> str:
    """Format bytes in MB (10^6) with one decimal, as app stores do; memory is in MiB."""
    return f"{count / 1e6:.1f}"


def cache_directory() -> Path:
    """Return the user's cache folder, whose files can be rebuilt or downloaded again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mcad-mobile"


class Partial:
    """A locked file beside `path`, which `finish()` renames to `path`. It may hold data from an
    interrupted run. Other processes that want to write `path` wait."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + _PARTIAL)
        self.file: BinaryIO

    def __enter__(self) -> Partial:
        self.file = open_locked(self.partial)
        return self

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.partial.replace(self.path)

    def __exit__(self, *error: object) -> None:
        self.file.flush()
        if is_still(self.partial, self.file) and not os.fstat(self.file.fileno()).st_size:
            self.partial.unlink()
        self.file.close()


def remove_partials(folder: Path, least_age_s: float = 0.0) -> None:
    """Remove the partial files in a folder that no process is writing, and that did not change for
    `least_age_s` seconds."""
    for partial in folder.glob(f"*{_PARTIAL}"):
        # Another run may be writing it, or may have just finished it.
        with suppress(FileNotFoundError), partial.open("r+b") as file:
            age_s = time.time() - os.fstat(file.fileno()).st_mtime
            if age_s >= least_age_s and lock(file, wait=False) and is_still(partial, file):
                partial.unlink()
