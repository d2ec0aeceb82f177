"""Position embeddings as the constants that they are for the one size that is exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mcad_mobile.students.rewrites.replace import is_of


class _Baked(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, ids: Tensor) -> Tensor:
        return self.get_buffer("rows")


@torch.no_grad()
def bake_positions(tower: nn.Module) -> None:
    """transformers looks the positions of patches up in a table, which would be a gather of
    constants in the graph. In place."""
    for module in tower.modules():
        if not any(is_of(module, "transformers", name) for name in _EMBEDDINGS):
            continue
        embeddings: Any = module
        rows = embeddings.position_embedding(embeddings.position_ids)
        embeddings.position_embedding = _Baked(rows.detach().clone())


_EMBEDDINGS = ("CLIPVisionEmbeddings", "SiglipVisionEmbeddings", "ChineseCLIPVisionEmbeddings")
