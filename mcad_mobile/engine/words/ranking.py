"""One ranking of photos by what they show and by their words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from mcad_mobile.engine.words.folding import fold
from mcad_mobile.engine.words.photo_words import SOURCES, PhotoWords

# A photo that has every word of a query ranks before all that only look like it: the cosines of a
# query with photos spread over about nine standard deviations. One that has half of its words
# gains an eighth of that. benchmarks/words_in_photos.py measured both.
_WHOLE, _POWER = 12.0, 3
# Of function words, those that searches contain most: photos that have only these match nothing.
_FUNCTION_WORDS = """
a am an and at au auf aus aux by con d das de del dem den der des die du e ein eine einem el en et
for from im in is la las le les los mit my of on or the to un una une und vom von with y zu zum zur
"""


@dataclass(frozen=True)
class Match:
    """Words of a photo that a query asks for.

    Attributes:
        source: where they stand: "text" that was read in the photo, the "name" of its file or
            folders, or its "place".
        words: the words, folded as the index holds them.
        line: the line of text, the path or the place that they are of.
        box: for text, x and y of its line's four corners, from the start of the text clockwise, in
            ten-thousandths of the upright photo's width and height.
    """

    source: str
    words: tuple[str, ...]
    line: str
    box: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WordHit:
    """A photo that has words of a query. `share` of its terms, 0 to 1, match: each counts by its
    inverse document frequency, and less if it is only begun or misread."""

    path: str
    share: float
    matches: tuple[Match, ...]


def gain(share: float, spread: float) -> float:
    """Return what the words of a photo add to its cosine with a query, whose cosines with typical
    photos have the standard deviation `spread`."""
    return _WHOLE * spread * share**_POWER


def terms_to_find(terms: Sequence[str]) -> list[str]:
    """Return a query's folded terms, each once, without function words; with only these, all."""
    distinct, function_words = [*dict.fromkeys(terms)], set(_FUNCTION_WORDS.split())
    return [term for term in distinct if term not in function_words] or distinct


def find_matches(
    path: str, words: PhotoWords, alike: Callable[[Iterable[str]], set[str]]
) -> Iterator[Match]:
    """Yield the lines, the path and the places of a photo that hold words of a query: `alike`
    returns those of some folded words that match it."""
    lines: list[tuple[str, str, tuple[int, ...] | None]] = [
        *((SOURCES[0], line.text, line.box or None) for line in words.lines),
        (SOURCES[1], path, None),
        *((SOURCES[2], place, None) for place in words.places),
    ]
    folded = [fold(text) for _, text, _ in lines]
    matching = alike(chain(*folded))
    for (source, text, box), terms in zip(lines, folded, strict=True):
        if distinct := tuple(dict.fromkeys(term for term in terms if term in matching)):
            yield Match(source, distinct, text, box)
