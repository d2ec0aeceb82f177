"""Groups of photos that are nearly the same, over a whole index, without comparing all pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.arrays import F32, U8, U32, Rows
from mcad_mobile.engine.index.codes import decode, encode
from mcad_mobile.engine.index.deterministic import blocks, dot
from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.merge import PhotoSample
from mcad_mobile.errors import PhotoIndexError

# Photos that share a band of 16 bits are compared: two with a cosine of 0.97 differ in 8 % of all
# bits, so they share one of 16 bands with a probability of 0.99.
_BAND_BYTES = 2
# Bits that may differ beyond the expected number, in standard deviations.
_SLACK = 4
_PAIRS_AT_ONCE = 1 << 18
# Compared in each band, for each photo of the index. Photos beyond are as good as equal, and their
# groups join through the nearest.
_PAIRS_A_PHOTO = 64


def duplicate_groups(
    segments: Sequence[LiveSegment], among: Sequence[Rows], least: float
) -> list[list[tuple[int, int]]]:
    """Return groups of (segment, row), the largest first, in which each photo has a cosine of
    `least` or more to another: chains count. The rows of a segment are `among` its live ones.

    Needs 8 + D/8 bytes of memory per photo, and time that grows with the photos.
    PhotoIndexError unless 0.5 < `least` <= 1.
    """
    if not 0.5 < least <= 1:
        raise PhotoIndexError(
            f"Photos with a cosine of {least} are not near duplicates.",
            "Ask for more than 0.5, up to 1.",
        )
    sizes = [len(rows) for rows in among]
    if sum(sizes) < 2:
        return []
    number = np.repeat(np.arange(len(segments)), sizes)
    row = np.concatenate(among)
    codes = _codes(segments, among)
    dim = len(segments[0].segment.axis)
    photos = PhotoSample([live.segment for live in segments], number, row, dim)
    # One photo stands for all its copies, whose pairs would be too many.
    parent = _first_copies(segments, among, codes)
    single = np.flatnonzero(parent == np.arange(len(row)))
    for left, right in _similar_codes(codes[single], least):
        a, b = single[left], single[right]
        # Photos of one group need no second comparison.
        apart = _roots(parent, a) != _roots(parent, b)
        a, b = a[apart], b[apart]
        if len(a):
            near = _cosines(photos, a, b) >= least
            _join(parent, a[near], b[near])
    roots = _roots(parent, np.arange(len(row)))
    order = np.argsort(roots, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(roots[order])) + 1)
    ids = list(zip(number.tolist(), row.tolist(), strict=True))
    found = [[ids[i] for i in group] for group in groups if len(group) > 1]
    return sorted(found, key=len, reverse=True)


def _codes(segments: Sequence[LiveSegment], among: Sequence[Rows]) -> U8:
    """Return sign codes [N, D/8] of the rows around one axis, that of the largest segment."""
    axis = max(segments, key=lambda live: live.photos).segment.axis
    parts = []
    for live, rows in zip(segments, among, strict=True):
        segment = live.segment
        same = np.array_equal(segment.axis, axis)
        for block in blocks(len(rows)):
            records = segment.records_of(rows[block])
            if not same:
                records = encode(decode(records, segment.axis), axis)
            parts.append(np.ascontiguousarray(records[:, len(axis) : -4]))
    return np.concatenate(parts)


def _first_copies(segments: Sequence[LiveSegment], among: Sequence[Rows], codes: U8) -> Rows:
    """Return for each row the position of the first row in its segment with the same stored
    bytes."""
    from hashlib import blake2b  # loads OpenSSL, which a search does not need

    firsts = np.arange(len(codes))
    start = 0
    for live, rows in zip(segments, among, strict=True):
        # Equal photos have equal codes, and most rows differ in their first word.
        _, inverse, counts = np.unique(
            _words(codes[start : start + len(rows)])[:, 0], return_inverse=True, return_counts=True
        )
        known: dict[bytes, int] = {}
        alike = np.flatnonzero(counts[inverse] > 1)
        for block in blocks(len(alike)):
            batch = alike[block]
            records = live.segment.records_of(rows[batch])
            for position, record in zip(batch, records, strict=True):
                digest = blake2b(record.tobytes(), digest_size=16).digest()
                firsts[start + position] = start + known.setdefault(digest, int(position))
        start += len(rows)
    return firsts


def _similar_codes(codes: U8, least: float) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of rows that agree in a band and differ in few bits in all."""
    bits = codes.shape[1] * 8
    share = np.arccos(min(max(least, -1), 1)) / np.pi
    limit = bits * share + _SLACK * np.sqrt(bits * share * (1 - share)) + 1
    words = _words(codes)
    for start in range(0, codes.shape[1], _BAND_BYTES):
        band = codes[:, start : start + _BAND_BYTES]
        keys = band.astype(np.uint32) @ (256 ** np.arange(band.shape[1], dtype=np.uint32))
        order = np.argsort(keys, kind="stable")
        for a, b in pairs_of_equal(keys[order]):
            left, right = order[a], order[b]
            differ = np.bitwise_count(words[left] ^ words[right]).sum(axis=1, dtype=np.uint16)
            near = differ <= limit
            if near.any():
                yield left[near], right[near]


def _words(codes: U8) -> npt.NDArray[np.unsignedinteger[Any]]:
    """View codes [N, D/8] as the widest unsigned integers that fit."""
    return codes.view(f"<u{next(w for w in (8, 4, 2, 1) if codes.shape[1] % w == 0)}")


def pairs_of_equal(keys: U32) -> Iterator[tuple[Rows, Rows]]:
    """Yield pairs of positions in sorted `keys` that hold the same key, nearest positions first, in
    batches: all of them, unless they are more than 64 a photo."""
    first, step, left = np.arange(len(keys)), 1, _PAIRS_A_PHOTO * len(keys)
    while left > 0:
        first = first[: np.searchsorted(first, len(keys) - step)]
        first = first[keys[first] == keys[first + step]]
        if not len(first):
            return
        for start in range(0, len(first), _PAIRS_AT_ONCE):
            part = first[start : start + _PAIRS_AT_ONCE]
            yield part, part + step
        left -= len(first)
        step += 1


def _cosines(photos: PhotoSample, a: Rows, b: Rows) -> F32:
    scores = np.empty(len(a), np.float32)
    for part in blocks(len(a)):
        scores[part] = dot(photos[a[part]], photos[b[part]])
    return scores


def _roots(parent: Rows, rows: Rows) -> Rows:
    roots = parent[rows]
    while not np.array_equal(roots, parent[roots]):
        roots = parent[roots]
    return roots


def _join(parent: Rows, a: Rows, b: Rows) -> None:
    for left, right in zip(a.tolist(), b.tolist(), strict=True):
        while parent[left] != left:
            parent[left] = left = int(parent[parent[left]])
        while parent[right] != right:
            parent[right] = right = int(parent[parent[right]])
        low, high = sorted((left, right))
        parent[high] = low
