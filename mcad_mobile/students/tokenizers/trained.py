"""The tokenizers of students that `distill` trains, in the students' folders: BERT's WordPiece over
a vocab.txt, or a SentencePiece unigram model, which the `sentencepiece` library can read too."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mcad_mobile.base.documents import Count, FileName, Record
from mcad_mobile.engine.text.tokenizer import TokenizerSpec
from mcad_mobile.students.tokenizers.from_library import UNIGRAM, read_sentencepiece
from mcad_mobile.students.tokenizers.tokenizer_json import MARK, Json, compile_tokenizer

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class WordPieceConfig(Record, frozen=True, tag_field="kind", tag="wordpiece"):
    """The tokenizer in a student's config.json. `length` counts the specials."""

    file: FileName
    length: Annotated[int, Meta(ge=2, le=2**12)]
    pad: Count
    specials: dict[str, Count]
    lowercase: bool = True

    def __post_init__(self) -> None:
        if missing := [name for name in _SPECIALS if name not in self.specials]:
            raise ValueError(f"its specials lack {', '.join(missing)}")

    @property
    def last_special(self) -> int:
        return max(self.pad, *self.specials.values())

    def tokens(self, directory: Path) -> int:
        """Count the tokens of the vocabulary in `directory`."""
        return len(vocabulary(self, directory))

    def compiled(self, directory: Path) -> tuple[TokenizerSpec, bytes]:
        """Compile the vocabulary in `directory` to a bundle's spec and file."""
        spec = TokenizerSpec(length=self.length, pad=self.pad)
        return spec, compile_tokenizer(wordpiece_json(self, directory))


def vocabulary(config: WordPieceConfig, directory: Path) -> dict[str, int]:
    """Map each token to its id, its line number from 0."""
    lines = (directory / config.file).read_text("utf-8").split("\n")
    return {line: number for number, line in enumerate(lines) if line}


def wordpiece_json(config: WordPieceConfig, directory: Path) -> dict[str, Any]:
    """Return the tokenizer in the format of Hugging Face's tokenizer.json."""
    vocab = vocabulary(config, directory)
    frame = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    return {
        "added_tokens": [],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": config.lowercase,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                name: {"id": name, "ids": [config.specials[name]], "tokens": [name]}
                for name in ("[CLS]", "[SEP]")
            },
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }


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
