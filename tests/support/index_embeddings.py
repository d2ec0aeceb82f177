"""Synthetic embeddings for the index tests: a cone, clusters, and queries beside the cone.

Real photos may not be shipped (Flickr8k's licence); these share what makes real ones hard: a mean
far from zero, few effective dimensions, and queries that differ in both.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import PhotoIndex, TuningLimits

F32 = npt.NDArray[np.float32]
SHA = "ab" * 32


def photos_and_queries(n: int, queries: int, dim: int = 64, seed: int = 0) -> tuple[F32, F32]:
    """Return photos [n, dim] and queries [queries, dim] float32, L2-normalized."""
    random = np.random.default_rng(seed)
    spread = random.normal(size=(dim // 2, dim)) * np.linspace(1.5, 0.3, dim // 2)[:, None]
    centres = random.normal(size=(200, dim // 2))
    cone, gap = random.normal(size=(2, dim)) * 4

    def around(count: int, shift: npt.NDArray[np.float64]) -> F32:
        inside = centres[random.integers(0, 200, count)] + random.normal(size=(count, dim // 2))
        return unit(inside @ spread + random.normal(size=(count, dim)) * 0.5 + shift)

    return around(n, cone), around(queries, gap)


def unit(rows: npt.ArrayLike) -> F32:
    """L2-normalize rows."""
    values = np.asarray(rows, np.float64)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def names(n: int, prefix: str = "photo") -> list[str]:
    return [f"{prefix}/{i:06d}.jpg" for i in range(n)]


def create(directory: Path, dim: int = 64, limits: TuningLimits | None = None) -> PhotoIndex:
    return PhotoIndex.create(directory, dim=dim, student_sha256=SHA, student="tiny", limits=limits)


def stamps_of(index: PhotoIndex) -> dict[str, tuple[int, int]]:
    return dict(index.membership().missing(""))


def rows_in(index: PhotoIndex) -> list[str]:
    """List the paths of all rows, those of videos too, in the order of their names."""
    return sorted(os.fsdecode(path) for _, paths in index._core.photos_below() for path in paths)


def cells_from(photos: int) -> TuningLimits:
    """Give segments of at least `photos` photos cells, at any cost."""
    return TuningLimits(cells_from=photos, cells_gain=0.0)


def filled(directory: Path, n: int = 50) -> PhotoIndex:
    index = create(directory)
    with index.writer() as writer:
        writer.add(names(n), photos_and_queries(n, 1)[0])
    return index
