"""Pooling by attention: one query over all places of a photo.

SigLIP's asks with a vector that it has learned. That query is a constant, so its product with the
keys' projection is one, too: the scores are a linear map of the states to heads, and the keys, as
wide as the states, are never computed. The keys' bias adds the same to all places, which a
softmax cancels. In ModifiedResNet (CLIP's RN50) the mean of the places asks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mcad_mobile.students.rewrites.replace import is_of, replace_modules
from mcad_mobile.students.rewrites.spelled_attention import SpelledAttention, linear


class ProbePool(nn.Module):
    """States [B, N, width] -> [B, width]: attention with a constant query `probe` [width], which
    has been projected; then a residual MLP."""

    def __init__(
        self,
        probe: Tensor,
        key: Tensor,
        value: nn.Linear,
        out: nn.Module,
        heads: int,
        residual: nn.Module,
    ) -> None:
        super().__init__()
        size = len(probe) // heads
        weights = torch.einsum("hd,hdw->hw", probe.view(heads, size), key.view(heads, size, -1))
        self.heads = heads
        self.scores = linear(weights * size**-0.5, None)
        self.value, self.out, self.residual = value, out, residual

    def forward(self, x: Tensor) -> Tensor:
        batch, places, _ = x.shape
        weights = self.scores(x).transpose(1, 2).softmax(-1)[:, :, None, :]
        values = self.value(x).view(batch, places, self.heads, -1).transpose(1, 2)
        pooled = self.out((weights @ values).reshape(batch, -1))
        return pooled + self.residual(pooled)  # type: ignore[no-any-return]


class MeanPool(nn.Module):
    """Grid [B, C, H, W] -> [B, dim]: the mean of its places attends to them and to itself."""

    def __init__(self, positions: Tensor, attention: SpelledAttention) -> None:
        super().__init__()
        self.register_buffer("positions", positions.detach().clone())
        self.attention = attention

    def forward(self, grid: Tensor) -> Tensor:
        places = grid.flatten(2).transpose(1, 2)
        x = torch.cat([places.mean(1, keepdim=True), places], 1) + self.get_buffer("positions")
        return self.attention.attend(x[:, :1], x, x, None).squeeze(1)


def spell_attention_pooling(tower: nn.Module) -> None:
    """Rewrite the attention pooling of `tower` in place."""
    replace_modules(tower, _spelled)


@torch.no_grad()
def _spelled(module: Any) -> nn.Module | None:
    if is_of(module, "timm", "AttentionPoolLatent") and _plain(module):
        width = module.kv.in_features
        key, value = module.kv.weight.chunk(2)
        bias = None if module.kv.bias is None else module.kv.bias[width:]
        residual = nn.Sequential(module.norm, module.mlp)
        probe = module.q(module.latent[0, 0])
        return ProbePool(probe, key, linear(value, bias), module.proj, module.num_heads, residual)
    if is_of(module, "transformers", "SiglipMultiheadAttentionPoolingHead"):
        attention = module.attention
        queries, key, value = attention.in_proj_weight.chunk(3)
        biases = attention.in_proj_bias.chunk(3)
        probe = linear(queries, biases[0])(module.probe[0, 0])
        residual = nn.Sequential(module.layernorm, module.mlp)
        return ProbePool(
            probe, key, linear(value, biases[2]), attention.out_proj, attention.num_heads, residual
        )
    if is_of(module, "open_clip", "AttentionPool2d"):
        attention = SpelledAttention(
            module.q_proj, module.k_proj, module.v_proj, module.c_proj, module.num_heads
        )
        return MeanPool(module.positional_embedding, attention)
    return None


def _plain(module: Any) -> bool:
    """Whether timm's pooling is the one that SigLIP has: one query, no norms of it, an MLP."""
    norms = (module.q_norm, module.k_norm)
    return (
        module.latent_len == 1
        and module.pool == "token"
        and module.pos_embed is None
        and module.mlp is not None
        and all(isinstance(norm, nn.Identity) for norm in norms)
    )
