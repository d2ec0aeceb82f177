"""A text to token ids, by the steps of a tokenizer's file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mcad_mobile.errors import BundleError
from mcad_mobile.text import characters
from mcad_mobile.text.normalize import Step, step_of
from mcad_mobile.text.pieces import model_of
from mcad_mobile.text.table import EXPORT_AGAIN, Table
from mcad_mobile.text.words import split_of

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


class Encoder:
    """Token ids of a text, without what frames it. BundleError for a step that this version does
    not know."""

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
            added = header.added
            self._added = Added([token for token in added if not token[2]])
            names = [[_all(self._normalize, token[0]), *token[1:]] for token in added if token[2]]
            self._added_normalized = Added(names)
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(
                f"The tokenizer has a part that this version does not read: {error}.",
                f"Update mcad-mobile, or: {EXPORT_AGAIN}",
            ) from error

    def __call__(self, text: str, most: int) -> list[int]:
        """The ids of `text`; no more are looked for once there are more than `most`."""
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
    for step in steps:
        text = step(text)
    return text


class Added:
    """Tokens that are found in a text before it is cut into words, the longest of the leftmost.
    A token is [name, id, whether it is looked for in the normalized text, and whether it takes the
    space on its left and right with it]."""

    def __init__(self, tokens: Sequence[Sequence[Any]]) -> None:
        names = sorted((token[0] for token in tokens if token[0]), key=len, reverse=True)
        self._tokens = {token[0]: token for token in tokens}
        self._any = re.compile("|".join(map(re.escape, names))) if names else None

    def split(self, text: str) -> Iterator[tuple[int, int | str]]:
        """Where each part starts, and the id of a token or the text between two."""
        at = 0
        for match in self._any.finditer(text) if self._any else ():
            _, number, _, left, right = self._tokens[match.group()]
            start, end = match.span()
            if left:
                start = max(at, len(text[:start].rstrip(characters.SPACES)))
            if right:
                end = len(text) - len(text[end:].lstrip(characters.SPACES))
            if at < start:
                yield at, text[at:start]
            yield start, number
            at = end
        if at < len(text):
            yield at, text[at:]
