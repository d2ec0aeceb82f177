"""open_clip's cleaning of a text before its tokenizers (`basic_clean`), without ftfy.

ftfy repairs glitches one character at a time (curly quotes, ligatures, wide letters, control
characters), resolves HTML's entities, and guesses whether a text was decoded in the wrong encoding.
Only the first is here, and in Java: a phone's keyboard types curly quotes, but neither entities nor
mojibake. The rules are ftfy 6.3's (ftfy/__init__.py, ftfy/fixes.py).
"""

from __future__ import annotations

import re
import unicodedata

_LIGATURES = "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_TERMINAL = re.compile("\x1b\\[[\\d;]*[a-zA-Z]")
_CONTROLS = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")
_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029\x85]")
_C1 = re.compile("[\x80-\x9f]")


def basic_clean(text: str) -> str:
    """Return the text with glitches repaired and no space at either end."""
    if text.isascii() and text.isprintable():
        return text.strip()
    while True:
        before = text
        text = _C1.sub(_windows_1252, text)
        text = "".join(map(_narrow, text)) if not text.isascii() else text
        text = re.sub("[\u02bc\u2018-\u201b]", "'", re.sub("[\u201c-\u201f]", '"', text))
        text = _LINE_ENDS.sub("\n", text)
        text = _CONTROLS.sub("", _TERMINAL.sub("", text))
        text = unicodedata.normalize("NFC", text)
        if text == before:
            return text.strip()


def _windows_1252(match: re.Match[str]) -> str:
    return match.group().encode("latin-1").decode("windows-1252", "ignore") or match.group()


def _narrow(character: str) -> str:
    """Ligatures of Latin letters taken apart, wide and half-width forms at their usual width."""
    if character == "\ufb05":
        return "\u017ft"
    if character == "\u3000":
        return " "
    if "\uff01" <= character < "\ufff0" or character in _LIGATURES:
        return unicodedata.normalize("NFKC", character)
    return character
