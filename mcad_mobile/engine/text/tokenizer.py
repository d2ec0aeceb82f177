"""Text -> token ids, mask and pooling weights [L], as a text tower takes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mcad_mobile.base.documents import Count, Record
from mcad_mobile.engine.text import normalize
from mcad_mobile.engine.text.models import model_of
from mcad_mobile.engine.text.normalize import Step, is_ideograph, step_of
from mcad_mobile.engine.text.table import Table
from mcad_mobile.engine.text.words import split_of
from mcad_mobile.errors import BundleError, QueryError, Remedy

# How many times longer a text may become: Unicode's forms turn one character into 18.
_MOST_GROWTH = 32
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class Encoder:
    """Token ids of a text, without its frame."""

    def __init__(self, table: Table) -> None:
        header = table.header
        try:
            self.before: list[int] = header.before
            self.after: list[int] = header.after
            self._prepare = [step_of(step, table) for step in header.prepare]
            self._normalize = [step_of(step, table) for step in header.normalize]
            self._split = [split_of(step) for step in header.split]
            self._model = model_of(header.model, table)
            self.unknown: int | None = header.model.get("unk")
            self.allows_spelled_words: bool = header.model.get("many_scripts", False)
            added = header.added
            self._added = Added([token for token in added if not token[2]])
            names = [[_all(self._normalize, token[0]), *token[1:]] for token in added if token[2]]
            self._added_normalized = Added(names)
        except (AttributeError, KeyError, TypeError, ValueError, re.error) as error:
            raise BundleError(
                f"The tokenizer has a part that this version does not read: {error}.",
                "Update mcad-mobile, or export the bundle again.",
            ) from error

    def __call__(self, text: str, most: int) -> list[int]:
        """Return the ids of `text`; stop once there are more than `most`."""
        ids: list[int] = []
        text = _LONE_SURROGATES.sub("\ufffd", text) if not text.isascii() else text
        text = _all(self._prepare, text)
        for start, part in self._added.split(text):
            if isinstance(part, int):
                ids.append(part)
                continue
            for inner, piece in self._added_normalized.split(_all(self._normalize, part)):
                if isinstance(piece, int):
                    ids.append(piece)
                    continue
                for word in self._words(piece, start == inner == 0):
                    ids += self._model(word)
                    if len(ids) > most:
                        return ids
        return ids

    def _words(self, text: str, first: bool) -> list[str]:
        words = [text] if text else []
        for split in self._split:
            parts = []
            for number, word in enumerate(words):
                parts += split(word, first and number == 0)
            words = parts
        return words


def _all(steps: list[Step], text: str) -> str:
    most = _MOST_GROWTH * (len(text) + 100)
    for step in steps:
        text = step(text)
        if len(text) > most:
            raise ValueError(f"its steps make {len(text)} characters of a text")
    return text


class Added:
    """Tokens found in a text before it is split into words: the longest leftmost match."""

    def __init__(self, tokens: Sequence[Sequence[Any]]) -> None:
        names = sorted((token[0] for token in tokens if token[0]), key=len, reverse=True)
        self._tokens = {token[0]: token for token in tokens}
        self._any = re.compile("|".join(map(re.escape, names))) if names else None

    def split(self, text: str) -> Iterator[tuple[int, int | str]]:
        """Yield each part's start, and a token's id or the text between tokens."""
        at = 0
        for match in self._any.finditer(text) if self._any else ():
            _, number, _, left, right = self._tokens[match.group()]
            start, end = match.span()
            if left:
                start = max(at, len(text[:start].rstrip(normalize.SPACES)))
            if right:
                end = len(text) - len(text[end:].lstrip(normalize.SPACES))
            if at < start:
                yield at, text[at:start]
            yield start, number
            at = end
        if at < len(text):
            yield at, text[at:]


Pool = Literal["eos", "first", "last", "mean"]

# Tokenizers split words of a foreign script into pieces of a letter or two: in BERT's English
# vocabulary, Russian, Greek, Arabic, Hebrew and Hindi have 1.0 to 1.2 letters a token; German,
# Polish and Turkish, whose letters it knows, 1.7 and more.
_LETTERS_A_TOKEN = 1.5


class TokenizerSpec(Record, frozen=True):
    """A tokenizer's settings beside its file. `length` includes start and end tokens; with
    `attends_to_padding` the mask is all ones. `pool`: the state at the first token `eos`, at the
    first or last position, or the mean over the mask."""

    length: Annotated[int, Meta(ge=2, le=2**16)]
    pad: Count
    pad_left: bool = False
    attends_to_padding: bool = False
    pool: Pool = "mean"
    eos: Count | None = None

    def __post_init__(self) -> None:
        if self.pool == "eos" and self.eos is None:
            raise ValueError("pool is 'eos', and there is no eos")


def pooling_weights(
    ids: NDArray[Any], mask: NDArray[np.float32], pool: Pool, eos: int | None
) -> NDArray[np.float32]:
    """Token ids and mask [..., L] -> the weights of their states [..., L], which sum to 1."""
    if pool == "mean":
        return np.asarray(mask / mask.sum(-1, keepdims=True))
    weights = np.zeros(ids.shape, np.float32)
    if pool == "eos":
        np.put_along_axis(weights, np.argmax(ids == eos, -1, keepdims=True), 1, -1)
    else:
        weights[..., 0 if pool == "first" else -1] = 1
    return weights


@dataclass(frozen=True)
class Tokens:
    """A text: ids [L] int32, mask [L] float32 (1 where the tower attends), pooling [L] float32
    (weights of the states, which sum to 1), and whether the text was cut to fit."""

    ids: NDArray[np.int32]
    mask: NDArray[np.float32]
    pooling: NDArray[np.float32]
    truncated: bool


class Tokenizer:
    """Turns texts into `Tokens`, given a file or its content. BundleError if it is invalid."""

    def __init__(self, spec: TokenizerSpec, file: Path | bytes) -> None:
        self.spec = spec
        mapped = Table.open(file) if isinstance(file, Path) else Table(file, "What was given")
        self._encode = Encoder(mapped)
        frame = len(self._encode.before) + len(self._encode.after)
        if spec.length < frame:
            raise BundleError(
                f"The tokenizer frames a text in {frame} tokens, and its length is {spec.length}.",
                Remedy.EXPORT_AGAIN,
            )

    def __call__(self, text: str) -> Tokens:
        """Tokenize a text, cut if it is too long. QueryError if it is empty or not text."""
        if not isinstance(text, str):
            raise QueryError(f"A text is expected, not {text!r}.", "Embed one text at a time.")
        if not text.strip():
            raise QueryError(f"The query {text!r} is empty.", "Write what the photo shows.")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise QueryError(
                f"The query {text!r} contains bytes that are not text.",
                "Write it in the encoding of the locale (with LC_ALL=C.UTF-8: UTF-8).",
            )
        spec, encode = self.spec, self._encode
        room = spec.length - len(encode.before) - len(encode.after)
        found = self._ids(text, room)
        row = [*encode.before, *found[:room], *encode.after]
        ids = np.full(spec.length, spec.pad, np.int32)
        mask = np.full(spec.length, spec.attends_to_padding, np.float32)
        tokens = slice(spec.length - len(row), None) if spec.pad_left else slice(len(row))
        ids[tokens], mask[tokens] = row, 1
        pooling = pooling_weights(ids, mask, spec.pool, spec.eos)
        return Tokens(ids, mask, pooling, len(found) > room)

    def _ids(self, text: str, most: int) -> list[int]:
        try:
            # Arrays are not checked when they are opened, so a query reads only a few pages.
            ids = self._encode(text, most)
            if not all(0 <= number < 2**31 for number in ids):
                raise ValueError("it has a token without a row")
            return ids
        except (AttributeError, LookupError, ArithmeticError, TypeError, ValueError) as error:
            raise BundleError(
                f"The tokenizer is damaged: {type(error).__name__} {error}.", Remedy.EXPORT_AGAIN
            ) from error

    def unknown_words(self, text: str) -> list[str]:
        """Return words that no tower can have learned: the tokenizer has no token for a part of
        them, or spells them nearly letter by letter (English ones: Cyrillic)."""
        return [word for word in dict.fromkeys(text.split()) if self._is_unknown(word)]

    def _is_unknown(self, word: str) -> bool:
        ids = self._ids(word, self.spec.length)
        if self._encode.unknown in ids or self._encode.allows_spelled_words:
            return self._encode.unknown in ids
        letters = [character for character in word if character.isalpha()]
        is_spelled = 1 < len(letters) < _LETTERS_A_TOKEN * len(ids)
        return is_spelled and not word.isascii() and not any(map(is_ideograph, letters))

    def batch(self, texts: list[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Texts -> ids [B, L] int32 and masks [B, L] float32."""
        tokens = [self(text) for text in texts]
        return np.stack([t.ids for t in tokens]), np.stack([t.mask for t in tokens])
