"""Masks as finite scores: with -inf QNN composes no graph, and what is far below the scores of a
layer takes their resolution when activations are quantized."""

from __future__ import annotations

import torch
from torch import Tensor

# exp(-50) = 2e-22 hides a token from any softmax in float32. One layer of random weights, cosine to
# float: w8a16 0.9998 with it and 0.9994 with -1e4; w8a8 0.9988 and 0.80.
HIDDEN_SCORE = -50.0


def causal_scores(length: int, hidden: float = HIDDEN_SCORE) -> Tensor:
    """[1, 1, L, L] float32 to add to attention scores: 0 up to the token itself, then `hidden`."""
    return torch.full((1, 1, length, length), hidden).triu(1)


def padding_scores(mask: Tensor, hidden: float = HIDDEN_SCORE) -> Tensor:
    """Mask [B, L] (1 token, 0 padding) -> [B, 1, 1, L]: 0 for tokens, `hidden` for padding."""
    return ((mask - 1.0) * -hidden)[:, None, None, :]
