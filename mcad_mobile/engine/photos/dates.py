"""When a photo was taken: what its camera wrote, else when its file last changed."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, timezone

from mcad_mobile.engine.photos.decode import opened
from mcad_mobile.errors import QueryError

# EXIF 2.32, section 4.6: DateTimeOriginal, and its offset from UTC, which cameras add since 2016.
_EXIF, _ORIGINAL, _OFFSET = 0x8769, 0x9003, 0x9011
_WRITTEN = re.compile(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)")
_ZONE = re.compile(r"([+-])(\d\d):(\d\d)")
_MINUTE_S = 60
# Minutes since 1970 that an index can hold: int32, whose least stands for none.
_MOST = 2**31 - 1


def minutes_taken(photo: bytes, stat: os.stat_result) -> int:
    """Return minutes since 1970 (UTC), rounded down, of the bytes of a photo's file. A camera's
    time without an offset is one of this machine's time zone."""
    minutes = _by_camera(photo)
    if minutes is None:
        minutes = int(stat.st_mtime // _MINUTE_S)
    return max(-_MOST, min(minutes, _MOST))


def moment(text: str) -> int:
    """Return the minute that "2024-05-01", the start of that day here, or an ISO 8601 time stands
    for."""
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() // _MINUTE_S)
    except (ValueError, OverflowError, OSError):
        raise QueryError(
            f"{text!r} is not a date.", "Write it like 2024-05-01, or 2024-05-01T18:30."
        ) from None


def _by_camera(photo: bytes) -> int | None:
    from PIL import Image

    try:
        with opened(photo, "") as image:
            # A PNG's own getexif() decodes it, to find what may come after its pixels.
            exif = Image.Image.getexif(image).get_ifd(_EXIF)
        found = _WRITTEN.match(exif[_ORIGINAL])
        zone = _ZONE.match(exif.get(_OFFSET) or "")
        # Cameras whose clock was never set write 0000:00:00.
        if found is None:
            return None
        year, month, day, hour, minute, second = map(int, found.groups())
        wall = datetime(year, month, day, hour, minute, second)
        if zone:
            offset = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
            wall = wall.replace(tzinfo=timezone(-offset if zone[1] == "-" else offset))
        return int(wall.timestamp() // _MINUTE_S)
    except Exception:  # Pillow's plugins raise all kinds on broken files
        return None
