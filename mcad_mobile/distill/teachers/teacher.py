"""Protocols of dual-stream, single-stream and classifier teachers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor

from mcad_mobile.distill.features import GridTrunk

# RGB photos or, for a teacher with `trunks`, each trunk's grids of the photos: [B, 7, 7, C_n]
# float16.
Photos = Sequence[Any]


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
    """One vector per image and one per text (CLIP, SigLIP): can be searched, never sees a pair."""

    name: str
    dim: int
    trunks: Sequence[GridTrunk]

    @property
    def identity(self) -> str: ...  # a hash of architecture, weights and preprocessing

    def embed_photos(self, photos: Photos, /) -> Tensor:
        """Photos -> [B, dim] float32 of unit length, on the CPU."""
        ...

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions -> [B, dim] float32 of unit length, on the CPU."""
        ...


class SingleStreamTeacher(Protocol):
    """Image and text fused by attention (BLIP): sees pairs, cannot be searched. Each side is
    prepared once and kept; only `fuse` runs per pair."""

    name: str
    fused_dim: int
    trunks: Sequence[GridTrunk]
    # Whether scores are cosines, like dual-stream similarities. Other scores are first scaled to
    # the mean and spread of those similarities.
    cosines: bool

    @property
    def identity(self) -> str: ...

    def photo_states(self, photos: Photos, /) -> Tensor:
        """Photos -> [B, R, C] float16 on the CPU: regions or patches."""
        ...

    def text_states(self, captions: Sequence[str]) -> TextStates:
        """Captions -> states on the CPU, padded to a fixed length."""
        ...

    def fuse(self, photos: Tensor, texts: TextStates, pairs: Tensor) -> Fused:
        """Fuse `pairs` [P, 2] int64, rows of the prepared photos and texts, without gradients."""
        ...


class ClassifierTeacher(Protocol):
    """A photo's probabilities over named classes."""

    name: str
    trunks: Sequence[GridTrunk]

    @property
    def identity(self) -> str: ...  # without names: they change no probability
    @property
    def names(self) -> Sequence[Sequence[str]]: ...  # of each class, the best first
    @property
    def kinds(self) -> Sequence[Kind]: ...  # words that hold for several classes
    @property
    def weights(self) -> Tensor: ...  # [C, F] float32: of its last layer

    def classify(self, photos: Photos, /) -> Tensor:
        """Photos -> [B, C] float32 on the CPU: probabilities, rows that sum to one."""
        ...


@dataclass(frozen=True)
class Kind:
    """A word that holds for several classes of a classifier: "dog"."""

    names: tuple[str, ...]
    classes: tuple[int, ...]


def names_within(kind: Kind, kinds: Sequence[Kind], classes: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of a kind, of the kinds within it, and of its classes."""
    of_kind = {*kind.classes}
    within = [other.names for other in kinds if of_kind.issuperset(other.classes)]
    return [*chain(*within, *(classes[number] for number in kind.classes))]


@dataclass(frozen=True)
class Teachers:
    """The teachers of a run; None stands for the reference teachers."""

    dual: Sequence[DualStreamTeacher] | None = None
    single: SingleStreamTeacher | None = None
    classifier: ClassifierTeacher | None = None


def concatenate_teachers(embeddings: Sequence[Tensor]) -> Tensor:
    """Combine dual-stream teachers: unit vectors [..., D_n] of each -> unit vectors [..., sum D_n],
    whose cosines are the means of theirs."""
    return torch.cat(list(embeddings), -1) / math.sqrt(len(embeddings))
