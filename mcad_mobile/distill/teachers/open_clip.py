"""open_clip checkpoints as dual-stream teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mcad_mobile.distill.teachers.protocol import FeatureTeacher, cannot_load
from mcad_mobile.errors import require
from mcad_mobile.students.protocol import model_sha256


class OpenClipTeacher(FeatureTeacher):
    """One vector per photo and one per caption, from any model that open_clip can build."""

    def __init__(
        self, name: str, model: Any, transform: Any, tokenizer: Any, device: torch.device
    ) -> None:
        preprocessing = {
            "image": model.visual.preprocess_cfg,
            "tokenizer": type(tokenizer).__name__,
            "text_length": tokenizer.context_length,
        }
        self.name = name
        self.identity = model_sha256(model, preprocessing)[:16]
        self._model = model
        self._transform = transform
        self._tokenizer = tokenizer
        self._device = device
        # open_clip has no single place where every architecture states its width.
        with torch.no_grad():
            self.dim = self._text_features([""]).shape[1]

    @staticmethod
    def load(name: str, pretrained: str | None = None, device: str = "cpu") -> OpenClipTeacher:
        """Load an architecture with `pretrained`, a file or a published tag, or a name with its own
        weights. For a file, photos are preprocessed as for OpenAI's CLIP. Raises TeacherError."""
        open_clip = require("open_clip", "students")
        try:
            model, transform = open_clip.create_model_from_pretrained(
                name, pretrained, precision="fp32", device=device
            )
            tokenizer = open_clip.get_tokenizer(name)
            parts = [name.split(":", 1)[-1], *([pretrained] if pretrained else [])]
            short_name = "-".join(Path(part).name for part in parts)
            return OpenClipTeacher(
                short_name, model.eval(), transform, tokenizer, torch.device(device)
            )
        # Broad on purpose: json, safetensors, pickle, torch and the hub raise their own errors.
        except Exception as error:
            raise cannot_load(name, error, pretrained) from error

    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        pixels = torch.stack([self._transform(photo) for photo in photos])
        features: Tensor = self._model.encode_image(pixels.to(self._device))
        return features

    def _text_features(self, captions: list[str]) -> Tensor:
        features: Tensor = self._model.encode_text(self._tokenizer(captions).to(self._device))
        return features
