"""Words as an index holds them: without case, accents and width. Java's Folding gives the same."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

MOST_LETTERS = 63  # a longer word is cut, to at most 255 bytes
# Letters that NFKD leaves whole.
_PLAIN = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "þ": "th", "ς": "σ"}
)
_ASCII_WORD = re.compile("[0-9a-z]+")
_MARKS = re.compile("[\u0300-\u036f]")
# Thai, Japanese and Chinese put no spaces between words.
_NO_SPACES = re.compile(
    "[\u0e01-\u0e5b\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)


def fold(text: str) -> list[str]:
    """Return the terms of a text, in its order.

    Args:
        text: any text, such as a query, a line that was read, or a path.

    Returns:
        Each run of letters, marks and digits, as it is written in small letters without accents;
        of writing without spaces, each two neighbouring characters.
    """
    if text.isascii():
        return [word[:MOST_LETTERS] for word in _ASCII_WORD.findall(text.lower())]
    plain = _MARKS.sub("", unicodedata.normalize("NFKD", text)).lower().translate(_PLAIN)
    terms: list[str] = []
    for is_word, run in groupby(unicodedata.normalize("NFC", plain), _is_of_word):
        if is_word:
            terms += _split("".join(run))
    return terms


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _split(word: str) -> list[str]:
    terms, at = [], 0
    for found in _NO_SPACES.finditer(word):
        run = found[0]
        pairs = [run[i : i + 2] for i in range(len(run) - 1)] or [run]
        terms += [word[at : found.start()], *pairs]
        at = found.end()
    return [term[:MOST_LETTERS] for term in (*terms, word[at:]) if term]
