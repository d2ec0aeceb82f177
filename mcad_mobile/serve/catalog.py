"""The photos of one commit of an index, by id, by folder and by date."""

from __future__ import annotations

import calendar
import datetime
import hashlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcad_mobile.errors import QueryError
from mcad_mobile.serve.records import Filter

Rows = NDArray[np.intp]
DAY_S = 86400
_EPOCH = datetime.date(1970, 1, 1)
_EXIF, _ORIGINAL, _CHANGED = 0x8769, 0x9003, 0x0132  # EXIF 2.32, section 4.6
_EXIF_DATE = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")


def file_date(path: str) -> int:
    """Local wall-clock time of a file's last change, in seconds as calendar.timegm counts them; 0
    if there is no file."""
    try:
        return calendar.timegm(time.localtime(os.stat(path).st_mtime))  # noqa: PTH116  any bytes
    except (OSError, ValueError, OverflowError):
        return 0


def camera_date(path: str) -> int:
    """Wall-clock time that the camera wrote into the file, in the same seconds; 0 if it did not."""
    try:
        with Image.open(Path(path)) as image:
            exif = image.getexif()
            date = exif.get_ifd(_EXIF).get(_ORIGINAL) or exif.get(_CHANGED)
    except Exception:  # Pillow's plugins raise all kinds on broken files
        return 0
    found = _EXIF_DATE.match(date) if isinstance(date, str) else None
    if found is None:
        return 0
    year, month, day, *clock = map(int, found.groups())
    try:
        return max(calendar.timegm((year, month, day, *clock)), 0)
    except ValueError:  # cameras whose clock was never set write 0000:00:00
        return 0


def date_text(seconds: int) -> str:
    """ "2026-11-25", or "" for 0."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else ""


def path_id(path: str) -> str:
    """The id of a photo or folder in URLs: 80 bits of its path's BLAKE2b. Requests name ids of the
    index and never paths."""
    return hashlib.blake2b(os.fsencode(path), digest_size=10).hexdigest()


def path_text(path: str) -> str:
    """A path for JSON: bytes that are not UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


@dataclass(frozen=True)
class Folder:
    """A folder; `rows` [N'] are the photos in it and in its subfolders."""

    path: str
    depth: int
    rows: Rows


@dataclass(frozen=True)
class Catalog:
    """N photos, sorted by path. `taken` [N] int64: wall-clock seconds, 0 where not known."""

    paths: Sequence[str]
    taken: NDArray[np.int64]

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row by id."""
        return {path_id(path): row for row, path in enumerate(self.paths)}

    @cached_property
    def ids(self) -> list[str]:
        """Id by row."""
        return list(self.row_of)

    @cached_property
    def row_at(self) -> dict[str, int]:
        """Row by path."""
        return {path: row for row, path in enumerate(self.paths)}

    @cached_property
    def newest_first(self) -> Rows:
        return np.argsort(-self.taken, kind="stable")

    @cached_property
    def folders(self) -> dict[str, Folder]:
        """Folder by id, in order of path; none above the first that holds photos or branches."""
        rows: dict[str, list[int]] = {}
        for row, path in enumerate(self.paths):
            rows.setdefault(os.path.dirname(path), []).append(row)  # noqa: PTH120  any bytes
        if not rows:
            return {}
        top = os.path.commonpath(list(rows))
        below: dict[str, list[int]] = {}
        for folder, contained in rows.items():
            while True:
                below.setdefault(folder, []).extend(contained)
                if folder == top:
                    break
                folder = os.path.dirname(folder)  # noqa: PTH120
        base = top.rstrip(os.sep).count(os.sep)
        return {
            path_id(folder): Folder(
                folder, folder.rstrip(os.sep).count(os.sep) - base, np.array(found, np.intp)
            )
            for folder, found in sorted(below.items())
        }

    def allowed(self, wanted: Filter) -> NDArray[np.bool_] | None:
        """Return which rows [N] pass the filter; None for all. QueryError: the folder is unknown,
        or the last day is before the first."""
        if wanted == Filter():
            return None
        kept = np.ones(len(self.paths), np.bool_)
        if wanted.folder is not None:
            folder = self.folders.get(wanted.folder)
            if folder is None:
                raise QueryError(
                    f"The index has no folder {wanted.folder!r}.", "Ask for one that it lists."
                )
            kept[:] = False
            kept[folder.rows] = True
        if wanted.after and wanted.before and wanted.after > wanted.before:
            raise QueryError(
                f"No day lies after {wanted.after} and before {wanted.before}.", "Turn them round."
            )
        if wanted.after or wanted.before:
            kept &= self.taken > 0
        if wanted.after:
            kept &= self.taken >= (wanted.after - _EPOCH).days * DAY_S
        if wanted.before:
            kept &= self.taken < ((wanted.before - _EPOCH).days + 1) * DAY_S
        return kept
