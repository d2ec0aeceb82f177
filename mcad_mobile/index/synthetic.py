"""More embeddings than there are photos: blends of real ones, to measure an index at size N.

Random vectors would be a flattering test: they fill the sphere evenly, while real embeddings sit
in a cone and in clusters. A blend of two real embeddings stays between its parents; alone it would
shrink the spread, so noise puts back what blending takes. Mean and covariance are then those of the
real embeddings, up to the scaling to length 1 (benchmarks/index.py prints both).

A bundle's sample is of a few photos, and blends of a few lie in a few directions: no library of
photos is so alike. `cloud_batches` takes from it where photos lie, and how far apart, and spreads
them over as many directions as real ones are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

_BATCH = 4096
# Each further direction holds exp(-1/16) of the variance of the one before: of 8,000 photos of
# Flickr8k by the default student, the first 16, 32 and 64 hold 63, 85 and 96 %, so 63, 86 and 98 %.
_DIRECTIONS = 16


def blend_batches(real: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` blends of the rows of `real` in batches of at most 4096 rows.

    `real` is [M, D] float32, L2-normalized, M >= 1; each batch is [B, D] float32, L2-normalized.
    A row is w * a + (1 - w) * b + sqrt(1 - w^2 - (1 - w)^2) * e, scaled to length 1: a and b rows
    of `real` and w from 0 to 1 at random, e normal with the covariance of `real`. The same `seed`
    gives the same rows, whatever `n` is. ValueError when `real` is not [M >= 1, D] or `n` is
    negative.
    """
    if real.ndim != 2 or len(real) == 0:
        raise ValueError(f"real must be [M >= 1, D], not {list(real.shape)}")
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    random = np.random.default_rng(seed)
    root = _covariance_root(real)
    for start in range(0, n, _BATCH):
        a, b = real[random.integers(0, len(real), size=(2, _BATCH))]
        w = random.random((_BATCH, 1), dtype=np.float32)
        noise = random.standard_normal((_BATCH, real.shape[1]), dtype=np.float32) @ root
        mixed = w * a + (1 - w) * b + np.sqrt(1 - w**2 - (1 - w) ** 2) * noise
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        yield mixed[: n - start].astype(np.float32, copy=False)


def cloud_batches(sample: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` normal vectors around the mean of `sample` [M, D] float32, M >= 2, with its total
    variance, in batches of at most 4096 rows [B, D] float32, L2-normalized.

    The directions of the most variance are those of the sample; the others are random.
    """
    random = np.random.default_rng(seed)
    mean = sample.mean(axis=0)
    rest = (sample - mean).astype(np.float64)
    _, _, known = np.linalg.svd(rest, full_matrices=False)
    known = known[: min(len(sample) - 1, len(known))]
    others = random.standard_normal((sample.shape[1] - len(known), sample.shape[1]))
    directions = np.linalg.qr(np.concatenate([known, others]).T)[0].T
    shares = np.exp(-np.arange(sample.shape[1]) / _DIRECTIONS)
    variances = np.square(rest).sum() / len(sample) * shares / shares.sum()
    root = (np.sqrt(variances)[:, None] * directions).astype(np.float32)
    for start in range(0, n, _BATCH):
        rows = random.standard_normal((_BATCH, len(root)), dtype=np.float32) @ root + mean
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows[: n - start].astype(np.float32, copy=False)


def blend(real: F32, n: int, seed: int = 0) -> F32:
    """Return `n` blends as one array [n, D] float32: `blend_batches`, joined."""
    rows = np.empty((n, real.shape[-1]), np.float32)
    start = 0
    for batch in blend_batches(real, n, seed):
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return rows


def _covariance_root(real: F32) -> F32:
    """Return R [D, D] float32 with R^T R the covariance of the rows."""
    centred = (real - real.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(real))
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T, np.float32)
