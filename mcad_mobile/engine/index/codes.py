"""The numbers that an index stores per photo: rotation, split by the axis, rounding, bits.

Embeddings are rotated first: students put most information into few coordinates, and one scale for
all would waste the bits of a byte. A pseudo-random rotation mixes all coordinates and preserves
inner products, as in RaBitQ (Gao and Long, SIGMOD 2024, arXiv 2405.12497); two rounds of random
signs and a Hartley transform need no stored matrix and work for any D.

Photos lie in a cone around their mean, and queries in another. So a photo x is split into its
projection p = x.axis on the direction of the photos' mean, and the residual z = x - p * axis. A
query q is likewise split into a = q.axis and r; then q.x = a * p + r.z.

z is stored as its signs, some of which pass 1 reads, and one byte per dimension, which pass 2 reads
with all signs: w_i = sign * (2 * byte + 1), an odd integer in [-511, 511], with half the rounding
error of plain int8. The work is done in native/codes.c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mcad_mobile.engine.arrays import F32, F64, U8
from mcad_mobile.engine.native import load_kernel, require_memory

MAX_DIM = 4096
# How far the length of an embedding may be from 1: a quantized tower rounds.
NORM_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Query:
    """A rotated query split by an axis: what one step of a photo's projection adds to its score,
    and the residual [D] float64, multiples of 2^-36."""

    projection_step: float
    residual: F64


def prepare(embeddings: F32) -> tuple[F32, F32]:
    """Scale embeddings [B, D] to length 1 and rotate them; return them and the lengths [B] that
    they had."""
    rows = np.array(embeddings, np.float32, order="C")
    lengths = np.empty(len(rows), np.float32)
    require_memory(
        load_kernel().library.mcad_prepare(rows.ctypes.data, *rows.shape, lengths.ctypes.data)
    )
    return rows, lengths


def rotate(rows: F32) -> F32:
    """Return H S2 H S1 x for every row x of [..., D] float32: (H x)_k = sum_j x_j (cos + sin)(2 pi
    j k / D) / sqrt(D), and S1, S2 flip signs."""
    return _rotated(rows, back=False)


def unrotate(rows: F32) -> F32:
    """Invert `rotate`: H is its own inverse, and so are the signs."""
    return _rotated(rows, back=True)


def _rotated(rows: F32, *, back: bool) -> F32:
    turned = np.array(rows, np.float32, order="C")
    dim = turned.shape[-1]
    count = turned.size // dim
    require_memory(load_kernel().library.mcad_rotate(turned.ctypes.data, count, dim, back))
    return turned


def split_query(query: F32, axis: F32) -> Query:
    """Split a rotated query [D] float32: a = query.axis and r = query - a * axis."""
    residual = np.empty(len(query))
    step = load_kernel().library.mcad_split_query(
        query.ctypes.data, len(query), axis.ctypes.data, residual.ctypes.data
    )
    return Query(step, residual)


def record_size(dim: int) -> int:
    """Return the bytes of a whole record: D magnitudes, the code's D/8 bytes, the projection (int16
    in steps of 1/32767) and the scale (uint16 in steps of 2^-24)."""
    return dim + dim // 8 + 4


def encode(embeddings: F32, axis: F32, feedback: F32 | None = None) -> U8:
    """Encode rotated embeddings [B, D] float32 of length 1 around `axis` [D], of length 1 or 0, as
    whole records [B, R] uint8; `feedback` is from `error_feedback`."""
    rows = np.ascontiguousarray(embeddings)
    records = np.empty((len(rows), record_size(len(axis))), np.uint8)
    kernel = load_kernel()
    done = kernel.library.mcad_encode(
        rows.ctypes.data,
        *rows.shape,
        axis.ctypes.data,
        None if feedback is None else feedback.ctypes.data,
        records.ctypes.data,
        kernel.level,
    )
    require_memory(done)
    return records


def decode(records: U8, axis: F32) -> F32:
    """Return the rotated embeddings [B, D] float32 that whole records stand for."""
    records = np.ascontiguousarray(records)
    rows = np.empty((len(records), len(axis)), np.float32)
    load_kernel().library.mcad_decode(
        records.ctypes.data, *rows.shape, axis.ctypes.data, rows.ctypes.data
    )
    return rows


def mean_direction(blocks: Iterable[F32], dim: int) -> F32:
    """Return the direction [D] of the mean of rotated embeddings in blocks [B, D]; zeros if they
    cancel out."""
    total, axis = np.zeros(dim), np.empty(dim, np.float32)
    library = load_kernel().library
    for rows in blocks:
        library.mcad_add_up(rows.ctypes.data, *rows.shape, total.ctypes.data)
    library.mcad_axis(total.ctypes.data, dim, axis.ctypes.data)
    return axis


def error_feedback(blocks: Iterable[F32], axis: F32) -> F32 | None:
    """Return U [D, D] float32 of a sample's rotated embeddings, in blocks [B, D] of 8192 rows in
    all: subtracting e * U[i, j] from every j > i compensates for an error e of coordinate i. None
    if photos lie evenly in all directions: then their covariance is noise."""
    dim, kernel = len(axis), load_kernel()
    covariance, shares = np.zeros((dim, dim)), np.empty((dim, dim), np.float32)
    for rows in blocks:
        done = kernel.library.mcad_add_covariance(
            rows.ctypes.data, *rows.shape, axis.ctypes.data, covariance.ctypes.data, kernel.level
        )
        require_memory(done)
    useful = kernel.library.mcad_feedback(
        covariance.ctypes.data, dim, shares.ctypes.data, kernel.level
    )
    require_memory(useful >= 0)
    return shares if useful else None
