"""Changes to the files of an index that no checksum notices."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.support.index_oracle import PARTS


def rewrite_manifest(directory: Path, change: dict[str, object]) -> None:
    """Change fields of a manifest and give it the checksum that fits."""
    file = directory / "manifest.json"
    document = {**json.loads(file.read_text()), **change, "crc32": "0" * 8}
    blank = json.dumps(document).encode()
    file.write_bytes(blank.replace(b"00000000", f"{zlib.crc32(blank):08x}".encode(), 1))


def rewrite_part(directory: Path, part: str, change: Callable[[bytearray], bytes | None]) -> None:
    """Change the bytes of a part of the first segment, in place, or return others of the same
    length; make all checksums fit."""
    manifest = json.loads((directory / "manifest.json").read_text())
    entry = manifest["segments"][0]
    file = directory / entry["file"]
    raw, at = bytearray(file.read_bytes()), 40 + 24 * PARTS.index(part)
    offset, length = struct.unpack_from("<QQ", raw, at)
    data = raw[offset : offset + length]
    raw[offset : offset + length] = change(data) or data
    struct.pack_into("<I", raw, at + 16, zlib.crc32(raw[offset : offset + length]))
    entry["header_crc32"] = zlib.crc32(raw[:4092])
    struct.pack_into("<I", raw, 4092, entry["header_crc32"])
    file.write_bytes(raw)
    rewrite_manifest(directory, {"segments": manifest["segments"]})


def plant_number(directory: Path, part: str, number: float) -> None:
    """Change a float in the middle of a part of the first segment, and make all checksums fit."""
    rewrite_part(
        directory, part, lambda data: struct.pack_into("<f", data, 4 * (len(data) // 8), number)
    )
