"""Texts in many languages: names of things (Unicode CLDR), captions composed from phrase books, and
the tokens that a tower for them needs."""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import asdict
from numpy.random import Generator

from mcad_mobile.base.documents import Record, convert, read_file
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, TrainingError
from mcad_mobile.students.tokenizers.tokenizer_json import MARK
from mcad_mobile.students.tokenizers.trained import SPECIALS

ENGLISH = "en"
_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
LANGUAGES: tuple[str, ...] = tuple(_DATA["languages"])
HELD_OUT: tuple[str, ...] = tuple(_DATA["held_out"])
_FILE = "package/annotations/{}/annotations.json"
_SUBJECTS = ("people", "animals")
_BOOKS_HINT = "Give a folder of phrase books, as models/mcad-m/phrases is in a checkout."
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Thing:
    """What a Unicode character shows: its name and keywords by language."""

    names: dict[str, str]
    keywords: dict[str, list[str]]

    @property
    def english(self) -> str:
        return self.names[ENGLISH]


def read_things(archive: Path, languages: Sequence[str]) -> list[Thing]:
    """Read the things with an English name in npm's cldr-annotations-full. Raises DataError."""
    hint = "Give the archive that `npm pack cldr-annotations-full@48.2.0` wrote."
    found: dict[str, Thing] = {}
    try:
        with tarfile.open(archive) as package:
            for language in dict.fromkeys([ENGLISH, *languages]):
                file = package.extractfile(_FILE.format(language))
                assert file is not None
                for character, facts in json.load(file)["annotations"]["annotations"].items():
                    if language == ENGLISH:
                        found[character] = Thing({}, {})
                    if character in found and facts.get("tts"):
                        found[character].names[language] = facts["tts"][0]
                        found[character].keywords[language] = facts.get("default", [])
    except KeyError as error:
        raise DataError(f"{archive} has no names in the language {language!r}.", hint) from error
    except (OSError, ValueError, tarfile.TarError, AssertionError) as error:
        raise DataError(f"{archive} cannot be read: {error}.", hint) from error
    return [thing for thing in found.values() if ENGLISH in thing.names]


def without_held_out(things: Sequence[Thing]) -> list[Thing]:
    """Return all things but those whose English name or keywords contain a held-out name."""

    def is_held_out(thing: Thing) -> bool:
        words = [thing.english, *thing.keywords[ENGLISH]]
        return any(f" {name} " in f" {word} " for word in words for name in HELD_OUT)

    return [thing for thing in things if not is_held_out(thing)]


def choose_pieces(
    pieces: Sequence[tuple[str, float]], tokenizer: Tokenizer, texts: Iterable[str], count: int
) -> list[int]:
    """Return the numbers of `count` pieces without capitals, ascending: all single characters of
    the scripts in `texts`, then the pieces that `tokenizer` finds in `texts`, then the most likely
    others of these scripts. `tokenizer` has all pieces and lowercases. TrainingError if the
    characters exceed `count`."""
    used: Counter[int] = Counter()
    scripts: set[str] = set()
    for text in texts:
        tokens = tokenizer(text)
        used.update(tokens.ids[tokens.mask > 0].tolist())
        scripts.update(map(_script, text))
    fits = [
        number
        for number, (piece, _) in enumerate(pieces)
        if number >= len(SPECIALS)
        and piece == piece.lower()
        and scripts.issuperset(map(_script, piece.replace(MARK, "")))
    ]
    first = {number for number in fits if len(pieces[number][0]) == 1}
    if len(first) > count:
        raise TrainingError(
            f"The scripts of these languages have {len(first)} characters, more than {count}.",
            "Raise vocab in the recipe.",
        )
    wanted = [number for number, _ in used.most_common() if number >= len(SPECIALS)]
    order = dict.fromkeys([*first, *wanted, *fits])
    return sorted(list(order)[:count])


def _script(character: str) -> str:
    """Return the first word of a letter's Unicode name: LATIN, CJK, ...; "" for a non-letter."""
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "").partition(" ")[0]


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
        raw = read_file(path, DataError, _BOOKS_HINT)
        try:
            plain = tomllib.loads(raw.decode())
        except ValueError as error:
            raise DataError(f"{path} is not TOML: {error}.", _BOOKS_HINT) from error
        book = convert(plain, PhraseBook, f"{path} is no phrase book: it", DataError, _BOOKS_HINT)
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
