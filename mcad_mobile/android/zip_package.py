"""Packages whose native libraries Android can map: zip files that store them at page boundaries,
and the ELF headers that decide whether a phone loads a library."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PAGE = 16384  # some devices with Android 15 or later have 16 KB pages
# ELF machine numbers of Android's ABIs.
MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3}
HEXAGON = 164  # Qualcomm's DSP: its code is among the libraries, but no Android loader maps it
_LOADED = 1  # PT_LOAD
_WORD = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that packages are reproducible
# Extra field "Android alignment" (apksig, ZipUtils): id, size, alignment, then zeros.
_EXTRA_ID = 0xD935
_EXTRA = struct.Struct("<HHH")
_LOCAL_HEADER = 30


@dataclass(frozen=True)
class Elf:
    """An ELF file's machine number, and the smallest alignment, in bytes, of the segments that a
    loader maps (`page`)."""

    machine: int
    page: int


def read_elf(data: bytes) -> Elf | None:
    """Read the headers of a little-endian 32-bit or 64-bit library; None if `data` is not one."""
    if data[:4] != b"\x7fELF" or len(data) < 64 or data[5] != 1 or data[4] not in (1, 2):
        return None
    wide = data[4] == 2
    (machine,) = struct.unpack_from("<H", data, 18)
    table = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    kind_and_alignment = "<I44xQ" if wide else "<I24xI"
    least = struct.calcsize(kind_and_alignment)
    if size < least or table + size * count > len(data):
        return None
    headers = [struct.unpack_from(kind_and_alignment, data, table + size * i) for i in range(count)]
    loaded = [alignment for kind, alignment in headers if kind == _LOADED]
    return Elf(machine, min(loaded, default=0))


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
                zeros = _zeros(package.start_dir, entry)
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


def _zeros(offset: int, entry: Entry) -> int:
    """Bytes of padding for an entry whose local header begins at `offset`."""
    start = offset + _LOCAL_HEADER + len(entry.name.encode("utf-8")) + _EXTRA.size
    return -start % entry.alignment
