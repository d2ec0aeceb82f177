"""When a photo was taken: by its EXIF, else by its file's modification time."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone

from mcad_mobile.engine.photos.decode import opened
from mcad_mobile.errors import QueryError

# EXIF 2.32, section 4.6: DateTimeOriginal, and its offset from UTC, which cameras write since 2016.
_EXIF, _ORIGINAL, _OFFSET = 0x8769, 0x9003, 0x9011
_WRITTEN = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")
_MINUTE_S = 60
# An index holds minutes since 1970 in int32, whose least value means unknown.
_MOST = 2**31 - 1


def minutes_taken(photo: bytes, stat: os.stat_result) -> int:
    """Return when a photo was taken, in minutes since 1970 (UTC), rounded down. A camera's time
    without an offset is read in this machine's time zone."""
    minutes = _by_camera(photo)
    return minutes_changed(stat) if minutes is None else max(-_MOST, min(minutes, _MOST))


def minutes_changed(stat: os.stat_result) -> int:
    """Return when a file last changed, in minutes since 1970 (UTC), rounded down."""
    return max(-_MOST, min(int(stat.st_mtime // _MINUTE_S), _MOST))


def moment(text: str) -> int:
    """Return a date like "2024-05-01" (its local midnight) or an ISO 8601 time in minutes since
    1970."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(
            f"{text!r} is not a date.", "Write it like 2024-05-01, or 2024-05-01T18:30."
        ) from None
    try:
        seconds = when.timestamp()
    except (ValueError, OverflowError, OSError):  # the calendar's first or last day, in local time
        seconds = when.replace(tzinfo=UTC).timestamp()
    return int(seconds // _MINUTE_S)


def _by_camera(photo: bytes) -> int | None:
    from PIL import Image

    try:
        with opened(photo, "") as image:
            # A PNG's own getexif() decodes its pixels to find EXIF stored after them.
            exif = Image.Image.getexif(image).get_ifd(_EXIF)
        found = _WRITTEN.match(exif[_ORIGINAL])
        zone = _ZONE.match(exif.get(_OFFSET) or "")
        if found is None:
            return None
        # datetime raises for 0000:00:00, the time of an unset clock.
        year, month, day, hour, minute, second = map(int, found.groups())
        wall = datetime(year, month, day, hour, minute, second)
        if zone:
            offset = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
            wall = wall.replace(tzinfo=timezone(-offset if zone[1] == "-" else offset))
        return int(wall.timestamp() // _MINUTE_S)
    except Exception:  # Pillow's plugins raise anything on broken files
        return None
