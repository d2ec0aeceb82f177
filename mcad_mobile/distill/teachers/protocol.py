"""The protocols of teachers: dual-stream, single-stream and classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Fused:
    """A single-stream teacher's output for P image-text pairs."""

    features: Tensor  # [P, fused_dim] float32: one vector per pair, image and text together
    scores: Tensor  # [P] float32: how well the pair matches; higher is better, any range


@dataclass(frozen=True)
class TextStates:
    """A single-stream teacher's view of M captions before they meet a photo."""

    states: Tensor  # [M, L, C]: token states (float) or token ids ([M, L] int64)
    mask: Tensor  # [M, L] float32: 1 token, 0 padding


class DualStreamTeacher(Protocol):
    """One vector per image, one per text (CLIP, SigLIP): can be searched, sees no pair."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str:
        """A hash of weights and preprocessing: cached features carry it in their name."""
        ...

    @property
    def dim(self) -> int: ...

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, dim] float32 of unit length, on the CPU."""
        ...

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions -> [B, dim] float32 of unit length, on the CPU."""
        ...


def concatenate_teachers(embeddings: Sequence[Tensor]) -> Tensor:
    """Several dual-stream teachers as one: unit vectors [..., D_n] of each -> unit vectors
    [..., sum D_n], whose products are the means of theirs."""
    return torch.cat(list(embeddings), -1) / math.sqrt(len(embeddings))


class SingleStreamTeacher(Protocol):
    """Image and text fused by attention (BLIP, ViLT): sees pairs, cannot be searched.

    Each side is prepared once and kept; only `fuse` runs per pair.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def fused_dim(self) -> int: ...

    @property
    def cosines(self) -> bool:
        """Whether scores are cosines, as dual-stream similarities are. Other scores are brought
        to the mean and spread of those before anything is learned from them."""
        ...

    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, R, C] float16 on the CPU: regions, patches or pixels, as the model
        needs them for `fuse`."""
        ...

    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Captions -> states on the CPU, padded to a fixed length."""
        ...

    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        """Look at P pairs. photos [B, R, C] and texts [M, ...] as prepared above; pairs [P, 2]
        int64: rows of photos and of texts. Gradients do not flow."""
        ...


class ClassifierTeacher(Protocol):
    """A photo's probabilities over classes that have names: no texts are needed, and every
    photo has them, captioned or not."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str:
        """A hash of weights and preprocessing. Names are no part of it: they change no
        probability."""
        ...

    @property
    def names(self) -> Sequence[Sequence[str]]:
        """One name or more of each class, the best first."""
        ...

    def classify(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, C] float32 on the CPU: probabilities, rows that sum to one."""
        ...
