"""What a step's photos and captions are told apart from: far more than fits into a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.labels import DualLabels


@dataclass(frozen=True)
class Anchors:
    """The dual-stream teachers' embeddings of all photos and captions, at the student's width.
    They cost a step one matrix product; as many photos in the batch would cost a tower each."""

    space: Tensor  # [D, dim], from the teachers' width to the student's
    photos: Tensor  # [N + E, dim] float32 of unit length
    texts: Tensor  # [M + X, dim] float32 of unit length
    drawn: int  # of each, a step
    seed: int

    @staticmethod
    def of(labels: DualLabels, dim: int, drawn: int, seed: int, device: torch.device) -> Anchors:
        space = labels.principal(dim)
        return Anchors(
            space.to(device),
            F.normalize(labels.all_photos() @ space, dim=1).to(device),
            F.normalize(labels.all_texts() @ space, dim=1).to(device),
            drawn,
            seed,
        )

    def narrowed(self, embeddings: Tensor) -> Tensor:
        """The teachers' embeddings [B, D] at the student's width: [B, dim] of unit length."""
        return F.normalize(embeddings @ self.space, dim=1)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """Photos and texts of one step: a function of the seed and the step alone."""
        random = np.random.default_rng((self.seed, step))
        rows = [random.integers(0, len(rows), self.drawn) for rows in (self.photos, self.texts)]
        return self.photos[rows[0]], self.texts[rows[1]]
