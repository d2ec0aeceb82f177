"""What a classifier teaches: its labels, the names of its classes, and the photos they find."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mcad_mobile.distill import class_distillation
from mcad_mobile.distill.caption_words import LEAST_PHOTOS, find_directions
from mcad_mobile.distill.class_distillation import (
    TEMPLATES,
    ClassDistillation,
    ClassPrompts,
    class_labels,
    class_losses,
    class_vectors,
    fill_template,
)
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.losses import (
    at_widths,
    cut,
    feature_loss,
    naming_loss,
    showing_loss,
)
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.teachers.teacher import Kind, names_within

NAMES = (("zebra",), ("ox", "oxen"), ("cup of coffee", "mug"), ("dog",), ("cat",))


class Colours:
    """A photo is red, green or blue, and surely so."""

    name = identity = "colours"
    names = (("red",), ("green",), ("blue",))
    kinds = (Kind(("warm",), (0, 1)),)
    trunks = ()
    weights = torch.eye(3)

    def __init__(self) -> None:
        self.asked = 0

    def classify(self, photos):
        self.asked += len(photos)
        means = [np.asarray(photo, np.float32).mean((0, 1)) for photo in photos]
        return torch.from_numpy(np.stack(means) / 8).softmax(1)


@pytest.fixture
def data(tmp_path) -> Dataset:
    paths = []
    for number, colour in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 190, 0)]):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), colour).save(paths[-1])
    owner = np.array([0, 1, 2])  # the fourth has no caption
    ids = torch.zeros(3, 2)
    return Dataset(tuple(paths), ("one", "two", "three"), owner, ids, torch.ones(3, 2))


def test_every_photo_has_a_classifiers_probabilities_captioned_or_not(data, tmp_path):
    teacher = Colours()
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    labels = class_labels(teacher, data, Views(2, 1), cache, 0.3)
    batch = Batch(np.array([2, 0, 3]), np.array([0, 1, 0]), np.array([2, 0]), 2)
    rows = labels.photos.of(batch)
    assert rows.argmax(1).tolist() == [2, 0, 0]
    expected = teacher.classify([Image.open(data.photos[row]) for row in (2, 0, 3)])
    # Logarithms in half precision; a probability of nothing is kept as the least one.
    assert torch.allclose(rows.exp(), expected, rtol=2e-2, atol=1e-4)
    assert rows.min() == pytest.approx(np.log(1e-10), rel=1e-3)


class Imagining(Colours):
    """Sees one pixel of a photo; of a photo with captions it imagines the next colour."""

    def __init__(self) -> None:
        self.trunks = [self]

    def cached(self, cache, photos, view):
        def pixel(photos):
            return np.stack([np.asarray(photo.resize((1, 1)), np.float16) for photo in photos])

        return cache.of_photos(photos, view, "pixels", "pixels", pixel)

    def classify(self, grids):
        return torch.from_numpy(grids[0][:, 0, 0].astype(np.float32) / 64).softmax(1)

    def imagined(self, cache, photos):
        sources = [self.cached(cache, photos, 0)]
        return cache.of_features(sources, "turned", "", lambda rows: np.roll(rows[0], 1, -1))

    def classify_imagined(self, grids):
        return self.classify([grids])


def test_imagined_photos_are_one_more_view_of_the_captioned_ones(data, tmp_path, monkeypatch):
    monkeypatch.setattr(class_distillation, "LiteClassifier", Imagining)
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    labels = class_labels(Imagining(), data, Views(2, 1), cache, 0.3)
    assert [len(view) for view in labels.photos.paired] == [3, 3, 3] == 3 * [len(labels.imagined)]
    without = class_labels(Imagining(), data, Views(2, 1), cache, 0.3, imagines=False)
    assert len(without.photos.paired) == 2 and without.imagined is None
    batch = Batch(np.array([0, 1, 2, 3]), np.array([0, 2, 2, 0]), np.array([0]), 1)
    rows = labels.photos.of(batch)
    assert rows[:3].argmax(1).tolist() == [0, 2, 0]  # red; green's next is blue, and blue's red
    assert torch.allclose(rows.exp().sum(1), torch.ones(4), atol=1e-2)


def test_every_class_is_named_once_before_one_is_named_twice():
    prompts = ClassPrompts(NAMES, 3, seed=0)
    classes = np.concatenate([prompts.at(step)[0] for step in range(5)])
    for turn in np.split(classes, 3):
        assert sorted(turn.tolist()) == [0, 1, 2, 3, 4]
    assert classes.tolist()[:5] != classes.tolist()[5:10]


def test_more_names_than_classes_are_several_turns():
    named, _ = ClassPrompts(NAMES, 12, seed=0).at(0)
    assert sorted(np.bincount(named)) == [2, 2, 2, 3, 3]


def test_names_are_of_the_seed_and_the_step():
    first, second = ClassPrompts(NAMES, 4, seed=3), ClassPrompts(NAMES, 4, seed=4)
    assert first.at(7)[1] == ClassPrompts(NAMES, 4, seed=3).at(7)[1]
    assert first.at(7)[1] != first.at(8)[1]
    assert [first.at(step)[1] for step in range(9)] != [second.at(step)[1] for step in range(9)]


def test_a_text_says_a_name_of_its_class_and_every_name_is_said():
    prompts = ClassPrompts(NAMES, 5, seed=0)
    rows = {number: set() for number in range(5)}
    for step in range(60):
        for number, text in zip(*prompts.at(step), strict=True):
            found = [name for name in NAMES[number] if name in text]
            assert found
            rows[number].update(found)
    assert rows[2] == {"cup of coffee", "mug"}


def test_the_best_name_of_a_class_is_said_most():
    prompts = ClassPrompts([("zebra", "ox")], 1000, seed=0)
    said = sum("zebra" in text for text in prompts.at(0)[1])
    assert said / 1000 == pytest.approx(0.6 + 0.4 / 2, abs=0.05)


def test_each_step_draws_its_templates_anew():
    prompts = ClassPrompts([["ox"]], 4, seed=0)  # one name: only the templates can differ
    steps = [tuple(prompts.at(step)[1]) for step in range(20)]
    assert len(set(steps)) > 15
    assert len({text for texts in steps for text in texts}) > len(TEMPLATES) / 2


def test_articles_follow_the_name():
    assert fill_template("a photo of {a}", "ox") == "a photo of an ox"
    assert fill_template("{a} outdoors", "zebra") == "a zebra outdoors"
    assert fill_template("the {name}", "ox") == "the ox"


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture
def embeddings() -> dict[str, torch.Tensor]:
    return {
        "image": unit(3, 4, 0),
        "names": unit(2, 4, 1),
        "classes": unit(5, 4, 2),
        "name_target": unit(2, 4, 3),
        "scale": torch.tensor(9.0),
    }


@pytest.fixture
def log_probabilities() -> torch.Tensor:
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(5)).log_softmax(1)


def test_a_classifiers_losses_are_of_photos_and_classes_and_of_names_and_their_places(
    embeddings, log_probabilities
):
    parts = class_losses(embeddings, log_probabilities, StudentRecipe(classifier=3.0, called=2.0))
    logits = 28 * embeddings["image"] @ embeddings["classes"].T
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(
        {
            "naming": 3 * float(naming_loss(logits, log_probabilities)),
            "showing": 3 * float(showing_loss(logits, log_probabilities)),
            "called": 2 * float(feature_loss(embeddings["names"], embeddings["name_target"])),
        }
    )


def test_class_vectors_keep_how_classes_look_and_which_kinds_they_share():
    weights, kinds = unit(6, 4, 0), [Kind(("a",), (0, 1, 2)), Kind(("b",), (2, 5))]
    found = class_vectors(weights, kinds, 0.3)
    shared = torch.tensor([[2, 0], [2, 0], [2, 3], [0, 0], [0, 0], [0, 3]]) / 6
    looks = F.normalize(weights - weights.mean(0), dim=1)
    rows = torch.cat([looks, 0.3 * F.normalize(shared, dim=1)], 1)
    rows -= rows.mean(0)
    classes = found[:6]
    assert torch.allclose(classes @ classes.T, rows @ rows.T, atol=1e-5)
    spread = classes.T @ classes  # principal components, strongest first
    assert torch.allclose(spread, spread.diag().sort(descending=True)[0].diag(), atol=1e-5)
    directions = F.normalize(classes, dim=1)
    amid = torch.stack([directions[list(kind.classes)].sum(0) for kind in kinds])
    assert torch.allclose(found[6:], F.normalize(amid, dim=1), atol=1e-5)


def test_kinds_that_count_nothing_are_left_out(data, tmp_path):
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    labels = class_labels(Colours(), data, Views(2, 1), cache, 0.0)
    assert len(labels.names) == len(labels.vectors) == 3
    with_kinds = class_labels(Colours(), data, Views(2, 1), cache, 0.3)
    assert len(with_kinds.names) == len(with_kinds.vectors) == 4


def test_a_photo_lies_amid_the_classes_that_it_may_show(data, tmp_path):
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    labels = class_labels(Colours(), data, Views(1, 1), cache, 0.3)
    space = torch.eye(2, 4)  # two numbers of a student of four
    distillation = ClassDistillation(labels, StudentRecipe(names=4, class_temperature=2.0), space)
    assert distillation.vectors.shape == (4, 4) and not distillation.vectors[:, 2:].any()
    batch = Batch(np.array([0, 3]), np.array([0, 0]), np.array([0]), 1)
    targets = distillation.targets(batch, step=0)
    expected = (labels.photos.of(batch) / 2).softmax(1) @ distillation.vectors[:3]
    assert torch.allclose(targets.mean_classes, F.normalize(expected, dim=1), atol=1e-5)
    assert torch.allclose(targets.mean_classes.norm(dim=1), torch.ones(2))
    named, texts = distillation.prompts.at(0)
    assert torch.equal(targets.prompt_classes, distillation.vectors[torch.from_numpy(named)])
    assert sorted(named.tolist()) == [0, 1, 2, 3]  # the three classes and their kind
    assert any("warm" in text for text in texts)


def test_a_kind_has_its_own_names_those_of_kinds_within_and_those_of_its_classes():
    dog, terrier = Kind(("dog", "hound"), (1, 2, 3)), Kind(("terrier",), (2, 3))
    classes = [["cat"], ["husky"], ["airedale", "waterside terrier"], ["westie"]]
    own = ["terrier", "airedale", "waterside terrier", "westie"]
    assert names_within(terrier, (dog, terrier), classes) == own
    assert names_within(dog, (dog, terrier), classes) == ["dog", "hound", own[0], "husky", *own[1:]]


def test_words_of_captions_are_named_and_move_kinds_but_no_classes(tmp_path):
    number = 4 * LEAST_PHOTOS
    captions = ["a red one on a beach", "green", "blue", "a warm thing"] * LEAST_PHOTOS
    data = Dataset(
        tuple(tmp_path / f"{i}.png" for i in range(number)), tuple(captions), np.arange(number),
        torch.zeros(number, 2), torch.ones(number, 2),
    )  # fmt: skip
    for path in data.photos:
        Image.new("RGB", (8, 8), (200, 0, 0)).save(path)
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    labels = class_labels(Colours(), data, Views(1, 1), cache, 0.3)
    distillation = ClassDistillation(labels, StudentRecipe(names=40), torch.eye(2, 4))
    before = distillation.vectors
    # Captions with "red" or "warm", which name the kind, are of photos with a large third number;
    # those with "beach", of some with a large fourth.
    photos = torch.zeros(number, 4)
    photos[0::4, 2], photos[3::4, 2], photos[0::4, 3] = 1, 1, 1
    distillation.add_words(data, photos, share=0.5)
    named, texts = distillation.prompts.at(0)
    words = ["beach", "on", "one", "thing"]  # "red" and the others are names
    assert distillation.prompts.words == words
    assert distillation.vectors.shape == (len(labels.names) + len(words), 4)
    assert torch.equal(distillation.vectors[:3], before[:3])
    described = [photos[:, column].nonzero()[:, 0].numpy() for column in (2, 3)]
    warm, beach = find_directions(photos, described)
    assert warm[2] > 0.5 and beach[3] > 0.5
    moved = F.normalize(before[3] + 0.5 * warm, dim=0)
    assert torch.allclose(distillation.vectors[3:5], torch.stack([moved, beach]), atol=1e-5)
    targets = distillation.targets(Batch(np.array([0]), np.array([0]), np.array([0]), 1), step=0)
    assert targets.classes.shape == (3, 4)
    assert torch.equal(targets.prompt_classes, distillation.vectors[torch.from_numpy(named)])
    for row, text in zip(named, texts, strict=True):
        if row >= 4:
            assert words[row - 4] in text.split()
    assert sorted(set(named.tolist())) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_cut_embeddings_have_unit_length_and_the_first_numbers():
    whole = unit(3, 4, 0)
    narrow = cut(whole, 2)
    assert torch.allclose(narrow.norm(dim=1), torch.ones(3))
    assert torch.allclose(narrow * whole[:, :2].norm(dim=1, keepdim=True), whole[:, :2])


def test_losses_count_at_every_width_with_the_recipes_weight(embeddings):
    widths = []

    def losses(embeddings, width):
        widths.append((width, embeddings["image"].shape[1], embeddings["classes"].shape[1]))
        assert embeddings["scale"] == 9.0
        return {"width": torch.tensor(float(width))}

    recipe = StudentRecipe(widths=(3, 2), narrow=0.5)
    assert float(at_widths(losses, embeddings, 4, recipe)["width"]) == 4 + 0.5 * 3 + 0.5 * 2
    assert widths == [(4, 4, 4), (3, 3, 3), (2, 2, 2)]
    widths.clear()
    at_widths(losses, embeddings, 4, StudentRecipe(widths=(8, 4), narrow=0.5))
    at_widths(losses, embeddings, 4, StudentRecipe(widths=(2,), narrow=0.0))
    assert widths == [(4, 4, 4)] * 2


def test_templates_are_plain_words_around_a_name():
    plain = re.compile(r"[a-z -]*\{(a|name)\}[a-z -]*")
    assert [template for template in TEMPLATES if not plain.fullmatch(template)] == []
    assert fill_template("a photo of {a}", "orange cat") == "a photo of an orange cat"
