"""MCAD's fusion of single-stream features into the dual-stream teacher's. The student learns the
fused features and similarities. docs/distillation.md says which parts are the paper's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.teachers.teacher import Fused


@dataclass(frozen=True)
class JointLabels:
    """The teachers' joint labels of I images and T texts."""

    image: Tensor  # [I, D] float32 of unit length
    text: Tensor  # [T, D] float32 of unit length
    similarity: Tensor  # [I, T] float32


def candidates(image: Tensor, text: Tensor, k: int) -> Tensor:
    """Mark the k texts nearest each image [I, D] and the k images nearest each text [T, D] -> [I,
    T] bool. Ignores which pairs match: fused features must not reveal it."""
    similarity = image @ text.T
    chosen = torch.zeros_like(similarity, dtype=torch.bool)
    chosen.scatter_(1, similarity.topk(min(k, len(text)), 1).indices, True)
    chosen.scatter_(0, similarity.topk(min(k, len(image)), 0).indices, True)
    return chosen


class Fusion(nn.Module):
    """v'_i = norm(v_i + P_v sum_j a_ij f_ij),  t'_j = norm(t_j + P_t sum_i b_ij f_ij),
    s'_ij = (v'_i . t'_j + w m_ij) / (1 + w),

    where f_ij is the fused feature and m_ij the match score of a candidate pair, a is the softmax
    of scores over an image's candidates, and b over a text's. P_v and P_t start at zero; they, w
    and the softmax's temperature are trained (see train_fusion) with both teachers frozen.
    """

    def __init__(self, dim: int, fused_dim: int) -> None:
        super().__init__()
        self.to_image = nn.Linear(fused_dim, dim, bias=False)
        self.to_text = nn.Linear(fused_dim, dim, bias=False)
        nn.init.zeros_(self.to_image.weight)
        nn.init.zeros_(self.to_text.weight)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(20.0)))
        self.score_weight = nn.Parameter(torch.tensor(1.0))

    def forward(
        self, image: Tensor, text: Tensor, candidate_mask: Tensor, fused: Fused
    ) -> JointLabels:
        """image [I, D], text [T, D] of unit length; candidate_mask [I, T] bool; fused: for
        the pairs candidate_mask.nonzero(), in that order."""
        pairs = candidate_mask.nonzero()
        score = torch.zeros_like(candidate_mask, dtype=torch.float32)
        score[pairs[:, 0], pairs[:, 1]] = fused.scores
        masked_scores = (self.log_sharpness.exp() * score).masked_fill(~candidate_mask, -torch.inf)
        modified_image = F.normalize(
            image + self.to_image(_pool(masked_scores.softmax(1), pairs, 0, fused.features)), dim=1
        )
        modified_text = F.normalize(
            text + self.to_text(_pool(masked_scores.softmax(0), pairs, 1, fused.features)), dim=1
        )
        dual = image @ text.T
        # Estimate the scores of non-candidates from their dual-stream similarities.
        estimate = dual + (score - dual)[candidate_mask].mean()
        weight = self.score_weight
        similarity = modified_image @ modified_text.T + weight * torch.where(
            candidate_mask, score, estimate
        )
        return JointLabels(modified_image, modified_text, similarity / (1 + weight))


def _pool(weights: Tensor, pairs: Tensor, side: int, features: Tensor) -> Tensor:
    """Sum of each row's (side 0) or column's (side 1) fused features, weighted -> [I or T, F]."""
    weighted = features * weights[pairs[:, 0], pairs[:, 1], None]
    pooled = features.new_zeros(weights.shape[side], features.shape[1])
    return pooled.index_add(0, pairs[:, side], weighted)
