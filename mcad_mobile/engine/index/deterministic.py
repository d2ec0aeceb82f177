"""Sums that are the same on every processor.

A sum of floats depends on the order of additions, which varies with the BLAS kernel, the vector
registers and the number of threads. So terms are first rounded to multiples of a unit, such that
every partial sum is exact: with 2^-26, the product of two vectors of length 1 is a sum of multiples
of 2^-52 that stays below 2, which takes 53 bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mcad_mobile.engine.arrays import F64, Floats

UNIT = 2.0**-26
# Rows of a block: as float64 they take no more than a few megabytes.
_BLOCK = 1024


def blocks(rows: int) -> Iterator[slice]:
    """Yield slices that cover `rows` rows in blocks; exact sums may be split like this."""
    for start in range(0, rows, _BLOCK):
        yield slice(start, min(start + _BLOCK, rows))


def units(values: Floats, unit: float = UNIT) -> F64:
    """Return `values` / `unit`, a power of two, rounded to integers."""
    return np.rint(np.multiply(values, 1 / unit, dtype=np.float64))


def dot(a: Floats, b: Floats) -> F64:
    """Return the dot products [...] of vectors [..., D], broadcast; their lengths multiply to at
    most 2."""
    return np.asarray(np.vecdot(units(a), units(b)) * UNIT**2)


def lengths(rows: Floats) -> F64:
    """Return the lengths [...] of rows [..., D], the same on every processor up to length 1.4."""
    return np.asarray(np.sqrt(dot(rows, rows)))
