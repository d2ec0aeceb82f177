"""Steps from text to text. A step is a JSON list: its name, then its arguments."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mcad_mobile.engine.text.table import Table

# Unicode's White_Space property; str.isspace() also includes the separators 1C to 1F.
SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_RUN = re.compile(f"[{SPACES}]+")
ASCII_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

# The blocks of CJK ideographs that BERT splits one by one
_IDEOGRAPH = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f"
    "\U0002b740-\U0002b81f\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]"
)


def is_punctuation(character: str) -> bool:
    return character in ASCII_PUNCTUATION or unicodedata.category(character)[0] == "P"


def is_ideograph(character: str) -> bool:
    return _IDEOGRAPH.match(character) is not None


def is_extending(character: str) -> bool:
    """Marks, joiners and skin tones: what continues a grapheme cluster (UAX 29)."""
    return (
        character in "\u200c\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
    )


def lower(text: str) -> str:
    """Lower-case each character by itself: str.lower() has a rule for a word's last sigma."""
    return text.lower() if "\u03a3" not in text else "".join(map(str.lower, text))


def words_between_spaces(text: str) -> list[str]:
    return [part for part in _RUN.split(text) if part]


# ftfy repairs glitches one character at a time (curly quotes, ligatures, wide letters, control
# characters), resolves HTML's entities, and guesses whether a text was decoded in the wrong
# encoding. Only the first is here, and in Java: a phone's keyboard types curly quotes, but
# neither entities nor mojibake. The rules are ftfy 6.3's (ftfy/__init__.py, ftfy/fixes.py).

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
    """Split Latin ligatures; give full-width and half-width forms their usual width."""
    if character == "\ufb05":
        return "\u017ft"
    if character == "\u3000":
        return " "
    if "\uff01" <= character < "\ufff0" or character in _LIGATURES:
        return unicodedata.normalize("NFKC", character)
    return character


Step = Callable[[str], str]


def step_of(step: list[Any], table: Table) -> Step:
    """The function of one step. KeyError for a name that this version does not know."""
    name, *arguments = step
    if name == "charsmap":
        return Charsmap(table, *arguments)
    return _STEPS[name](*arguments)


def _bert_clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    dropped = ("Cc", "Cf", "Co", "Cs")  # control, format, private use, surrogate
    kept = (c for c in text if c in "\t\n\r" or unicodedata.category(c) not in dropped)
    return "".join(" " if c in SPACES else c for c in kept if c != "\ufffd")


def _without(marks: str, text: str) -> str:
    """Drop the characters whose category begins with `marks`."""
    if text.isascii():
        return text
    return "".join(c for c in text if not unicodedata.category(c).startswith(marks))


def _remove(unwanted: str) -> Step:
    table = {ord(character): None for character in unwanted}
    return lambda text: text.translate(table)


def _strip(left: bool, right: bool) -> Step:
    def stripped(text: str) -> str:
        text = text.lstrip(SPACES) if left else text
        return text.rstrip(SPACES) if right else text

    return stripped


_STEPS: dict[str, Callable[..., Step]] = {
    "basic_clean": lambda: basic_clean,
    # Each character by itself, or the whole text, with Python's rule for a word's last sigma.
    "lower": lambda: lower,
    "lower_text": lambda: str.lower,
    # One space between words, none at the ends; str.split() splits at 1C to 1F, too.
    "join_words": lambda: lambda text: " ".join(text.split()),
    "join_spaces": lambda to: lambda text: to.join(_RUN.split(text)),
    "join_blanks": lambda to: lambda text: re.sub(" {2,}", to, text),
    "strip": _strip,
    "replace": lambda old, new: lambda text: text.replace(old, new),
    "trim_end": lambda mark: lambda text: text.rstrip(mark),
    "prepend": lambda start: lambda text: start + text if text else text,
    "remove": _remove,
    "form": lambda form: lambda text: text if text.isascii() else unicodedata.normalize(form, text),
    "strip_marks": lambda: lambda text: _without("Mn", unicodedata.normalize("NFD", text)),
    "drop_marks": lambda: partial(_without, "M"),
    "bert_clean": lambda: _bert_clean,
    "space_ideographs": lambda: lambda text: _IDEOGRAPH.sub(r" \g<0> ", text),
}


class Charsmap:
    """SentencePiece's replacements. "longest" replaces the longest key at each character;
    "clusters" (normalizers/precompiled.rs of `tokenizers`) the shortest key of a grapheme cluster
    of fewer than 6 bytes, else of each character. "charsmap_trie" is a double array (Darts-clone)
    whose values are offsets into "charsmap_text"."""

    def __init__(self, table: Table, way: str) -> None:
        self._apply = {"longest": self._by_longest, "clusters": self._by_clusters}[way]
        self._trie = table.array("charsmap_trie")
        self._text = table.array("charsmap_text")

    def __call__(self, text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        return self._apply(text)

    def _by_longest(self, text: str) -> str:
        data, out, at = text.encode(), bytearray(), 0
        while at < len(data):
            size, value = 0, -1
            for size, value in self._keys(data[at:]):  # noqa: B007 the last one is the longest
                pass
            if value >= 0:
                out += self._value(value).encode()
            else:
                size = 1
                while at + size < len(data) and data[at + size] & 0xC0 == 0x80:
                    size += 1
                out += data[at : at + size]
            at += size
        return out.decode()

    def _by_clusters(self, text: str) -> str:
        return "".join(map(self._cluster, _clusters(text)))

    def _cluster(self, cluster: str) -> str:
        if len(cluster) > 1 and len(cluster.encode()) < 6:
            found = self._find(cluster)
            if found is not None:
                return found
        parts = ((c, self._find(c)) for c in cluster)
        return "".join(c if found is None else found for c, found in parts)

    def _find(self, chunk: str) -> str | None:
        return next((self._value(value) for _, value in self._keys(chunk.encode())), None)

    def _keys(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The length and value of each key that `data` starts with, shortest first."""
        trie = self._trie
        node = _offset(trie[0])
        for size, byte in enumerate(data, 1):
            if byte == 0:
                return
            node ^= byte
            unit = trie[node]
            if unit & 0x800000FF != byte:
                return
            node ^= _offset(unit)
            if unit >> 8 & 1:
                yield size, trie[node] & 0x7FFFFFFF

    def _value(self, start: int) -> str:
        end = start
        while end < len(self._text) and self._text[end]:
            end += 1
        return bytes(self._text[start:end]).decode()


def _offset(unit: int) -> int:
    return unit >> 10 << (unit >> 6 & 8)


def _clusters(text: str) -> list[str]:
    """Grapheme clusters (UAX 29), exact for those of fewer than 6 bytes."""
    clusters: list[str] = []
    for character in text:
        before = clusters[-1] if clusters else ""
        extends = is_extending(character) and not _stands_alone(before[-1:])
        if before and (extends or before + character == "\r\n"):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _stands_alone(character: str) -> bool:
    joins = character in "\u200c\u200d"
    return not joins and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")
