"""Steps that split a normalized text into words for a model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from mcad_mobile.engine.text import normalize

# A piece of text, and whether it is the first -> words.
Split = Callable[[str, bool], list[str]]

_ASCII_BERT = re.compile(r"[0-9A-Za-z]+|[^\s0-9A-Za-z]")
_ASCII_CLIP = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[A-Za-z]+|[0-9]|[^\s0-9A-Za-z]+")
_CONTRACTIONS = re.compile("'(?:s|t|re|ve|m|ll|d)")
_CONTRACTIONS_OF_ANY_CASE = re.compile("'(?:[sſ]|t|re|ve|m|ll|d)")


def split_of(step: list[Any]) -> Split:
    """The function of one step. KeyError for a name that this version does not know."""
    name, *arguments = step
    return _SPLITS[name](*arguments)


def _bert(text: str, first: bool) -> list[str]:
    """Split at white space and punctuation; each mark is a word."""
    if text.isascii() and text.isprintable():
        return _ASCII_BERT.findall(text)
    words: list[str] = []
    start = 0
    for at, character in enumerate(text):
        space = character in normalize.SPACES
        if space or normalize.is_punctuation(character):
            words += (text[start:at],) if start < at else ()
            words += () if space else (character,)
            start = at + 1
    return [*words, text[start:]] if start < len(text) else words


def _clip(specials: list[str], splits_specials: bool, any_case: bool) -> Split:
    """CLIP's regular expression: `specials` (split again if `splits_specials`), contractions,
    runs of letters, single digits, and runs of any other non-spaces."""
    if "" in specials:
        raise ValueError("an empty word has no end")

    def split(text: str, first: bool) -> list[str]:
        if text.isascii() and text.isprintable() and "<" not in text:
            return _ASCII_CLIP.findall(text)
        words: list[str] = []
        for word in _clip_words(text, specials, any_case):
            words += (
                _clip_words(word, [], any_case) if splits_specials and word in specials else (word,)
            )
        return words

    return split


def _clip_words(text: str, specials: list[str], any_case: bool) -> Iterator[str]:
    # Ignoring case, the long s is an s, and the combining iota (U+0345) separates words.
    contractions = _CONTRACTIONS_OF_ANY_CASE if any_case else _CONTRACTIONS
    kinds = ["" if any_case and c == "ͅ" else _clip_kind(c) for c in text]
    at = 0
    while at < len(text):
        kind = kinds[at]
        named = next((word for word in specials if text.startswith(word, at)), None)
        contraction = contractions.match(text, at)
        if named is not None:
            end = at + len(named)
        elif contraction is not None:
            end = contraction.end()
        else:
            end = at + 1
            if kind != "N":
                while end < len(text) and kinds[end] == kind:
                    end += 1
        if kind:
            yield text[at:end]
        at = end


def _clip_kind(character: str) -> str:
    """L letter, N number, "" space, "-" anything else."""
    if character in normalize.SPACES:
        return ""
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "-"


def _metaspace(mark: str, prepend: str, split: bool) -> Split:
    """SentencePiece's space mark, which starts a word. `prepend`: "always", "first", "never"."""

    def metaspace(text: str, first: bool) -> list[str]:
        text = text.replace(" ", mark)
        wanted = prepend == "always" or (prepend == "first" and first)
        if wanted and not text.startswith(mark):
            text = mark + text
        if not split:
            return [text] if text else []
        pieces = text.split(mark)
        starts = [pieces[0]] if pieces[0] else []
        return starts + [mark + piece for piece in pieces[1:]]

    return metaspace


_SPLITS: dict[str, Callable[..., Split]] = {
    "bert": lambda: _bert,
    "clip": _clip,
    "spaces": lambda: lambda text, first: normalize.words_between_spaces(text),
    "metaspace": _metaspace,
}
