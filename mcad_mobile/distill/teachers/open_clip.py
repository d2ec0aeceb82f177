"""open_clip checkpoints as dual-stream teachers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mcad_mobile.distill.teachers.teacher import FeatureTeacher, teacher_errors
from mcad_mobile.students.open_clip import read_model
from mcad_mobile.students.student import model_sha256


class OpenClipTeacher(FeatureTeacher):
    """One vector per photo and one per caption, from any model that open_clip can build. `spec`:
    as of a student, NAME:CHECKPOINT, local-dir:DIR or hf-hub:ORG/REPO. Raises TeacherError."""

    def __init__(self, spec: str, device: str = "cpu") -> None:
        with teacher_errors():
            loaded = read_model(spec, for_export=False)
        facts = {
            "config": loaded.checkpoint.config,
            "image": loaded.preprocess.to_json(),
            "tokenizer": type(loaded.tokenizer).__name__,
            "text_length": loaded.tokenizer.context_length,
        }
        parts = spec.removeprefix("local-dir:").removeprefix("hf-hub:").split(":")
        self.name = "-".join(Path(part).name for part in parts)
        self.identity = model_sha256(loaded.model, facts)[:16]
        self._model = loaded.model.to(device)
        self._preprocess = loaded.preprocess
        self._tokenizer = loaded.tokenizer
        self._device = torch.device(device)
        # open_clip has no single place where every architecture states its width.
        with torch.no_grad():
            self.dim = self._text_features([""]).shape[1]

    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        pixels = np.stack([self._preprocess.pixels(photo) for photo in photos])
        features: Tensor = self._model.encode_image(torch.from_numpy(pixels).to(self._device))
        return features

    def _text_features(self, captions: list[str]) -> Tensor:
        features: Tensor = self._model.encode_text(self._tokenizer(captions).to(self._device))
        return features
