"""What a HEIC file holds: the coded pieces of its photo, and how they lie together.

Boxes are those of ISO/IEC 14496-12 (8.11: items of a file), what they mean for images ISO/IEC
23008-12 (6.5: properties, 6.6.2.3: grids), the decoder's set-up ISO/IEC 14496-15 (8.3.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_APPLIED = frozenset({b"ispe", b"hvcC", b"irot", b"colr", b"pixi", b"auxC"})
# Crops, mirrors and scales, which nothing here does; so are others that are marked as essential.
_CHANGING = frozenset({b"clap", b"imir", b"iscl"})
_UNHANDLED = b"?"
_ALPHA = (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")


class Unusual(Exception):
    """A file that is damaged, or holds what only a whole HEIF library makes a photo of."""


@dataclass(frozen=True)
class CodedPhoto:
    """A photo of `width` x `height` pixels before it is turned: `columns` x `rows` tiles of one
    size, row by row, from the upper left; what sticks out at the right and below is cut off.

    `tiles` are HEVC access units, their units after lengths, and `setup` is what a decoder needs
    before them (hvcC). `turns` by 90 degrees, anticlockwise, make it upright. `colours` are matrix
    coefficients and whether values have the full range (ISO/IEC 23091-2), if the file says.
    """

    width: int
    height: int
    columns: int
    rows: int
    tiles: tuple[bytes, ...]
    setup: bytes
    turns: int
    colours: tuple[int, bool] | None


def coded_photo(file: bytes) -> CodedPhoto:
    """The photo of a HEIC file. Unusual unless it is coded in HEVC as one image or as a grid of
    them, opaque, and turned at most."""
    try:
        return _photo(_Items.of(memoryview(file)))
    except (IndexError, KeyError) as error:
        raise Unusual(f"what the file names is not in it: {error}") from None


class _Reader:
    """Numbers from the front of some bytes, the highest byte first."""

    def __init__(self, data: memoryview) -> None:
        self.left = data

    def bytes(self, count: int) -> memoryview:
        if count > len(self.left):
            raise Unusual(f"{count} bytes expected, {len(self.left)} left")
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes(size))

    def version(self) -> tuple[int, int]:
        """Version and flags, with which a FullBox begins."""
        return self.number(1), self.number(3)


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each box."""
    reader = _Reader(data)
    while reader.left:
        size, kind = reader.number(4), bytes(reader.bytes(4))
        header = 8
        if size == 1:
            size, header = reader.number(8), 16
        elif size == 0:
            size = header + len(reader.left)
        if size < header:
            raise Unusual(f"a box of {size} bytes")
        yield kind, reader.bytes(size - header)


@dataclass
class _Items:
    """The items of a file by their numbers; `uses` are (kind, from, to) references."""

    file: memoryview
    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    uses: list[tuple[bytes, int, list[int]]] = field(default_factory=list)
    properties: dict[int, list[tuple[bytes, memoryview]]] = field(default_factory=dict)
    places: dict[int, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)
    inside: memoryview = field(default_factory=lambda: memoryview(b""))

    @staticmethod
    def of(file: memoryview) -> _Items:
        items = _Items(file)
        meta = dict(_boxes(file))[b"meta"]
        for kind, content in _boxes(meta[4:]):
            reader = _Reader(content)
            if kind == b"pitm":
                items.primary = reader.number(2 if reader.version()[0] == 0 else 4)
            elif kind == b"iinf":
                items._read_kinds(reader)
            elif kind == b"iref":
                items._read_uses(reader)
            elif kind == b"iprp":
                items._read_properties(content)
            elif kind == b"iloc":
                items._read_places(reader)
            elif kind == b"idat":
                items.inside = content
        return items

    def _read_kinds(self, reader: _Reader) -> None:
        reader.number(2 if reader.version()[0] == 0 else 4)  # how many
        for _, content in _boxes(reader.left):
            entry = _Reader(content)
            version, _flags = entry.version()
            if version < 2:
                raise Unusual(f"an item entry of version {version}")
            number = entry.number(2 if version == 2 else 4)
            entry.number(2)  # its protection
            self.kinds[number] = bytes(entry.bytes(4))

    def _read_uses(self, reader: _Reader) -> None:
        size = 2 if reader.version()[0] == 0 else 4
        for kind, content in _boxes(reader.left):
            entry = _Reader(content)
            source, count = entry.number(size), entry.number(2)
            self.uses.append((kind, source, [entry.number(size) for _ in range(count)]))

    def _read_properties(self, content: memoryview) -> None:
        parts = list(_boxes(content))
        known = list(_boxes(dict(parts)[b"ipco"]))
        for associations in (part for kind, part in parts if kind == b"ipma"):
            reader = _Reader(associations)
            version, flags = reader.version()
            size = 2 if flags & 1 else 1
            for _ in range(reader.number(4)):
                own = self.properties.setdefault(reader.number(2 if version == 0 else 4), [])
                for _ in range(reader.number(1)):
                    essential, number = divmod(reader.number(size), 1 << (8 * size - 1))
                    if number == 0:
                        continue
                    kind, value = known[number - 1]
                    unhandled = kind in _CHANGING or (essential and kind not in _APPLIED)
                    own.append((_UNHANDLED if unhandled else kind, value))

    def _read_places(self, reader: _Reader) -> None:
        version, _flags = reader.version()
        sizes = reader.number(2)
        offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(reader.number(2 if version < 2 else 4)):
            number = reader.number(2 if version < 2 else 4)
            method = reader.number(2) & 15 if version else 0
            if reader.number(2):
                method = -1  # in another file
            start = reader.number(base)
            extents = []
            for _ in range(reader.number(2)):
                reader.number(index if version else 0)
                extents.append((start + reader.number(offset), reader.number(length)))
            self.places[number] = method, extents

    def content(self, number: int) -> memoryview:
        method, extents = self.places[number]
        if method not in (0, 1):
            raise Unusual(f"an item that is built by method {method}")
        source = self.inside if method else self.file
        parts = [source[start : start + length] for start, length in extents]
        if not parts or [len(part) for part in parts] != [length for _, length in extents]:
            raise Unusual("an item that ends behind the file")
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def value(self, number: int, kind: bytes) -> memoryview:
        return dict(self.properties[number])[kind]


def _photo(items: _Items) -> CodedPhoto:
    primary = items.primary
    own = items.properties[primary]
    if _has_alpha(items):
        raise Unusual("an alpha plane")
    size = _Reader(items.value(primary, b"ispe")[4:])
    width, height = size.number(4), size.number(4)
    columns = rows = 1
    tiles = [primary]
    if items.kinds[primary] == b"grid":
        grid = _Reader(items.content(primary))
        wide = 4 if grid.number(2) & 1 else 2
        rows, columns = grid.number(1) + 1, grid.number(1) + 1
        width, height = grid.number(wide), grid.number(wide)
        tiles = [
            one
            for kind, source, to in items.uses
            if (kind, source) == (b"dimg", primary)
            for one in to
        ]
    if len(tiles) != rows * columns:
        raise Unusual(f"{len(tiles)} tiles for {columns} x {rows}")
    coded = [items.properties[tile] for tile in tiles]
    turned = own is not coded[0] and any(kind == b"irot" for one in coded for kind, _ in one)
    if turned or any(kind == _UNHANDLED for one in (own, *coded) for kind, _ in one):
        raise Unusual("a property that is not applied here")
    setups = {bytes(items.value(tile, b"hvcC")) for tile in tiles}
    if len(setups) > 1 or any(items.kinds[tile] != b"hvc1" for tile in tiles):
        raise Unusual("tiles that differ, or are not coded in HEVC")
    return CodedPhoto(
        width=width,
        height=height,
        columns=columns,
        rows=rows,
        tiles=tuple(bytes(items.content(tile)) for tile in tiles),
        setup=setups.pop(),
        turns=sum(value[0] & 3 for kind, value in own if kind == b"irot") % 4,
        colours=_colours(own) or _colours(coded[0]),
    )


def _has_alpha(items: _Items) -> bool:
    aux = (source for kind, source, to in items.uses if kind == b"auxl" and items.primary in to)
    return any(bytes(items.value(number, b"auxC")[4:]).split(b"\0")[0] in _ALPHA for number in aux)


def _colours(properties: list[tuple[bytes, memoryview]]) -> tuple[int, bool] | None:
    for kind, value in properties:
        if kind == b"colr" and bytes(value[:4]) == b"nclx":
            reader = _Reader(value[8:])
            return reader.number(2), bool(reader.number(1) & 128)
    return None
