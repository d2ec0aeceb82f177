"""Words as captions use them: which photos they describe, and the direction that finds those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mcad_mobile.distill import caption_words
from mcad_mobile.distill.caption_words import (
    LEAST_PHOTOS,
    common_words,
    find_directions,
    photos_described,
    words_to_teach,
)
from mcad_mobile.distill.dataset import Dataset
from mcad_mobile.engine.arrays import Rows


def captioned(*photos: list[str], extra: tuple[str, ...] = ()) -> Dataset:
    """A dataset of photos with these captions."""
    captions = [caption for texts in photos for caption in texts]
    owner = np.repeat(np.arange(len(photos)), [len(texts) for texts in photos])
    tokens = torch.zeros(len(captions) + len(extra), 1)
    paths = tuple(Path(f"{number}.jpg") for number in range(len(photos)))
    return Dataset(paths, (*captions, *extra), owner, tokens, tokens)


@pytest.mark.parametrize(
    ("caption", "described"),
    [
        ("A golden retriever runs.", True),
        ("Two Golden Retrievers", True),
        ("golden-retriever", True),
        ("A golden dog, a retriever", False),
        ("a marigolden retriever", False),
        ("boxes of toys", True),
        ("a boxer", False),
    ],
)
def test_a_name_describes_a_photo_whose_caption_has_it_in_singular_or_plural(caption, described):
    data = captioned([caption], ["nothing"])
    found = photos_described([("cat", "golden retriever", "box")], data)
    assert [photos.tolist() for photos in found] == [[0] if described else []]


def test_each_entry_has_a_row_and_shares_names_with_others():
    data = captioned(["a dog"], ["a cat"], ["a dog and a cat"])
    found = photos_described([("dog", "cat"), ("cat",), ("horse",)], data)
    assert [photos.tolist() for photos in found] == [[0, 1, 2], [1, 2], []]


def test_one_caption_in_five_is_too_few():
    others = ["a yard"] * 5
    once, twice = ["a dog", *others[1:]], ["a dog", "my dog", *others[2:]]
    (found,) = photos_described([("dog",)], captioned(once, twice, ["a dog", "a yard"]))
    assert found.tolist() == [1, 2]


def test_a_caption_counts_once_however_often_it_uses_a_name():
    data = captioned(["a dog chases a dog and dogs", "a", "b", "c", "d"])
    (found,) = photos_described([("dog", "dogs")], data)
    assert found.tolist() == []


def words_of(enough: str, few: str, **options) -> list[str]:
    photos = [[enough]] * LEAST_PHOTOS + [[few]] * (LEAST_PHOTOS - 1)
    return words_to_teach(captioned(*photos, *[["x"]] * 2 * LEAST_PHOTOS, **options), ())


def test_common_words_are_of_enough_captions():
    captions = ["A dog, a dog!", "a Dog runs", "it runs", "dogs"]
    assert common_words(captions, 2) == ["dog", "runs"]
    assert common_words(captions, 1) == ["dog", "dogs", "it", "runs"]
    assert common_words(["a dog chases a dog"], 2) == []


def test_words_that_describe_enough_photos_are_found_in_the_order_of_the_alphabet():
    assert words_of("Sunny beach", "rainy") == ["beach", "sunny"]
    assert words_of("a b c", "rainy") == []  # letters are not words
    more = words_of("sunny", "rainy", extra=("rainy day",) * LEAST_PHOTOS)
    assert more == ["sunny"]  # captions without photos say nothing of photos


def test_a_word_of_most_photos_says_nothing_about_one():
    photos = [["the beach"]] * LEAST_PHOTOS + [["the hill"]] * 3 * LEAST_PHOTOS
    assert words_to_teach(captioned(*photos), ()) == ["beach"]


def test_words_that_have_a_class_are_left_to_it():
    photos = [["dogs on a bench at a beach"]] * LEAST_PHOTOS + [["x"]] * 2 * LEAST_PHOTOS
    found = words_to_teach(captioned(*photos), {"dog", "bench"})
    assert found == ["at", "beach", "on"]


@pytest.fixture
def photos() -> tuple[torch.Tensor, torch.Tensor]:
    """Photos whose first number varies most and is a little larger, by chance, if a word describes
    them; their second number tells which ones it describes."""
    random = np.random.default_rng(0)
    rows = random.normal(0, (1.0, 0.1, 0.1, 0.1), (400, 4))
    described = np.arange(400) < 100
    rows[described] += (0.8, 0.4, 0, 0)
    return torch.from_numpy(rows).float(), torch.from_numpy(described)


def numbers(described: torch.Tensor) -> Rows:
    return described.nonzero()[:, 0].numpy()


def test_a_direction_tells_the_photos_of_its_word_from_all_others(photos):
    rows, described = photos
    (direction,) = find_directions(rows, [numbers(described)])
    assert direction.dtype == torch.float32
    assert float(direction.norm()) == pytest.approx(1)

    def right(scores: torch.Tensor) -> float:
        return float(described[scores.topk(100).indices].float().mean())

    means = rows[described].mean(0) - rows.mean(0)
    assert right(rows @ direction) > right(rows @ means) + 0.1


def test_a_direction_does_not_depend_on_where_the_photos_lie(photos):
    rows, described = photos
    words = [numbers(described)]
    moved = find_directions(rows + torch.tensor([5.0, -2.0, 0.0, 1.0]), words)
    assert torch.allclose(moved, find_directions(rows, words), atol=1e-3)


def test_directions_do_not_depend_on_how_many_words_are_summed_at_once(photos, monkeypatch):
    rows, described = photos
    words = [numbers(described), np.arange(30), np.arange(0), np.arange(90, 400)]
    together = find_directions(rows, words)
    for at_once in (1, 2, 3):
        monkeypatch.setattr(caption_words, "_NUMBERS_AT_ONCE", at_once * len(rows))
        assert torch.allclose(find_directions(rows, words), together, atol=1e-6)


def test_words_of_too_few_photos_have_no_direction(photos):
    rows, described = photos
    few, enough, none = np.arange(LEAST_PHOTOS - 1), np.arange(LEAST_PHOTOS), np.arange(0)
    found = find_directions(rows, [few, enough, none, numbers(described)])
    assert found.norm(dim=1).tolist() == pytest.approx([0, 1, 0, 1])


def test_photos_that_are_all_alike_have_no_direction():
    found = find_directions(torch.ones(2 * LEAST_PHOTOS, 4), [np.arange(LEAST_PHOTOS)])
    assert found.tolist() == [[0, 0, 0, 0]]
