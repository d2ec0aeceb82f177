"""What the classifiers behind the default student find, to compare it with."""

from pathlib import Path

import numpy as np

from benchmarks.recall import by_class, classify, name_by_class
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.teachers.classifiers import imagenet_kinds, imagenet_names

HEN, BULBUL = "n01514859", "n01560419"  # ImageNet's numbers 8 and 16
BIRDS = [8, 16]


def photo(number: str) -> CaptionedPhoto:
    return CaptionedPhoto(Path(f"{number}.jpg"), ("a photo of it",), "test")


def test_a_group_finds_the_photos_that_show_its_classes_most_surely_in_sum():
    names = [name for names in imagenet_names() for name in names]
    assert "hen" in names and "bulbul" in names
    probabilities = np.zeros((20, 1000), np.float32)
    probabilities[:, 500] = 0.5
    probabilities[:10, 8] = probabilities[:10, 16] = 0.3  # together more than 0.5
    probabilities[10:, 8] = 0.5
    right = {"bird": np.arange(20) < 7}
    assert {*BIRDS} <= {*next(kind for kind in imagenet_kinds() if "bird" in kind.names).classes}
    assert by_class(probabilities, right) == {"bird": {"photos": 7, "of_ten": 7}}
    right = {"bird": np.arange(20) >= 7}
    assert by_class(probabilities, right) == {"bird": {"photos": 13, "of_ten": 3}}


def test_names_find_photos_and_photos_names_by_their_classes():
    probabilities = np.zeros((2, 1000), np.float32)
    probabilities[0, 8], probabilities[0, 16] = 0.1, 0.2
    probabilities[1, 16] = 0.9
    found = name_by_class(probabilities, [photo(HEN), photo(BULBUL)])
    assert (found.text_to_image.r1, found.image_to_text.r1) == (100.0, 50.0)


def test_classifiers_know_a_photo_that_a_package_ships():
    cat = next(path for path in packaged_photos() if path.stem == "chelsea")
    (row,) = classify([CaptionedPhoto(cat, ("a cat",), "test")])
    assert abs(row.sum() - 1) < 1e-3
    assert "cat" in imagenet_names()[row.argmax()][0]
