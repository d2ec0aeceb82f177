"""Sums that are the same on every processor.

A sum of floats depends on the order of its additions, and that is chosen by the BLAS kernel, the
width of the vector registers and the number of threads. Where every partial sum fits into the
float, no addition rounds and the order does not matter. So what is summed is rounded first, to
whole numbers of a unit: 2^-26 leaves a quarter of what float32 rounds at 1/16, and the product of
two vectors of length 1 is then a sum of multiples of 2^-52 that stays below 2, 53 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

UNIT = 2.0**-26
# Rows at a time, so that what they are in float64 takes no more than some megabytes.
_BLOCK = 1024


def blocks(rows: int) -> Iterator[slice]:
    """Yield all of so many rows, some at a time: sums that do not round may be taken in parts."""
    for start in range(0, rows, _BLOCK):
        yield slice(start, min(start + _BLOCK, rows))


def units(values: Floats, unit: float = UNIT) -> F64:
    """Return `values` in whole numbers of `unit`, a power of two."""
    return np.rint(np.multiply(values, 1 / unit, dtype=np.float64))


def dot(a: Floats, b: Floats) -> F64:
    """Return the products [...] of vectors [..., D], broadcast, whose lengths multiply to 2 or less
    (of longer ones the last bits may depend on the processor)."""
    return np.asarray(np.vecdot(units(a), units(b)) * UNIT**2)


def lengths(rows: Floats) -> F64:
    """Return the lengths [...] of rows [..., D], exact up to 1.4 as `dot` is."""
    return np.asarray(np.sqrt(dot(rows, rows)))
