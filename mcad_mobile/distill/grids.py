"""Frozen trunks, EfficientNet-Lite up to its last 7 x 7 grid, and encoders on top of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mcad_mobile.distill.accelerator import accelerator, autocast, device_of
from mcad_mobile.distill.dataset import Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features, PhotoRows, half, photo_rows
from mcad_mobile.distill.pretrained import load_imagenet
from mcad_mobile.distill.recipe import Arithmetic
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.students.efficientnet_lite import LITE0, Trunk, scaled
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.student import model_sha256

_STAGES = {0: LITE0, 2: scaled(width=1.1, depth=1.2)}


class GridTrunk:
    """`module`, with its current weights, minus its last `dropped_blocks`. The last
    `resumed_blocks` of the rest run on the cached grids of a shallower trunk with the same
    weights."""

    def __init__(
        self,
        name: str,
        module: Trunk,
        preprocess: Preprocess,
        arithmetic: Arithmetic,
        dropped_blocks: int = 0,
        resumed_blocks: int = 0,
    ) -> None:
        self.name = name
        self.module = module.eval()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = preprocess
        self.arithmetic = arithmetic
        self.dropped_blocks = dropped_blocks
        self.resumed_blocks = resumed_blocks

    @staticmethod
    def pretrained(size: int, arithmetic: Arithmetic, resumed_blocks: int = 0) -> GridTrunk:
        """EfficientNet-Lite0 or -Lite2 with its ImageNet weights, on the training device."""
        module = Trunk(_STAGES[size])
        load_imagenet(module, size)
        module.to(accelerator().device)
        preprocess, name = default_config().preprocess, f"EfficientNet-Lite{size}"
        return GridTrunk(name, module, preprocess, arithmetic, resumed_blocks=resumed_blocks)

    @property
    def channels(self) -> int:
        """Channels of the whole trunk's grid, the input of its last convolution."""
        return self.module.head_conv.in_channels

    @cached_property
    def identity(self) -> str:
        blocks = self.module.blocks[: len(self.module.blocks) - self.dropped_blocks]
        frozen = nn.ModuleDict({"stem": self.module.stem, "blocks": blocks})
        return model_sha256(frozen, {"preprocess": repr(self.preprocess)})[:16]

    @property
    def shallower(self) -> GridTrunk:
        """The trunk whose grids this one resumes from."""
        dropped = self.dropped_blocks + self.resumed_blocks
        return GridTrunk(self.name, self.module, self.preprocess, self.arithmetic, dropped)

    @torch.no_grad()
    def grids(self, photos: Sequence[Image.Image]) -> Features:
        """RGB photos -> [B, 7, 7, C] float16."""
        pixels = np.stack([self.preprocess.pixels(photo) for photo in photos])
        device = device_of(self.module)
        batch = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        with autocast(self.arithmetic, device):
            return _half(self.module.grid(batch, self.dropped_blocks))

    @torch.no_grad()
    def resume(self, grids: Features) -> Features:
        """The shallower trunk's grids, [B, 7, 7, C'] float16 -> [B, 7, 7, C] float16."""
        device = device_of(self.module)
        batch = torch.from_numpy(grids.astype(np.float32)).to(device).permute(0, 3, 1, 2)
        end = len(self.module.blocks) - self.dropped_blocks
        with autocast(self.arithmetic, device):
            return _half(self.module.blocks[end - self.resumed_blocks : end](batch))

    def cached(self, cache: FeatureCache, photos: Sequence[Path], view: int) -> Features:
        """Grids of one view of each photo -> [N, 7, 7, C] float16, memory-mapped."""
        if not self.resumed_blocks:
            return cache.of_photos(photos, view, self.identity, f"grids of {self.name}", self.grids)
        sources = [self.shallower.cached(cache, photos, view)]
        part = f"last block of {self.name}"
        return cache.of_features(sources, self.identity, part, lambda rows: self.resume(rows[0]))

    def rows(self, data: Dataset, views: Views, cache: FeatureCache) -> PhotoRows:
        return photo_rows(data, views, lambda photos, view: self.cached(cache, photos, view))


def encode_photos(
    encode: Callable[[list[Any]], Tensor],
    trunks: Sequence[GridTrunk],
    identity: str,
    part: str,
    data: Dataset,
    views: Views,
    cache: FeatureCache,
) -> PhotoRows:
    """Encode each photo of `data` by a frozen model to float16 rows: from the photos or, if there
    are `trunks`, from each trunk's cached grids [B, 7, 7, C_n]. `part`: of the run."""

    def of_view(photos: Sequence[Path], view: int) -> Features:
        if not trunks:
            return cache.of_photos(photos, view, identity, part, half(encode))
        grids = [trunk.cached(cache, photos, view) for trunk in trunks]
        return cache.of_features(grids, identity, part, half(encode))

    return photo_rows(data, views, of_view)


def _half(grid: Tensor) -> Features:
    rows: Features = grid.permute(0, 2, 3, 1).half().cpu().numpy()
    return rows
