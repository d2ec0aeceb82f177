"""Dot products that are the same on every processor.

A sum of floats depends on the order of additions, which varies with the BLAS kernel, the vector
registers and the number of threads. So terms are first rounded to multiples of a unit, such that
every partial sum is exact: with 2^-26, the product of two vectors of length 1 is a sum of multiples
of 2^-52 that stays below 2, which takes 53 bits.
"""

from __future__ import annotations

import numpy as np

from mcad_mobile.engine.arrays import F64, Floats

_UNIT = 2.0**-26


def dot(a: Floats, b: Floats) -> F64:
    """Return the dot products [...] of vectors [..., D], broadcast; their lengths multiply to at
    most 2."""
    return np.asarray(np.vecdot(_in_units(a), _in_units(b)) * _UNIT**2)


def _in_units(values: Floats) -> F64:
    return np.rint(np.multiply(values, 1 / _UNIT, dtype=np.float64))
