"""The reference classifier: EfficientNet-Lites with the heads that they were published with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.arithmetic import autocast
from mcad_mobile.distill.device import device_of
from mcad_mobile.distill.features import Features
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.pretrained import load_imagenet_head
from mcad_mobile.distill.teachers.class_names import ClassNames, imagenet_names
from mcad_mobile.distill.teachers.identity import identity_of, in_batches


class LiteClassifier:
    """The mean of what several classifiers say, over ImageNet's classes. `trunks`: by size, each
    with its ImageNet weights."""

    name = "ImageNet classifiers (EfficientNet-Lite0 and -Lite2)"

    def __init__(self, trunks: Mapping[int, GridTrunk]) -> None:
        self.trunks = list(trunks.values())
        self.arithmetic = self.trunks[0].arithmetic
        self.names: ClassNames = imagenet_names()
        self.heads = nn.ModuleList(load_imagenet_head(size) for size in trunks)
        self.heads.to(device_of(self.trunks[0].module)).eval()

    @cached_property
    def identity(self) -> str:
        convolutions = nn.ModuleList(trunk.module.head_conv for trunk in self.trunks)
        both = nn.ModuleDict({"convolutions": convolutions, "heads": self.heads})
        return identity_of(both, {"trunks": [trunk.identity for trunk in self.trunks]})

    def classify(self, photos: Sequence[Image.Image]) -> Tensor:
        def probabilities(some: list[Image.Image]) -> Tensor:
            return self.classify_grids([trunk.grids(some) for trunk in self.trunks])

        return in_batches(probabilities, photos, torch.empty(0, len(self.names)))

    @torch.no_grad()
    def classify_grids(self, grids: Sequence[Features]) -> Tensor:
        """What classify gives, from each trunk's grids [B, 7, 7, C_n]."""
        device = device_of(self.heads)
        said = []
        for trunk, head, some in zip(self.trunks, self.heads, grids, strict=True):
            grid = torch.from_numpy(some.astype(np.float32)).to(device).permute(0, 3, 1, 2)
            with autocast(self.arithmetic, device):
                pooled = F.relu6(trunk.module.head_conv(grid)).float().mean((2, 3))
                logits = head(pooled)
            said.append(logits.float().softmax(1))
        return torch.stack(said).mean(0).cpu()
