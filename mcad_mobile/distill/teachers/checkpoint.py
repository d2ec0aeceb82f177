"""Shared by adapters of checkpoints: loading through transformers, encoding in batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from mcad_mobile.errors import TeacherError, require
from mcad_mobile.students.protocol import model_sha256

Item = TypeVar("Item")

_BATCH = 64


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of transformers, ready to run: the model in eval mode, float32, on `device`."""

    name: str
    identity: str
    model: Any
    image_processor: Any
    tokenizer: Any
    device: torch.device


def load_checkpoint(path: str, classes: Mapping[str, str], device: str) -> Checkpoint:
    """Load what transformers' save_pretrained() wrote: weights, image processor and tokenizer.

    path: a directory, or a hub id that transformers resolves. classes: the model class for each
    `model_type` that the caller can drive. TeacherError if the checkpoint is missing, damaged, of
    another type, or lacks weights that the class needs; MissingExtra without transformers.
    """
    transformers = require("transformers", "students")
    try:
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
        if config.model_type not in classes:
            raise TeacherError(
                f"{path} holds a {config.model_type} model, not one of: {', '.join(classes)}.",
                "Load it with the teacher class of its type.",
            )
        kind = classes[config.model_type]
        # transformers 5 would keep a half-precision checkpoint in half precision.
        model, report = getattr(transformers, kind).from_pretrained(
            path, config=config, dtype=torch.float32, output_loading_info=True
        )
        # transformers only logs these, and fills them with random numbers.
        if missing := sorted(report["missing_keys"]):
            raise TeacherError(
                f"{path} lacks {len(missing)} weights of {kind}, {missing[0]} among them.",
                f"Give a checkpoint that was trained as {kind}.",
            )
        # Without torchvision transformers takes this backend by itself; with it, it would resize
        # otherwise, and one checkpoint would have two sets of features under one identity.
        image_processor = transformers.AutoImageProcessor.from_pretrained(
            path, backend="pil", trust_remote_code=False
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        preprocessing = {"image": image_processor.to_dict(), "vocabulary": tokenizer.get_vocab()}
        identity = model_sha256(model, preprocessing)[:16]
        model = model.eval().to(device)
    except TeacherError:
        raise
    # No narrower: the errors of json, safetensors, pickle, torch and the hub all come through.
    except Exception as error:
        raise cannot_load(path, error) from error
    name = Path(path).resolve().name
    return Checkpoint(name, identity, model, image_processor, tokenizer, torch.device(device))


def model_type(path: str) -> str:
    """The `model_type` of the checkpoint at `path`. TeacherError if there is none."""
    try:
        transformers = require("transformers", "students")
        config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
        return str(config.model_type)
    except (OSError, ValueError) as error:
        raise cannot_load(path, error) from error


def cannot_load(source: str, error: Exception) -> TeacherError:
    """The error to raise when a library fails to load `source`, in whatever way."""
    return TeacherError(
        f"{source} cannot be loaded as a teacher: {type(error).__name__}: {error}",
        "Give a complete local checkpoint, or a published name that can be reached from here.",
    )


def in_batches(
    encode: Callable[[list[Item]], Tensor], items: Sequence[Item], empty: Tensor, size: int = _BATCH
) -> Tensor:
    """Rows of `encode` for all items, computed a batch at a time without gradients, and gathered
    on the CPU in the dtype of `empty`, [0, ...], the result for no items."""
    rows = [empty]
    with torch.no_grad():
        for start in range(0, len(items), size):
            batch = encode(list(items[start : start + size]))
            rows.append(batch.to("cpu", empty.dtype))
    return torch.cat(rows)


def unit_rows(
    encode: Callable[[list[Item]], Tensor], items: Sequence[Item], dim: int, size: int = _BATCH
) -> Tensor:
    """`in_batches` for embeddings: [N, dim] float32 of unit length, on the CPU."""
    rows = in_batches(encode, items, torch.empty(0, dim), size)
    return nn.functional.normalize(rows, dim=1)


class FeatureTeacher(ABC):
    """Base of adapters of dual-stream checkpoints: features of a batch become unit rows."""

    dim: int

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, dim] float32 of unit length, on the CPU."""
        return unit_rows(self._photo_features, photos, self.dim)

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions -> [B, dim] float32 of unit length, on the CPU. Captions are cut to the
        model's text length."""
        return unit_rows(self._text_features, captions, self.dim)

    @abstractmethod
    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        """[B, dim] on any device, of any length."""

    @abstractmethod
    def _text_features(self, captions: list[str]) -> Tensor:
        """[B, dim] on any device, of any length."""
