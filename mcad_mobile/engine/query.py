"""Queries: weighted words and photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.deterministic import dot
from mcad_mobile.errors import QueryError


@dataclass(frozen=True)
class PhotoKey:
    """A photo by its path as it is written, which may be an address, such as s3://bucket/a.jpg."""

    key: str

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class Part:
    """A part of a query: words or a photo.

    Attributes:
        content: words, or the path of a photo; a PhotoKey (mcad_mobile.engine.query) if it is an
            address.
        weight: how much it counts relative to the other parts; below 0, photos that are less like
            it score higher.

    Raises:
        QueryError: the content or the weight is invalid.
    """

    content: str | Path | PhotoKey
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.content, str | Path | PhotoKey):
            raise QueryError(
                f"A part of a query is words or a photo's path, not {self.content!r}.",
                'Write Part("a dog") or Part(Path("dog.jpg")).',
            )
        if not (isinstance(self.weight, int | float) and math.isfinite(self.weight)):
            raise QueryError(f"{self.weight!r} is not a weight.", "Give a number, as in 0.5 or -1.")


def compose(embeddings: Sequence[F32], weights: Sequence[float], typical_photos: F32) -> F32:
    """Combine parts [D] into a query [D] of unit length; each is weighted and divided by the spread
    of its cosines with `typical_photos` [M, D]. QueryError if the parts cancel out."""
    if len(embeddings) == 1 and weights[0] > 0:
        return embeddings[0]
    total = np.zeros(len(embeddings[0]), np.float32)
    for embedding, weight in zip(embeddings, weights, strict=True):
        # Cosines of photos with a photo spread more than those with words.
        spread = float(dot(typical_photos, embedding).std())
        total += embedding * np.float32(weight / max(spread, 1e-3))
    length = float(np.sqrt(np.square(total, dtype=np.float64).sum()))
    if length < 1e-3:
        raise QueryError(
            "The parts of the query cancel out.",
            "Search for something other than what you exclude.",
        )
    return total / np.float32(length)
