"""The reference dual-stream teacher: EfficientNet-Lite2 regions and all of MiniLM-L6."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.device import bfloat16, device_of
from mcad_mobile.distill.features import FeatureCache, Features
from mcad_mobile.distill.loop import accelerator
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.packed import by_length
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.distill.teachers.identity import identity_of, unit_rows
from mcad_mobile.students.image_tower import FEATURES, Head, SameConv, Trunk, scaled
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.text_tower import TextConfig, TextTower
from mcad_mobile.tokenize import Tokenizer

DIM = 256
REGIONS = 49  # 7 x 7, of a 224 x 224 photo
_HIDDEN = 1024
_TEXT = TextConfig(layers=6, embedding_rank=384)


class GridTrunk:
    """EfficientNet-Lite2 with its ImageNet weights, up to its last grid of 7 x 7. Frozen: its
    grids are computed once."""

    def __init__(self) -> None:
        self.module = Trunk(scaled(width=1.1, depth=1.2)).eval()
        load_imagenet(self.module, size=2)
        self.module.to(accelerator().device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = default_config().preprocess

    @cached_property
    def identity(self) -> str:
        return identity_of(self.module, {"preprocess": repr(self.preprocess)})

    @torch.no_grad()
    def grids(self, photos: Sequence[Image.Image]) -> NDArray[np.float16]:
        """RGB photos -> [B, 7, 7, 352] float16."""
        pixels = np.stack([self.preprocess.pixels(photo) for photo in photos])
        device = device_of(self.module)
        batch = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        with bfloat16(device):
            grid = self.module.grid(batch)
        return grid.permute(0, 2, 3, 1).half().cpu().numpy()

    def cached(self, cache: FeatureCache, photos: Sequence[Path], view: int) -> Features:
        """Grids of one view of each photo -> [N, 7, 7, 352] float16, memory-mapped."""
        label = f"teachers' grids, {len(photos)} photos"
        return cache.of_photos(photos, view, self.identity, label, self.grids)


class RegionText(nn.Module):
    """Grids and token ids -> unit vectors of one space.

    The last convolution of the trunk is trained, as a linear map of each region: that is what
    takes this teacher beyond frozen features.
    """

    def __init__(self, cin: int, dim: int = DIM) -> None:
        super().__init__()
        self.region = nn.Linear(cin, FEATURES)
        self.head = Head(FEATURES, _HIDDEN, dim)
        self.text = TextTower(_TEXT, dim)
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))

    @staticmethod
    def pretrained(trunk: GridTrunk, token_counts: Tensor) -> RegionText:
        last: SameConv = trunk.module.head_conv
        model = RegionText(last.in_channels)
        with torch.no_grad():
            model.region.weight.copy_(last.weight[:, :, 0, 0])
            assert last.bias is not None
            model.region.bias.copy_(last.bias)
        load_minilm(model.text, token_counts)
        return model

    def regions(self, grids: Tensor) -> Tensor:
        """[B, 7, 7, C] -> [B, 49, 1280]."""
        return F.relu6(self.region(grids)).flatten(1, 2)

    def photos(self, grids: Tensor) -> Tensor:
        """[B, 7, 7, C] -> [B, dim] of unit length."""
        return F.normalize(self.head(self.regions(grids).mean(1)).float(), dim=-1)

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[M, L] -> [M, dim] of unit length."""
        return F.normalize(by_length(self.text, ids, mask).float(), dim=-1)

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Photos, texts, and the inverse temperature to train them with."""
        return self.photos(grids), self.texts(ids, mask), capped(self.log_scale)


class RegionTextTeacher:
    """A trained RegionText behind the DualStreamTeacher protocol."""

    name = "region-text (EfficientNet-Lite2, MiniLM-L6)"
    dim = DIM

    def __init__(self, trunk: GridTrunk, model: RegionText) -> None:
        self.trunk = trunk
        self.model = model.eval()
        self.tokenizer = Tokenizer(default_config().tokenizer, minilm_directory())

    @cached_property
    def identity(self) -> str:
        return identity_of(self.model, {"trunk": self.trunk.identity})

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        return self.embed_grids(self.trunk.grids(photos))

    @torch.no_grad()
    def embed_grids(self, grids: NDArray[np.float16]) -> Tensor:
        """What embed_photos gives, from grids [B, 7, 7, C] that are there already."""
        device = device_of(self.model)
        with bfloat16(device):
            seen = torch.from_numpy(grids.astype(np.float32)).to(device)
            return self.model.photos(seen).cpu()

    def tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[M, L] -> token states [M, L, 384], zeros where a group of like length ended."""
        length = ids.shape[1]

        def encode(ids: Tensor, mask: Tensor) -> Tensor:
            tokens = self.model.text.tokens(ids, mask)
            return F.pad(tokens, (0, 0, 0, length - tokens.shape[1]))

        return by_length(encode, ids, mask)

    def sentences(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Token states [M, L, 384] -> what embed_texts gives, [M, dim] of unit length."""
        mean = mask / mask.sum(1, keepdim=True)
        pooled = (mean[:, None] @ tokens.float()).squeeze(1)
        return F.normalize(self.model.text.head(pooled).float(), dim=-1)

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        def encode(batch: list[str]) -> Tensor:
            device = device_of(self.model)
            arrays = self.tokenizer.batch(batch)
            ids, mask = (torch.from_numpy(array).to(device) for array in arrays)
            with bfloat16(device):
                return self.model.texts(ids, mask)

        return unit_rows(encode, captions, self.dim)
