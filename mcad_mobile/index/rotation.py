"""One fixed rotation of all embeddings, so that every coordinate says about as much as any other.

Students put most of what they know into few coordinates (of the default student's 256, 31 would
hold as much spread evenly). The signs of the others are noise, and one scale for all wastes the
bits of a byte. A pseudo-random rotation mixes all coordinates and keeps every inner product: that
of RaBitQ (Gao and Long, SIGMOD 2024, arXiv 2405.12497), here as two rounds of random signs and a
Hartley transform, which needs no stored matrix and takes any D.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]


def rotate(rows: F32) -> F32:
    """Return H S2 H S1 x for every row x of [..., D] float32; lengths and products are kept.

    (H x)_k = sum_j x_j (cos + sin)(2 pi j k / D) / sqrt(D); S1 and S2 flip signs.
    """
    first, second = _signs(rows.shape[-1])
    return _hartley(_hartley(rows * first) * second)


def unrotate(rows: F32) -> F32:
    """Inverse of `rotate`: H is its own inverse, and so are the signs."""
    first, second = _signs(rows.shape[-1])
    return _hartley(_hartley(rows) * second) * first


def _hartley(rows: F32) -> F32:
    """Discrete Hartley transform of the last axis, scaled to keep lengths."""
    # In float64, so that what a compiler fuses or reorders is gone once it is rounded.
    spectrum = np.fft.fft(rows.astype(np.float64))
    scale = rows.shape[-1] ** -0.5
    return np.asarray((spectrum.real - spectrum.imag) * scale, np.float32)


@lru_cache(maxsize=4)
def _signs(dim: int) -> tuple[F32, F32]:
    """S1 and S2 [D] float32: the top bits of a 32-bit linear congruential generator from 1.

    Its constants are those of Numerical Recipes. A set bit is -1.
    """
    state, bits = 1, []
    for _ in range(2 * dim):
        state = (state * 1664525 + 1013904223) % 2**32
        bits.append(state >> 31)
    signs = np.where(np.array(bits), np.float32(-1), np.float32(1))
    return signs[:dim], signs[dim:]
