"""Text -> token ids [L] int32 and mask [L] float32, by Hugging Face's `tokenizers`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.errors import BundleError, QueryError


@dataclass(frozen=True)
class TokenizerSpec:
    """What a tokenizer needs beside its vocabulary file. `length` counts the specials."""

    kind: Literal["wordpiece"]
    file: str
    length: int
    pad: int
    specials: dict[str, int]
    lowercase: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> TokenizerSpec:
        return TokenizerSpec(**data)


@dataclass(frozen=True)
class Tokens:
    """One text: ids [L] int32, mask [L] float32 (1 token, 0 padding), and whether the text was
    longer than the tower takes."""

    ids: NDArray[np.int32]
    mask: NDArray[np.float32]
    truncated: bool


class Tokenizer:
    """WordPiece as BERT defines it: NFC clean-up, lower case, accents stripped, [CLS] ... [SEP]."""

    def __init__(self, spec: TokenizerSpec, directory: Path) -> None:
        from tokenizers import Tokenizer as Backend
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer
        from tokenizers.processors import TemplateProcessing

        if spec.kind != "wordpiece":
            raise BundleError(
                f"Tokenizer kind {spec.kind!r} is not one that this version reads (wordpiece).",
                "Update mcad-mobile, or export the bundle again.",
            )
        self.spec = spec
        # from_file keeps the vocabulary out of Python, whose copy of it would stay in the heap.
        model = WordPiece.from_file(
            str(directory / spec.file), unk_token="[UNK]", max_input_chars_per_word=100
        )
        backend = Backend(model)
        backend.normalizer = BertNormalizer(lowercase=spec.lowercase)
        backend.pre_tokenizer = BertPreTokenizer()
        backend.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(name, spec.specials[name]) for name in ("[CLS]", "[SEP]")],
        )
        self._backend = backend

    def __call__(self, text: str) -> Tokens:
        """QueryError if `text` holds nothing but space, or bytes that the locale could not decode;
        a text that is too long is cut."""
        if not text.strip():
            raise QueryError(f"The query {text!r} is empty.", "Write what the photo shows.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise QueryError(
                f"The query {text!r} holds bytes that are no text.",
                "Write it as the locale says (LC_ALL=C.UTF-8: in UTF-8).",
            )
        length = self.spec.length
        found = self._backend.encode(text).ids
        truncated = len(found) > length
        if truncated:
            found = [*found[: length - 1], self.spec.specials["[SEP]"]]
        ids = np.full(length, self.spec.pad, np.int32)
        ids[: len(found)] = found
        mask = np.zeros(length, np.float32)
        mask[: len(found)] = 1
        return Tokens(ids, mask, truncated)

    def batch(self, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Texts -> ids [B, L] int32 and masks [B, L] float32."""
        tokens = [self(text) for text in texts]
        return np.stack([t.ids for t in tokens]), np.stack([t.mask for t in tokens])
