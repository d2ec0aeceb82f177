"""The tokenizer of multilingual students: a SentencePiece unigram model in their folder, which the
`sentencepiece` library can read too."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from mcad_mobile.base.documents import FileName, Record
from mcad_mobile.engine.text.tokenizer import TokenizerSpec
from mcad_mobile.students.tokenizers.from_library import UNIGRAM, read_sentencepiece
from mcad_mobile.students.tokenizers.tokenizer_json import MARK, Json, compile_tokenizer

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")  # the first ids, as in XLM-RoBERTa
START, PAD, END, UNKNOWN = range(4)
# Kinds of pieces in SentencePiece's sentencepiece_model.proto
_NORMAL, _UNKNOWN, _CONTROL = 1, 2, 3


class SentencePieceConfig(Record, frozen=True, tag_field="kind", tag="sentencepiece"):
    """The tokenizer in a student's config.json. `length` counts <s> and </s>; with
    `lowercase`, texts are lowercased before the model reads them."""

    file: FileName
    length: Annotated[int, Meta(ge=2, le=2**12)]
    lowercase: bool = False

    @property
    def last_special(self) -> int:
        return UNKNOWN

    def tokens(self, directory: Path) -> int:
        """Count the tokens of the model in `directory`. Raises StudentError."""
        return len(read_sentencepiece(str(directory / self.file)).pieces)

    def compiled(self, directory: Path) -> tuple[TokenizerSpec, bytes]:
        """Compile the model in `directory` to a bundle's spec and file. Raises StudentError."""
        model = read_sentencepiece(str(directory / self.file))
        # Specials only frame a text: a text that spells one must not match it.
        pieces = [("", 0.0)] * len(SPECIALS) + model.pieces[len(SPECIALS) :]
        data: Json = {
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": None,
            "post_processor": {
                "type": "RobertaProcessing",
                "cls": [SPECIALS[START], START],
                "sep": [SPECIALS[END], END],
            },
            "model": {
                "type": "Unigram",
                "vocab": pieces,
                "unk_id": UNKNOWN,
                # A word with few letters per token is not reported as unknown.
                "many_scripts": True,
            },
        }
        # Normalizer::Normalize in SentencePiece's normalizer.cc
        steps = [
            *([["lower_text"]] if self.lowercase else []),
            ["charsmap", "longest"],
            ["prepend", " "],
            ["join_blanks", " "],
            ["replace", " ", MARK],
            ["trim_end", MARK],
        ]
        spec = TokenizerSpec(length=self.length, pad=PAD)
        return spec, compile_tokenizer(data, normalize=steps, charsmap=model.charsmap)


def sentencepiece_model(pieces: Iterable[tuple[str, float]], normalizer: bytes) -> bytes:
    """Build a SentencePiece model from the specials and `pieces` (string, log probability);
    `normalizer` is a serialized NormalizerSpec."""
    kinds = [_CONTROL, _CONTROL, _CONTROL, _UNKNOWN]
    out = bytearray()
    for piece, score, kind in [
        *((piece, 0.0, kind) for piece, kind in zip(SPECIALS, kinds, strict=True)),
        *((piece, score, _NORMAL) for piece, score in pieces),
    ]:
        fields = _bytes(1, piece.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind)
        out += _bytes(1, fields)
    # Fields 40 to 43 of TrainerSpec: unk_id, bos_id, eos_id, pad_id
    ids = zip(range(40, 44), (UNKNOWN, START, END, PAD), strict=True)
    trainer = _number(3, UNIGRAM) + b"".join(_number(field, number) for field, number in ids)
    return bytes(out + _bytes(2, trainer) + _bytes(3, normalizer))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
