"""Rewrite a library's tower so that exporters accept all of it. Each rewrite preserves the tower's
outputs and is tested against the original."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mcad_mobile.errors import require
from mcad_mobile.students.rewrites.attention import spell_attention, spell_attention_pooling
from mcad_mobile.students.rewrites.folded_norms import fold_batch_norms
from mcad_mobile.students.rewrites.replace import is_of

_QUICK_GELUS = (("open_clip", "QuickGELU"), ("transformers", "QuickGELUActivation"))
QUICK_GELU = 1.702  # open_clip/transformer.py, QuickGELU
_EMBEDDINGS = tuple(
    f"{kind}VisionEmbeddings" for kind in ("CLIP", "MetaClip2", "Siglip", "ChineseCLIP")
)


def for_export(tower: nn.Module, *example: Tensor) -> None:
    """Rewrite a tower in eval mode, in place. `example`: inputs to run it on."""
    reparameterize(tower)
    fold_batch_norms(tower, *example)
    spell_attention_pooling(tower)
    spell_attention(tower)
    fold_quick_gelu(tower)
    bake_positions(tower)


def reparameterize(tower: nn.Module) -> None:
    """Merge training-time branches (MobileOne, RepMixer, RepVGG) into one convolution with timm's
    own functions. In 8 bits, separate branches would be rounded one by one."""
    if any(type(module).__module__.startswith("timm.") for module in tower.modules()):
        require("timm.utils", "students").reparameterize_model(tower, inplace=True)


@torch.no_grad()
def fold_quick_gelu(tower: nn.Module) -> None:
    """Turn each QuickGELU between two linear maps into a SiLU: x sigmoid(1.702 x) = silu(1.702 x)
    / 1.702. The maps absorb both factors: one operator per layer, one range less to quantize."""
    for module in tower.modules():
        for first, middle, last in (("c_fc", "gelu", "c_proj"), ("fc1", "activation_fn", "fc2")):
            gelu = getattr(module, middle, None)
            if not any(is_of(gelu, *kind) for kind in _QUICK_GELUS):
                continue
            if not isinstance(getattr(module, "ln", None), nn.Identity | None):
                continue
            up, down = module.get_submodule(first), module.get_submodule(last)
            for parameter in up.parameters():
                parameter.mul_(QUICK_GELU)
            down.get_parameter("weight").div_(QUICK_GELU)
            setattr(module, middle, nn.SiLU())


@torch.no_grad()
def bake_positions(tower: nn.Module) -> None:
    """Precompute transformers' patch positions, otherwise a gather of constants."""
    for module in tower.modules():
        if not any(is_of(module, "transformers", name) for name in _EMBEDDINGS):
            continue
        embeddings: Any = module
        rows = embeddings.position_embedding(embeddings.position_ids)
        embeddings.position_embedding = _Baked(rows.detach().clone())


class _Baked(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, ids: Tensor) -> Tensor:
        return self.get_buffer("rows")
