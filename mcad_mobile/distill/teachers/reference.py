"""The reference teachers: regions of two EfficientNet-Lites and all of MiniLM-L6. Dual-stream: the
mean of the regions. Single-stream: attention from words to regions, as in SCAN (arXiv 1803.08024,
section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.accelerator import autocast, device_of, to_product_type
from mcad_mobile.distill.features import Features, GridTrunk, by_length
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.pretrained import load_minilm, minilm_tokenizer
from mcad_mobile.distill.teachers.teacher import Fused, TextStates
from mcad_mobile.students.efficientnet_lite import FEATURES, Head
from mcad_mobile.students.student import model_sha256
from mcad_mobile.students.text_transformer import TextConfig, TextTower

DIM = 256
_SHARPNESS = 10.0  # SCAN's lambda_1 is 9, on Flickr30k
_PAIRS_AT_ONCE = 512
_HIDDEN = 1024
_TEXT = TextConfig(layers=6, embedding_rank=384)


class RegionText(nn.Module):
    """Grids and token ids -> unit vectors of one space. Each trunk's last convolution is trained,
    as a linear map of regions, which takes this teacher beyond frozen features."""

    def __init__(self, channels: Sequence[int], dim: int = DIM) -> None:
        super().__init__()
        self.channels = list(channels)
        self.region = nn.ModuleList(nn.Linear(cin, FEATURES) for cin in channels)
        self.head = Head(FEATURES * len(self.channels), _HIDDEN, dim)
        self.text = TextTower(_TEXT, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    @staticmethod
    def pretrained(trunks: Sequence[GridTrunk], token_counts: Tensor) -> RegionText:
        model = RegionText([trunk.channels for trunk in trunks])
        for region, trunk in zip(model.region, trunks, strict=True):
            last = trunk.module.head_conv
            region.load_state_dict({"weight": last.weight[:, :, 0, 0], "bias": last.bias})
        load_minilm(model.text, token_counts)
        return model

    def regions(self, grids: Tensor) -> Tensor:
        """Concatenated grids of all trunks [B, 7, 7, C] -> [B, 49, 1280 per trunk]."""
        parts = zip(self.region, torch.split(grids, self.channels, -1), strict=True)
        return torch.cat([F.relu6(region(part)) for region, part in parts], -1).flatten(1, 2)

    def pool(self, regions: Tensor) -> Tensor:
        """[B, 49, 1280 per trunk] -> [B, dim] of unit length."""
        return F.normalize(self.head(regions.mean(1)).float(), dim=-1)

    def photos(self, grids: Tensor) -> Tensor:
        """[B, 7, 7, C] -> [B, dim] of unit length."""
        return self.pool(self.regions(grids))

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[M, L] -> [M, dim] of unit length."""
        return F.normalize(by_length(self.text, ids, mask).float(), dim=-1)

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Photos, texts, and the inverse temperature to train them with."""
        return self.photos(grids), self.texts(ids, mask), capped(self.log_scale)


class RegionTextTeacher:
    """A trained RegionText as a DualStreamTeacher, in the arithmetic of its trunks."""

    name = "region-text (EfficientNet-Lite0 and -Lite2, MiniLM-L6)"
    dim = DIM

    def __init__(self, trunks: Sequence[GridTrunk], model: RegionText) -> None:
        self.trunks = trunks
        self.arithmetic = trunks[0].arithmetic
        self.model = model.eval()

    @cached_property
    def identity(self) -> str:
        return model_sha256(self.model, {"trunks": [t.identity for t in self.trunks]})[:16]

    @torch.no_grad()
    def embed_photos(self, grids: Sequence[Features]) -> Tensor:
        device = device_of(self.model)
        with autocast(self.arithmetic, device):
            return self.model.photos(concatenate_grids(grids, device)).cpu()

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        device = device_of(self.model)
        ids, mask = tokenize(captions, device)
        with autocast(self.arithmetic, device):
            return F.normalize(self.model.texts(ids, mask).cpu(), dim=1)


class WordRegion(nn.Module):
    """Scores pairs by what each word finds in a photo: (1 - g) mean_w cos(w, a_w) + g v.t, where
    a_w is what word w attends to among the grid's 49 cells and 9 windows of 3 x 3 cells, v and t
    are the photo and the text as a whole, and g is learned. Its towers are its own: those of the
    dual-stream teachers fit their training photos too well to be corrected there."""

    def __init__(self, base: RegionText) -> None:
        super().__init__()
        self.base = base
        self.region = nn.Linear(FEATURES * len(base.channels), DIM)
        self.word = nn.Linear(base.text.config.width, DIM)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.gate = nn.Parameter(torch.tensor(0.0))

    def photos(self, grids: Tensor) -> Tensor:
        """Grids [B, 7, 7, C] -> the photo and its regions, [B, 1 + 58, DIM] of unit length."""
        cells = self.base.regions(grids)
        square = cells.transpose(1, 2).reshape(len(cells), -1, *grids.shape[1:3])
        windows = F.avg_pool2d(square, 3, 2).flatten(2).transpose(1, 2)
        regions = F.normalize(self.region(torch.cat([cells, windows], 1)).float(), dim=-1)
        return torch.cat([self.base.pool(cells)[:, None], regions], 1)

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[M, L] -> the sentence and its words, [M, 1 + L, DIM] of unit length."""
        length = ids.shape[1]

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            return F.pad(self.base.text.tokens(ids, mask), (0, 0, 0, length - ids.shape[1]))

        tokens = by_length(encode, ids, mask)
        sentence = self.base.text.pool(tokens, mask)[:, None]
        return F.normalize(torch.cat([sentence, self.word(tokens)], 1).float(), dim=-1)

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores of all pairs [V, T], times the inverse temperature, for training."""
        photos, texts, there = self.photos(grids), self.texts(ids, mask), mask > 0
        mean = F.one_hot(there.nonzero()[:, 0], len(mask)) / mask.sum(1)
        regions, words = to_product_type(photos[:, 1:]), to_product_type(texts[:, 1:][there])
        count, number, dim = regions.shape
        similarity = (regions.reshape(count * number, dim) @ words.T).view(count, number, -1)
        weights = (self.log_sharpness.exp() * similarity.float()).softmax(1)
        # The length of an attended region is sqrt(a' G a), with the Gram matrix G of the regions,
        # so the attended vectors [V, W, D] themselves are never formed.
        gram = regions @ regions.transpose(1, 2)
        length = ((gram @ weights.to(gram.dtype)).float() * weights).sum(1).clamp(min=1e-6).sqrt()
        cosine = (weights * similarity.float()).sum(1) / length
        gate = self.gate.sigmoid()
        scores = (1 - gate) * cosine @ mean + gate * photos[:, 0] @ texts[:, 0].T
        return capped(self.base.log_scale) * scores.float()

    def attend(self, regions: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """One photo per text. regions [P, 58, DIM], words [P, L, DIM] of unit length, mask [P, L]
        -> the mean of what words attend to [P, DIM], and the words' mean cosine to that [P]."""
        weights = (self.log_sharpness.exp() * (words @ regions.transpose(1, 2))).softmax(2)
        attended = weights @ regions
        cosine = (attended * words).sum(-1) / attended.norm(dim=-1).clamp(min=1e-6)
        mean = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return (mean[:, None] @ attended).squeeze(1), (cosine * mean).sum(1)


class WordRegionTeacher:
    """A trained WordRegion. Its fused feature is the part of the photo that the text describes. Row
    0 of a photo's states is the whole photo, and of a text's the sentence."""

    name = "word-region (EfficientNet-Lite0 and -Lite2, MiniLM-L6)"
    fused_dim = DIM
    cosines = True

    def __init__(self, trunks: Sequence[GridTrunk], model: WordRegion) -> None:
        self.trunks = trunks
        self.arithmetic = trunks[0].arithmetic
        self.model = model.eval()

    @cached_property
    def identity(self) -> str:
        return model_sha256(self.model, {"trunks": [t.identity for t in self.trunks]})[:16]

    @torch.no_grad()
    def photo_states(self, grids: Sequence[Features]) -> Tensor:
        """The trunks' grids -> [B, 1 + 58, DIM] float16."""
        device = device_of(self.model)
        with autocast(self.arithmetic, device):
            return self.model.photos(concatenate_grids(grids, device)).half().cpu()

    @torch.no_grad()
    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Return states [M, 1 + L, DIM] float16, each sentence before its words."""
        device = device_of(self.model)
        ids, mask = tokenize(captions, device)
        with autocast(self.arithmetic, device):
            states = self.model.texts(ids, mask)
        return TextStates(states.half().cpu(), F.pad(mask, (1, 0), value=1.0).cpu())

    @torch.no_grad()
    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        features, scores, device = [], [], device_of(self.model)
        gate = self.model.gate.sigmoid()
        for chunk in torch.split(pairs, _PAIRS_AT_ONCE):
            photo, text = chunk.unbind(1)
            states, words = photos[photo].to(device).float(), texts.states[text].to(device).float()
            mask = texts.mask[text, 1:].to(device)
            attended, cosine = self.model.attend(states[:, 1:], words[:, 1:], mask)
            features.append(attended.cpu())
            whole = (states[:, 0] * words[:, 0]).sum(1)
            scores.append(((1 - gate) * cosine + gate * whole).cpu())
        return Fused(torch.cat(features), torch.cat(scores))


def concatenate_grids(grids: Sequence[Features], device: torch.device) -> Tensor:
    """Concatenate each trunk's grids: [B, 7, 7, C] float32."""
    parts = [torch.from_numpy(part.astype(np.float32)) for part in grids]
    return torch.cat(parts, -1).to(device)


def tokenize(captions: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [M, L] of captions for MiniLM."""
    ids, mask = minilm_tokenizer().batch(list(captions))
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
