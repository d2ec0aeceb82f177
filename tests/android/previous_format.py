"""Indexes of the format before this one, mcad-index/2, as an app of before leaves them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np

from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.format import ALIGNMENT
from mcad_mobile.index.segment import Segment


def rewrite_as_previous(directory: Path) -> None:
    """Write an index of today as the format before had it: the same numbers, elsewhere."""
    manifest = json.loads((directory / "manifest.json").read_text("utf-8"))
    live = PhotoIndex.open(directory)._commit[1]
    for entry, one in zip(manifest["segments"], live, strict=True):
        data = _segment(one.segment)
        (directory / entry["file"]).write_bytes(data)
        entry["header_crc32"] = int.from_bytes(data[ALIGNMENT - 4 : ALIGNMENT], "little")
        del entry["reach"], entry["first"]
    document = {**manifest, "crc32": "0" * 8, "schema": "mcad-index/2"}
    blank = json.dumps(document).encode()
    crc = f"{zlib.crc32(blank):08x}".encode()
    (directory / "manifest.json").write_bytes(blank.replace(b"00000000", crc, 1))


def _segment(segment: Segment) -> bytes:
    numbers = segment.encoded_rows(np.arange(segment.photos))

    def kept(name: str) -> bytes:
        part = segment.parts[name]
        return segment.opened.read(part.offset, part.length)

    parts = [
        kept("axis"),
        numbers.codes.tobytes(),
        numbers.along.astype("<i2").tobytes(),
        numbers.scales.astype("<u2").tobytes(),
        numbers.magnitudes.tobytes(),
        *map(kept, ("stamps", "path_blocks", "paths")),
    ]
    header = struct.pack(
        "<8sIIQQ", b"MCADSEG2", len(segment.axis), len(parts), segment.photos, segment.axis_photos
    )
    body = b""
    for part in parts:
        body += bytes(-len(body) % ALIGNMENT)
        header += struct.pack("<QQII", ALIGNMENT + len(body), len(part), zlib.crc32(part), 0)
        body += part
    header = header.ljust(ALIGNMENT - 4, b"\0")
    return header + struct.pack("<I", zlib.crc32(header)) + body
