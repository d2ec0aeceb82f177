"""The tokenizer of our own students: BERT's WordPiece over the vocab.txt in their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from mcad_mobile.base.documents import Count, FileName, Record
from mcad_mobile.engine.text.tokenizer import Tokenizer, TokenizerSpec
from mcad_mobile.students.tokenizers.compile import compile_tokenizer

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class WordPieceConfig(Record, frozen=True):
    """The tokenizer in a student's config.json. `length` counts the specials."""

    kind: Literal["wordpiece"]
    file: FileName
    length: Annotated[int, Meta(ge=2, le=2**12)]
    pad: Count
    specials: dict[str, Count]
    lowercase: bool = True

    def __post_init__(self) -> None:
        if missing := [name for name in _SPECIALS if name not in self.specials]:
            raise ValueError(f"its specials lack {', '.join(missing)}")


def wordpiece_file(config: WordPieceConfig, directory: Path) -> tuple[TokenizerSpec, bytes]:
    """The spec and the file of a bundle for the vocabulary in `directory`."""
    spec = TokenizerSpec(length=config.length, pad=config.pad)
    return spec, compile_tokenizer(wordpiece_json(config, directory))


def wordpiece_tokenizer(config: WordPieceConfig, directory: Path) -> Tokenizer:
    """The tokenizer of the vocabulary in `directory`."""
    return Tokenizer(*wordpiece_file(config, directory))


def vocabulary(config: WordPieceConfig, directory: Path) -> dict[str, int]:
    """Ids by token: the numbers of their lines."""
    lines = (directory / config.file).read_text("utf-8").split("\n")
    return {line: number for number, line in enumerate(lines) if line}


def wordpiece_json(config: WordPieceConfig, directory: Path) -> dict[str, Any]:
    """The same as Hugging Face's tokenizer.json."""
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
