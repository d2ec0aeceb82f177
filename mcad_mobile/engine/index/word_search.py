"""Search by words: the share of a query's terms that each photo has."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from mcad_mobile.engine.arrays import F32, U8, U32
from mcad_mobile.engine.index.codes import rotate
from mcad_mobile.engine.index.filters import LiveSegment, RowFilter
from mcad_mobile.engine.native import Kernel, WordRanking, require_memory
from mcad_mobile.engine.words.folding import fold
from mcad_mobile.engine.words.ranking import Match, WordHit, terms_to_find
from mcad_mobile.engine.words.words_file import SOURCES, TERMS, PhotoWords, matcher

# How well a term matches: not, with a wrong letter, as the start of a word, or as a whole.
_LIKENESS = np.array([0, 0.5, 0.7, 1], np.float32)
_OF_MARKS = _LIKENESS[np.arange(256) >> np.arange(0, 2 * TERMS, 2)[:, None] & 3]  # [TERMS, 256]
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
    groups = [terms[at : at + TERMS] for at in range(0, len(terms), TERMS)]
    counts, marked = np.zeros((len(groups), TERMS), np.int64), list[U8]()
    for live in segments:
        marked.append(np.zeros((len(groups), live.segment.photos), np.uint8))
        if live.words is None:
            continue
        for few, count, marks in zip(groups, counts, marked[-1], strict=True):
            count[: len(few)] += live.words.find(few, marks)
            if len(live.deleted):
                count -= np.count_nonzero(_of_terms(marks[live.deleted]), axis=0)
        live.words.release()
    photos = sum(live.photos for live in segments)
    idfs = np.log((photos + 1) / (counts + 0.5)).clip(0)
    idfs.ravel()[len(terms) :] = 0
    # A word that no photo has, such as "beach", counts no more than those that some have.
    rarest = idfs[counts > 0].max(initial=0)
    most = idfs.ravel()[: len(terms)].clip(max=rarest).sum()
    worths = np.ascontiguousarray(idfs @ _OF_MARKS, np.float32)
    tied = 0 if near is None else _MOST_TIED // len(segments)
    found = [
        _rank(live, marks, worths, k, tied, rows, kernel)
        for live, marks in zip(segments, marked, strict=True)
    ]
    known: dict[tuple[int, int], PhotoWords] = {}
    best = _best(segments, found, k, None if near is None else rotate(near))
    for number, live in enumerate(segments):
        own = [(at, row) for at, row, _ in best if at == number]
        if live.words is not None:
            known |= zip(own, live.words.photos_of([row for _, row in own]), strict=True)
            live.words.release()
    hits, alike = [], matcher(terms)
    for number, row, worth in best:
        path = os.fsdecode(segments[number].segment.paths.at(row))
        matches = tuple(_matches(alike, path, known[number, row]))
        hits.append(WordHit(path, float(worth / most), matches))
    return hits


def _of_terms(marks: U8) -> U8:
    """Return how each of N photos matches each of `TERMS` terms, [N, TERMS]."""
    shifts = np.arange(0, 2 * TERMS, 2, dtype=np.uint8)
    return np.asarray(marks[:, None] >> shifts & 3, np.uint8)


def _rank(
    live: LiveSegment, marks: U8, worths: F32, k: int, tied: int, rows: RowFilter, kernel: Kernel
) -> tuple[U32, F32]:
    """Return the rows of a segment's `k` largest worths, and of so many that are `tied` with the
    last, and these worths."""
    passing, count = live.filtered(rows, kernel), marks.shape[1]
    best, room = min(k, count), min(k + tied, count)
    found, worth = np.empty(room, np.uint32), np.empty(room, np.float32)
    ranking = WordRanking(
        best=marks.ctypes.data,
        planes=len(marks),
        photos=count,
        worths=worths.ctypes.data,
        allowed=None if passing.row_bits is None else passing.row_bits.ctypes.data,
        first=passing.span.start,
        end=passing.span.stop,
    )
    size = kernel.library.mcad_words_rank(
        ctypes.byref(ranking), best, room, found.ctypes.data, worth.ctypes.data
    )
    require_memory(size >= 0)
    return found[:size], worth[:size]


def _best(
    segments: Sequence[LiveSegment], found: Sequence[tuple[U32, F32]], k: int, near: F32 | None
) -> list[tuple[int, int, float]]:
    """Return the segments, rows and worths of the `k` largest worths, largest first."""
    numbers = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
    rows, worth = (np.concatenate(part) for part in zip(*found, strict=True))
    nearness = np.zeros(len(rows), np.float32)
    if near is not None and len(rows) > k:
        tied = worth == np.partition(worth, -k)[-k]
        for number, live in enumerate(segments):
            here = tied & (numbers == number)
            nearness[here] = live.cosines(rows[here].astype(np.intp), near)
    first = np.lexsort((-nearness, -worth))[:k]
    return [*zip(numbers[first].tolist(), rows[first].tolist(), worth[first].tolist(), strict=True)]


def _matches(
    alike: Callable[[Iterable[str]], set[str]], path: str, words: PhotoWords
) -> Iterator[Match]:
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
