"""What single_stream.py tries: models that score photos and captions pair by pair.

All start from what the reference teachers make of both (mcad_mobile/distill/teachers), frozen, and
as good as those are: what is new begins at zero. C groups of P photos and T captions are scored at
once, every photo of a group with every caption of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.teachers.identity import identity_of
from mcad_mobile.distill.teachers.protocol import Fused, TextStates
from mcad_mobile.distill.teachers.word_region import WordRegion, WordRegionTeacher

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
    """sentences [C, T, D], words [C, T, L, D] of unit length, mask [C, T, L]."""

    sentences: Tensor
    words: Tensor
    mask: Tensor


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
            found = self.scorer(image, Texts(read[:, :, 0], read[:, :, 1:], mask))
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
