"""A small BERT-style transformer: token ids -> embedding."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.base.documents import Record
from mcad_mobile.students.published import padding_scores

# Added to the attention scores of padding. exp(-20) = 2e-9 hides a token as well as -1e9 would,
# and costs a quantized softmax far less of its range.
MASKED_SCORE = -20.0


class TextConfig(Record, frozen=True):
    """Shape of the text tower. `embedding_rank` factors the token table into [vocab, rank] x [rank,
    width] (ALBERT, arXiv 1909.11942, section 3.1): the table is most of a small tower's bytes."""

    vocab: Annotated[int, Meta(ge=1, le=2**20)] = 30522
    length: Annotated[int, Meta(ge=2, le=2**12)] = 32
    width: Annotated[int, Meta(ge=1, le=2**12)] = 384
    heads: Annotated[int, Meta(ge=1, le=2**8)] = 12
    layers: Annotated[int, Meta(ge=1, le=2**6)] = 3
    mlp: Annotated[int, Meta(ge=1, le=2**14)] = 1536
    embedding_rank: Annotated[int, Meta(ge=1, le=2**12)] = 128
    table_bits: Literal[4, 16] = 16  # per number of the token table on a phone

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} is not shared by {self.heads} heads")
        if self.table_bits == 4 and self.embedding_rank % 2:
            raise ValueError(f"rows of {self.embedding_rank} numbers of 4 bits fill no bytes")


class Attention(nn.Module):
    """Multi-head self-attention, spelled out so that it exports as MatMul and Softmax."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, hidden_score: Tensor) -> Tensor:
        batch, length, width = x.shape
        size = width // self.heads

        def split(y: Tensor) -> Tensor:
            return y.view(batch, length, self.heads, size).transpose(1, 2)

        query, key, value = split(self.query(x)), split(self.key(x)), split(self.value(x))
        scores = query @ key.transpose(2, 3) * size**-0.5 + hidden_score
        mixed = scores.softmax(-1) @ value
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Post-norm transformer layer, as in BERT."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.up = nn.Linear(config.width, config.mlp)
        self.down = nn.Linear(config.mlp, config.width)
        self.mlp_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, hidden_score: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, hidden_score)))
        return self.mlp_norm(x + self.dropout(self.down(F.gelu(self.up(x)))))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """Token ids [B, L] int and mask [B, L] float32 (1 token, 0 padding) -> embeddings [B, dim]
    float32, not normalized."""

    def __init__(self, config: TextConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab, config.embedding_rank)
        self.widen = nn.Linear(config.embedding_rank, config.width, bias=False)
        self.position = nn.Parameter(torch.zeros(config.length, config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-5)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.head = nn.Linear(config.width, dim)

    def tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return contextual token states [B, L, width]; those of padding are meaningless."""
        x = self.widen(self.token(input_ids)) + self.position[: input_ids.shape[1]]
        x = self.dropout(self.norm(x))
        hidden_score = padding_scores(attention_mask, MASKED_SCORE)
        for layer in self.layers:
            x = layer(x, hidden_score)
        return x  # type: ignore[no-any-return]

    def pool(self, tokens: Tensor, attention_mask: Tensor) -> Tensor:
        """Token states [B, L, width] -> embeddings [B, dim]: `head` of the mean token state."""
        return self.head(_mean(tokens, attention_mask))  # type: ignore[no-any-return]

    def mean(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask [B, L] -> the mean token state [B, width], the input of `head`."""
        return _mean(self.tokens(input_ids, attention_mask), attention_mask)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.pool(self.tokens(input_ids, attention_mask), attention_mask)


def _mean(tokens: Tensor, attention_mask: Tensor) -> Tensor:
    weights = attention_mask / attention_mask.sum(1, keepdim=True)
    return (weights[:, None, :] @ tokens).squeeze(1)
