"""Make many embeddings from fewer real ones.

Random vectors would be a flattering test: they fill the sphere evenly, while real embeddings sit in
a cone and in clusters. Blends keep the mean and covariance of the real ones, up to the scaling to
length 1 (benchmarks/index.py prints both).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.index_engines import camera_path
from mcad_mobile.engine.arrays import F32

if TYPE_CHECKING:
    from mcad_mobile.engine.index import PhotoIndex

_BATCH = 4096


def blend_batches(real: F32, n: int, seed: int = 0) -> Iterator[F32]:
    """Yield `n` blends of the rows of `real` in batches of at most 4096 rows.

    `real` is [M, D] float32, L2-normalized, M >= 1; each batch is [B, D] float32, L2-normalized. A
    row is w * a + (1 - w) * b + sqrt(1 - w^2 - (1 - w)^2) * e, scaled to length 1: a and b are
    random rows of `real`, w is random from 0 to 1, e is normal with the covariance of `real`. The
    same `seed` gives the same rows for every `n`. ValueError if `real` is not [M >= 1, D] or `n` is
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


def blend(real: F32, n: int, seed: int = 0) -> F32:
    """Return `n` blends as one array [n, D] float32: `blend_batches`, joined."""
    rows = np.empty((n, real.shape[-1]), np.float32)
    start = 0
    for batch in blend_batches(real, n, seed):
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return rows


def blended_index(real: F32, n: int, folder: Path) -> PhotoIndex:
    """Create an index of `n` blends, with paths as long as a phone's."""
    from mcad_mobile.engine.index import PhotoIndex  # not above: index.py measures its memory

    index = PhotoIndex.create(
        folder, dim=real.shape[1], student="benchmark", student_sha256="0" * 64
    )
    done = 0
    with index.writer() as writer:
        for batch in blend_batches(real, n):
            writer.add([camera_path(done + i) for i in range(len(batch))], batch)
            done += len(batch)
    return index


def _covariance_root(real: F32) -> F32:
    """Return R [D, D] float32 with R^T R the covariance of the rows."""
    centred = (real - real.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(real))
    return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T, np.float32)
