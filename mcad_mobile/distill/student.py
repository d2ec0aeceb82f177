"""A student as it is trained: its trunk frozen and cached, with what training needs beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.device import bfloat16, device_of
from mcad_mobile.distill.features import Features
from mcad_mobile.distill.losses import capped
from mcad_mobile.distill.packed import by_length
from mcad_mobile.distill.pretrained import load_imagenet, load_minilm, minilm_directory
from mcad_mobile.distill.qat import FakeQuantization
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.teachers.identity import identity_of
from mcad_mobile.students.mcad import Student, StudentConfig


def fresh_student(config: StudentConfig, token_counts: Tensor) -> Student:
    """ImageNet's trunk and MiniLM's first layers; the heads are random."""
    student = Student(config, minilm_directory())
    load_imagenet(student.image)
    load_minilm(student.text, token_counts)
    return student


def trunk_identity(student: Student) -> str:
    """A hash of what the features of the frozen trunk depend on."""
    trunk = nn.ModuleDict(
        {name: module for name, module in student.image.named_children() if name != "head"}
    )
    return identity_of(trunk, {"preprocess": repr(student.config.preprocess)})


@torch.no_grad()
def trunk_features(student: Student, photos: list[Image.Image]) -> Features:
    """RGB photos -> the frozen trunk's features [B, 1280] float16, computed in bfloat16."""
    trunk = student.image.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pixels = np.stack([student.config.preprocess.pixels(photo) for photo in photos])
    device = device_of(trunk)
    batch = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
    with bfloat16(device):
        features: Features = trunk.features(batch).half().cpu().numpy()
    return features


class Learner(nn.Module):
    """What is trained: the image head, the text tower, and what is thrown away afterwards: the
    temperatures, and linear maps from the student's space into the teacher's."""

    def __init__(self, student: Student, teacher_dim: int | None, recipe: Recipe) -> None:
        super().__init__()
        self.head = student.image.head
        self.head.dropout.p = recipe.head_dropout
        self.text = student.text
        start = math.log(recipe.initial_scale)
        self.log_scale = nn.Parameter(torch.tensor(start)) if recipe.contrastive else None
        distils = teacher_dim is not None
        self.log_soft_scale = nn.Parameter(torch.tensor(start)) if distils else None
        projects = teacher_dim is not None and recipe.feature > 0
        dim = student.config.dim
        self.to_image = nn.Linear(dim, teacher_dim) if projects and teacher_dim else None
        self.to_text = nn.Linear(dim, teacher_dim) if projects and teacher_dim else None

        self.quantization = FakeQuantization(self) if recipe.qat_epochs else None

    def forward(self, features: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """features [I, 1280], ids and mask [T, L] -> image [I, D] and text [T, D] of unit length,
        teacher_image and teacher_text in the teacher's space, scale and soft_scale []."""
        image = F.normalize(self.head(features).float(), dim=-1)
        text = F.normalize(by_length(self.text, ids, mask).float(), dim=-1)
        out = {"image": image, "text": text}
        if self.to_image is not None and self.to_text is not None:
            out["teacher_image"] = F.normalize(self.to_image(image).float(), dim=-1)
            out["teacher_text"] = F.normalize(self.to_text(text).float(), dim=-1)
        if self.log_scale is not None:
            out["scale"] = capped(self.log_scale)
        if self.log_soft_scale is not None:
            out["soft_scale"] = capped(self.log_soft_scale)
        return out

    def groups(self, recipe: Recipe) -> list[dict[str, Any]]:
        """AdamW's parameter groups: what starts from pretrained weights moves slower."""
        tuned = [value for name, value in self.text.named_parameters() if name[:5] != "head."]
        known = {id(parameter) for parameter in tuned}
        scales = [value for value in (self.log_scale, self.log_soft_scale) if value is not None]
        known |= {id(scale) for scale in scales}
        new = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [
            {"params": new, "lr": recipe.head_lr},
            {"params": tuned, "lr": recipe.text_lr},
            {"params": scales, "lr": recipe.head_lr, "weight_decay": 0.0},
        ]
