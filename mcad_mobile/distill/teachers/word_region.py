"""The reference single-stream teacher: every word looks for its region of the photo.

Attention from words to regions in the manner of SCAN (arXiv 1803.08024, section 3.1, text to
image), started from the spaces that the dual-stream teacher has aligned: cross-attention from
nothing learns nothing from 6,000 photos.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.device import bfloat16, device_of
from mcad_mobile.distill.features import Features
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.teachers.identity import identity_of
from mcad_mobile.distill.teachers.protocol import Fused, TextStates
from mcad_mobile.distill.teachers.region_text import RegionTextTeacher

_SHARPNESS = 10.0  # SCAN's lambda_1 is 9, on Flickr30k
_PAIRS_AT_ONCE = 512


class WordRegion(nn.Module):
    """Maps regions and words into one space and scores pairs there.

    Row 0 of a photo's states is its dual-stream embedding, row 0 of a text's likewise: a pair's
    score is (1 - g) mean_w cos(w, a_w) + g v.t, where a_w is what word w attends to and g is
    learned.
    """

    def __init__(self, dual: RegionTextTeacher) -> None:
        super().__init__()
        self.region_head = copy.deepcopy(dual.model.head)
        self.word_head = copy.deepcopy(dual.model.text.head)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.gate = nn.Parameter(torch.tensor(0.0))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def photo(self, regions: Tensor) -> Tensor:
        """[B, 49, 1280 a trunk] -> [B, 49, D] of unit length."""
        return F.normalize(self.region_head(regions).float(), dim=-1)

    def words(self, tokens: Tensor) -> Tensor:
        """[..., 384] -> [..., D] of unit length."""
        return F.normalize(self.word_head(tokens).float(), dim=-1)

    def forward(self, regions: Tensor, tokens: Tensor, mean: Tensor, dual: Tensor) -> Tensor:
        """Scores of all pairs [V, T] at once, times the inverse temperature, for training.

        regions [V, 49, 1280 a trunk]; tokens [W, 384], those of all captions one after the other;
        mean [W, T] averages a caption's words; dual [V, T], the dual-stream similarities. The
        length of an attended region comes from the regions' Gram matrix, sqrt(a' G a), so that the
        attended vectors themselves [V, W, D] are never formed.
        """
        return capped(self.log_scale) * self._scores(
            self.photo(regions).bfloat16(), self.words(tokens).bfloat16(), mean, dual
        )

    def _scores(self, regions: Tensor, words: Tensor, mean: Tensor, dual: Tensor) -> Tensor:
        count, number, dim = regions.shape
        similarity = (regions.reshape(count * number, dim) @ words.T).view(count, number, -1)
        weights = (self.log_sharpness.exp() * similarity.float()).softmax(1)
        gram = regions @ regions.transpose(1, 2)
        length = ((gram @ weights.to(gram.dtype)).float() * weights).sum(1).clamp(min=1e-6).sqrt()
        cosine = (weights * similarity.float()).sum(1) / length
        gate = self.gate.sigmoid()
        return (1 - gate) * cosine @ mean + gate * dual

    def attended(self, regions: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """One photo per text. regions [P, 49, D], words [P, L, D] of unit length, mask [P, L]
        -> what the words found, averaged [P, D], and the mean cosine of word and find [P]."""
        weights = (self.log_sharpness.exp() * (words @ regions.transpose(1, 2))).softmax(2)
        found = weights @ regions
        cosine = (found * words).sum(-1) / found.norm(dim=-1).clamp(min=1e-6)
        mean = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return (mean[:, None] @ found).squeeze(1), (cosine * mean).sum(1)


class WordRegionTeacher:
    """A trained WordRegion behind the SingleStreamTeacher protocol. Its fused feature is the part
    of the photo that the text speaks of, in the dual-stream teacher's space."""

    name = "word-region attention (on region-text)"

    def __init__(self, dual: RegionTextTeacher, model: WordRegion) -> None:
        self.dual = dual
        self.model = model.eval()
        self.fused_dim = dual.dim

    @cached_property
    def identity(self) -> str:
        return identity_of(self.model, {"dual": self.dual.identity})

    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        return self.grid_states([trunk.grids(photos) for trunk in self.dual.trunks])

    @torch.no_grad()
    def grid_states(self, grids: Sequence[Features]) -> Tensor:
        """What photo_states gives, from each trunk's grids: [B, 1 + 49, D] float16."""
        with bfloat16(device_of(self.model)):
            seen = self.dual.seen(grids)
            regions, whole = self.dual.model.regions(seen), self.dual.model.photos(seen)
            return torch.cat([whole[:, None], self.model.photo(regions)], 1).half().cpu()

    @torch.no_grad()
    def text_states(self, captions: Sequence[str]) -> TextStates:
        """states [M, 1 + L, D] float16, the sentence before its words."""
        device = device_of(self.model)
        arrays = self.dual.tokenizer.batch(list(captions))
        ids, mask = (torch.from_numpy(array).to(device) for array in arrays)
        with bfloat16(device):
            tokens = self.dual.tokens(ids, mask)
            sentence = self.dual.sentences(tokens, mask)
            words = self.model.words(tokens)
        states = torch.cat([sentence[:, None], words], 1).half().cpu()
        return TextStates(states, F.pad(mask, (1, 0), value=1.0).cpu())

    @torch.no_grad()
    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        features, scores, device = [], [], device_of(self.model)
        gate = self.model.gate.sigmoid()
        for chunk in torch.split(pairs, _PAIRS_AT_ONCE):
            photo, text = chunk.unbind(1)
            seen, read = photos[photo].to(device).float(), texts.states[text].to(device).float()
            mask = texts.mask[text, 1:].to(device)
            found, cosine = self.model.attended(seen[:, 1:], read[:, 1:], mask)
            features.append(found.cpu())
            whole = (seen[:, 0] * read[:, 0]).sum(1)
            scores.append(((1 - gate) * cosine + gate * whole).cpu())
        return Fused(torch.cat(features), torch.cat(scores))
