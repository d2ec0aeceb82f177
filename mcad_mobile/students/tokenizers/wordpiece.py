"""The tokenizer of our own students: BERT's WordPiece over the vocab.txt in their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from mcad_mobile.base.documents import Count, FileName, Record
from mcad_mobile.engine.text.tokenizer import TokenizerSpec
from mcad_mobile.students.tokenizers.tokenizer_json import compile_tokenizer

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
