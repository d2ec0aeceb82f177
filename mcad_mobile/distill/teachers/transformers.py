"""transformers checkpoints as teachers: dual-stream CLIP and SigLIP, single-stream BLIP, ViLT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mcad_mobile.distill.teachers.teacher import (
    FeatureTeacher,
    Fused,
    TextStates,
    in_batches,
    teacher_errors,
)
from mcad_mobile.errors import TeacherError, require
from mcad_mobile.students.hub import find_folder, loading
from mcad_mobile.students.student import model_sha256
from mcad_mobile.students.transformers import WEIGHTS, load_parts, plain_config

_TEXT_LENGTH = 32  # tokens, if the model allows as many
_PAIRS = 64  # scored together, so that memory does not grow with the number of pairs
_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}


class _Checkpoint:
    """What save_pretrained() wrote, in a directory or published under a hub's name: a model in eval
    mode, float32, on `device`, of the class in `classes` for its `model_type`. TeacherError."""

    def __init__(self, path: str, classes: Mapping[str, str], device: str) -> None:
        transformers = require("transformers", "students")
        with teacher_errors():
            folder, config = _read_config(transformers, path)
            if config.model_type not in classes:
                raise TeacherError(
                    f"{path} holds a {config.model_type} model, not one of: {', '.join(classes)}.",
                    "--dual-teacher takes CLIP and SigLIP, --single-teacher takes BLIP and ViLT.",
                )
            kind = classes[config.model_type]
            loaded = load_parts(transformers, kind, folder, config, path, attention=None)
        self._processor, self._tokenizer = loaded.processor, loaded.tokenizer
        facts = {
            "config": plain_config(config),
            "image": loaded.processor.to_dict(),
            "vocabulary": loaded.tokenizer.get_vocab(),
        }
        self.name = Path(path).resolve().name
        self.identity = model_sha256(loaded.model, facts)[:16]
        self._device = torch.device(device)
        self._model = loaded.model.to(device)


def model_type(path: str) -> str:
    """The `model_type` of the checkpoint at `path`. TeacherError if there is none."""
    with teacher_errors():
        return str(_read_config(require("transformers", "students"), path)[1].model_type)


def _read_config(transformers: Any, path: str) -> tuple[Path, Any]:
    folder = find_folder(path, ["config.json"], WEIGHTS)
    with loading(path, "a teacher"):
        return folder, transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)


class TransformersDualTeacher(_Checkpoint, FeatureTeacher):
    """CLIP or SigLIP; SigLIP 2 of a fixed resolution has the model type of SigLIP."""

    def __init__(self, path: str, device: str = "cpu") -> None:
        super().__init__(path, _CLASSES, device)
        config = self._model.config
        self._is_siglip = config.model_type == "siglip"
        self._text_length: int = config.text_config.max_position_embeddings
        self.dim = config.text_config.projection_size if self._is_siglip else config.projection_dim

    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        inputs = self._processor(images=photos, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._device)
        features: Tensor = self._model.get_image_features(pixel_values=pixels).pooler_output
        return features

    def _text_features(self, captions: list[str]) -> Tensor:
        inputs = self._tokenizer(
            captions,
            padding="max_length" if self._is_siglip else True,
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        ).to(self._device)
        # SigLIP gets no mask: it was trained to attend to padding and pools at the last position.
        mask = None if self._is_siglip else inputs["attention_mask"]
        features: Tensor = self._model.get_text_features(
            input_ids=inputs["input_ids"], attention_mask=mask
        ).pooler_output
        return features


class _PairTeacher(_Checkpoint, ABC):
    """Base of BLIP and ViLT: token ids as text states, and pairs scored in chunks."""

    cosines = False  # logits

    def __init__(self, path: str, classes: Mapping[str, str], device: str) -> None:
        super().__init__(path, classes, device)
        text = getattr(self._model.config, "text_config", self._model.config)
        self.fused_dim: int = text.hidden_size
        self._text_length = min(_TEXT_LENGTH, text.max_position_embeddings)

    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Captions -> token ids [M, L] int64 and their mask on the CPU, cut to L."""
        if not captions:
            empty = torch.empty(0, self._text_length)
            return TextStates(empty.long(), empty)
        inputs = self._tokenizer(
            list(captions),
            padding="max_length",
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        )
        return TextStates(inputs["input_ids"], inputs["attention_mask"].float())

    # Not inference mode, whose tensors may not enter a student's loss.
    @torch.no_grad()
    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        features, scores = torch.empty(len(pairs), self.fused_dim), torch.empty(len(pairs))
        for start in range(0, len(pairs), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            photo_rows, text_rows = pairs[chunk].unbind(1)
            features[chunk], scores[chunk] = self._look(
                photos[photo_rows].to(self._device, torch.float32),
                texts.states[text_rows].to(self._device),
                texts.mask[text_rows].to(self._device).long(),
            )
        return Fused(features, scores)

    @abstractmethod
    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, R, C] float16 on the CPU."""

    @abstractmethod
    def _look(self, photos: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """photos [P, R, C] float32, ids and mask [P, L] int64 -> [P, fused_dim] and [P]."""


class BlipTeacher(_PairTeacher):
    """BLIP's image-text matching. The fused feature is the last state of the first token, which the
    matching head reads; the score is the head's logit for "match" minus that for "no match"."""

    def __init__(self, path: str, device: str = "cpu") -> None:
        super().__init__(path, {"blip": "BlipForImageTextRetrieval"}, device)
        vision = self._model.config.vision_config
        self._photo_shape = ((vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)

    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> the vision encoder's last states, [B, patches + 1, C] float16."""
        empty = torch.empty(0, *self._photo_shape, dtype=torch.float16)
        return in_batches(self._vision_states, photos, empty)

    def _vision_states(self, photos: list[Image.Image]) -> Tensor:
        inputs = self._processor(images=photos, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._device)
        states: Tensor = self._model.vision_model(pixel_values=pixels).last_hidden_state
        return states

    def _look(self, photos: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # Runs parts of the model: the whole would encode each photo again for every pair.
        states = self._model.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=photos
        ).last_hidden_state
        first: Tensor = states[:, 0]
        no_match, match = self._model.itm_head(first).unbind(1)
        return first, match - no_match


class ViltTeacher(_PairTeacher):
    """ViLT's retrieval model: the pooler's output is the fused feature, the ranking head's logit
    the score. Photos are squashed to the square that its positions were learned for."""

    def __init__(self, path: str, device: str = "cpu") -> None:
        super().__init__(path, {"vilt": "ViltForImageAndTextRetrieval"}, device)
        self._side: int = self._model.config.image_size
        # A positive limit makes the model look at a random choice of patches.
        self._model.config.max_image_length = -1

    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> normalized pixels, [B, side * side, 3] float16."""
        empty = torch.empty(0, self._side**2, 3, dtype=torch.float16)
        return in_batches(self._pixels, photos, empty)

    def _pixels(self, photos: list[Image.Image]) -> Tensor:
        processor = self._processor
        squares = [photo.resize((self._side, self._side), processor.resample) for photo in photos]
        inputs = processor(images=squares, do_resize=False, return_tensors="pt")
        pixels: Tensor = inputs["pixel_values"]
        return pixels.flatten(2).transpose(1, 2)

    def _look(self, photos: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        side = self._side
        pixels = photos.transpose(1, 2).reshape(-1, 3, side, side)
        # The model shuffles patches even in eval mode, by the CPU's generator. A seeded fork makes
        # every call equal bit for bit and leaves the caller's generator alone.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            pooled: Tensor = self._model.vilt(
                input_ids=ids,
                attention_mask=mask,
                pixel_values=pixels,
                pixel_mask=torch.ones_like(pixels[:, 0], dtype=torch.long),
            ).pooler_output
        return pooled, self._model.rank_output(pooled)[:, 0]
