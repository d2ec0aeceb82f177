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

from dataclasses import dataclass

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
    return Query(np.float32(along), exact.units(rest, _SCORE_UNIT) * _SCORE_UNIT)


def _signed_levels(codes: U8, magnitudes: U8) -> npt.NDArray[np.int16]:
    levels = magnitudes.astype(np.int16)
    levels <<= 1
    levels |= 1
    levels *= _BYTE_SIGNS.take(codes, axis=0, mode="clip").reshape(levels.shape)
    return levels
