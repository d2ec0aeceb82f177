"""What a scan reads of a photo, and what that says of a query.

A photo's code has a bit per dimension. Students put most of what they know into some tens of
directions, so that the first S bits of a rotated code say nearly as much as all: of these a scan
reads. A query is weighed by what the bits say of photos: the `lens` is the least-squares estimate
of a photo (less the mean) from its S bits, L [S, D], so (L q) . bits is the best guess at q.x that
is a sum over bits. What a query has in directions where photos don't differ falls away, as it does
not when the bits of the query are compared: this matters for every student whose words lie in
another cone than its photos.

L q goes into three words of bits: its signs, and |L q| in four levels, 0 to 3.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import codes
from mcad_mobile.engine.index.codes import F32, U8

Words = npt.NDArray[np.uint64]
F64 = npt.NDArray[np.float64]

_RIDGE = 0.02  # of a bit's variance, as a sample knows little of each photo
_UNIT = 2.0**-16
_WHOLE = 2.0**-20  # of what is summed: exact.py
_LARGEST = 3
# Steps of |L q| in units of its root mean square, among which the best four levels are looked for.
_STEPS = np.arange(0.25, 0.9, 0.05)[:, None]


def query_words(lens: F32 | F64, query: F32) -> tuple[Words, float]:
    """Return the words [3, S/64] uint64 of a rotated query [D], see scan.nearest, and what one of
    a distance is of L q: twice that much less is the estimate of q.x with each."""
    weights = lens.astype(np.float64, copy=False) @ codes.units(query)
    levels, product, squares = _levels(np.abs(weights))
    bits = np.empty((3, len(weights)), np.uint8)
    bits[0] = weights > 0
    bits[1] = levels & 1
    bits[2] = levels >> 1
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return words, product / max(squares, 1.0) * codes.UNIT


def estimates(lens: F32, bits: U8, queries: F32) -> F32:
    """Return [Q, M] float32, what M photos with `bits` [M, S] score with rotated queries [Q, D], up
    to a factor and a constant a query."""
    weights = codes.units(queries) @ lens.astype(np.float64).T
    levels = np.array([_levels(row)[0] for row in np.abs(weights)], np.float32)
    signed = np.copysign(levels, weights, dtype=np.float32)
    found = np.empty((len(queries), len(bits)), np.float32)
    for some in codes.blocks(len(bits)):
        found[:, some] = signed @ (bits[some].astype(np.float32) * 2 - 1).T
    return found


def moments(sample: F32, bits: U8) -> tuple[F64, F64]:
    """Return what lenses are fitted to, of rotated photos [M, D] and their bits [M, B]: products of
    bits (1 or -1) with bits [B, B] and with photos less their mean [B, D], both per photo."""
    count = len(sample)
    mean = np.zeros(sample.shape[1])
    for some in codes.blocks(count):
        mean += codes.units(sample[some], _WHOLE).sum(axis=0)
    mean = np.rint(mean / count)
    gram = np.zeros((bits.shape[1], bits.shape[1]))
    cross = np.zeros((bits.shape[1], sample.shape[1]))
    for some in codes.blocks(count):
        signs = bits[some].astype(np.float64) * 2 - 1
        gram += signs.T @ signs
        cross += signs.T @ (codes.units(sample[some], _WHOLE) - mean)
    return gram / count, cross * (_WHOLE / count)


def fit_lens(of: tuple[F64, F64], scanned: int) -> F32:
    """Return L [S, D] float32 for the first S bits, of their `moments`."""
    gram, cross = (moment[:scanned] for moment in of)
    ridge = _RIDGE * np.eye(scanned)
    lens = np.linalg.solve(gram[:, :scanned] + ridge, cross)
    return np.asarray(np.rint(lens / _UNIT) * _UNIT, np.float32)


def _levels(sizes: F64) -> tuple[U8, float, float]:
    """Return levels [S] of |weights|, their product with these and with themselves: those of the
    step whose levels point most nearly where the weights do."""
    typical = sqrt(np.sum(np.square(sizes)) / len(sizes))
    if typical == 0:
        return np.zeros(len(sizes), np.uint8), 0.0, 0.0
    tried = sizes / (_STEPS * typical)
    np.minimum(np.rint(tried, out=tried), _LARGEST, out=tried)
    products, squares = tried @ sizes, np.vecdot(tried, tried)
    best = np.argmax(products / np.sqrt(np.maximum(squares, 1)))
    return tried[best].astype(np.uint8), float(products[best]), float(squares[best])
