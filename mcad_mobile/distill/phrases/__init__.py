"""Captions in many languages, composed from phrase books, and names of everyday things.

A book (LANGUAGE.toml) has names, whole captions, and parts of sentences: who, with what, does what,
and where. Item i of each list is a translation of item i of en.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from numpy.random import Generator

from mcad_mobile.distill.languages import ENGLISH, Thing

_FOLDER = Path(__file__).parent
_SUBJECTS = ("people", "animals")


@dataclass(frozen=True)
class Phrase:
    """A caption independent of language: (list name, item number) pairs into phrase books."""

    items: tuple[tuple[str, int], ...]


class PhraseBook:
    """The phrases of one language."""

    def __init__(self, language: str) -> None:
        lists = tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8"))
        self._order: str = lists.pop("order")
        self.names: list[str] = lists.pop("names")
        self._lists: dict[str, list[str]] = lists

    def sizes(self) -> dict[str, int]:
        """How many items each list of phrases has."""
        return {name: len(items) for name, items in self._lists.items()}

    def texts(self) -> list[str]:
        """All phrases."""
        return [item for items in self._lists.values() for item in items]

    def text(self, phrase: Phrase) -> str:
        """The phrase in this language."""
        items = {name: self._lists[name][number] for name, number in phrase.items}
        subject = next((items[name] for name in _SUBJECTS if name in items), "")
        # If verbs agree with the subject's gender, a book has both forms of a verb.
        who, _, feminine = subject.partition("|")
        if len(items) == 1:
            (only,) = items.values()
            return who or only
        parts = {"who": who, "with": "", "does": "", "where": ""}
        for name, item in items.items():
            kind = name.split("_")[-1]
            if kind == "do":
                forms = item.split("|")
                parts["does"] = forms[-1] if feminine else forms[0]
            elif name not in _SUBJECTS:
                parts[kind] = item
        return " ".join(self._order.format(**parts).split())


@cache
def phrase_book(language: str) -> PhraseBook:
    """The book of one of `languages_with_phrases`."""
    return PhraseBook(language)


def languages_with_phrases() -> list[str]:
    """Languages that have a book, including English."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def everyday_things(languages: Sequence[str]) -> list[Thing]:
    """The things that the books name, in English and in those of `languages` that have a book."""
    known = {ENGLISH, *languages} & {*languages_with_phrases()}
    names = {language: phrase_book(language).names for language in sorted(known)}
    return [
        Thing({language: row[number] for language, row in names.items()}, {})
        for number in range(len(names[ENGLISH]))
    ]


def draw_phrases(count: int, rng: Generator) -> Sequence[Phrase]:
    """Draw random phrases: half are whole captions, one in seven is a single part."""
    sizes = phrase_book(ENGLISH).sizes()

    def item(name: str) -> tuple[str, int]:
        return name, int(rng.integers(sizes[name]))

    def phrase() -> Phrase:
        who, kind = _SUBJECTS[int(rng.random() < 0.35)], rng.random()
        if kind < 1 / 2:
            return Phrase((item("captions"),))
        if kind < 1 / 2 + 1 / 7:
            return Phrase((item("where" if rng.random() < 0.3 else who),))
        parts = [item(who), item(f"{who}_do")]
        if rng.random() < 0.5:
            parts.append(item(f"{who}_with"))
        if rng.random() < 0.7:
            parts.append(item("where"))
        return Phrase(tuple(parts))

    return [phrase() for _ in range(count)]
