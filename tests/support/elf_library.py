"""The smallest file that counts as a native library."""

from __future__ import annotations

import struct

ARM64, X86_64, HEXAGON = 183, 62, 164  # machines of the ELF specification


def elf_library(contents: bytes = b"", machine: int = ARM64, page: int = 16384) -> bytes:
    """64 bits, little-endian; one part, `contents`, is mapped at multiples of `page`."""
    header = struct.pack("<4sBBB9x", b"\x7fELF", 2, 1, 1)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = len(contents)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, page) + contents
