"""open_clip's cleaning of a text before its tokenizers (`basic_clean`), without ftfy.

ftfy repairs glitches one character at a time (curly quotes, ligatures, wide letters, control
characters, HTML's entities), and guesses whether a text was decoded in the wrong encoding. All but
the guess is here, and in Java: a phone's keyboard types curly quotes, and no mojibake.
The rules are ftfy 6.3's (ftfy/__init__.py, ftfy/fixes.py), and `html.unescape`'s.
"""

from __future__ import annotations

import re
import unicodedata

_LIGATURES = "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬅﬆ"
_ENTITY = re.compile("&#?[0-9A-Za-z]{1,24};")
_TERMINAL = re.compile("\x1b\\[[\\d;]*[a-zA-Z]")
_CONTROLS = re.compile("[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]")
_LINE_ENDS = re.compile("\r\n|[\r\u2028\u2029\x85]")
_C1 = re.compile("[\x80-\x9f]")


def basic_clean(text: str) -> str:
    """Glitches repaired, HTML's entities resolved twice, no space at either end."""
    if text.isascii() and text.isprintable() and "&" not in text:
        return text.strip()
    text = _repaired(text)
    if "&" in text:
        from html import unescape

        text = unescape(unescape(text))
    return text.strip()


def _repaired(text: str) -> str:
    """ftfy.fix_text without its guess. Once a line has shown a "<", entities are left alone."""
    lines, entities = [], True
    for line in re.split("(?<=\n)", text):
        entities = entities and "<" not in line
        lines.append(_repaired_line(line, entities))
    return "".join(lines)


def _repaired_line(line: str, entities: bool) -> str:
    while True:
        before = line
        if entities and "&" in line:
            line = _ENTITY.sub(_entity, line)
        line = _C1.sub(_windows_1252, line)
        line = "".join(map(_narrow, line)) if not line.isascii() else line
        line = re.sub("[\u02bc\u2018-\u201b]", "'", re.sub("[\u201c-\u201f]", '"', line))
        line = _LINE_ENDS.sub("\n", line)
        line = _CONTROLS.sub("", _TERMINAL.sub("", line))
        line = unicodedata.normalize("NFC", line)
        if line == before:
            return line


def _entity(match: re.Match[str]) -> str:
    """An entity that ends in a semicolon, also one in capitals: &NTILDE; is a capital n tilde."""
    from html import unescape
    from html.entities import html5

    found = match.group()
    if found.startswith("&#"):
        resolved = unescape(found)
        return found if ";" in resolved else resolved
    name = found[1:]
    if name in html5:
        return html5[name]
    if name == name.upper() and name.lower() in html5 and unescape(found) == found:
        return html5[name.lower()].upper()
    return found


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
