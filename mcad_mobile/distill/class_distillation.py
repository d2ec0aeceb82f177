"""Distillation from a classifier: its probabilities, prompts that name its classes, and a memory
of the last steps' photos, which show more of the classes than one step's do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, Dataset, Rows, Views
from mcad_mobile.distill.features import FeatureCache, PhotoRows
from mcad_mobile.distill.grids import PhotoEncoder
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
_LEAST = 1e-10  # smaller probabilities are raised to it


@dataclass(frozen=True)
class ClassLabels:
    """A classifier's probabilities for all photos of a dataset."""

    photos: PhotoRows  # rows [C] float16: logarithms of probabilities
    names: Sequence[Sequence[str]]  # of each class
    name: str  # of the classifier
    identity: str


def class_labels(
    teacher: ClassifierTeacher, data: Dataset, views: Views, cache: FeatureCache
) -> ClassLabels:
    def logs(probabilities: Tensor) -> Tensor:
        return probabilities.clamp(min=_LEAST).log()

    encoder = PhotoEncoder(
        teacher.identity, "classifier on photos", lambda photos: logs(teacher.classify(photos))
    )
    if isinstance(teacher, LiteClassifier):
        encoder = encoder.on_grids(
            teacher.trunks, lambda grids: logs(teacher.classify_grids(grids))
        )
    rows = encoder.rows(data, views, cache)
    return ClassLabels(rows, teacher.names, teacher.name, teacher.identity)


class ClassPrompts:
    """The `number` prompts of each step, a function of the seed and the step alone. Every class is
    named once before any class is named again."""

    def __init__(self, names: Sequence[Sequence[str]], number: int, seed: int) -> None:
        self.names = names
        self.number = number
        self.seed = seed

    def at(self, step: int) -> tuple[Rows, list[str]]:
        """The class that each prompt names [T], and the prompts."""
        numbers = np.arange(step * self.number, (step + 1) * self.number)
        rounds, places = np.divmod(numbers, len(self.names))
        orders = {
            turn: np.random.default_rng((self.seed, int(turn), 1)).permutation(len(self.names))
            for turn in np.unique(rounds)
        }
        pairs = zip(rounds, places, strict=True)
        classes = np.array([orders[turn][place] for turn, place in pairs])
        random = np.random.default_rng((self.seed, step))
        return classes, [self._text(random, int(number)) for number in classes]

    def _text(self, random: np.random.Generator, number: int) -> str:
        names = self.names[number]
        best = random.random() < _BEST_NAME
        name = names[0 if best else int(random.integers(len(names)))]
        return fill_template(TEMPLATES[random.integers(len(TEMPLATES))], name)


def fill_template(template: str, name: str) -> str:
    """One of TEMPLATES with a class's name."""
    article = "an" if name[0].lower() in "aeiou" else "a"
    return template.format(a=f"{article} {name}", name=name)


class PhotoMemory(nn.Module):
    """The last steps' photos (a memory bank, as in arXiv 1805.01978): a step's own photos show few
    of the classes. Buffers, so that a checkpoint holds them."""

    image: Tensor  # [size, dim] float32, the latest first
    log_probabilities: Tensor  # [size, C] float16
    filled: Tensor  # [] int64

    def __init__(self, size: int, dim: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(size, dim))
        self.register_buffer("log_probabilities", torch.zeros(size, classes, dtype=torch.float16))
        self.register_buffer("filled", torch.tensor(0))

    def recalled(self) -> tuple[Tensor, Tensor]:
        """[P, dim] and [P, C] float32, of as many as there are by now."""
        filled = int(self.filled)
        # Copies: `keep` must not write into what a backward pass still reads.
        return self.image[:filled].clone(), self.log_probabilities[:filled].float()

    @torch.no_grad()
    def keep(self, image: Tensor, log_probabilities: Tensor) -> None:
        """A step's photos [I, dim] and [I, C] float32, for the steps to come."""
        size = len(self.image)
        self.image.copy_(torch.cat([image.detach(), self.image])[:size])
        both = torch.cat([log_probabilities.half(), self.log_probabilities])
        self.log_probabilities.copy_(both[:size])
        self.filled.fill_(min(int(self.filled) + len(image), size))


class ClassVectors(nn.Module):
    """A vector for each class, in the student's space, trained with the student and then thrown
    away: photos are compared with all of them, and the text tower is drawn to them."""

    def __init__(self, recipe: Recipe, dim: int, classes: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(F.normalize(torch.randn(classes, dim), dim=1))
        start = math.log(recipe.initial_scale)
        self.log_name_scale = nn.Parameter(torch.tensor(start))
        self.log_show_scale = nn.Parameter(torch.tensor(start))
        self.memory = PhotoMemory(recipe.last_photos, dim, classes)

    def forward(self) -> dict[str, Tensor]:
        """Vectors [C, dim] of unit length, and the inverse temperatures of either direction."""
        return {
            "classes": F.normalize(self.vectors, dim=1),
            "name_scale": capped(self.log_name_scale),
            "show_scale": capped(self.log_show_scale),
        }


class ClassDistillation:
    """A classifier's labels, the prompts that name its classes, and the trained vectors."""

    def __init__(self, labels: ClassLabels, recipe: Recipe, dim: int) -> None:
        self.labels = labels
        self.prompts = ClassPrompts(labels.names, recipe.names, recipe.seed)
        self.vectors = ClassVectors(recipe, dim, len(labels.names))

    def texts(self, step: int, rows: Rows) -> list[str]:
        """A step's prompts, by their row numbers."""
        _, texts = self.prompts.at(step)
        return [texts[row] for row in rows]

    def targets(self, batch: Batch, step: int, device: torch.device) -> ClassTargets:
        log_probabilities = self.labels.photos.of(batch).to(device)
        named = torch.from_numpy(self.prompts.at(step)[0]).to(device)
        return ClassTargets(named, log_probabilities, *self.vectors.memory.recalled())


@dataclass(frozen=True)
class ClassTargets:
    """The targets of a step's losses. Probabilities are logarithms, float32."""

    named: Tensor  # [T] int64: the class that each prompt of the step names
    log_probabilities: Tensor  # [I, C]: of the step's photos
    memory: Tensor  # [P, D] float32: embeddings of photos of the last steps
    memory_log_probabilities: Tensor  # [P, C]


def class_losses(
    embeddings: dict[str, Tensor], targets: ClassTargets, recipe: Recipe
) -> dict[str, Tensor]:
    """`embeddings`: photos `image` [I, D], prompts `names` [T, D] and the vectors of all `classes`
    [C, D], of unit length, and both inverse temperatures. Of a wider memory, D numbers are used."""
    image, classes = embeddings["image"], embeddings["classes"]
    memory = F.normalize(targets.memory[:, : image.shape[1]], dim=1)
    photos, own = torch.cat([image, memory]), targets.log_probabilities
    both = torch.cat([own, targets.memory_log_probabilities])
    parts = {
        "naming": naming_loss(embeddings["name_scale"] * image @ classes.T, own),
        "showing": showing_loss(embeddings["show_scale"] * photos @ classes.T, both),
        "near": recipe.near * nearness_loss(classes, photos, both),
        "called": recipe.called * feature_loss(embeddings["names"], classes[targets.named]),
    }
    return {name: recipe.classifier * part for name, part in parts.items()}
