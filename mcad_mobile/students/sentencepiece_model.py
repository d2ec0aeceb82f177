"""What a SentencePiece model file holds (sentencepiece_model.proto, ModelProto).

Read by hand: sentencepiece's own protobuf module wants a newer protobuf than qai-hub takes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mcad_mobile.errors import StudentError

UNIGRAM, BPE = 1, 2


@dataclass(frozen=True)
class SentencePieceModel:
    """`kind` is UNIGRAM or BPE; `pieces` are strings and scores by id; `charsmap` is the table of
    what stands for what, empty for none."""

    kind: int
    pieces: list[tuple[str, float]]
    unk_id: int
    charsmap: bytes


def read_sentencepiece(path: str) -> SentencePieceModel:
    """StudentError if the file is missing or something else."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            fields = list(_fields(file.read()))
        trainer = dict(_fields(next(value for number, value in fields if number == 2)))
        normalizer = dict(_fields(next(value for number, value in fields if number == 3)))
        pieces = [_piece(value) for number, value in fields if number == 1]
    except (OSError, ValueError, IndexError, StopIteration, struct.error, TypeError) as error:
        raise StudentError(
            f"{path} is not a SentencePiece model: {type(error).__name__} {error}.",
            "Give the student's folder as it was published, with its tokenizer's files.",
        ) from error
    return SentencePieceModel(
        trainer.get(3, UNIGRAM), pieces, trainer.get(40, 0), normalizer.get(2, b"")
    )


def _piece(data: bytes) -> tuple[str, float]:
    fields = dict(_fields(data))
    return fields[1].decode(), struct.unpack("<f", fields.get(2, bytes(4)))[0]


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Protobuf's wire format: field numbers, and their integers or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if size is None:
            if wire != 2:
                raise ValueError(f"wire type {wire}")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
