"""The numbers of a photo in an index, and how a query is scored with them.

Embeddings come rotated (rotation.py). Photos sit in a cone around their mean, queries in another,
so a photo x is split: `along` = x.axis, where axis is the direction of the photos' mean, and rest
z = x - along * axis, which averages to zero. A query q is split alike into a = q.axis and r;
q.x = a * along + r.z.

z is stored as its signs, of which pass 1 reads some (lens.py), and one byte per dimension, which
pass 2 reads with all signs. All eight bits hold magnitude: w_i = sign * (2 * byte + 1), an odd
integer in [-511, 511], with half the rounding error of plain int8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

# Sums that are the same on every processor.
#
# A sum of floats depends on the order of its additions, and that is chosen by the BLAS kernel, the
# width of the vector registers and the number of threads. Where every partial sum fits into the
# float, no addition rounds and the order does not matter. So what is summed is rounded first, to
# whole numbers of a unit: 2^-26 leaves a quarter of what float32 rounds at 1/16, and the product of
# two vectors of length 1 is then a sum of multiples of 2^-52 that stays below 2, 53 bits.

F64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]

UNIT = 2.0**-26
# Rows at a time, so that what they are in float64 takes no more than some megabytes.
_SUM_BLOCK = 1024


def blocks(rows: int) -> Iterator[slice]:
    """Yield all of so many rows, some at a time: sums that do not round may be taken in parts."""
    for start in range(0, rows, _SUM_BLOCK):
        yield slice(start, min(start + _SUM_BLOCK, rows))


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


# Rounding to odd levels so that the errors cancel out where embeddings lie.
#
# A score is a product of the rounding errors with the query, too. Rounded one by one, errors point
# everywhere; but photos, and the words that are close to them, lie mostly in some tens of
# directions. So each coordinate's error is made up for by those that are rounded after it, as far
# as the covariance of the photos says that they can: the update of GPTQ (Frantar et al., ICLR 2023,
# arXiv 2210.17323), which rounds weights for the inputs that they meet. The error of a score halves
# (docs/index-format.md); what is stored, and how it is read, does not change.

F32 = npt.NDArray[np.float32]

# Share of the mean variance that is added in every direction: queries are not photos.
_DAMPING = 0.1
# Students leave 0.31 to 0.38 of it, what is even on the sphere 0.92 and more.
_MOST_LEFT = 0.7
_ROUNDING_BLOCK = 32
# Units in which no sum rounds, whatever its order (exact.py): a covariance of 8192 photos in
# float64, and what a block of errors changes in float32. An inverse is never so exact, but its last
# bits are gone in a unit of this size.
_REST_UNIT = 2.0**-20
_ERROR_UNIT, _MOST_ERROR = 2.0**-7, 8
_SHARE_UNIT, _MOST_SHARE = 2.0**-8, 2


def error_feedback(rests: F32) -> F32 | None:
    """Return U [D, D] float32, upper triangular with ones: an error e of coordinate i is made up
    for by subtracting e * U[i, j] from every j > i. `rests` [M <= 8192, D] are photos, less what
    lies along the axis. None where they lie everywhere alike: what a sample says then is noise."""
    dim = rests.shape[1]
    covariance = np.zeros((dim, dim))  # in units of no matter: shares are ratios
    for some in blocks(len(rests)):
        whole = units(rests[some], _REST_UNIT)
        covariance += whole.T @ whole
    damping = _DAMPING * np.trace(covariance) / dim
    if damping <= 0:
        return None
    inverse = np.linalg.inv(covariance + damping * np.eye(dim))
    upper = np.linalg.cholesky(inverse).T
    # What is left of each coordinate's variance once those rounded after it are known.
    left = np.mean(np.diag(upper) ** -2) / (damping / _DAMPING + damping)
    if left > _MOST_LEFT:
        return None
    shares = units(upper / np.diag(upper)[:, None], _SHARE_UNIT) * _SHARE_UNIT
    return np.clip(shares, -_MOST_SHARE, _MOST_SHARE).astype(np.float32)


def round_to_odd(values: F32, feedback: F32 | None, largest: int) -> F32:
    """Round values [B, D] to odd numbers from -largest to largest, with `feedback` of
    `error_feedback` or, where it is None, one by one."""
    if feedback is None:
        return _nearest_odd(values, largest)
    # Coordinates first, so that each step works on rows that lie together.
    left = values.T.copy()
    rounded = np.empty_like(left)
    dim = len(left)
    for start in range(0, dim, _ROUNDING_BLOCK):
        stop = min(start + _ROUNDING_BLOCK, dim)
        errors = np.empty((stop - start, left.shape[1]), np.float32)
        for i in range(start, stop):
            rounded[i] = _nearest_odd(left[i], largest)
            errors[i - start] = left[i] - rounded[i]
            left[i + 1 : stop] -= feedback[i, i + 1 : stop, None] * errors[i - start]
        whole = np.rint(errors / np.float32(_ERROR_UNIT)) * np.float32(_ERROR_UNIT)
        whole = np.clip(whole, -_MOST_ERROR, _MOST_ERROR)
        left[stop:] -= feedback[start:stop, stop:].T @ whole
    return rounded.T


def _nearest_odd(values: F32, largest: int) -> F32:
    """Zero goes to -1, as its bit in a code is 0."""
    odd: F32 = np.clip(2 * np.ceil(values / 2) - 1, -largest, largest)
    return odd


# One fixed rotation of all embeddings, so that every coordinate says about as much as any other.
#
# Students put most of what they know into few coordinates (of the default student's 256, 31 would
# hold as much spread evenly). The signs of the others are noise, and one scale for all wastes the
# bits of a byte. A pseudo-random rotation mixes all coordinates and keeps every inner product: that
# of RaBitQ (Gao and Long, SIGMOD 2024, arXiv 2405.12497), here as two rounds of random signs and a
# Hartley transform, which needs no stored matrix and takes any D.

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


MAX_DIM = 4096
# How far the length of an embedding may be from 1: a quantized tower rounds.
NORM_TOLERANCE = 1e-2
ALONG_UNIT = np.float32(1 / 32767)
SCALE_UNIT = np.float32(2.0**-24)

_LARGEST = 511  # 2 * 255 + 1
# What makes up for other coordinates' errors may exceed the largest of them.
_HEADROOM = 1.03
# The signs that a byte of a code stands for: 1 or -1, [256, 8].
_BYTE_SIGNS = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * np.int16(2)
    - 1
)
# What a query's rest is a multiple of where scores are summed, so that no sum rounds, whatever its
# order (py): 511 * |r_i| are less than 2^16 for any D.
_SCORE_UNIT = 2.0**-36

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Encoded:
    """B photos: codes [B, D/8] uint8, along [B] int16, scales [B] uint16, magnitudes [B, D] uint8.

    `along` counts steps of 1/32767, `scales` of 2^-24.
    """

    codes: U8
    along: npt.NDArray[np.int16]
    scales: npt.NDArray[np.uint16]
    magnitudes: U8


@dataclass(frozen=True)
class Query:
    """A rotated query split by an axis: a = `along`, r in whole numbers of 2^-36 as `steps` [D]
    float64."""

    along: np.float32
    steps: npt.NDArray[np.float64]

    @property
    def along_step(self) -> float:
        """What a step of a photo's `along` adds to its score."""
        return float(self.along) * float(ALONG_UNIT)


def split(rows: F32, axis: F32) -> tuple[F32, F32]:
    """Split rotated rows [..., D] into `along` [...] and the rest [..., D], both float32."""
    along = dot(rows, axis).astype(np.float32)
    return along, rows - along[..., None] * axis


def encode(embeddings: F32, axis: F32, feedback: F32 | None = None) -> Encoded:
    """Encode rotated embeddings [B, D] float32 of length 1 around `axis` [D], of length 1 or 0.

    D is a multiple of 8; `feedback` is that of rounding.py. The scale is rounded up to what is
    stored before anything is divided by it, so that rounding it costs no precision.
    """
    along, rest = split(embeddings, axis)
    tops = np.abs(rest).max(axis=1) * np.float32(1 if feedback is None else _HEADROOM)
    scales = np.clip(np.ceil(tops / ((_LARGEST + 1) * SCALE_UNIT)), 1, 65535).astype(np.uint16)
    levels = round_to_odd(rest / (scales * SCALE_UNIT)[:, None], feedback, _LARGEST)
    return Encoded(
        codes=np.packbits(levels > 0, axis=1, bitorder="little"),
        along=np.rint(np.clip(along, -1, 1) / ALONG_UNIT).astype(np.int16),
        scales=scales,
        magnitudes=((np.abs(levels) - 1) / 2).astype(np.uint8),
    )


def decode(encoded: Encoded, axis: F32) -> F32:
    """Return the rotated embeddings [B, D] float32 that the numbers stand for."""
    rows = _signed_levels(encoded.codes, encoded.magnitudes).astype(np.float32)
    rows *= (encoded.scales * SCALE_UNIT)[:, None]
    rows += (encoded.along * ALONG_UNIT)[:, None] * axis
    return rows


def split_query(query: F32, axis: F32) -> Query:
    """Split a rotated query [D] float32: a = query.axis and r = query - a * axis."""
    along, rest = split(query, axis)
    return Query(np.float32(along), units(rest, _SCORE_UNIT) * _SCORE_UNIT)


def _signed_levels(codes: U8, magnitudes: U8) -> npt.NDArray[np.int16]:
    levels = magnitudes.astype(np.int16)
    levels <<= 1
    levels |= 1
    levels *= _BYTE_SIGNS.take(codes, axis=0, mode="clip").reshape(levels.shape)
    return levels
