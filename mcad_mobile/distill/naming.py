"""What photos show by name: a classifier's probabilities, texts that name its classes, and the
photos of the last steps, among which a class finds its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, Dataset, Rows, Views
from mcad_mobile.distill.features import FeatureCache, Features, PhotoRows, photo_rows
from mcad_mobile.distill.losses import (
    capped,
    feature_loss,
    naming_loss,
    nearness_loss,
    showing_loss,
)
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.teachers.classifiers import LiteClassifier
from mcad_mobile.distill.teachers.protocol import ClassifierTeacher

# {a}: the name after its article; {name}: the name alone.
TEMPLATES = (
    "a photo of {a}",
    "{a}",
    "{name}",
    "a picture of {a}",
    "a close-up of {a}",
    "the {name}",
    "a photo of the {name}",
    "there is {a} here",
    "{a} indoors",
    "{a} outdoors",
    "{a} in the grass",
    "{a} in front of people",
)
_BEST_NAME = 0.6  # how often a class is called by its best name, whatever others it has
_LEAST = 1e-10  # a probability below is taken for it


@dataclass(frozen=True)
class ClassLabels:
    """What a classifier says of all photos of a dataset."""

    photos: PhotoRows  # rows [C] float16: logarithms of probabilities
    names: Sequence[Sequence[str]]  # of each class
    name: str  # of the classifier
    identity: str

    def of(self, batch: Batch) -> Tensor:
        """[I, C] float32: logarithms of probabilities."""
        return self.photos.of(batch)


def class_labels(
    teacher: ClassifierTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> ClassLabels:
    def of_view(photos: Sequence[Path], view: int) -> Features:
        part = "classifier on photos"
        if isinstance(teacher, LiteClassifier):
            grids = [trunk.cached(cache, photos, view) for trunk in teacher.trunks]
            return cache.of_features(
                grids, teacher.identity, part, lambda rows: _logs(teacher.classify_grids(rows))
            )
        return cache.of_photos(
            photos, view, teacher.identity, part, lambda some: _logs(teacher.classify(some))
        )

    rows = photo_rows(data, views, of_view)
    return ClassLabels(rows, teacher.names, teacher.name, teacher.identity)


def _logs(probabilities: Tensor) -> Features:
    logs: Features = probabilities.clamp(min=_LEAST).log().half().numpy()
    return logs


@dataclass(frozen=True)
class Named:
    """Texts, each of which names a class."""

    classes: Rows  # [T]
    texts: list[str]


class Namer:
    """Which classes a step names, and how: a function of the seed and the step alone. Every class
    has its turn before one has its second."""

    def __init__(self, names: Sequence[Sequence[str]], number: int, seed: int) -> None:
        """`number`: texts a step."""
        self.names = names
        self.number = number
        self.seed = seed

    def at(self, step: int) -> Named:
        numbers = np.arange(step * self.number, (step + 1) * self.number)
        rounds, places = np.divmod(numbers, len(self.names))
        orders = {some: self._order(some) for some in np.unique(rounds)}
        pairs = zip(rounds, places, strict=True)
        classes = np.array([orders[some][place] for some, place in pairs])
        random = np.random.default_rng((self.seed, step))
        return Named(classes, [self._text(random, int(number)) for number in classes])

    def _order(self, some: int) -> Rows:
        return np.random.default_rng((self.seed, int(some), 1)).permutation(len(self.names))

    def _text(self, random: np.random.Generator, number: int) -> str:
        names = self.names[number]
        best = random.random() < _BEST_NAME
        name = names[0 if best else int(random.integers(len(names)))]
        return in_words(TEMPLATES[random.integers(len(TEMPLATES))], name)


def in_words(template: str, name: str) -> str:
    article = "an" if name[0].lower() in "aeiou" else "a"
    return template.format(a=f"{article} {name}", name=name)


class LastPhotos(nn.Module):
    """Embeddings of the photos of the last steps, and what the classifier says of them (a memory
    bank, as in arXiv 1805.01978): a step's own photos show few of the classes. Buffers, so that a
    checkpoint holds them."""

    image: Tensor  # [size, dim] float32, the latest first
    said: Tensor  # [size, C] float16, logarithms of probabilities
    filled: Tensor  # [] int64

    def __init__(self, size: int, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(size, dim))
        self.register_buffer("said", torch.zeros(size, classes, dtype=torch.float16))
        self.register_buffer("filled", torch.tensor(0))

    def recalled(self) -> tuple[Tensor, Tensor]:
        """[P, dim] and [P, C] float32, of as many as there are by now."""
        filled = int(self.filled)
        # Copies: `keep` must not write into what a backward pass still reads.
        return self.image[:filled].clone(), self.said[:filled].float()

    @torch.no_grad()
    def keep(self, image: Tensor, said: Tensor) -> None:
        """A step's photos [I, dim] and [I, C] float32, for the steps to come."""
        size = len(self.image)
        self.image.copy_(torch.cat([image.detach(), self.image])[:size])
        self.said.copy_(torch.cat([said.half(), self.said])[:size])
        self.filled.fill_(min(int(self.filled) + len(image), size))


class Classes(nn.Module):
    """A vector for each class, in the student's space, trained with the student and then thrown
    away: photos are compared with all of them at the price of one product, and the text tower
    brings to them what classes are called."""

    def __init__(self, recipe: Recipe, dim: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(F.normalize(torch.randn(classes, dim), dim=1))
        start = math.log(recipe.initial_scale)
        self.log_name_scale = nn.Parameter(torch.tensor(start))
        self.log_show_scale = nn.Parameter(torch.tensor(start))
        self.last = LastPhotos(recipe.last_photos, dim, classes)

    def forward(self) -> dict[str, Tensor]:
        """Vectors [C, dim] of unit length, and the inverse temperatures of either direction."""
        return {
            "classes": F.normalize(self.vectors, dim=1),
            "name_scale": capped(self.log_name_scale),
            "show_scale": capped(self.log_show_scale),
        }


@dataclass(frozen=True)
class Naming:
    """How a classifier teaches a student."""

    labels: ClassLabels
    namer: Namer
    classes: Classes

    @staticmethod
    def of(labels: ClassLabels, recipe: Recipe, dim: int) -> Naming:
        namer = Namer(labels.names, recipe.names, recipe.seed)
        return Naming(labels, namer, Classes(recipe, dim, len(labels.names)))

    def texts(self, step: int, rows: Rows) -> list[str]:
        """Some of a step's texts, by their numbers."""
        texts = self.namer.at(step).texts
        return [texts[row] for row in rows]

    def shown(self, batch: Batch, step: int, device: torch.device) -> Shown:
        said = self.labels.of(batch).to(device)
        before, said_before = self.classes.last.recalled()
        named = torch.from_numpy(self.namer.at(step).classes).to(device)
        return Shown(named, said, before, said_before)


@dataclass(frozen=True)
class Shown:
    """What a step's losses compare a student with."""

    named: Tensor  # [T] int64: the class that each of the step's names means
    said: Tensor  # [I, C] float32: of the step's photos, logarithms of probabilities
    before: Tensor  # [P, D] float32: embeddings of photos of the last steps
    said_before: Tensor  # [P, C] float32


def named_losses(made: dict[str, Tensor], shown: Shown, recipe: Recipe) -> dict[str, Tensor]:
    """`made`: of a student, photos `image` [I, D], texts `names` [T, D] and the vectors of all
    `classes` [C, D], of unit length, and the inverse temperatures of both directions. D may be
    less than the width of `shown`: its first numbers are taken."""
    image, classes = made["image"], made["classes"]
    before = F.normalize(shown.before[:, : image.shape[1]], dim=1)
    photos, said = torch.cat([image, before]), torch.cat([shown.said, shown.said_before])
    parts = {
        "naming": naming_loss(made["name_scale"] * image @ classes.T, shown.said),
        "showing": showing_loss(made["show_scale"] * photos @ classes.T, said),
        "near": recipe.near * nearness_loss(classes, photos, said),
        "called": recipe.called * feature_loss(made["names"], classes[shown.named]),
    }
    return {name: recipe.classifier * part for name, part in parts.items()}
