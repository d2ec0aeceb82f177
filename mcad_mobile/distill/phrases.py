"""Captions in many languages, composed from phrase books, and names of everyday things."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import asdict
from numpy.random import Generator

from mcad_mobile.base.documents import Record, convert, read_file
from mcad_mobile.distill.languages import ENGLISH, Thing
from mcad_mobile.errors import DataError

_SUBJECTS = ("people", "animals")
_HINT = "Give a folder of phrase books, as models/mcad-m/phrases is in a checkout."
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Phrase:
    """A caption independent of language: (list name, item number) pairs into phrase books."""

    items: tuple[tuple[str, int], ...]


class PhraseBook(Record, frozen=True):
    """LANGUAGE.toml: parts of sentences (who, with what, does what, where) and their `order`, whole
    captions, and names. Item i of each list is a translation of item i in English."""

    order: str
    people: Texts
    people_with: Texts
    people_do: Texts
    animals: Texts
    animals_with: Texts
    animals_do: Texts
    where: Texts
    captions: Texts
    names: Texts

    def __post_init__(self) -> None:
        if {*re.findall(r"{(.*?)}", self.order)} != {"who", "with", "does", "where"}:
            raise ValueError(f"its order {self.order!r} does not have who, with, does and where")

    def sizes(self) -> dict[str, int]:
        """How many items each list has."""
        return {name: len(items) for name, items in asdict(self).items() if name != "order"}

    def texts(self) -> list[str]:
        """All phrases."""
        lists = (items for name, items in asdict(self).items() if name not in ("order", "names"))
        return [item for items in lists for item in items]

    def text(self, phrase: Phrase) -> str:
        """The phrase in this language."""
        items = {name: getattr(self, name)[number] for name, number in phrase.items}
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
        return " ".join(self.order.format(**parts).split())


def read_books(folder: Path, languages: Collection[str]) -> dict[str, PhraseBook]:
    """Read the English book and those of `languages` that the folder has. DataError."""
    books = {}
    for language in (ENGLISH, *sorted({*languages} - {ENGLISH})):
        path = folder / f"{language}.toml"
        if language != ENGLISH and not path.exists():
            continue
        raw = read_file(path, DataError, _HINT)
        try:
            plain = tomllib.loads(raw.decode())
        except ValueError as error:
            raise DataError(f"{path} is not TOML: {error}.", _HINT) from error
        book = convert(plain, PhraseBook, f"{path} is no phrase book: it", DataError, _HINT)
        books[language] = book
        sizes, english = book.sizes(), books[ENGLISH].sizes()
        if odd := [name for name in sizes if sizes[name] != english[name]]:
            raise DataError(
                f"{path} has {sizes[odd[0]]} {odd[0]}, and the English book {english[odd[0]]}.",
                "Translate each item of the English book.",
            )
    return books


def everyday_things(books: Mapping[str, PhraseBook]) -> list[Thing]:
    """The things that the books name."""
    return [
        Thing(dict(zip(books, names, strict=True)), {})
        for names in zip(*(book.names for book in books.values()), strict=True)
    ]


def draw_phrases(sizes: Mapping[str, int], count: int, rng: Generator) -> Sequence[Phrase]:
    """Draw random phrases from books of these sizes: half are whole captions, one in seven is a
    single part."""

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
