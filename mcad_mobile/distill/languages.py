"""Names of things in many languages (Unicode CLDR), and the tokens that a tower for them needs."""

from __future__ import annotations

import json
import tarfile
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import DataError, TrainingError
from mcad_mobile.students.tokenizers.tokenizer_json import MARK
from mcad_mobile.students.tokenizers.trained import SPECIALS

ENGLISH = "en"
_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
LANGUAGES: tuple[str, ...] = tuple(_DATA["languages"])
HELD_OUT: tuple[str, ...] = tuple(_DATA["held_out"])
_FILE = "package/annotations/{}/annotations.json"


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
