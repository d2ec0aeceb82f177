"""The tokenizer's file: a JSON header, then memory-mapped arrays.

Hugging Face's tokenizer.json is parsed whole and kept as hash maps: 16 MiB of memory and 100 ms for
CLIP's 49,408 tokens, 34 MB of JSON for Gemma's 256,000. A query has about ten words, so here only
the pages that they touch are read. Little-endian throughout:

    0   8 bytes   magic "MCADTOK1"
    8   uint32    bytes of the header
    12  header    JSON in UTF-8: the steps, "arrays": {name: [type, offset, count]}
    ... arrays    each at a multiple of 8, counted from the end of the header, itself padded to 8
"""

from __future__ import annotations

import mmap
import struct
import zlib
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from mcad_mobile.base.documents import Bytes, Count, Record, decode
from mcad_mobile.errors import BundleError, Remedy

MAGIC = b"MCADTOK1"
_START = len(MAGIC) + 4
Kind = Literal["I", "d", "B"]
_BYTES: dict[Kind, int] = {"I": 4, "d": 8, "B": 1}

# At most half of the slots are taken: of 256,000 strings none is further from its slot.
_MOST_PROBES = 1024


class Header(Record, frozen=True):
    """The steps of a tokenizer, and where its arrays lie: name -> type, offset and count."""

    prepare: list[list[Any]]
    # Name, id; whether it matches in normalized text, absorbs spaces on its left, on its right
    added: list[tuple[str, Count, bool, bool, bool]]
    normalize: list[list[Any]]
    split: list[list[Any]]
    model: dict[str, Any]
    before: list[Count]
    after: list[Count]
    arrays: dict[str, tuple[Kind, Bytes, Bytes]]


def write_table(header: dict[str, Any], arrays: dict[str, tuple[Kind, bytes]]) -> bytes:
    """Return the bytes of a file; `arrays` maps names to a type ("I" uint32, "d" float64, "B"
    bytes) and content."""
    import json

    placed, body = {}, bytearray()
    for name, (kind, data) in arrays.items():
        body += bytes(-len(body) % 8)
        placed[name] = [kind, len(body), len(data) // _BYTES[kind]]
        body += data
    text = json.dumps({**header, "arrays": placed}, separators=(",", ":")).encode()
    text += b" " * (-(_START + len(text)) % 8)
    return MAGIC + struct.pack("<I", len(text)) + text + bytes(body)


class Table:
    """A tokenizer's file in memory or mapped. BundleError if it is damaged."""

    def __init__(self, data: bytes | mmap.mmap, where: str) -> None:
        self.data = data
        self.starts: dict[str, int] = {}  # where in `data` each array begins
        self._arrays: dict[str, Any] = {}
        subject = f"{where} is not an mcad-mobile tokenizer: it"
        if data[: len(MAGIC)] != MAGIC or len(data) < _START:
            raise BundleError(
                f"{subject} does not start with {MAGIC.decode()}.", Remedy.EXPORT_AGAIN
            )
        (size,) = struct.unpack_from("<I", data, len(MAGIC))
        base = _START + size
        self.header = decode(data[_START:base], Header, subject, BundleError, Remedy.EXPORT_AGAIN)
        for name, (kind, offset, count) in self.header.arrays.items():
            first, last = base + offset, base + offset + count * _BYTES[kind]
            if last > len(data):
                raise BundleError(f"{subject} is cut off in its array {name}.", Remedy.EXPORT_AGAIN)
            self._arrays[name] = memoryview(data)[first:last].cast(kind)
            self.starts[name] = first

    @staticmethod
    def open(path: Path) -> Table:
        try:
            with path.open("rb") as file:
                return Table(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), str(path))
        except FileNotFoundError:
            raise BundleError(f"{path} is missing.", Remedy.EXPORT_AGAIN) from None
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise BundleError(f"{path} cannot be read: {error}.", Remedy.EXPORT_AGAIN) from error

    def array(self, name: str) -> memoryview:
        """Return an array by its name; an empty one if the file lacks it."""
        found: memoryview = self._arrays.get(name, memoryview(b""))
        return found


class Strings:
    """A hash table by CRC-32 with open addressing: "string_bytes" (UTF-8), "string_ends" (string i
    is from ends[i] to ends[i + 1]), "string_slots" (2^n slots: i + 1, or 0 if free)."""

    def __init__(self, table: Table) -> None:
        # Slices of the file are bytes, which compare faster than memoryviews.
        self._data, self._start = table.data, table.starts["string_bytes"]
        self._ends = table.array("string_ends")
        self._slots = table.array("string_slots")
        self._mask = len(self._slots) - 1

    def find(self, key: bytes) -> int:
        """The number of a string in UTF-8, or -1."""
        slots, mask, ends, start = self._slots, self._mask, self._ends, self._start
        first = zlib.crc32(key) & mask
        for at in islice(chain(range(first, mask + 1), range(first)), _MOST_PROBES):
            number = slots[at]
            if number == 0:
                break
            if self._data[start + ends[number - 1] : start + ends[number]] == key:
                return number - 1
        return -1


def string_arrays(strings: list[bytes]) -> dict[str, tuple[Kind, bytes]]:
    """The arrays of `Strings`. An empty string has a number but is never found."""
    from array import array

    ends = array("I", [0])
    for string in strings:
        ends.append(ends[-1] + len(string))
    mask = (1 << (2 * len(strings)).bit_length()) - 1
    slots = array("I", bytes(4 * (mask + 1)))
    for number, string in enumerate(strings):
        if not string:
            continue
        at = zlib.crc32(string) & mask
        while slots[at]:
            at = (at + 1) & mask
        slots[at] = number + 1
    return {
        "string_bytes": ("B", b"".join(strings)),
        "string_ends": ("I", ends.tobytes()),
        "string_slots": ("I", slots.tobytes()),
    }
