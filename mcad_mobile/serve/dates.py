"""When a photo was taken: what its camera wrote, else when its file last changed."""

from __future__ import annotations

import calendar
import os
import re
import time
from pathlib import Path

_EXIF, _ORIGINAL, _CHANGED = 0x8769, 0x9003, 0x0132  # EXIF 2.32, section 4.6
_WRITTEN = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
DAY_S = 86400


def file_date(path: str) -> int:
    """Local wall-clock time of a file's last change, in seconds as calendar.timegm counts them; 0
    where there is no file."""
    try:
        return calendar.timegm(time.localtime(os.stat(path).st_mtime))  # noqa: PTH116  any bytes
    except (OSError, ValueError, OverflowError):
        return 0


def camera_date(path: str) -> int:
    """Wall-clock time that the camera wrote, in the same seconds; 0 where it wrote none."""
    from PIL import Image

    try:
        with Image.open(Path(path)) as image:
            exif = image.getexif()
            written = exif.get_ifd(_EXIF).get(_ORIGINAL) or exif.get(_CHANGED)
    except Exception:  # Pillow's plugins raise all kinds on broken files
        return 0
    found = _WRITTEN.match(written) if isinstance(written, str) else None
    if found is None:
        return 0
    year, month, day, *clock = map(int, found.groups())
    try:
        return max(calendar.timegm((year, month, day, *clock)), 0)
    except ValueError:  # cameras whose clock was never set write 0000:00:00
        return 0


def written(seconds: int) -> str:
    """ "2026-11-25", or "" for 0."""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds)) if seconds else ""
