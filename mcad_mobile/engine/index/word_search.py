"""Search by words: the share of a query's terms that each photo has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.index.codes import rotate
from mcad_mobile.engine.index.filters import LiveSegment, RowFilter
from mcad_mobile.engine.native import Kernel
from mcad_mobile.engine.words.folding import fold
from mcad_mobile.engine.words.ranking import Match, WordHit, terms_to_find
from mcad_mobile.engine.words.words_file import SOURCES, PhotoWords, is_like

# How well a term matches: not, with a wrong letter, as the start of a word, or as a whole.
_LIKENESS = np.array([0, 0.5, 0.7, 1], np.float32)
_MOST_TIED = 4096  # photos to compare with the query's embedding


def search_words(
    segments: Sequence[LiveSegment],
    query: str,
    k: int,
    rows: RowFilter,
    kernel: Kernel,
    near: F32 | None = None,
) -> list[WordHit]:
    """Return the `k` photos that pass `rows` whose words match the largest share of a query; of
    equal ones, those `near` an embedding. Each term counts by its inverse document frequency, and
    as much as it is matched."""
    terms = terms_to_find(fold(query))
    shares = [np.zeros(live.segment.photos, np.float32) for live in segments]
    photos, idfs, is_found = sum(live.photos for live in segments), list[float](), list[bool]()
    for term in terms:
        likenesses = [_likenesses(live, term) for live in segments]
        found = sum(int(np.count_nonzero(likeness)) for likeness in likenesses)
        idfs.append(max(math.log((photos + 1) / (found + 0.5)), 0.0))
        is_found.append(found > 0)
        for share, likeness in zip(shares, likenesses, strict=True):
            share += likeness * np.float32(idfs[-1])
    # A word that no photo has, such as "beach", counts no more than those that some have.
    rarest = max((idf for idf, some in zip(idfs, is_found, strict=True) if some), default=0.0)
    most = sum(min(idf, rarest) for idf in idfs)
    for live, share in zip(segments, shares, strict=True):
        share *= live.filtered(rows, kernel).passing()
    best = _best(segments, shares, k, None if near is None else rotate(near))
    known: dict[tuple[int, int], PhotoWords] = {}
    for number, live in enumerate(segments):
        own = [at for at in best if at[0] == number]
        if own and live.words is not None:
            known |= zip(own, live.words.photos_of([row for _, row in own]), strict=True)
    hits = []
    for number, row in best:
        live = segments[number]
        path, worth = os.fsdecode(live.segment.paths.at(row)), float(shares[number][row])
        matches = tuple(_matches(terms, path, known.get((number, row), PhotoWords())))
        hits.append(WordHit(path, worth / most, matches))
    return hits


def _best(
    segments: Sequence[LiveSegment], shares: Sequence[F32], k: int, near: F32 | None
) -> list[tuple[int, int]]:
    """Return the segments and rows of the `k` largest shares, largest first."""
    numbers = np.repeat(np.arange(len(shares)), [*map(len, shares)])
    rows, share = np.concatenate([*map(np.arange, map(len, shares))]), np.concatenate(shares)
    some = np.flatnonzero(share)
    nearness = np.zeros(len(some), np.float32)
    if near is not None and len(some) > k:
        least = np.partition(share[some], -k)[-k]
        tied = np.flatnonzero(share[some] == least)[:_MOST_TIED]
        for number, live in enumerate(segments):
            here = tied[numbers[some[tied]] == number]
            nearness[here] = live.cosines(rows[some[here]], near)
    first = some[np.lexsort((-nearness, -share[some]))[:k]]
    return [*zip(numbers[first].tolist(), rows[first].tolist(), strict=True)]


def _likenesses(live: LiveSegment, term: str) -> F32:
    """Return how well a term matches each photo [N] float32; 0 for deleted ones."""
    if live.words is None:
        return np.zeros(live.segment.photos, np.float32)
    found = _LIKENESS[live.words.find(term)]
    found[live.deleted] = 0
    return found


def _matches(terms: Sequence[str], path: str, words: PhotoWords) -> Iterator[Match]:
    lines: list[tuple[str, str, tuple[int, ...] | None]] = [
        *((SOURCES[0], line.text, line.box or None) for line in words.lines),
        (SOURCES[1], path, None),
        *((SOURCES[2], place, None) for place in words.places),
    ]
    for source, text, box in lines:
        found = (word for word in fold(text) if any(is_like(term, word) for term in terms))
        if distinct := tuple(dict.fromkeys(found)):
            yield Match(source, distinct, text, box)
