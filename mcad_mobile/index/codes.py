"""The numbers of a photo in an index, and how a query is scored with them.

Embeddings come rotated (rotation.py). Photos sit in a cone around their mean, queries in another,
so a photo x is split: `along` = x.axis, where axis is the direction of the photos' mean, and rest
z = x - along * axis, which averages to zero. A query q is split alike into a = q.axis and r;
q.x = a * along + r.z.

z is stored twice. Pass 1 reads its signs, one bit per dimension. Pass 2 reads one byte per
dimension. The sign is in the code already, so all eight bits hold magnitude: w_i = sign *
(2 * byte + 1), an odd integer in [-511, 511], with half the rounding error of plain int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
import numpy.typing as npt

from mcad_mobile import exact
from mcad_mobile.index.rounding import round_to_odd

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
# order (exact.py): 511 * |r_i| are less than 2^16 for any D.
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
    """A rotated query split by an axis: a = `along`, r = `rest` [D] float32 and its sign bits."""

    along: np.float32
    rest: F32
    code: U8


def split(rows: F32, axis: F32) -> tuple[F32, F32]:
    """Split rotated rows [..., D] into `along` [...] and the rest [..., D], both float32."""
    along = exact.dot(rows, axis).astype(np.float32)
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
    return Query(np.float32(along), rest, np.packbits(rest > 0, bitorder="little"))


def score(query: Query, photos: Encoded) -> F32:
    """Pass 2: cosines [B] float32: a * along + scale * sum_i r_i * w_i."""
    levels = _signed_levels(photos.codes, photos.magnitudes).astype(np.float64)
    scores = levels @ (exact.units(query.rest, _SCORE_UNIT) * _SCORE_UNIT)
    scores *= photos.scales * SCALE_UNIT
    scores += photos.along * (float(query.along) * float(ALONG_UNIT))
    return scores.astype(np.float32)


def estimate(query: Query, codes: U8, along: npt.NDArray[np.int16]) -> F32:
    """Estimate cosines [B] float32 from codes [B, D/8] and along [B]: what chooses for pass 2.

    a * along + sqrt(pi / 2D) * |z| * sum_i r_i * sign(z_i), where |z|^2 = 1 - along^2 and the root
    is what a rotated z of length 1 has on average for (sum z_i^2) / (sum |z_i|).
    """
    dim = len(query.rest)
    # What each byte of a code adds to the sum, [D/8 * 256].
    # As for scores, but in float32: |r_i| are less than sqrt(D) and a bit.
    unit = 2.0 ** (isqrt(dim).bit_length() - 24)
    rest = (exact.units(query.rest, unit) * unit).astype(np.float32)
    table = (rest.reshape(-1, 8) @ _BYTE_SIGNS.T.astype(np.float32)).ravel()
    bytes_at = np.arange(0, len(table), 256, dtype=np.uint32)
    # No index is out of bounds; "clip" is numpy's way not to check.
    sums = table.take(codes + bytes_at, mode="clip") @ np.ones(dim // 8, np.float32)
    shares = along * ALONG_UNIT
    lengths = np.sqrt(np.maximum(1 - shares * shares, 0))
    estimates: F32 = query.along * shares + np.float32(np.sqrt(np.pi / 2 / dim)) * lengths * sums
    return estimates


def _signed_levels(codes: U8, magnitudes: U8) -> npt.NDArray[np.int16]:
    levels = magnitudes.astype(np.int16)
    levels <<= 1
    levels |= 1
    levels *= _BYTE_SIGNS.take(codes, axis=0, mode="clip").reshape(levels.shape)
    return levels
