"""A student as it is trained: its trunk frozen and cached, with what training needs beside it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.packed import by_length
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.distill.qat import FakeQuantization
from mcad_mobile.distill.recipe import Arithmetic, Recipe
from mcad_mobile.students.image_tower import ImageTower
from mcad_mobile.students.mcad import McadStudent, StudentConfig

TRAINED_BLOCKS = 1  # of the image tower, the last ones; two would cost thrice as much as one


def fresh_student(config: StudentConfig, token_counts: Tensor) -> McadStudent:
    """ImageNet's trunk and MiniLM's first layers; the heads are random."""
    student = McadStudent(config, minilm_directory())
    load_imagenet(student.image)
    load_minilm(student.text, token_counts)
    return student


def trunk(student: McadStudent, arithmetic: Arithmetic) -> GridTrunk:
    """What of the image tower stays as ImageNet made it."""
    name, preprocess = "EfficientNet-Lite0", student.config.preprocess
    return GridTrunk(name, student.image, preprocess, arithmetic, TRAINED_BLOCKS)


def embed_grids(image: ImageTower, grids: Tensor) -> Tensor:
    """Grids [B, 7, 7, 192] -> what the tower makes of their photos, [B, dim] of unit length."""
    seen = image.head_conv(image.blocks[-TRAINED_BLOCKS:](grids.permute(0, 3, 1, 2)))
    return F.normalize(image.head(F.relu6(seen).mean((2, 3))).float(), dim=-1)


class Learner(nn.Module):
    """What is trained: the image tower's last block, last convolution and head, the text tower,
    and the temperatures, which are thrown away afterwards. Nothing that no loss reads: several
    processes would wait for its gradient."""

    def __init__(self, student: McadStudent, recipe: Recipe, *, taught: bool) -> None:
        super().__init__()
        self.image = student.image
        self.image.stem.requires_grad_(False)
        self.image.blocks[:-TRAINED_BLOCKS].requires_grad_(False)
        self.image.head.dropout.p = recipe.head_dropout
        self.text = student.text
        for module in self.text.modules():
            if isinstance(module, nn.Dropout):
                module.p = recipe.text_dropout

        start = math.log(recipe.initial_scale)
        self.log_scale = nn.Parameter(torch.tensor(start)) if recipe.contrastive else None
        compared = taught and (recipe.distribution or recipe.order)
        self.log_soft_scale = nn.Parameter(torch.tensor(start)) if compared else None
        self.quantization = FakeQuantization(self) if recipe.qat_epochs else None

    def forward(self, grids: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """grids [I, 7, 7, 192], ids and mask [T, L] -> image [I, D] and text [T, D] of unit
        length; scale and soft_scale [], where a loss needs them."""
        text = F.normalize(by_length(self.text, ids, mask).float(), dim=-1)
        out = {"image": embed_grids(self.image, grids), "text": text}
        if self.log_scale is not None:
            out["scale"] = capped(self.log_scale)
        if self.log_soft_scale is not None:
            out["soft_scale"] = capped(self.log_soft_scale)
        return out

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """AdamW's parameter groups: what starts from pretrained weights moves slower."""
        tuned = [
            *self.image.blocks[-TRAINED_BLOCKS:].parameters(),
            *self.image.head_conv.parameters(),
            *(value for name, value in self.text.named_parameters() if name[:5] != "head."),
        ]
        scales = [value for value in (self.log_scale, self.log_soft_scale) if value is not None]
        known = {id(parameter) for parameter in (*tuned, *scales)}
        new = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [
            {"params": new, "lr": recipe.head_lr},
            {"params": tuned, "lr": recipe.tuned_lr},
            {"params": scales, "lr": recipe.head_lr, "weight_decay": 0.0},
        ]
