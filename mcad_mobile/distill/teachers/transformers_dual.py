"""CLIP and SigLIP checkpoints of transformers as dual-stream teachers."""

from __future__ import annotations

from typing import Any

from PIL import Image
from torch import Tensor

from mcad_mobile.distill.teachers.identity import Checkpoint, FeatureTeacher, load_checkpoint

_CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}


class TransformersDualTeacher(FeatureTeacher):
    """One vector per photo, one per caption, from a CLIP or SigLIP checkpoint.

    SigLIP 2 of a fixed resolution counts as SigLIP: transformers gives it the same model type.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.name = checkpoint.name
        self.identity = checkpoint.identity
        self._checkpoint = checkpoint
        config = checkpoint.model.config
        self._is_siglip = config.model_type == "siglip"
        self._text_length: int = config.text_config.max_position_embeddings
        self.dim = config.text_config.projection_size if self._is_siglip else config.projection_dim

    @staticmethod
    def load(path: str, device: str = "cpu") -> TransformersDualTeacher:
        """From a directory that save_pretrained() wrote, or a hub id. TeacherError if that is
        missing, damaged, or neither CLIP nor SigLIP; MissingExtra without transformers."""
        return TransformersDualTeacher(load_checkpoint(path, _CLASSES, device))

    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        inputs = self._checkpoint.image_processor(images=photos, return_tensors="pt")
        pixels = inputs["pixel_values"].to(self._checkpoint.device)
        return _features(self._checkpoint.model.get_image_features(pixel_values=pixels))

    def _text_features(self, captions: list[str]) -> Tensor:
        inputs = self._checkpoint.tokenizer(
            captions,
            padding="max_length" if self._is_siglip else True,
            truncation=True,
            max_length=self._text_length,
            return_tensors="pt",
        ).to(self._checkpoint.device)
        # SigLIP was trained to see its padding, and pools at the last place: no mask for it.
        mask = None if self._is_siglip else inputs["attention_mask"]
        model = self._checkpoint.model
        return _features(
            model.get_text_features(input_ids=inputs["input_ids"], attention_mask=mask)
        )


def _features(output: Any) -> Tensor:
    """transformers 4 returns the projected vectors, transformers 5 an output that holds them."""
    features: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return features
