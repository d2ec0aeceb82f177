"""What is asked for: words and photos, more or less of each, and when nothing matches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.index.deterministic import dot
from mcad_mobile.errors import QueryError

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Part:
    """A part of a query: words or a photo.

    Attributes:
        content: words, or the path of a photo.
        weight: how much it counts beside the other parts; below 0, photos that are less like it
            are better.
    """

    content: str | Path
    weight: float = 1.0


def compose(embeddings: Sequence[F32], weights: Sequence[float], background: F32) -> F32:
    """Return one query [D] float32 of unit length from parts [D] and their weights.

    A part counts by how much it tells photos at large, `background` [M, D], apart: cosines of
    photos with a photo spread more than those with words. QueryError when the parts cancel out.
    """
    if len(embeddings) == 1 and weights[0] > 0:
        return embeddings[0]
    total = np.zeros(len(embeddings[0]), np.float32)
    for embedding, weight in zip(embeddings, weights, strict=True):
        spread = float(dot(background, embedding).std())
        total += embedding * np.float32(weight / max(spread, 1e-3))
    length = float(np.sqrt(np.square(total, dtype=np.float64).sum()))
    if length < 1e-3:
        raise QueryError(
            "The parts of the query cancel out.", "Ask for something else than you exclude."
        )
    return total / np.float32(length)


def match_threshold(
    query: F32, background: F32, photos: int, margin: float, per_log_n: float
) -> float:
    """Return the cosine from which one of `photos` photos is worth calling a match for words: the
    mean cosine of `query` [D] with `background` [M, D], and more among more photos
    (bundle.NoMatch)."""
    at_large = float(dot(background, query).mean())
    return at_large + margin + per_log_n * math.log(max(photos, 1))
