"""Distillation of names: where a classifier's classes and captions' words lie in the student's
space, which photos show them, and prompts that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mcad_mobile.distill.caption_words import find_directions, photos_described, words_to_teach
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache, Features, PhotoRows, encode_photos
from mcad_mobile.distill.losses import feature_loss, naming_loss, showing_loss
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.teachers.classifiers import LiteClassifier
from mcad_mobile.distill.teachers.teacher import ClassifierTeacher, Kind, names_within
from mcad_mobile.engine.arrays import Rows

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
    "an image of {a}",
    "some {name}",
    "my {name}",
    "{a} on a table",
    "a person with {a}",
    "a big {name}",
)
# For words of captions. People type most of them alone.
_WORD_TEMPLATES = ("{name}", "{name}", "{a}", "the {name}", "a photo of {name}")
_BEST_NAME_CHANCE = 0.6  # chance that a prompt uses the best name; otherwise any name is drawn
_LEAST = 1e-10  # smaller probabilities are raised to it
_SCALE = 28.0  # inverse temperature of similarities to classes, which take half of an embedding


@dataclass(frozen=True)
class ClassLabels:
    """A classifier's probabilities for all photos of a dataset. If it can imagine photos, the
    imagined ones are the last view of the paired photos."""

    photos: PhotoRows  # rows [C] float16: log probabilities
    names: Sequence[Sequence[str]]  # of each class, then of each kind
    kinds: Sequence[Kind]
    vectors: Tensor  # [C + K, R] float32: see class_vectors
    name: str  # of the classifier
    identity: str
    imagined: Features | None = None  # [N, 7, 7, C'] float16


def class_labels(
    teacher: ClassifierTeacher,
    data: Dataset,
    views: Views,
    cache: FeatureCache,
    share: float,
    imagines: bool = True,
) -> ClassLabels:
    """`share`: see class_vectors; 0 leaves kinds out. `imagines`: whether to imagine photos, if the
    classifier can."""

    def logs(probabilities: Tensor) -> Tensor:
        return probabilities.clamp(min=_LEAST).log()

    kinds = teacher.kinds if share else ()
    names = [*teacher.names, *(kind.names for kind in kinds)]
    vectors = class_vectors(teacher.weights, kinds, share)
    rows = encode_photos(
        lambda photos: logs(teacher.classify(photos)), teacher.trunks, teacher.identity,
        "classifier on photos", data, views, cache,
    )  # fmt: skip
    if not (imagines and isinstance(teacher, LiteClassifier)):
        return ClassLabels(rows, names, kinds, vectors, teacher.name, teacher.identity)
    imagined = teacher.imagined(cache, data.photos[: data.paired_photos])
    imagined_rows = cache.of_features(
        [imagined],
        teacher.identity,
        "classifier on imagined photos",
        lambda grids: logs(teacher.classify_imagined(grids[0])).half().numpy(),
    )
    rows = replace(rows, paired=(*rows.paired, imagined_rows))
    return ClassLabels(rows, names, kinds, vectors, teacher.name, teacher.identity, imagined)


def class_vectors(weights: Tensor, kinds: Sequence[Kind], share: float) -> Tensor:
    """Return vectors of C classes and then K kinds, [C + K, R] float32, R = min(C, F + K). Columns
    are principal components, so that the first k are the best k.

    A classifier's last weights [C, F] tell how alike classes look; the kinds that a class belongs
    to count `share` as much. A kind's vector is the mean of its classes'.
    """
    member = torch.zeros(len(kinds), len(weights))
    for row, kind in enumerate(kinds):
        member[row, list(kind.classes)] = 1
    kind_columns = F.normalize(member.T / member.sum(1), dim=1)
    rows = torch.cat([F.normalize(weights - weights.mean(0), dim=1), share * kind_columns], 1)
    left, sizes, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    classes = left * sizes
    means = F.normalize(member @ F.normalize(classes, dim=1), dim=1)
    return torch.cat([classes, means])


class ClassPrompts:
    """Draws the `number` prompts of each step from the seed and the step alone. Every class and
    word is named once before any is repeated."""

    def __init__(
        self, names: Sequence[Sequence[str]], number: int, seed: int, words: Sequence[str] = ()
    ) -> None:
        self.names = names
        self.words = words
        self.number = number
        self.seed = seed

    def at(self, step: int) -> tuple[Rows, list[str]]:
        """Return the class or, after all classes, the word that each prompt names [T], and the
        prompts."""
        numbers = np.arange(step * self.number, (step + 1) * self.number)
        count = len(self.names) + len(self.words)
        rounds, places = np.divmod(numbers, count)
        orders = {
            turn: np.random.default_rng((self.seed, int(turn), 1)).permutation(count)
            for turn in np.unique(rounds)
        }
        pairs = zip(rounds, places, strict=True)
        classes = np.array([orders[turn][place] for turn, place in pairs])
        random = np.random.default_rng((self.seed, step))
        return classes, [self._text(random, int(number)) for number in classes]

    def _text(self, random: np.random.Generator, number: int) -> str:
        if number >= len(self.names):
            word = self.words[number - len(self.names)]
            return fill_template(_WORD_TEMPLATES[random.integers(len(_WORD_TEMPLATES))], word)
        names = self.names[number]
        takes_best = random.random() < _BEST_NAME_CHANCE
        name = names[0 if takes_best else int(random.integers(len(names)))]
        return fill_template(TEMPLATES[random.integers(len(TEMPLATES))], name)


def fill_template(template: str, name: str) -> str:
    """Fill one of TEMPLATES with a class name."""
    article = "an" if name[0].lower() in "aeiou" else "a"
    return template.format(a=f"{article} {name}", name=name)


class ClassDistillation:
    """A classifier's labels, prompts that name its classes, and the class vectors in the student's
    space. `space` [R, D] maps the first R numbers of a class vector to it."""

    def __init__(self, labels: ClassLabels, recipe: StudentRecipe, space: Tensor) -> None:
        self.labels = labels
        self.temperature = recipe.class_temperature
        self.prompts = ClassPrompts(labels.names, recipe.names, recipe.seed)
        numbers = F.normalize(labels.vectors[:, : len(space)], dim=1)
        self.vectors = numbers @ space[: numbers.shape[1]]

    def add_words(self, data: Dataset, photos: Tensor, share: float) -> None:
        """Add prompts for words of captions, and move kinds by `share` toward the photos whose
        captions name them. photos: [N, D], the targets of the paired photos."""
        labels = self.labels
        first = len(labels.names) - len(labels.kinds)
        of_kinds = [names_within(kind, labels.kinds, labels.names) for kind in labels.kinds]
        words = words_to_teach(data, chain(*labels.names))
        described = photos_described([*of_kinds, *([word] for word in words)], data)
        directions = find_directions(photos, described)
        classes, kinds = self.vectors[:first], self.vectors[first:]
        kinds = F.normalize(kinds + share * directions[: len(kinds)], dim=1)
        self.vectors = torch.cat([classes, kinds, directions[len(kinds) :]])
        prompts = self.prompts
        self.prompts = ClassPrompts(labels.names, prompts.number, prompts.seed, words)

    def texts(self, step: int, rows: Rows) -> list[str]:
        """Return a step's prompts by row number."""
        _, texts = self.prompts.at(step)
        return [texts[row] for row in rows]

    def targets(self, batch: Batch, step: int) -> ClassTargets:
        log_probabilities = self.labels.photos.of(batch)
        classes = self.vectors[: log_probabilities.shape[1]]
        numbers = torch.from_numpy(self.prompts.at(step)[0])
        # Softened, because the other classes that a photo resembles help to place it.
        shares = (log_probabilities / self.temperature).softmax(1)
        mean_classes = F.normalize(shares @ classes, dim=1)
        return ClassTargets(log_probabilities, classes, mean_classes, self.vectors[numbers])


@dataclass(frozen=True)
class ClassTargets:
    """The targets of a step's losses."""

    log_probabilities: Tensor  # [I, C] float32
    classes: Tensor  # [C, D] float32 of unit length
    mean_classes: Tensor  # [I, D] float32 of unit length, weighted by probability
    prompt_classes: Tensor  # [T, D] float32 of unit length


def class_losses(
    embeddings: dict[str, Tensor], log_probabilities: Tensor, recipe: StudentRecipe
) -> dict[str, Tensor]:
    """`embeddings`, all of unit length: photos `image` [I, D], prompts `names` [T, D], their
    targets `name_target` [T, D], and class vectors `classes` [C, D]. log_probabilities: [I, C]."""
    logits = _SCALE * embeddings["image"] @ embeddings["classes"].T
    return {
        "naming": recipe.classifier * naming_loss(logits, log_probabilities),
        "showing": recipe.classifier * showing_loss(logits, log_probabilities),
        "called": recipe.called * feature_loss(embeddings["names"], embeddings["name_target"]),
    }
