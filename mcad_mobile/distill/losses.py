"""Losses as pure functions. MCAD's own join this file as they are needed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020, figure 3).

    image, text: [B, D] float32 of unit length, row i of one belonging to row i of the other;
    scale: [] float32, the inverse temperature. Returns the mean of both directions' cross
    entropy, [] float32:  L = -1/2B sum_i [log softmax_j(s t_i.v_j) + log softmax_j(s v_i.t_j)]_i
    """
    similarity = scale * image @ text.T
    matched = torch.arange(len(image), device=image.device)
    forward = F.cross_entropy(similarity, matched)
    backward = F.cross_entropy(similarity.T, matched)
    return (forward + backward) / 2
