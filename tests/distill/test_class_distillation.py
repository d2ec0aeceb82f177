"""What a classifier teaches: its labels, the names of its classes, and the photos they find."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from mcad_mobile.distill.class_distillation import (
    TEMPLATES,
    ClassPrompts,
    ClassTargets,
    PhotoMemory,
    class_labels,
    class_losses,
    fill_template,
)
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.losses import (
    at_widths,
    cut,
    feature_loss,
    naming_loss,
    nearness_loss,
    showing_loss,
)
from mcad_mobile.distill.recipe import Recipe

NAMES = (("zebra",), ("ox", "oxen"), ("cup of coffee", "mug"), ("dog",), ("cat",))


class Colours:
    """A photo is red, green or blue, and surely so."""

    name = identity = "colours"
    names = (("red",), ("green",), ("blue",))

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
    labels = class_labels(teacher, data, Views(2, 1), cache)
    batch = Batch(np.array([2, 0, 3]), np.array([0, 1, 0]), np.array([2, 0]), 2)
    rows = labels.photos.of(batch)
    assert rows.argmax(1).tolist() == [2, 0, 0]
    expected = teacher.classify([Image.open(data.photos[row]) for row in (2, 0, 3)])
    # Logarithms in half precision; a probability of nothing is kept as the least one.
    assert torch.allclose(rows.exp(), expected, rtol=2e-2, atol=1e-4)
    assert rows.min() == pytest.approx(np.log(1e-10), rel=1e-3)


def test_a_classifier_is_asked_once(data, tmp_path):
    cache = FeatureCache(tmp_path / "cache", lambda *step: None)
    teacher = Colours()
    class_labels(teacher, data, Views(2, 1), cache)
    asked = teacher.asked
    assert asked == 7
    class_labels(teacher, data, Views(2, 1), cache)
    assert teacher.asked == asked
    teacher.identity = "other colours"
    class_labels(teacher, data, Views(2, 1), cache)
    assert teacher.asked == 2 * asked


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


def test_the_last_photos_are_the_last_ones_and_a_checkpoint_holds_them():
    memory = PhotoMemory(5, 2, 3)
    image, rows = memory.recalled()
    assert len(image) == len(rows) == 0
    steps = [(unit(2, 2, step), torch.full((2, 3), -float(step))) for step in range(4)]
    for step in steps:
        memory.keep(*step)
    image, rows = memory.recalled()
    # The latest first: both of steps 3 and 2, one of step 1.
    assert torch.equal(image, torch.cat([steps[3][0], steps[2][0], steps[1][0]])[:5])
    assert rows[:, 0].tolist() == [-3, -3, -2, -2, -1]
    other = PhotoMemory(5, 2, 3)
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.recalled()[0], image)


def test_what_was_recalled_does_not_change_under_a_step():
    memory = PhotoMemory(4, 2, 3)
    memory.keep(unit(4, 2, 0), torch.zeros(4, 3))
    image, _ = memory.recalled()
    kept = image.clone()
    memory.keep(unit(4, 2, 1), torch.zeros(4, 3))
    assert torch.equal(image, kept)


@pytest.fixture
def embeddings() -> dict[str, torch.Tensor]:
    scales = {"name_scale": torch.tensor(9.0), "show_scale": torch.tensor(4.0)}
    return {"image": unit(3, 4, 0), "names": unit(2, 4, 1), "classes": unit(5, 4, 2), **scales}


def class_targets(seed: int = 5) -> ClassTargets:
    generator = torch.Generator().manual_seed(seed)
    rows, before = torch.randn(3, 5, generator=generator), torch.randn(6, 5, generator=generator)
    return ClassTargets(
        torch.tensor([4, 0]), rows.log_softmax(1), unit(6, 4, 7), before.log_softmax(1)
    )


def test_a_classifiers_losses_are_of_the_photos_the_classes_and_the_names_that_it_names(embeddings):
    targets = class_targets()
    parts = class_losses(embeddings, targets, Recipe(classifier=3.0, near=0.5, called=2.0))
    image, classes = embeddings["image"], embeddings["classes"]
    photos = torch.cat([image, targets.memory])
    rows = torch.cat([targets.log_probabilities, targets.memory_log_probabilities])
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(
        {
            "naming": 3 * float(naming_loss(9.0 * image @ classes.T, targets.log_probabilities)),
            "showing": 3 * float(showing_loss(4.0 * photos @ classes.T, rows)),
            "near": 1.5 * float(nearness_loss(classes, photos, rows)),
            "called": 6 * float(feature_loss(embeddings["names"], classes[[4, 0]])),
        }
    )


def test_cut_embeddings_have_unit_length_and_the_first_numbers():
    whole = unit(3, 4, 0)
    narrow = cut(whole, 2)
    assert torch.allclose(narrow.norm(dim=1), torch.ones(3))
    assert torch.allclose(narrow * whole[:, :2].norm(dim=1, keepdim=True), whole[:, :2])


def test_losses_count_at_every_width_with_the_recipes_weight(embeddings):
    widths = []

    def losses(embeddings, width):
        widths.append((width, embeddings["image"].shape[1], embeddings["classes"].shape[1]))
        assert embeddings["name_scale"] == 9.0
        return {"width": torch.tensor(float(width))}

    recipe = Recipe(widths=(3, 2), narrow=0.5)
    assert float(at_widths(losses, embeddings, 4, recipe)["width"]) == 4 + 0.5 * 3 + 0.5 * 2
    assert widths == [(4, 4, 4), (3, 3, 3), (2, 2, 2)]
    widths.clear()
    at_widths(losses, embeddings, 4, Recipe(widths=(8, 4), narrow=0.5))
    at_widths(losses, embeddings, 4, Recipe(widths=(2,), narrow=0.0))
    assert widths == [(4, 4, 4)] * 2


def test_a_classifiers_losses_are_taken_at_narrower_widths_too(embeddings):
    targets = class_targets()
    recipe = Recipe(widths=(2,), narrow=1.0)
    both = at_widths(
        lambda embeddings, width: class_losses(embeddings, targets, recipe), embeddings, 4, recipe
    )
    narrow = {name: cut(rows, 2) if rows.ndim else rows for name, rows in embeddings.items()}
    short = ClassTargets(
        targets.named,
        targets.log_probabilities,
        cut(targets.memory, 2),
        targets.memory_log_probabilities,
    )
    expected = class_losses(embeddings, targets, recipe)
    for name, part in class_losses(narrow, short, recipe).items():
        assert float(both[name]) == pytest.approx(float(expected[name] + part), rel=1e-5)


def test_templates_are_plain_words_around_a_name():
    plain = re.compile(r"[a-z -]*\{(a|name)\}[a-z -]*")
    assert [template for template in TEMPLATES if not plain.fullmatch(template)] == []
    assert fill_template("a photo of {a}", "orange cat") == "a photo of an orange cat"
