"""Which file names are photos, and in which of Pillow's formats, and which are videos."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from types import MappingProxyType

# Pillow's format names and their file suffixes; HEIF is pillow-heif's. Each has a bound on what a
# file costs (test_limits.py). A FLI of 400 kB can take minutes; it and other formats that no camera
# and few programs of today write are left out.
FORMATS = MappingProxyType(
    {
        "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
        "MPO": (".mpo",),
        "PNG": (".png", ".apng"),
        "WEBP": (".webp",),
        "HEIF": (".heic", ".heif", ".heics", ".heifs", ".hif"),
        "AVIF": (".avif", ".avifs"),
        "GIF": (".gif",),
        "TIFF": (".tif", ".tiff"),
        "BMP": (".bmp",),
        "DIB": (".dib",),
        "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
        "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        "PSD": (".psd",),
        "TGA": (".tga", ".icb", ".vda", ".vst"),
        "QOI": (".qoi",),
        "PCX": (".pcx",),
        "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
        "DDS": (".dds",),
    }
)
PHOTO_SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
VIDEO_SUFFIXES = frozenset((".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm"))
USUAL = "JPEG, PNG, WebP, HEIC, AVIF, GIF, TIFF, BMP and others"

_A_SUFFIX = re.compile(r"\.[a-z0-9]{1,8}")


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def is_video(name: str) -> bool:
    """Say whether a file's name is that of a video."""
    return suffix_of(name) in VIDEO_SUFFIXES


def kind_of(name: str) -> str:
    """The label under which non-photos are counted: ".mp4", "no suffix" or "other suffixes"."""
    suffix = suffix_of(name)
    if not suffix:
        return "no suffix"
    return suffix if _A_SUFFIX.fullmatch(suffix) else "other suffixes"
