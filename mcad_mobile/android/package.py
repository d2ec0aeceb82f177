"""Write an APK as Android wants it: native libraries stored at page boundaries, to be mapped."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# What of a native library decides whether a phone can map it: its processor and its pages.

PAGE = 16384  # Android 15 and later have devices with pages of 16 KB
# Machines of the ELF specification that Android's ABIs are of.
MACHINES = {"arm64-v8a": 183, "armeabi-v7a": 40, "x86_64": 62, "x86": 3}
HEXAGON = 164  # code for Qualcomm's DSP lies among the libraries, and no Android loader maps it
_LOADED = 1  # PT_LOAD


@dataclass(frozen=True)
class Elf:
    """`machine` as the ELF specification numbers them; `page` is the least alignment in bytes of
    the parts that a loader maps."""

    machine: int
    page: int


def read_elf(data: bytes) -> Elf | None:
    """The facts of a library, 32 or 64 bits, little-endian; None if `data` is no such file."""
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


_WORD = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Extra field "Android alignment" (apksig, ZipUtils): id, size, alignment, then zeros.
_EXTRA_ID = 0xD935
_EXTRA = struct.Struct("<HHH")
_LOCAL_HEADER = 30
# zlib's memory level and strategy: which packs best depends on the file, weights or text.
_WAYS = ((8, zlib.Z_DEFAULT_STRATEGY), (9, zlib.Z_DEFAULT_STRATEGY), (9, zlib.Z_FILTERED))


@dataclass(frozen=True)
class Entry:
    """A file of the package: its name there, its bytes, and whether it is deflated. What is stored
    begins at a multiple of 4 bytes; native libraries begin at a page."""

    name: str
    data: bytes
    deflated: bool = True

    @cached_property
    def packed(self) -> bytes:
        """What lies in the package: the smallest that zlib makes of a deflated one."""
        if not self.deflated:
            return self.data
        return min((_deflated(self.data, *way) for way in _WAYS), key=len)

    @property
    def alignment(self) -> int:
        if self.deflated:
            return 1
        return PAGE if self.name.endswith(".so") else _WORD


def write_package(out: Path, entries: Iterable[Entry]) -> None:
    """Write entries in their order, undated: the same entries give the same bytes. Small ones fill
    the room that a native library leaves before it, up to its page, and else come last."""
    ordered = list(entries)
    small = [entry for entry in ordered[1:] if entry.deflated and len(entry.data) < PAGE]
    waiting = sorted(((len(entry.packed), entry.name) for entry in small), reverse=True)
    named = {entry.name: entry for entry in small}
    with zipfile.ZipFile(out, "w") as package:
        for entry in ordered:
            if entry.name in named:
                continue
            if entry.alignment == PAGE:
                waiting = _fill(package, entry, waiting, named)
            _write(package, entry)
        for _, name in waiting:
            _write(package, named[name])


def _fill(
    package: zipfile.ZipFile,
    library: Entry,
    waiting: list[tuple[int, str]],
    named: dict[str, Entry],
) -> list[tuple[int, str]]:
    """Write what has room before a library; what is still waiting."""
    left = []
    for size, name in waiting:
        if _LOCAL_HEADER + len(name.encode()) + size <= _zeros(package.start_dir, library):
            _write(package, named[name])
        else:
            left.append((size, name))
    return left


def _write(package: zipfile.ZipFile, entry: Entry) -> None:
    info = zipfile.ZipInfo(entry.name, _EPOCH)
    info.external_attr = 0o644 << 16
    if entry.alignment > 1:
        zeros = _zeros(package.start_dir, entry)
        info.extra = _EXTRA.pack(_EXTRA_ID, 2 + zeros, entry.alignment) + bytes(zeros)
    package.writestr(info, entry.packed)
    if entry.deflated:
        _say_deflated(package, info, entry.data)
    info.extra = b""  # the directory at the end needs no padding


def _say_deflated(package: zipfile.ZipFile, info: zipfile.ZipInfo, data: bytes) -> None:
    """Of what was written last: zipfile itself deflates in one way alone."""
    info.compress_type = zipfile.ZIP_DEFLATED
    info.file_size, info.CRC = len(data), zlib.crc32(data)
    out = package.fp
    assert out is not None  # it is open
    out.seek(info.header_offset)
    out.write(info.FileHeader())
    out.seek(package.start_dir)


def _deflated(data: bytes, memory: int, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, memory, strategy)
    return packer.compress(data) + packer.flush()


def entries_of(archive: Path) -> list[Entry]:
    """The files of a zip, deflated as they are there."""
    with zipfile.ZipFile(archive) as source:
        return [
            Entry(info.filename, source.read(info), info.compress_type != zipfile.ZIP_STORED)
            for info in source.infolist()
            if not info.is_dir()
        ]


def data_offset(package: Path, info: zipfile.ZipInfo) -> int:
    """Where the bytes of a file of a zip begin: behind its local header, whose extra field may
    differ from the one of the directory."""
    with package.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
    name, extra = struct.unpack_from("<HH", header, 26)
    return info.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def _zeros(at: int, entry: Entry) -> int:
    """How many bytes of padding an entry needs whose local header begins at `at`."""
    start = at + _LOCAL_HEADER + len(entry.name.encode("utf-8")) + _EXTRA.size
    return -start % entry.alignment
