"""The definitions and calls of a dex file (Android's "Dalvik executable format")."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A method or field in code: its class ("java/lang/String"), name and descriptor."""

    owner: str
    name: str
    descriptor: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}{self.descriptor}"


@dataclass(frozen=True)
class Dex:
    classes: frozenset[str]
    methods: tuple[Reference, ...]
    fields: tuple[Reference, ...]


def read_dex(data: bytes) -> Dex:
    assert data[:4] == b"dex\n"

    def table(at: int) -> tuple[int, int]:
        size, offset = struct.unpack_from("<II", data, at)
        return size, offset

    def string(index: int) -> str:
        (at,) = struct.unpack_from("<I", data, strings[1] + 4 * index)
        while data[at] & 0x80:  # skip the length in characters; the zero ends the string
            at += 1
        return data[at + 1 : data.index(b"\0", at + 1)].decode("utf-8", "replace")

    def type_name(index: int) -> str:
        return string(struct.unpack_from("<I", data, types[1] + 4 * index)[0])

    def prototype(index: int) -> str:
        _, returned, at = struct.unpack_from("<III", data, protos[1] + 12 * index)
        count = struct.unpack_from("<I", data, at)[0] if at else 0
        given = struct.unpack_from(f"<{count}H", data, at + 4) if at else ()
        return f"({''.join(map(type_name, given))}){type_name(returned)}"

    strings, types, protos = table(0x38), table(0x40), table(0x48)
    fields, methods, classes = table(0x50), table(0x58), table(0x60)
    return Dex(
        classes=frozenset(
            plain(type_name(struct.unpack_from("<I", data, classes[1] + 32 * i)[0]))
            for i in range(classes[0])
        ),
        methods=tuple(
            Reference(plain(type_name(owner)), string(name), prototype(shape))
            for owner, shape, name in (
                struct.unpack_from("<HHI", data, methods[1] + 8 * i) for i in range(methods[0])
            )
        ),
        fields=tuple(
            Reference(plain(type_name(owner)), string(name), type_name(kind))
            for owner, kind, name in (
                struct.unpack_from("<HHI", data, fields[1] + 8 * i) for i in range(fields[0])
            )
        ),
    )


def plain(descriptor: str) -> str:
    """ "Ljava/lang/String;" -> "java/lang/String"; arrays stay as they are."""
    return descriptor[1:-1] if descriptor.startswith("L") else descriptor


def parameters(descriptor: str) -> list[str]:
    """ "(I[Ljava/lang/String;)V" -> ["I", "[Ljava/lang/String;"]."""
    found, at = [], 1
    while descriptor[at] != ")":
        start = at
        while descriptor[at] == "[":
            at += 1
        at = descriptor.index(";", at) + 1 if descriptor[at] == "L" else at + 1
        found.append(descriptor[start:at])
    return found
