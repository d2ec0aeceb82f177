"""What single_stream.py tries: models that score photos and captions pair by pair.

All start from what the reference teachers make of both (mcad_mobile/distill/teachers), frozen, and
as good as those are: what is new begins at zero. C groups of P photos and T captions are scored at
once, every photo of a group with every caption of it.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.teachers.identity import identity_of
from mcad_mobile.distill.teachers.protocol import Fused, TextStates
from mcad_mobile.distill.teachers.region_text import RegionText
from mcad_mobile.distill.teachers.word_region import WordRegion, WordRegionTeacher
from mcad_mobile.students.text_tower import MASKED_SCORE, Layer

_PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class Photos:
    """whole [C, P, D], regions [C, P, R, D]; finer [C, P, D]: the whole of a finer grid, whose
    regions are among the others then. All of unit length."""

    whole: Tensor
    regions: Tensor
    finer: Tensor | None


@dataclass(frozen=True)
class Texts:
    """sentences [C, T, D], words [C, T, L, D] of unit length, mask [C, T, L]; lower [C, T, L,
    384]: token states of the first dual-stream teacher, before its last layers."""

    sentences: Tensor
    words: Tensor
    mask: Tensor
    lower: Tensor | None


def dual_similarity(photos: Photos, texts: Texts) -> Tensor:
    """[C, T, P]; the mean of both wholes where there is a finer grid."""
    similarity = torch.einsum("ctd,cpd->ctp", texts.sentences, photos.whole)
    if photos.finer is None:
        return similarity
    return (similarity + torch.einsum("ctd,cpd->ctp", texts.sentences, photos.finer)) / 2


class WeightedWords(nn.Module):
    """Word-region attention (mcad_mobile/distill/teachers/word_region.py), whose words count by
    what they are instead of alike."""

    def __init__(self, teacher: WordRegion, dim: int) -> None:
        super().__init__()
        self.gate = nn.Parameter(teacher.gate.detach().clone())
        self.log_sharpness = nn.Parameter(teacher.log_sharpness.detach().clone())
        self.importance = _zero(nn.Linear(dim, 1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(self, photos: Photos, texts: Texts) -> Tensor:
        similarity, attention = self.attend(photos, texts)
        return self.base(photos, texts, _cosine(photos, similarity, attention)[0])

    def attend(self, photos: Photos, texts: Texts) -> tuple[Tensor, Tensor]:
        """Cosines of words and regions and the softmax over a photo's regions, [C, T, L, P, R]."""
        similarity = torch.einsum("ctld,cprd->ctlpr", texts.words, photos.regions)
        return similarity, (self.log_sharpness.exp() * similarity).softmax(-1)

    def base(self, photos: Photos, texts: Texts, cosine: Tensor) -> Tensor:
        """cosine: of words and what they attend to, [C, T, L, P]."""
        weights = _softmax(self.importance(texts.words)[..., 0], texts.mask)
        gate = self.gate.sigmoid()
        words = torch.einsum("ctlp,ctl->ctp", cosine, weights)
        return (1 - gate) * words + gate * dual_similarity(photos, texts)


class PairVectors(WeightedWords):
    """The same plus what an MLP makes of one vector for each word and photo: the products of both,
    in fewer dimensions, and five cosines. The vectors of a caption's words are averaged by learned
    weights, in the manner of SGRAF (arXiv 2101.01368, section 3.3)."""

    def __init__(self, teacher: WordRegion, dim: int, width: int = 128) -> None:
        super().__init__(teacher, dim)
        self.word = nn.Linear(dim, width, bias=False)
        self.region = nn.Linear(dim, width, bias=False)
        self.cosines = nn.Linear(5, width, bias=False)
        self.dropout = nn.Dropout(0.2)
        self.hidden = nn.Linear(width, width)
        self.weight = nn.Linear(width, 1)
        last = _zero(nn.Linear(width, 1))
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.2), last)

    def forward(self, photos: Photos, texts: Texts) -> Tensor:
        similarity, attention = self.attend(photos, texts)
        cosine, length = _cosine(photos, similarity, attention)
        dual = dual_similarity(photos, texts)[:, :, None].expand_as(cosine)
        found = [cosine, length, similarity.amax(-1), similarity.mean(-1), dual]
        # Cosines and products of unit vectors are small; times 4, they reach an MLP at a size
        # that it learns from.
        attended = torch.einsum("ctlpr,cprw->ctlpw", attention, self.region(photos.regions))
        vectors = self.cosines(4 * torch.stack(found, -1))
        vectors = vectors + 4 * self.word(texts.words)[:, :, :, None] * attended
        vectors = F.relu(self.hidden(self.dropout(F.relu(vectors))))
        mask = texts.mask[..., None].expand_as(cosine)
        weights = _softmax(self.weight(vectors)[..., 0], mask, 2)
        pooled = torch.einsum("ctlp,ctlpw->ctpw", weights, vectors)
        return self.base(photos, texts, cosine) + self.score(pooled)[..., 0]


class UpperLayers(nn.Module):
    """The last layers of the first dual-stream teacher's text tower, which look at the photo after
    each self-attention. What comes out is an embedding of the caption that knows the photo; its
    cosine with the photo takes the place of that teacher's similarity."""

    def __init__(self, teacher: RegionText, layers: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.dim = teacher.text.head.out_features
        self.layers = nn.ModuleList(_Looking(layer) for layer in teacher.text.layers[-layers:])
        self.head = copy.deepcopy(teacher.text.head)
        # Regions lie in the joint space: the way back into the tower's is the head's inverse.
        self.into = nn.Linear(self.dim, teacher.text.config.width)
        self.into.weight.data = 8 * torch.linalg.pinv(self.head.weight.detach())
        nn.init.zeros_(self.into.bias)
        self.norm = nn.LayerNorm(teacher.text.config.width)
        self.more = _zero(nn.Linear(teacher.text.config.width, 1))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def forward(self, photos: Photos, texts: Texts) -> Tensor:
        assert texts.lower is not None
        groups, each, length, width = texts.lower.shape
        count = photos.whole.shape[1]
        first = self.members**0.5  # the members' unit vectors lie side by side, shortened
        regions = F.normalize(photos.regions[..., : self.dim], dim=-1)
        regions = self.norm(self.into(regions))
        pairs = (groups, each, count)
        x = texts.lower[:, :, None].expand(*pairs, length, width).flatten(0, 2)
        mask = texts.mask[:, :, None].expand(*pairs, length).flatten(0, 2)
        hidden = ((mask - 1) * -MASKED_SCORE)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, hidden, regions, pairs)
        pooled = (mask[:, None] @ x).squeeze(1) / mask.sum(1, keepdim=True)
        text = F.normalize(self.head(pooled), dim=-1).view(*pairs, -1)
        seen = torch.einsum("ctpd,cpd->ctp", text, first * photos.whole[..., : self.dim])
        others = torch.einsum(
            "ctd,cpd->ctp", texts.sentences[..., self.dim :], photos.whole[..., self.dim :]
        )
        return seen / self.members + others + self.more(pooled).view(pairs)


class _Looking(nn.Module):
    """A layer of MiniLM with a look at regions, which starts as a copy of its self-attention."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.look = copy.deepcopy(layer.attention)
        self.gate = nn.Parameter(torch.zeros(self.look.query.in_features))

    def forward(
        self, x: Tensor, hidden: Tensor, regions: Tensor, pairs: tuple[int, int, int]
    ) -> Tensor:
        """x [C * T * P, L, W], regions [C, P, R, W], pairs (C, T, P)."""
        layer, look, (groups, each, count) = self.layer, self.look, pairs
        x = layer.attention_norm(x + layer.dropout(layer.attention(x, hidden)))

        def of_photos(rows: Tensor) -> Tensor:  # [C, P, R, W] -> [C * T * P, heads, R, W / heads]
            heads = rows.unflatten(-1, (look.heads, -1)).transpose(2, 3)
            return heads[:, None].expand(groups, each, count, *heads.shape[2:]).flatten(0, 2)

        query = look.query(x).unflatten(-1, (look.heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(
            query, of_photos(look.key(regions)), of_photos(look.value(regions))
        )
        seen = look.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.gate * layer.dropout(seen)
        return layer.mlp_norm(x + layer.dropout(layer.down(F.gelu(layer.up(x)))))


class ScoredTeacher(WordRegionTeacher):
    """The reference single-stream teacher with another's scores."""

    name = "pair scorer (on word-region attention)"

    def __init__(self, teacher: WordRegionTeacher, scorer: WeightedWords) -> None:
        super().__init__(teacher.duals, teacher.model)
        self.scorer = scorer.eval()
        self._features = teacher.identity

    @cached_property
    def identity(self) -> str:
        return identity_of(self.scorer, {"features": self._features})

    @torch.no_grad()
    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        scores = []
        for photo, text in (chunk.unbind(1) for chunk in torch.split(pairs, _PAIRS_AT_ONCE)):
            seen = photos[photo][:, None].float()
            read, mask = texts.states[text][:, None].float(), texts.mask[text][:, None, 1:]
            image = Photos(seen[:, :, 0], seen[:, :, 1:], None)
            found = self.scorer(image, Texts(read[:, :, 0], read[:, :, 1:], mask, None))
            scores.append(found[:, 0, 0])
        return Fused(super().fuse(photos, texts, pairs).features, torch.cat(scores))


def _cosine(photos: Photos, similarity: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Of words and what they attend to, and its length, [C, T, L, P]; by the Gram matrix of the
    regions, as word_region.py has it."""
    gram = torch.einsum("cprd,cpsd->cprs", photos.regions, photos.regions)
    square = torch.einsum("ctlpr,cprs,ctlps->ctlp", attention, gram, attention)
    length = square.clamp(min=1e-6).sqrt()
    return (attention * similarity).sum(-1) / length, length


def _softmax(scores: Tensor, mask: Tensor, axis: int = -1) -> Tensor:
    return scores.masked_fill(mask == 0, -torch.inf).softmax(axis)


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
