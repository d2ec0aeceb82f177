"""The numbers that an index stores per photo: rotation, split by the axis, rounding, bits.

Embeddings are rotated first: students put most information into few coordinates, and one scale for
all would waste the bits of a byte. A pseudo-random rotation mixes all coordinates and preserves
inner products, as in RaBitQ (Gao and Long, SIGMOD 2024, arXiv 2405.12497); two rounds of random
signs and a Hartley transform need no stored matrix and work for any D.

Photos lie in a cone around their mean, and queries in another. So a photo x is split into its
projection p = x.axis on the direction of the photos' mean, and the residual z = x - p * axis. A
query q is likewise split into a = q.axis and r; then q.x = a * p + r.z.

z is stored as its signs, some of which pass 1 reads (bit_weights.py), and one byte per dimension,
which pass 2 reads with all signs: w_i = sign * (2 * byte + 1), an odd integer in [-511, 511], with
half the rounding error of plain int8. Coordinates rounded later compensate for the error of
earlier ones, as far as the photos' covariance allows: the update of GPTQ (Frantar et al., ICLR
2023, arXiv 2210.17323). That halves the error of a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mcad_mobile.engine.arrays import F32, F64, I16, U8, U16
from mcad_mobile.engine.index.deterministic import blocks, dot, units

MAX_DIM = 4096
# How far the length of an embedding may be from 1: a quantized tower rounds.
NORM_TOLERANCE = 1e-2
PROJECTION_UNIT = np.float32(1 / 32767)
SCALE_UNIT = np.float32(2.0**-24)

_LARGEST = 511  # 2 * 255 + 1
# Coordinates that compensate for others' errors may exceed the largest residual.
_HEADROOM = 1.03
# The signs that a byte of a code stands for: 1 or -1, [256, 8].
_BYTE_SIGNS = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little") * np.int16(2)
    - 1
)
# Residuals of queries are multiples of this unit, so that no sum of a score rounds, whatever its
# order: 511 * |r_i| add up to less than 2^16 for any D.
_SCORE_UNIT = 2.0**-36

# Share of the mean variance that is added in every direction, as queries are not photos.
_DAMPING = 0.1
# The largest share of a coordinate's variance that others may leave unexplained: students leave
# 0.31 to 0.38; embeddings evenly on the sphere, 0.92 or more.
_MAX_UNEXPLAINED = 0.7
_ROUNDING_BLOCK = 32
# Units in which no sum rounds (deterministic.py): of a covariance of 8192 photos in float64, and of
# the updates by a block of errors in float32. An inverse is never that precise, but a unit of this
# size drops its last bits.
_RESIDUAL_UNIT = 2.0**-20
_ERROR_UNIT, _MAX_ERROR = 2.0**-7, 8
_SHARE_UNIT, _MAX_SHARE = 2.0**-8, 2


@dataclass(frozen=True)
class Encoded:
    """B photos: codes [B, D/8] uint8, projections [B] int16 in steps of 1/32767, scales [B] uint16
    in steps of 2^-24, magnitudes [B, D] uint8."""

    codes: U8
    projections: I16
    scales: U16
    magnitudes: U8


@dataclass(frozen=True)
class Query:
    """A rotated query split by an axis: its projection a, and its residual r [D] float64, multiples
    of 2^-36."""

    projection: np.float32
    residual: F64

    @property
    def projection_step(self) -> float:
        """What one step of a photo's projection adds to its score."""
        return float(self.projection) * float(PROJECTION_UNIT)


def rotate(rows: F32) -> F32:
    """Return H S2 H S1 x for every row x of [..., D] float32: (H x)_k = sum_j x_j (cos + sin)(2 pi
    j k / D) / sqrt(D), and S1, S2 flip signs."""
    first, second = _signs(rows.shape[-1])
    return _hartley(_hartley(rows * first) * second)


def unrotate(rows: F32) -> F32:
    """Invert `rotate`: H is its own inverse, and so are the signs."""
    first, second = _signs(rows.shape[-1])
    return _hartley(_hartley(rows) * second) * first


def split(rows: F32, axis: F32) -> tuple[F32, F32]:
    """Split rotated rows [..., D] into projections [...] and residuals [..., D], both float32."""
    projections = dot(rows, axis).astype(np.float32)
    return projections, rows - projections[..., None] * axis


def split_query(query: F32, axis: F32) -> Query:
    """Split a rotated query [D] float32: a = query.axis and r = query - a * axis."""
    projection, residual = split(query, axis)
    return Query(np.float32(projection), units(residual, _SCORE_UNIT) * _SCORE_UNIT)


def encode(embeddings: F32, axis: F32, feedback: F32 | None = None) -> Encoded:
    """Encode rotated embeddings [B, D] float32 of length 1 around `axis` [D], of length 1 or 0; D
    is a multiple of 8. The scale is rounded up before it divides anything, so rounding it costs no
    precision."""
    projections, residuals = split(embeddings, axis)
    peaks = np.abs(residuals).max(axis=1) * np.float32(1 if feedback is None else _HEADROOM)
    scales = np.clip(np.ceil(peaks / ((_LARGEST + 1) * SCALE_UNIT)), 1, 65535).astype(np.uint16)
    levels = round_to_odd(residuals / (scales * SCALE_UNIT)[:, None], feedback, _LARGEST)
    return Encoded(
        codes=np.packbits(levels > 0, axis=1, bitorder="little"),
        projections=np.rint(np.clip(projections, -1, 1) / PROJECTION_UNIT).astype(np.int16),
        scales=scales,
        magnitudes=((np.abs(levels) - 1) / 2).astype(np.uint8),
    )


def decode(encoded: Encoded, axis: F32) -> F32:
    """Return the rotated embeddings [B, D] float32 that the numbers stand for."""
    levels = encoded.magnitudes.astype(np.int16)
    levels <<= 1
    levels |= 1
    levels *= _BYTE_SIGNS.take(encoded.codes, axis=0, mode="clip").reshape(levels.shape)
    rows = levels.astype(np.float32)
    rows *= (encoded.scales * SCALE_UNIT)[:, None]
    rows += (encoded.projections * PROJECTION_UNIT)[:, None] * axis
    return rows


def error_feedback(residuals: F32) -> F32 | None:
    """Return U [D, D] float32 of a sample's residuals [M <= 8192, D]: subtracting e * U[i, j] from
    every j > i compensates for an error e of coordinate i. None if photos lie evenly in all
    directions: then their covariance is noise."""
    dim = residuals.shape[1]
    covariance = np.zeros((dim, dim))  # the unit does not matter: shares are ratios
    for block in blocks(len(residuals)):
        whole = units(residuals[block], _RESIDUAL_UNIT)
        covariance += whole.T @ whole
    damping = _DAMPING * np.trace(covariance) / dim
    if damping <= 0:
        return None
    inverse = np.linalg.inv(covariance + damping * np.eye(dim))
    upper = np.linalg.cholesky(inverse).T
    # The mean variance of a coordinate, given all that are rounded after it.
    unexplained = np.mean(np.diag(upper) ** -2) / (damping / _DAMPING + damping)
    if unexplained > _MAX_UNEXPLAINED:
        return None
    shares = units(upper / np.diag(upper)[:, None], _SHARE_UNIT) * _SHARE_UNIT
    return np.clip(shares, -_MAX_SHARE, _MAX_SHARE).astype(np.float32)


def round_to_odd(values: F32, feedback: F32 | None, largest: int) -> F32:
    """Round values [B, D] to odd numbers from -largest to largest, with `feedback` from
    `error_feedback` or, if it is None, independently."""
    if feedback is None:
        return _nearest_odd(values, largest)
    # Coordinates first, so that each step works on contiguous rows.
    remaining = values.T.copy()
    rounded = np.empty_like(remaining)
    dim = len(remaining)
    for start in range(0, dim, _ROUNDING_BLOCK):
        stop = min(start + _ROUNDING_BLOCK, dim)
        errors = np.empty((stop - start, remaining.shape[1]), np.float32)
        for i in range(start, stop):
            rounded[i] = _nearest_odd(remaining[i], largest)
            errors[i - start] = remaining[i] - rounded[i]
            remaining[i + 1 : stop] -= feedback[i, i + 1 : stop, None] * errors[i - start]
        whole = np.rint(errors / np.float32(_ERROR_UNIT)) * np.float32(_ERROR_UNIT)
        whole = np.clip(whole, -_MAX_ERROR, _MAX_ERROR)
        remaining[stop:] -= feedback[start:stop, stop:].T @ whole
    return rounded.T


def _nearest_odd(values: F32, largest: int) -> F32:
    """Zero goes to -1, as its bit in a code is 0."""
    odd: F32 = np.clip(2 * np.ceil(values / 2) - 1, -largest, largest)
    return odd


def _hartley(rows: F32) -> F32:
    """Discrete Hartley transform of the last axis, scaled to keep lengths."""
    # In float64: rounding to float32 hides fused or reordered operations.
    spectrum = np.fft.fft(rows.astype(np.float64))
    scale = rows.shape[-1] ** -0.5
    return np.asarray((spectrum.real - spectrum.imag) * scale, np.float32)


@lru_cache(maxsize=4)
def _signs(dim: int) -> tuple[F32, F32]:
    """S1 and S2 [D] float32: top bits of Numerical Recipes' 32-bit generator, seed 1; a set bit is
    -1."""
    state, bits = 1, []
    for _ in range(2 * dim):
        state = (state * 1664525 + 1013904223) % 2**32
        bits.append(state >> 31)
    signs = np.where(np.array(bits), np.float32(-1), np.float32(1))
    return signs[:dim], signs[dim:]
