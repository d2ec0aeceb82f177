"""The smallest file that counts as a native library."""

from __future__ import annotations

import io
import struct

from elftools.elf.elffile import ELFFile

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
    elf = ELFFile(io.BytesIO(data))
    found: dict[str, set[str]] = {"name": set(), "needs": set(), "exports": set(), "imports": set()}
    for tag in elf.get_section_by_name(".dynamic").iter_tags():
        if tag.entry.d_tag == "DT_NEEDED":
            found["needs"].add(tag.needed)
        if tag.entry.d_tag == "DT_SONAME":
            found["name"].add(tag.soname)
    for symbol in elf.get_section_by_name(".dynsym").iter_symbols():
        if symbol.name:
            found["exports" if symbol["st_value"] else "imports"].add(symbol.name)
    return found
