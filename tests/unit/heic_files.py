"""HEIC files as phones write them, of what pillow-heif codes: tiles in a grid, turned by a box."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import pillow_heif
from PIL import Image

from mcad_mobile.heif_file import coded_photo


def heic(image: Image.Image, **how: Any) -> bytes:
    """By libheif."""
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, "HEIF", quality=90, **how)
    return out.getvalue()


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full(kind: bytes, version: int, *content: bytes, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def tiled(
    image: Image.Image,
    tile: int,
    *,
    extra: Sequence[bytes] = (),
    size: tuple[int, int] | None = None,
    colours: tuple[int, int] = (6, 128),
    wide: bool = False,
) -> bytes:
    """As iPhones write: squares of `tile` pixels, the last ones filled up, under a grid that has
    the properties `extra`, and `size` if it is not the image's. `colours` are the matrix (BT.601)
    and the range (full) that it says they are of. `wide` numbers have four bytes for
    two, eight for four, and the last box goes to the file's end."""
    columns, rows = (-(-length // tile) for length in image.size)
    coded = [
        coded_photo(heic(image.crop((left, top, left + tile, top + tile))))
        for top in range(0, rows * tile, tile)
        for left in range(0, columns * tile, tile)
    ]
    short, long, version = ("I", "Q", 1) if wide else ("H", "I", 0)
    numbers = range(2, len(coded) + 2)
    shape = struct.pack(f">BBBB2{short}", 0, version, rows - 1, columns - 1, *(size or image.size))
    properties = [
        full(b"ispe", 0, struct.pack(">II", *(size or image.size))),
        *extra,
        full(b"ispe", 0, struct.pack(">II", tile, tile)),
        box(b"hvcC", coded[0].setup),
        box(b"colr", struct.pack(">4sHHHB", b"nclx", 1, 13, *colours)),
    ]
    own = {1: range(1, 2 + len(extra))}
    own |= dict.fromkeys(numbers, range(2 + len(extra), len(properties) + 1))

    def owned(number: int) -> bytes:
        size, essential = ("H", 1 << 15) if wide else ("B", 1 << 7)
        marked = [essential | one for one in own[number]]
        return struct.pack(f">{short}B{len(marked)}{size}", number, len(marked), *marked)

    def entry(number: int) -> bytes:
        kind = b"grid" if number == 1 else b"hvc1"
        return full(b"infe", 2 + version, struct.pack(f">{short}H4sB", number, 0, kind, 0))

    def meta(start: int) -> bytes:
        places = [struct.pack(f">{short}HHH2{long}", 1, 1, 0, 1, 0, len(shape))]
        for number, one in zip(numbers, coded, strict=True):
            length = len(one.tiles[0])
            places.append(struct.pack(f">{short}HHH2{long}", number, 0, 0, 1, start, length))
            start += length
        dimg = struct.pack(f">{short}H{len(coded)}{short}", 1, len(coded), *numbers)
        entries = [entry(number) for number in own]
        return full(
            b"meta",
            0,
            full(b"hdlr", 0, struct.pack(">I4s12xB", 0, b"pict", 0)),
            full(b"pitm", version, struct.pack(f">{short}", 1)),
            full(b"iinf", version, struct.pack(f">{short}", len(entries)), *entries),
            full(b"iref", version, box(b"dimg", dimg)),
            box(
                b"iprp",
                box(b"ipco", *properties),
                full(
                    b"ipma",
                    version,
                    struct.pack(">I", len(own)),
                    *(owned(number) for number in own),
                    flags=version,
                ),
            ),
            full(
                b"iloc",
                1 + version,
                struct.pack(f">H{short}", 0x8800 if wide else 0x4400, len(places)),
                *places,
            ),
            box(b"idat", shape),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    tiles = b"".join(one.tiles[0] for one in coded)
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + struct.pack(">I4s", 0 if wide else 8 + len(tiles), b"mdat") + tiles


def turn(quarters: int) -> bytes:
    return box(b"irot", bytes([quarters]))
