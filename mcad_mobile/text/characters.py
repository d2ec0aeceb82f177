"""Character classes as Hugging Face's `tokenizers` draws them, and the lower case of one."""

from __future__ import annotations

import unicodedata

# The property White_Space of Unicode; str.isspace() has the separators 1C to 1F besides.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

_IDEOGRAPHS = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0x2F800, 0x2FA1F),
)


def is_control(character: str) -> bool:
    """Control, format, private use, surrogate: what BERT drops. Line ends and tabs are spaces."""
    return character not in "\t\n\r" and unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def is_punctuation(character: str) -> bool:
    return character in ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P"


def is_ideograph(character: str) -> bool:
    """The blocks of CJK ideographs that BERT takes one by one."""
    code = ord(character)
    return code >= 0x3400 and any(first <= code <= last for first, last in _IDEOGRAPHS)


def is_extending(character: str) -> bool:
    """Marks, joiners and skin tones: what continues a grapheme cluster (UAX 29)."""
    return (
        character in "\u200c\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
    )


def lower(text: str) -> str:
    """Lower case of each character by itself: a whole word's has a rule for the last sigma."""
    return text.lower() if "\u03a3" not in text else "".join(map(str.lower, text))


def runs_to(text: str, replacement: str) -> str:
    """Each run of White_Space replaced."""
    return replacement.join(_split_at(text))


def _split_at(text: str) -> list[str]:
    parts: list[str] = []
    word: list[str] = []
    inside = False
    for character in text:
        space = character in SPACES
        if space and not inside:
            parts.append("".join(word))
            word = []
        if not space:
            word.append(character)
        inside = space
    return [*parts, "".join(word)]


def words_between_spaces(text: str) -> list[str]:
    """What lies between White_Space."""
    return [part for part in _split_at(text) if part]
