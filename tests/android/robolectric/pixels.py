"""Photos of the kinds that phones hold, and the pixels that Python reads from them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle

_ORIENTATION = 0x0112
# Display P3's red, green and blue as profiles have them, adapted to D50 (SMPTE EG 432-1).
_P3 = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
# Levels of 256 by which the worst and the mean value may differ: what is decoded alike, JPEGs by
# two versions of libjpeg-turbo, what is left out as a large photo is reduced.
_SAME, _JPEG, _SAMPLED = (1.01, 0.2), (4, 0.5), (10, 1)


def write_photos(folder: Path, bundle: Bundle) -> None:
    """Write photos, their pixels NAME.f32, and pixels.txt: NAME, two tolerances, the scale of a
    level."""
    base = next(path for path in packaged_photos() if path.name == "china.jpg")
    photo = Image.open(base).convert("RGB")
    tolerances: dict[str, tuple[float, float]] = {}

    def write(
        name: str, image: Image.Image, tolerance: tuple[float, float], **options: object
    ) -> None:
        image.save(folder / name, **options)  # type: ignore[arg-type]
        tolerances[name] = tolerance

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        write(f"turned{orientation}.jpg", photo, _JPEG, exif=exif, quality=95)
        write(f"turned{orientation}.png", photo, _SAME, exif=exif)
        _halves(orientation).save(folder / f"halves{orientation}.jpg", exif=exif)
    alpha = photo.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    write("alpha.png", alpha, _SAME)
    write("palette.png", photo.quantize(64), _SAME)
    write("grey.png", photo.convert("L"), _SAME)
    write("grey.jpg", photo.convert("L"), _JPEG)
    write("progressive.jpg", photo, _JPEG, progressive=True)
    write("lossless.webp", photo, _SAME, lossless=True)
    write("lossy.webp", photo, _JPEG, quality=90)
    write("alpha.webp", alpha, _SAME, lossless=True, exact=True)
    write("cmyk.jpg", photo.convert("CMYK"), _JPEG, quality=95)
    write("large.jpg", photo.resize((9000, 6000)), _JPEG)
    write("large.png", photo.resize((5400, 3600)), _SAMPLED, compress_level=1)
    lines = []
    for name, (worst, mean) in tolerances.items():
        _save(folder / name, bundle, bundle.preprocess(folder / name))
        lines.append(f"{name} {worst} {mean} {bundle.preprocess.std[0]}")
    # Android shows a profile's colours, and so do we: Python takes the numbers as they are.
    profile = _p3_profile()
    photo.save(folder / "wide-gamut.jpg", icc_profile=profile, quality=95)
    seen = ImageCms.profileToProfile(
        Image.open(folder / "wide-gamut.jpg"),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
    )
    assert seen is not None
    _save(folder / "wide-gamut.jpg", bundle, bundle.preprocess.pixels(seen))
    lines.append(f"wide-gamut.jpg 6 1 {bundle.preprocess.std[0]}")
    (folder / "pixels.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _save(photo: Path, bundle: Bundle, pixels: np.ndarray) -> None:
    photo.with_name(f"{photo.name}.f32").write_bytes(pixels.astype("<f4").tobytes())


def _halves(orientation: int) -> Image.Image:
    """Dark on the left and light on the right once it is turned as `orientation` says."""
    upright = Image.fromarray(np.repeat([[0] * 300 + [255] * 300], 400, 0).astype(np.uint8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    return upright.transpose(undo[orientation]) if orientation in undo else upright


def _p3_profile() -> bytes:
    """sRGB's profile with other primaries."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for entry in range(count):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * entry)
        if tag in _P3:
            fixed = (round(value * 65536) for value in _P3[tag])
            struct.pack_into(">3i", profile, offset + 8, *fixed)
    return bytes(profile)
