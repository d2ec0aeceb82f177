"""Where a photo was taken, by its EXIF."""

from __future__ import annotations

from mcad_mobile.engine.photos.decode import opened

# EXIF 2.32, section 4.6.6: degrees, minutes and seconds, and "S" or "W" for the negative ones.
_GPS, _SOUTH, _LATITUDE, _WEST, _LONGITUDE = 0x8825, 1, 2, 3, 4


def coordinates(photo: bytes) -> tuple[float, float] | None:
    """Return a photo's latitude and longitude in degrees north and east; None if its file states
    none, or none on earth. 0, 0 is what receivers write that know nothing."""
    from PIL import Image

    try:
        with opened(photo, "") as image:
            # A PNG's own getexif() decodes its pixels to find EXIF stored after them.
            gps = Image.Image.getexif(image).get_ifd(_GPS)
        latitude = _degrees(gps[_LATITUDE], gps.get(_SOUTH) == "S")
        longitude = _degrees(gps[_LONGITUDE], gps.get(_WEST) == "W")
    except Exception:  # Pillow's plugins raise anything on broken files
        return None
    # NaN is not less.
    known = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude or longitude)
    return (latitude, longitude) if known else None


def _degrees(parts: tuple[float, ...], is_negative: bool) -> float:
    degrees, minutes, seconds = map(float, parts)
    total = degrees + minutes / 60 + seconds / 3600
    return -total if is_negative else total
