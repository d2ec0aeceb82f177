"""What every runtime provides: a loaded tower that is called like a function."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Inputs = dict[str, NDArray[Any]]
FEWEST_TOKENS = 2  # a start and an end


class LoadedTower(Protocol):
    """A tower in memory, which several threads may call at once. `simulated`: the chip is
    simulated, so times mean nothing. `kernels` names the kernels that run it."""

    simulated: bool
    kernels: str

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        """Inputs by name, batch first, float32 (pixels [B, 3, S, S]; token_rows [B, L, W],
        attention_mask [B, L] and pooling [B, L]) -> embeddings [B, dim] float32, not normalized.
        """
        ...


def split_batch(inputs: Inputs) -> list[Inputs]:
    """Split a batch: towers are exported for a batch of one, as phones use them."""
    size = len(next(iter(inputs.values())))
    return [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(size)]


def without_padding(inputs: Inputs) -> Inputs:
    """Cut a text [1, L, ...] after the last token that is attended to or pooled; leave a photo as
    it is."""
    if "attention_mask" not in inputs:
        return inputs
    seen = np.flatnonzero(inputs["attention_mask"][0] + inputs["pooling"][0])
    tokens = max(int(seen[-1]) + 1, FEWEST_TOKENS)
    return {name: np.ascontiguousarray(value[:, :tokens]) for name, value in inputs.items()}


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows [N, D] to unit length (a zero row stays zero)."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
