"""The smallest file that counts as a native library."""

from __future__ import annotations

import struct

ARM64, X86_64, HEXAGON = 183, 62, 164  # machines of the ELF specification


def elf_library(
    contents: bytes = b"", machine: int = ARM64, page: int = 16384, empty: tuple[int, ...] = ()
) -> bytes:
    """A 64-bit, little-endian file; its one segment, `contents`, is aligned to `page`. Empty
    segments with the alignments `empty` come before."""
    header = struct.pack("<4sBBB9x", b"\x7fELF", 2, 1, 1)
    header += struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, len(empty) + 1, 0, 0, 0
    )
    for alignment in empty:
        header += struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0, 0, alignment)
    size = len(contents)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, page) + contents


def dynamic_strings(data: bytes) -> dict[str, set[str]]:
    """Return what a 64-bit library tells a loader: its name, the libraries it needs, and the
    functions it exports and imports."""
    table = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<4xIQQQQI", data, table + size * i) for i in range(count)]
    found: dict[str, set[str]] = {"name": set(), "needs": set(), "exports": set(), "imports": set()}
    for kind, _, _, offset, length, link in sections:
        strings = sections[link][3]

        def text(at: int, strings: int = strings) -> str:
            return data[strings + at : data.index(b"\0", strings + at)].decode()

        if kind == 6:  # SHT_DYNAMIC: tags and values
            for tag, value in struct.iter_unpack("<QQ", data[offset : offset + length]):
                if tag in (1, 14):  # DT_NEEDED, DT_SONAME
                    found["needs" if tag == 1 else "name"].add(text(value))
        if kind == 11:  # SHT_DYNSYM
            for name, _, _, home, _, _ in struct.iter_unpack(
                "<IBBHQQ", data[offset : offset + length]
            ):
                if name:
                    found["exports" if home else "imports"].add(text(name))
    return found
