"""Packages whose native libraries Android can map: zip files that store them at page boundaries."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PAGE = 16384  # some devices with Android 15 or later have 16 KB pages
_WORD = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that packages are reproducible
# Extra field "Android alignment" (apksig, ZipUtils): id, size, alignment, then zeros.
_EXTRA_ID = 0xD935
_EXTRA = struct.Struct("<HHH")
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class Entry:
    """A file in a package: its name, its bytes, and whether it is deflated. Stored files start at a
    multiple of 4 bytes, stored native libraries at a page boundary."""

    name: str
    data: bytes
    deflated: bool = True

    @property
    def alignment(self) -> int:
        if self.deflated:
            return 1
        return PAGE if self.name.endswith(".so") else _WORD


def write_package(out: Path, entries: Iterable[Entry]) -> None:
    """Write entries in order, dated 1980, so that the same entries give the same bytes."""
    with zipfile.ZipFile(out, "w") as package:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if entry.deflated else zipfile.ZIP_STORED
            if entry.alignment > 1:
                start = package.start_dir + _LOCAL_HEADER + len(entry.name.encode()) + _EXTRA.size
                zeros = -start % entry.alignment
                info.extra = _EXTRA.pack(_EXTRA_ID, 2 + zeros, entry.alignment) + bytes(zeros)
            package.writestr(info, entry.data)
            info.extra = b""  # the directory at the end needs no padding


def entries_of(archive: Path) -> list[Entry]:
    """Read the files of a zip, each deflated or stored as in the zip."""
    with zipfile.ZipFile(archive) as source:
        return [
            Entry(info.filename, source.read(info), info.compress_type != zipfile.ZIP_STORED)
            for info in source.infolist()
            if not info.is_dir()
        ]
