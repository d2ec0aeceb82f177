"""Rewrite attention as MatMul and Softmax with separate projections.

nn.MultiheadAttention takes a fused path that exporters cannot trace, and its packed projection
becomes one quantized weight for three uses (pytorch issue 135764). The query weights absorb the
scale of the scores.

Pooling is attention with one query over all positions of a photo. SigLIP's query is constant, so
scores are a linear map from states to heads and keys are never computed; their bias adds the same
to all positions, which the softmax cancels. In ModifiedResNet (CLIP's RN50) the mean is the query.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mcad_mobile.students.rewrites import is_of, replace_modules


class SpelledAttention(nn.Module):
    """Queries [B, M, width], keys and values [B, N, width] -> [B, M, width]; `scores` broadcast to
    [B, heads, M, N] are added before the softmax."""

    def __init__(
        self, query: nn.Linear, key: nn.Linear, value: nn.Linear, out: nn.Linear, heads: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = query, key, value, out
        with torch.no_grad():
            scale = (query.out_features // heads) ** -0.5
            query.weight.mul_(scale)
            if query.bias is not None:
                query.bias.mul_(scale)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scores: Tensor | None) -> Tensor:
        queries, keys = self._split(self.query(query)), self._split(self.key(key))
        raw = queries @ keys.transpose(2, 3)
        weights = (raw if scores is None else raw + scores).softmax(-1)
        mixed = (weights @ self._split(self.value(value))).transpose(1, 2)
        return self.out(mixed.reshape(len(mixed), query.shape[1], -1))  # type: ignore[no-any-return]

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class _Multihead(SpelledAttention):
    """Replaces a batch-first nn.MultiheadAttention; returns no attention weights."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        return self.attend(query, key, value, attn_mask), None


class _Timm(SpelledAttention):
    """Replaces timm.layers.Attention."""

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        assert not is_causal, "image towers look everywhere"
        return self.attend(x, x, x, attn_mask)


class _TimmGrid(SpelledAttention):
    """Replaces FastViT's attention: [B, C, H, W] -> [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.attend(tokens, tokens, tokens, None).transpose(1, 2).reshape(x.shape)


def spell_attention(tower: nn.Module) -> None:
    """Rewrite each attention of `tower` in place. timm's variants with query or key norms, gates
    or rotary positions keep their own code, without the fused kernel."""
    for module in tower.modules():
        if getattr(module, "fused_attn", False):
            module.fused_attn = False  # type: ignore[assignment]
    replace_modules(tower, _spelled)


def _spelled(module: Any) -> nn.Module | None:
    if isinstance(module, nn.MultiheadAttention):
        if not module.batch_first or module.bias_k is not None or module.add_zero_attn:
            return None
        weights: tuple[Tensor, ...]
        if module.in_proj_weight is not None:
            weights = module.in_proj_weight.chunk(3)
        else:
            weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        query, key, value = _maps(weights, module.in_proj_bias)
        return _Multihead(query, key, value, module.out_proj, module.num_heads)
    if is_of(module, "timm", "Attention") and _plain(module):
        kind = _TimmGrid if module.__class__.__module__ == "timm.models.fastvit" else _Timm
        query, key, value = _maps(module.qkv.weight.chunk(3), module.qkv.bias)
        return kind(query, key, value, module.proj, module.num_heads)
    return None


def _plain(module: Any) -> bool:
    """Whether a timm attention has only projections, scores and a softmax."""
    extras = (getattr(module, name, None) for name in ("q_norm", "k_norm", "norm", "gate"))
    known = type(module).__module__ in ("timm.layers.attention", "timm.models.fastvit")
    return known and all(extra is None or isinstance(extra, nn.Identity) for extra in extras)


def _maps(weights: tuple[Tensor, ...], bias: Tensor | None) -> list[nn.Linear]:
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    return [linear(*pair) for pair in zip(weights, biases, strict=True)]


@torch.no_grad()
def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear map with copies of weights [out, in] and bias [out]."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    return made


class ProbePool(nn.Module):
    """States [B, N, width] -> [B, width]: attention with a constant projected query."""

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
    """Grid [B, C, H, W] -> [B, dim]: the mean of all positions attends to them and to itself."""

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
    replace_modules(tower, _spelled_pooling)


@torch.no_grad()
def _spelled_pooling(module: Any) -> nn.Module | None:
    if is_of(module, "timm", "AttentionPoolLatent") and _is_siglips(module):
        key, value = module.kv.weight.chunk(2)
        bias = None if module.kv.bias is None else module.kv.bias[module.kv.in_features :]
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


def _is_siglips(module: Any) -> bool:
    """Whether timm's pooling is SigLIP's: one query, no query or key norms, an MLP."""
    norms = (module.q_norm, module.k_norm)
    return (
        module.latent_len == 1
        and module.pool == "token"
        and module.pos_embed is None
        and module.mlp is not None
        and all(isinstance(norm, nn.Identity) for norm in norms)
    )
