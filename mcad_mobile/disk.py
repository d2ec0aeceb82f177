"""Whether a place can be written, asked before the work whose result it is to hold; and a disk's
refusals as errors of ours."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from mcad_mobile.errors import DiskError

_CHOOSE = "Choose another place, or change its permissions."
_MAKE_ROOM = "Free some space, or choose a place on another disk (temporary files: TMPDIR=DIR)."
# How a system says that a disk, a quota or a limit of file sizes takes no more.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# ... and that a place is not to be written. Of other errors the disk is not to blame.
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR)
_NONE_LEFT = 1 << 20


def check_writable(path: Path, needed: int = 0) -> None:
    """DiskError if no file or folder could be made at `path` (its parents would be made, too), or
    if fewer than `needed` bytes are free there. Leaves nothing behind."""
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(prefix=".mcad-", dir=folder):
            pass
    except OSError as error:
        raise refused(path, error) from error
    check_room(folder, needed)


def check_file(path: Path) -> None:
    """As check_writable, for a file: DiskError, too, if what is at `path` is none or may not be
    written."""
    if path.is_dir():
        raise DiskError(f"{path} is a folder, and a file is to be written there.", _CHOOSE)
    if path.exists() and not os.access(path, os.W_OK):
        raise DiskError(f"{path} is there, and may not be written.", _CHOOSE)
    if not path.exists():
        check_writable(path)


def check_room(folder: Path, needed: int) -> None:
    """DiskError if fewer than `needed` bytes are free where `folder` lies."""
    free = _free(folder)
    if free < needed:
        raise DiskError(
            f"{folder} has {free / 1e6:,.0f} MB free; at least {needed / 1e6:,.0f} are needed.",
            _MAKE_ROOM,
        )


def refused(path: Path | None, error: OSError) -> DiskError:
    """`error`, met while `path` was to be written, as an error of ours."""
    at = error.filename
    where = f" ({at})" if path is not None and at not in (None, str(path)) else ""
    what = path or at or "A file"
    done = "read or written" if path is None else "written"
    hint = _MAKE_ROOM if error.errno in _FULL else _CHOOSE
    return DiskError(f"{what} cannot be {done}: {error.strerror or error}{where}.", hint)


def trouble(path: Path | None, error: BaseException) -> DiskError | None:
    """The disk's part in an `error` that ended work on `path` (None: it is not known what on), or
    None if it has none. Libraries say of a full disk what they like, so it is asked itself, too."""
    if isinstance(error, OSError) and error.errno in (*_FULL, *_REFUSED):
        return refused(path, error)
    if path is None or not isinstance(error, Exception):
        return None
    for folder in (path.absolute().parent, Path(tempfile.gettempdir())):
        if folder.is_dir() and _free(folder) < _NONE_LEFT:
            return DiskError(f"The disk of {folder} is full: {error}", _MAKE_ROOM)
    return None


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
