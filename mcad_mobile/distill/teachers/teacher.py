"""Protocols of dual-stream, single-stream and classifier teachers; helpers for adapters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from mcad_mobile.errors import StudentError, TeacherError

Item = TypeVar("Item")

_BATCH = 64


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

    @property
    def identity(self) -> str: ...  # a hash of architecture, weights and preprocessing

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, dim] float32 of unit length, on the CPU."""
        ...

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """Captions -> [B, dim] float32 of unit length, on the CPU."""
        ...


class SingleStreamTeacher(Protocol):
    """Image and text fused by attention (BLIP, ViLT): sees pairs, cannot be searched. Each side is
    prepared once and kept; only `fuse` runs per pair."""

    name: str
    fused_dim: int
    # Whether scores are cosines, like dual-stream similarities. Other scores are first scaled to
    # the mean and spread of those similarities.
    cosines: bool

    @property
    def identity(self) -> str: ...

    def photo_states(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, R, C] float16 on the CPU: regions, patches or pixels."""
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

    @property
    def identity(self) -> str: ...  # without names: they change no probability
    @property
    def names(self) -> Sequence[Sequence[str]]: ...  # of each class, the best first
    @property
    def kinds(self) -> Sequence[Kind]: ...  # words that hold for several classes
    @property
    def weights(self) -> Tensor: ...  # [C, F] float32: of its last layer

    def classify(self, photos: Sequence[Image.Image]) -> Tensor:
        """RGB photos -> [B, C] float32 on the CPU: probabilities, rows that sum to one."""
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


def in_batches(
    encode: Callable[[list[Item]], Tensor], items: Sequence[Item], empty: Tensor, size: int = _BATCH
) -> Tensor:
    """Rows of `encode`, by batches, without gradients, on the CPU, typed as `empty` [0, ...]."""
    rows = [empty]
    with torch.no_grad():
        for start in range(0, len(items), size):
            batch = encode(list(items[start : start + size]))
            rows.append(batch.to("cpu", empty.dtype))
    return torch.cat(rows)


def unit_rows(
    encode: Callable[[list[Item]], Tensor], items: Sequence[Item], dim: int, size: int = _BATCH
) -> Tensor:
    """Like `in_batches`, for embeddings: [N, dim] float32 of unit length, on the CPU."""
    rows = in_batches(encode, items, torch.empty(0, dim), size)
    return nn.functional.normalize(rows, dim=1)


class FeatureTeacher(ABC):
    """Base class of dual-stream adapters, which normalizes their features."""

    dim: int

    def embed_photos(self, photos: Sequence[Image.Image]) -> Tensor:
        return unit_rows(self._photo_features, photos, self.dim)

    def embed_texts(self, captions: Sequence[str]) -> Tensor:
        """As in the protocol; captions are cut to the model's text length."""
        return unit_rows(self._text_features, captions, self.dim)

    @abstractmethod
    def _photo_features(self, photos: list[Image.Image]) -> Tensor:
        """[B, dim] on any device, not normalized."""

    @abstractmethod
    def _text_features(self, captions: list[str]) -> Tensor:
        """[B, dim] on any device, not normalized."""


@contextmanager
def teacher_errors() -> Iterator[None]:
    """Raise a StudentError of a loader that students share as a TeacherError."""
    try:
        yield
    except StudentError as error:
        raise TeacherError(error.message, error.hint) from error


def cannot_load(name: str, error: Exception, weights: object = None) -> TeacherError:
    """The error to raise when a library fails to load a teacher, for any reason."""
    source = f"{name} with {weights}" if weights else name
    return TeacherError(
        f"{source} cannot be loaded as a teacher: {type(error).__name__}: {error}",
        "Give a complete local checkpoint, or a published name that can be reached from here.",
    )
