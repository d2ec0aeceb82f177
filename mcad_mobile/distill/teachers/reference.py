"""The reference teachers. Dual-stream: regions of two EfficientNet-Lites and all of MiniLM-L6.
Single-stream: attention from words to photo regions, as in SCAN (arXiv 1803.08024, section 3.1). It
starts from the concatenated spaces of the dual-stream teachers: randomly initialized
cross-attention learns nothing from 6,000 photos."""

from __future__ import annotations

import copy
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
from mcad_mobile.distill.teachers.teacher import Fused, TextStates, concatenate_teachers
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
        self.tokenizer = minilm_tokenizer()

    @cached_property
    def identity(self) -> str:
        return model_sha256(self.model, {"trunks": [t.identity for t in self.trunks]})[:16]

    @torch.no_grad()
    def embed_photos(self, grids: Sequence[Features]) -> Tensor:
        with autocast(self.arithmetic, device_of(self.model)):
            return self.model.photos(self.concatenate_grids(grids)).cpu()

    def concatenate_grids(self, grids: Sequence[Features]) -> Tensor:
        """Concatenate the trunks' grids on the model's device: [B, 7, 7, C] float32."""
        parts = [torch.from_numpy(part.astype(np.float32)) for part in grids]
        return torch.cat(parts, -1).to(device_of(self.model))

    def tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[M, L] -> token states [M, L, 384], zeros beyond the longest of a by_length group."""
        length = ids.shape[1]

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            tokens = self.model.text.tokens(ids, mask)
            return F.pad(tokens, (0, 0, 0, length - tokens.shape[1]))

        return by_length(encode, ids, mask)

    def sentences(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Like `embed_texts`, from token states [M, L, 384]: [M, dim] of unit length."""
        return F.normalize(self.model.text.pool(tokens.float(), mask).float(), dim=-1)

    @torch.no_grad()
    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        device, arrays = device_of(self.model), self.tokenizer.batch(list(captions))
        ids, mask = (torch.from_numpy(array).to(device) for array in arrays)
        with autocast(self.arithmetic, device):
            return F.normalize(self.model.texts(ids, mask).cpu(), dim=1)


class WordRegion(nn.Module):
    """Maps regions and words into one space and scores pairs there: (1 - g) mean_w cos(w, a_w)
    + g v.t, where a_w is what word w attends to, v.t the similarity of the dual-stream teachers,
    and g is learned."""

    def __init__(self, duals: Sequence[RegionTextTeacher]) -> None:
        super().__init__()
        self.region_heads = nn.ModuleList(copy.deepcopy(dual.model.head) for dual in duals)
        self.word_heads = nn.ModuleList(copy.deepcopy(dual.model.text.head) for dual in duals)
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(_SHARPNESS)))
        self.gate = nn.Parameter(torch.tensor(0.0))
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    def photo(self, regions: Sequence[Tensor]) -> Tensor:
        """Dual-stream teachers' regions [B, 49, 1280 per trunk] -> [B, 49, D] of unit length."""
        return _mapped(self.region_heads, regions)

    def words(self, tokens: Sequence[Tensor]) -> Tensor:
        """Each dual-stream teacher's token states [..., 384] -> [..., D] of unit length."""
        return _mapped(self.word_heads, tokens)

    def forward(
        self, regions: Sequence[Tensor], tokens: Sequence[Tensor], mean: Tensor, dual: Tensor
    ) -> Tensor:
        """Scores of all pairs [V, T], times the inverse temperature, for training. From each
        dual-stream teacher: regions [V, 49, 1280 per trunk] and tokens [W, 384] of all captions;
        mean [W, T] averages a caption's words; dual [V, T] are the dual-stream similarities."""
        mapped = to_product_type(self.photo(regions))
        words = to_product_type(self.words(tokens))
        count, number, dim = mapped.shape
        similarity = (mapped.reshape(count * number, dim) @ words.T).view(count, number, -1)
        weights = (self.log_sharpness.exp() * similarity.float()).softmax(1)
        # The length of an attended region is sqrt(a' G a), with the Gram matrix G of the regions,
        # so the attended vectors [V, W, D] themselves are never formed.
        gram = mapped @ mapped.transpose(1, 2)
        length = ((gram @ weights.to(gram.dtype)).float() * weights).sum(1).clamp(min=1e-6).sqrt()
        cosine = (weights * similarity.float()).sum(1) / length
        gate = self.gate.sigmoid()
        scores = (1 - gate) * cosine @ mean + gate * dual
        return capped(self.log_scale) * scores.float()

    def attend(self, regions: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """One photo per text. regions [P, 49, D], words [P, L, D] of unit length, mask [P, L]
        -> the mean of what words attend to [P, D], and the words' mean cosine to that [P]."""
        weights = (self.log_sharpness.exp() * (words @ regions.transpose(1, 2))).softmax(2)
        attended = weights @ regions
        cosine = (attended * words).sum(-1) / attended.norm(dim=-1).clamp(min=1e-6)
        mean = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return (mean[:, None] @ attended).squeeze(1), (cosine * mean).sum(1)


def _mapped(heads: nn.ModuleList, inputs: Sequence[Tensor]) -> Tensor:
    pairs = zip(heads, inputs, strict=True)
    return concatenate_teachers([F.normalize(head(rows).float(), dim=-1) for head, rows in pairs])


def encode_photos(duals: Sequence[RegionTextTeacher], grids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Concatenated grids of all trunks [B, 7, 7, C] -> embeddings [B, D] of unit length, and each
    teacher's regions [B, 49, 1280 per trunk]."""
    regions = [dual.model.regions(grids) for dual in duals]
    embeddings = [dual.model.pool(rows) for dual, rows in zip(duals, regions, strict=True)]
    return concatenate_teachers(embeddings), regions


def encode_texts(
    duals: Sequence[RegionTextTeacher], ids: Tensor, mask: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """ids and mask [M, L] -> embeddings [M, D] of unit length, and each teacher's token states
    [M, L, 384]."""
    tokens = [dual.tokens(ids, mask) for dual in duals]
    embeddings = [dual.sentences(rows, mask) for dual, rows in zip(duals, tokens, strict=True)]
    return concatenate_teachers(embeddings), tokens


class WordRegionTeacher:
    """A trained WordRegion. Its fused feature is the part of the photo that the text describes. Row
    0 of a photo's states, and of a text's, is its dual-stream embedding."""

    name = "word-region attention (on region-text)"
    cosines = True

    def __init__(self, duals: Sequence[RegionTextTeacher], model: WordRegion) -> None:
        self.duals = duals
        self.trunks: Sequence[GridTrunk] = duals[0].trunks
        self.arithmetic = duals[0].arithmetic
        self.model = model.eval()
        self.fused_dim = sum(dual.dim for dual in duals)

    @cached_property
    def identity(self) -> str:
        return model_sha256(self.model, {"duals": [dual.identity for dual in self.duals]})[:16]

    @torch.no_grad()
    def photo_states(self, grids: Sequence[Features]) -> Tensor:
        """The trunks' grids -> [B, 1 + 49, D] float16."""
        with autocast(self.arithmetic, device_of(self.model)):
            embedding, regions = encode_photos(self.duals, self.duals[0].concatenate_grids(grids))
            states = torch.cat([embedding[:, None], self.model.photo(regions)], 1)
        return states.half().cpu()

    @torch.no_grad()
    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Return states [M, 1 + L, D] float16, each sentence before its words."""
        device = device_of(self.model)
        arrays = self.duals[0].tokenizer.batch(list(captions))
        ids, mask = (torch.from_numpy(array).to(device) for array in arrays)
        with autocast(self.arithmetic, device):
            embedding, tokens = encode_texts(self.duals, ids, mask)
            states = torch.cat([embedding[:, None], self.model.words(tokens)], 1)
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
            dual = (states[:, 0] * words[:, 0]).sum(1)
            scores.append(((1 - gate) * cosine + gate * dual).cpu())
        return Fused(torch.cat(features), torch.cat(scores))
