"""What of a native library decides whether a phone can map it: its processor and its pages."""

from __future__ import annotations

import struct
from dataclasses import dataclass

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
