"""More embeddings than there are photos: blends of real ones, to measure an index at size N.

Random vectors would be a flattering test: they fill the sphere evenly, while real embeddings sit
in a cone and in clusters. A blend of two or three real embeddings stays in that cone, between
its parents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_BATCH = 4096


def blend_batches(
    real: npt.NDArray[np.float32], n: int, seed: int = 0
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield `n` blends of the rows of `real` in batches of at most 4096 rows.

    `real` is [M, D] float32, L2-normalized, M >= 1; each batch is [B, D] float32, L2-normalized.
    A row is a convex combination of two or three rows of `real` picked at random, with weights
    uniform on the simplex (Dirichlet(1, 1, 1) or (1, 1)). The same `seed` gives the same rows,
    whatever `n` is. ValueError when `real` is not [M >= 1, D] or `n` is negative.
    """
    if real.ndim != 2 or len(real) == 0:
        raise ValueError(f"real must be [M >= 1, D], not {list(real.shape)}")
    if n < 0:
        raise ValueError(f"n must be 0 or more, not {n}")
    random = np.random.default_rng(seed)
    for start in range(0, n, _BATCH):
        parents = random.integers(0, len(real), size=(_BATCH, 3))
        weights = random.exponential(size=(_BATCH, 3)).astype(np.float32)
        weights[random.random(_BATCH) < 0.5, 2] = 0.0
        weights /= weights.sum(axis=1, keepdims=True)
        mixed = np.einsum("bp,bpd->bd", weights, real[parents], dtype=np.float32)
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        yield mixed[: n - start].astype(np.float32, copy=False)


def blend(real: npt.NDArray[np.float32], n: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return `n` blends as one array [n, D] float32: `blend_batches`, joined."""
    rows = np.empty((n, real.shape[-1]), np.float32)
    start = 0
    for batch in blend_batches(real, n, seed):
        rows[start : start + len(batch)] = batch
        start += len(batch)
    return rows
