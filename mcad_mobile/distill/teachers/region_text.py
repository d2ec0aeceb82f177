"""The reference dual-stream teacher: regions of two EfficientNet-Lites and all of MiniLM-L6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.accelerator import autocast, device_of
from mcad_mobile.distill.features import Features, by_length
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.pretrained import load_minilm, minilm_tokenizer
from mcad_mobile.distill.teachers.teacher import unit_rows
from mcad_mobile.students.efficientnet_lite import FEATURES, Head
from mcad_mobile.students.student import model_sha256
from mcad_mobile.students.text_transformer import TextConfig, TextTower

DIM = 256
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

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        return self.embed_grids([trunk.grids(photos) for trunk in self.trunks])

    @torch.no_grad()
    def embed_grids(self, grids: Sequence[Features]) -> Tensor:
        """Like `embed_photos`, from each trunk's grids [B, 7, 7, C_n]."""
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

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        def encode(batch: list[str]) -> Tensor:
            device = device_of(self.model)
            arrays = self.tokenizer.batch(batch)
            ids, mask = (torch.from_numpy(array).to(device) for array in arrays)
            with autocast(self.arithmetic, device):
                return self.model.texts(ids, mask)

        return unit_rows(encode, captions, self.dim, size=512)
