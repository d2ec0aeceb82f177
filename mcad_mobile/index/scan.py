"""Pass 1: which photos differ from the query in the fewest bits, weighed by what each bit says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import U8
from mcad_mobile.index.kernel import Kernel

Rows = npt.NDArray[np.intp]
Words = npt.NDArray[np.uint64]
Distances = npt.NDArray[np.uint16]

_BLOCK = 1 << 14


def nearest(
    columns: Words,
    query: Words,
    spans: Sequence[range],
    wanted: int,
    *,
    allowed: U8 | None = None,
    kernel: Kernel | None = None,
) -> tuple[Rows, Distances]:
    """Return the `wanted` photos in `spans` at the least distance from the query, ascending, and
    their distances. Spans ascend, and are not empty.

    columns [W, N] uint64 hold the bits of N photos, bit i of word w says dimension 64 w + i.
    query [3, W] uint64: its bits, and those that count 1 and 2 where they differ: up to 3 a bit.
    `allowed` has a bit a photo, least significant first: only those set are looked at. Of photos at
    the same distance the first are taken. Fewer where there are fewer. `kernel` is faster, and
    finds the same.
    """
    wanted = min(wanted, sum(map(len, spans)))
    if wanted <= 0:
        return np.empty(0, np.intp), np.empty(0, np.uint16)
    if kernel is not None:
        return kernel.nearest(columns, np.ascontiguousarray(query), spans, allowed, wanted)
    within = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    if allowed is None:
        distances = np.concatenate([distances_of(columns, query, span) for span in spans])
    else:
        within = within[np.concatenate([bits_of(allowed, span) for span in spans])]
        distances = distances_of(np.take(columns, within, axis=1), query, range(len(within)))
    kept = least(distances, wanted)
    return within[kept], distances[kept]


def least(distances: Distances, wanted: int) -> Rows:
    """Return the positions of the `wanted` least distances, ascending; of equal ones the first."""
    if len(distances) <= wanted:
        return np.arange(len(distances))
    # The distance of the last one wanted, from a histogram: a partition would take longer.
    limit = int(np.searchsorted(np.cumsum(np.bincount(distances)), wanted))
    nearer = np.flatnonzero(distances <= limit)
    at_limit = np.flatnonzero(distances[nearer] == limit)
    spare = len(nearer) - wanted
    return np.delete(nearer, at_limit[len(at_limit) - spare :])


def bits_of(allowed: U8, rows: range) -> npt.NDArray[np.bool_]:
    """Unpack the bits of a range of rows."""
    first = rows.start // 8
    part = np.unpackbits(allowed[first : -(-rows.stop // 8)], bitorder="little")
    return part[rows.start - 8 * first :][: len(rows)].astype(np.bool_)


def distances_of(columns: Words, query: Words, rows: range) -> Distances:
    """Return the distances of a range of rows."""
    signs, ones, twos = query
    distances = np.empty(len(rows), np.uint16)
    for start in range(rows.start, rows.stop, _BLOCK):
        stop = min(start + _BLOCK, rows.stop)
        total = np.zeros(stop - start, np.uint16)
        for column, sign, one, two in zip(columns, signs, ones, twos, strict=True):
            differ = column[start:stop] ^ sign
            total += np.bitwise_count(differ & one)
            total += 2 * np.bitwise_count(differ & two)
        distances[start - rows.start : stop - rows.start] = total
    return distances
