"""Steps from text to text. A step is a list: its name, then what it takes (JSON)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from mcad_mobile.text import characters
from mcad_mobile.text.clean import basic_clean
from mcad_mobile.text.table import Table

Step = Callable[[str], str]


def step_of(step: list[Any], table: Table) -> Step:
    """The function of one step. KeyError for a name that this version does not know."""
    name, *given = step
    if name == "charsmap":
        return Charsmap(table, *given)
    return _STEPS[name](*given)


def _bert_clean() -> Step:
    def clean(text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        kept = (c for c in text if c not in "\0\ufffd" and not characters.is_control(c))
        return "".join(" " if c in characters.SPACES else c for c in kept)

    return clean


def _space_ideographs() -> Step:
    def spaced(text: str) -> str:
        if text.isascii():
            return text
        return "".join(f" {c} " if characters.is_ideograph(c) else c for c in text)

    return spaced


def _strip_marks() -> Step:
    def stripped(text: str) -> str:
        if text.isascii():
            return text
        apart = unicodedata.normalize("NFD", text)
        return "".join(c for c in apart if unicodedata.category(c) != "Mn")

    return stripped


def _drop_marks() -> Step:
    return lambda text: "".join(c for c in text if unicodedata.category(c)[0] != "M")


def _form(form: Any) -> Step:
    return lambda text: text if text.isascii() else unicodedata.normalize(form, text)


def _remove(unwanted: str) -> Step:
    table = {ord(character): None for character in unwanted}
    return lambda text: text.translate(table)


def _strip(left: bool, right: bool) -> Step:
    def stripped(text: str) -> str:
        text = text.lstrip(characters.SPACES) if left else text
        return text.rstrip(characters.SPACES) if right else text

    return stripped


_STEPS: dict[str, Callable[..., Step]] = {
    "basic_clean": lambda: basic_clean,
    # Each character by itself, and the whole text as Python does, with the last sigma of a word.
    "lower": lambda: characters.lower,
    "lower_text": lambda: str.lower,
    # One space between words, none at the ends; str.split() knows four separators more.
    "join_words": lambda: lambda text: " ".join(text.split()),
    "join_spaces": lambda to: lambda text: characters.runs_to(text, to),
    "join_blanks": lambda to: lambda text: re.sub(" {2,}", to, text),
    "strip": _strip,
    "replace": lambda old, new: lambda text: text.replace(old, new),
    "trim_end": lambda mark: lambda text: text.rstrip(mark),
    "prepend": lambda start: lambda text: start + text if text else text,
    "remove": _remove,
    "form": _form,
    "strip_marks": _strip_marks,
    "drop_marks": _drop_marks,
    "bert_clean": _bert_clean,
    "space_ideographs": _space_ideographs,
}
STEPS = frozenset(_STEPS) | {"charsmap"}


class Charsmap:
    """SentencePiece's table of what stands for what.

    As SentencePiece applies it ("longest"): the longest key at each character. As `tokenizers` does
    ("clusters", its normalizers/precompiled.rs): the shortest key at the start of a grapheme
    cluster of fewer than 6 bytes stands for all of it, else each character is looked up.
    Array "charsmap_trie" is a double array (Darts-clone), "charsmap_text" what its values point at.
    """

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
        for _, value in self._keys(chunk.encode()):
            return self._value(value)
        return None

    def _keys(self, data: bytes) -> Iterator[tuple[int, int]]:
        """The keys that `data` starts with, shortest first: their bytes, and their values."""
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
    """Grapheme clusters (UAX 29), as far as those of fewer than 6 bytes are concerned."""
    clusters: list[str] = []
    for character in text:
        before = clusters[-1] if clusters else ""
        extends = characters.is_extending(character) and not _stands_alone(before[-1:])
        if before and (extends or before + character == "\r\n"):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _stands_alone(character: str) -> bool:
    if not character or character in "\u200c\u200d":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")
