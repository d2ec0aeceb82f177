"""Results of a search without near duplicates: one photo stands for its burst or its copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcad_mobile.engine.arrays import F32, Rows
from mcad_mobile.engine.engine import Found
from mcad_mobile.engine.index import PhotoIndex

# The least cosine of near duplicates; the app's is the same.
SAME = 0.97
# A search is widened for more stacks up to so many results.
_MOST_RESULTS = 10_000
_WIDER = 4
# Photos are compared with the first of so many stacks.
_MOST_STACKS = 1000
_BLOCK = 256


def search_in_stacks(index: PhotoIndex, search: Callable[[int], Found], k: int) -> Found:
    """Find the `k` best stacks: a photo joins the first better one of cosine 0.97 or more that has
    joined none itself.

    Args:
        index: the searched index.
        search: returns the best photos of it, as many as it is asked for.
        k: how many stacks to return at most.

    Returns:
        The first photo of each stack, with the others that were found as its `copies`.

    Raises:
        PhotoIndexError: the index is damaged or closed; and what `search` raises.
    """
    count, spent_ms = k, 0.0
    while True:
        found = search(count)
        began = time.perf_counter()
        paths = [result.path for result in found.results]
        photos = index.embeddings(paths)
        # Videos with a moment in common are not the same.
        photos[[result.at_ms is not None for result in found.results]] = 0
        # Tickets look alike, and those with other words are not the same.
        of_text: dict[tuple[str, ...], list[int]] = {}
        for place, result in enumerate(found.results):
            text = tuple(match.line for match in result.matched if match.source == "text")
            of_text.setdefault(text, []).append(place)
        first = np.arange(len(photos))
        for places in of_text.values():
            alike = np.array(places)
            first[alike] = alike[_first_of_stack(photos[alike], min(k, _MOST_STACKS))]
        copies: dict[int, list[str]] = {}
        for path, place in zip(paths, first.tolist(), strict=True):
            copies.setdefault(place, []).append(path)
        spent_ms += found.ms["total"] + (time.perf_counter() - began) * 1e3
        if len(copies) >= k or len(paths) < count or count >= _MOST_RESULTS:
            break
        count = min(count * _WIDER, _MOST_RESULTS)
    stacks = [
        replace(found.results[place], copies=tuple(stack[1:])) for place, stack in copies.items()
    ]
    return replace(found, results=stacks[:k], ms={**found.ms, "total": spent_ms})


def _first_of_stack(photos: F32, most: int) -> Rows:
    """Return for each of N photos [N, D], best first, the place of the first of its stack. After
    `most` stacks, photos that join none of these stay alone."""
    first = np.full(len(photos), -1)
    for start in range(0, len(photos), _BLOCK):
        end = start + _BLOCK
        block = start + np.flatnonzero(first[start:end] < 0)
        near = photos[block] @ photos[block].T >= SAME
        for place, alike in zip(block, near, strict=True):
            if first[place] < 0 and most:
                first[block[alike & (first[block] < 0)]] = place
                first[place] = place
                most -= 1
        later = end + np.flatnonzero(first[end:] < 0)
        firsts = block[first[block] == block]
        if len(firsts):
            near = photos[later] @ photos[firsts].T >= SAME
            joins = near.any(axis=1)
            first[later[joins]] = firsts[near[joins].argmax(axis=1)]
        if not most:
            break
    return np.where(first < 0, np.arange(len(first)), first)
