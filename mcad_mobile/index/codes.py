"""The numbers of a photo in an index, and how a query is scored with them.

Embeddings of photos sit in a cone around their mean, queries in another. So an embedding x is
split: `along` = x.axis, where axis is the direction of the photos' mean, and rest z = x - along *
axis, which averages to zero. A query q is split alike into a = q.axis and r; q.x = a * along + r.z.

z is stored twice. Pass 1 reads one bit per dimension, s = sign(z), and one factor f = |z|^2 /
sum|z_i|, and estimates r.z by f * r.s: the estimator of RaBitQ (Gao and Long, SIGMOD 2024, arXiv
2405.12497) without its rotation. Pass 2 reads one byte per dimension. The sign is in the code
already, so all eight bits hold magnitude: w_i = sign * (2 * byte + 1), an odd integer in
[-511, 511], with half the rounding error of plain int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_DIM = 4096
# How far the length of an embedding may be from 1: a quantized tower rounds.
NORM_TOLERANCE = 1e-2

_PLANES = 2
_TOP_LEVEL = 2**_PLANES - 1
_STEP_FRACTIONS = np.array([0.3, 0.4, 0.5, 0.6, 0.8, 1.0], np.float32)
_SCAN_ROWS = 4096
_TILED_ROWS = 64

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
# Words of 8, 16, 32 or 64 bits, the widest that divides a code.
Words = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Encoded:
    """B photos: codes [B, D/8] and magnitudes [B, D] uint8; along, factors, scales [B] float32."""

    codes: U8
    along: F32
    factors: F32
    scales: F32
    magnitudes: U8


@dataclass(frozen=True)
class QueryCode:
    """A query for pass 1: a, and r as signs, magnitudes in two bit planes and what undoes both."""

    along: np.float32
    signs: Words
    planes: tuple[Words, ...]
    gain: np.float32
    total: int


def encode(embeddings: F32, axis: F32) -> Encoded:
    """Encode embeddings [B, D] float32 around `axis` [D] float32, of length 1 or all zeros.

    D is a multiple of 8. The scale is the least-squares one for the levels chosen.
    """
    along = embeddings @ axis
    rest = embeddings - along[:, None] * axis
    sizes = np.abs(rest)
    tops = sizes.max(axis=1, keepdims=True)
    steps = np.where(tops > 0, tops / 256, np.float32(1))
    magnitudes = np.minimum(np.floor(sizes / steps), 255).astype(np.uint8)
    levels = magnitudes.astype(np.float32) * 2 + 1
    sums = sizes.sum(axis=1)
    squares = np.einsum("bd,bd->b", sizes, sizes)
    return Encoded(
        codes=np.packbits(rest > 0, axis=1, bitorder="little"),
        along=along,
        factors=np.divide(squares, sums, out=np.zeros_like(sums), where=sums > 0),
        scales=np.einsum("bd,bd->b", sizes, levels) / np.einsum("bd,bd->b", levels, levels),
        magnitudes=magnitudes,
    )


def decode(encoded: Encoded, axis: F32) -> F32:
    """Return the embeddings [B, D] float32 that the numbers stand for."""
    levels = _signed_levels(encoded.codes, encoded.magnitudes).astype(np.float32)
    levels *= encoded.scales[:, None]
    levels += encoded.along[:, None] * axis
    return levels


def score(query: F32, axis: F32, photos: Encoded) -> F32:
    """Pass 2: cosines [B] float32 of `query` with `photos`: a * along + scale * sum_i r_i * w_i."""
    a, r = split_query(query, axis)
    levels = _signed_levels(photos.codes, photos.magnitudes).astype(np.float32)
    scores: F32 = (levels @ r) * photos.scales
    scores += photos.along * a
    return scores


def split_query(query: F32, axis: F32) -> tuple[np.float32, F32]:
    """Return a = query.axis and r = query - a * axis, [D] float32."""
    a = np.float32(query @ axis)
    return a, query - a * axis


def quantize_query(query: F32, axis: F32) -> QueryCode:
    """Split a query [D] float32 and turn its r into bit planes of u_i = round(|r_i| / step), 0..3.

    Of six steps the one with the least squared error is kept, so that a few large components
    don't flatten all others to 0. r_i is then about gain * sign(r_i) * u_i.
    """
    a, rest = split_query(query, axis)
    sizes = np.abs(rest)
    # A query on the axis itself has r = 0; it gets no bits and gain 0, not a division by 0.
    steps = max(sizes.max(), np.finfo(np.float32).tiny) * _STEP_FRACTIONS / _TOP_LEVEL
    levels = np.minimum(np.rint(sizes / steps[:, None]), np.float32(_TOP_LEVEL))
    dots = levels @ sizes
    norms = np.maximum(np.einsum("fd,fd->f", levels, levels), 1)
    best = int(np.argmax(dots * dots / norms))
    chosen = levels[best].astype(np.uint8)
    return QueryCode(
        along=a,
        signs=_words(np.packbits(rest > 0, bitorder="little")),
        planes=tuple(
            _words(np.packbits(chosen >> bit & 1, bitorder="little")) for bit in range(_PLANES)
        ),
        gain=np.float32(dots[best] / norms[best]),
        total=int(chosen.sum(dtype=np.int64)),
    )


def estimate(query: QueryCode, codes: U8, along: F32, factors: F32, out: F32) -> None:
    """Pass 1: write estimated cosines of all N photos into `out` [N] float32.

    out = a * along + gain * factor * (total - 2 * d), where d is the sum of u_i over the
    dimensions whose signs disagree: popcount((code ^ signs) & plane_b) << b, summed over b.
    """
    words = _words(codes)
    width = words.shape[1]
    # One row of 64 photos side by side: numpy runs at full speed only on long inner loops.
    signs = np.tile(query.signs, _TILED_ROWS)
    planes = [np.tile(plane, _TILED_ROWS) for plane in query.planes]
    differ = np.zeros((_SCAN_ROWS // _TILED_ROWS, _TILED_ROWS * width), words.dtype)
    masked = np.empty_like(differ)
    low, high = np.empty(differ.shape, np.uint8), np.empty(differ.shape, np.uint8)
    columns = low.reshape(_SCAN_ROWS, width)
    distances = np.empty(_SCAN_ROWS, np.uint16)
    for start in range(0, len(words), _SCAN_ROWS):
        block = words[start : start + _SCAN_ROWS]
        count = len(block)
        if count == _SCAN_ROWS:
            np.bitwise_xor(block.reshape(differ.shape), signs, out=differ)
        else:
            differ.reshape(_SCAN_ROWS, width)[:count] = block
            np.bitwise_xor(differ, signs, out=differ)
        np.bitwise_count(np.bitwise_and(differ, planes[0], out=masked), out=low)
        np.bitwise_count(np.bitwise_and(differ, planes[1], out=masked), out=high)
        # At most 64 + 2 * 64 a word, so a byte holds it; the sum of a row needs 16 bits.
        low += high
        low += high
        distances[:] = columns[:, 0]
        for column in range(1, width):
            distances += columns[:, column]
        rows = slice(start, start + count)
        part = out[rows]
        np.multiply(distances[:count], np.float32(-2) * query.gain, out=part)
        part += np.float32(query.total) * query.gain
        part *= factors[rows]
        part += along[rows] * query.along


def _signed_levels(codes: U8, magnitudes: U8) -> npt.NDArray[np.int16]:
    signs = np.unpackbits(codes, axis=1, bitorder="little").astype(np.int16)
    signs *= 2
    signs -= 1
    levels = magnitudes.astype(np.int16)
    levels *= 2
    levels += 1
    levels *= signs
    return levels


def _words(codes: U8) -> Words:
    """View codes [..., D/8] as the widest unsigned integers that divide a code evenly."""
    for width in (8, 4, 2):
        if codes.shape[-1] % width == 0:
            return codes.view(f"<u{width}")
    return codes
