"""How much each bit of a photo's code counts for a query.

Students put most information into a few dozen directions, so the first S bits of a rotated code
carry nearly as much as all. The bit weights L [S, D] estimate a photo (less the mean) from its S
bits by least squares: (L q) . bits is the best estimate of q.x that is a sum over bits. It ignores
a query's parts in directions where photos don't differ, which matters as words and photos lie in
different cones. L q is quantized to three bits a weight: its sign, and |L q| in levels 0 to 3.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from mcad_mobile.engine.arrays import F32, F64, U8, Words
from mcad_mobile.engine.index.deterministic import UNIT, blocks, units

_RIDGE = 0.02  # of a bit's variance: regularizes the fit to a sample
_WEIGHT_UNIT = 2.0**-16
_MOMENT_UNIT = 2.0**-20  # of the terms of moments, so that sums are exact (deterministic.py)
_MAX_LEVEL = 3
# Steps between the levels of |L q| that are tried, in units of its root mean square.
_STEPS = np.arange(0.25, 0.9, 0.05)[:, None]


def quantize_query(bit_weights: F32 | F64, query: F32) -> tuple[Words, float]:
    """Quantize L q of a rotated query [D] for the scan; return the words [3, S/64] uint64 for
    `Kernel.nearest`, and the step: each unit of distance lowers the estimate of q.x by twice the
    step."""
    weights = bit_weights.astype(np.float64, copy=False) @ units(query)
    levels, product, squares = _levels(np.abs(weights))
    bits = np.empty((3, len(weights)), np.uint8)
    bits[0] = weights > 0
    bits[1] = levels & 1
    bits[2] = levels >> 1
    words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return words, product / max(squares, 1.0) * UNIT


def estimates(bit_weights: F32, bits: U8, queries: F32) -> F32:
    """Return estimated scores [Q, M] float32 of M photos with `bits` [M, S] for rotated queries [Q,
    D], up to a factor and a constant for each query."""
    weights = units(queries) @ bit_weights.astype(np.float64).T
    levels = np.array([_levels(row)[0] for row in np.abs(weights)], np.float32)
    signed = np.copysign(levels, weights, dtype=np.float32)
    scores = np.empty((len(queries), len(bits)), np.float32)
    for block in blocks(len(bits)):
        scores[:, block] = signed @ (bits[block].astype(np.float32) * 2 - 1).T
    return scores


def moments(sample: F32, bits: U8) -> tuple[F64, F64]:
    """Return the moments that bit weights are fitted to, of rotated photos [M, D] and their bits
    [M, B] (as 1 or -1): mean products of bits with bits [B, B] and with photos less their mean
    [B, D]."""
    count = len(sample)
    mean = np.zeros(sample.shape[1])
    for block in blocks(count):
        mean += units(sample[block], _MOMENT_UNIT).sum(axis=0)
    mean = np.rint(mean / count)
    gram = np.zeros((bits.shape[1], bits.shape[1]))
    cross = np.zeros((bits.shape[1], sample.shape[1]))
    for block in blocks(count):
        signs = bits[block].astype(np.float64) * 2 - 1
        gram += signs.T @ signs
        cross += signs.T @ (units(sample[block], _MOMENT_UNIT) - mean)
    return gram / count, cross * (_MOMENT_UNIT / count)


def fit_bit_weights(photo_moments: tuple[F64, F64], scan_bits: int) -> F32:
    """Return L [S, D] float32 for the first S = `scan_bits` bits, from `moments`."""
    gram, cross = (moment[:scan_bits] for moment in photo_moments)
    ridge = _RIDGE * np.eye(scan_bits)
    weights = np.linalg.solve(gram[:, :scan_bits] + ridge, cross)
    return np.asarray(np.rint(weights / _WEIGHT_UNIT) * _WEIGHT_UNIT, np.float32)


def _levels(sizes: F64) -> tuple[U8, float, float]:
    """Return levels [S] of |weights|, their product with the weights, and with themselves. The
    chosen step is the one whose levels have the highest cosine to the weights."""
    typical = sqrt(np.sum(np.square(sizes)) / len(sizes))
    if typical == 0:
        return np.zeros(len(sizes), np.uint8), 0.0, 0.0
    levels = sizes / (_STEPS * typical)
    np.minimum(np.rint(levels, out=levels), _MAX_LEVEL, out=levels)
    products, squares = levels @ sizes, np.vecdot(levels, levels)
    best = np.argmax(products / np.sqrt(np.maximum(squares, 1)))
    return levels[best].astype(np.uint8), float(products[best]), float(squares[best])
