"""Training: a small run on real photos, from real starting weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.features import cached_features
from mcad_mobile.distill.train import Recipe, train
from mcad_mobile.students.load import load_student

RECIPE = Recipe(epochs=2, batch=4, views=2)


def silent(step, done, total):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    records = []
    for number, path in enumerate(packaged_photos()):
        shutil.copy(path, folder / "images")
        sentences = [{"raw": f"a photo of {path.stem.replace('_', ' ')}"}, {"raw": path.stem}]
        split = "val" if number % 4 == 3 else "train"
        records.append({"filename": path.name, "split": split, "sentences": sentences})
    (folder / "dataset_packaged.json").write_text(json.dumps({"images": records}))
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "small"
    cache = tmp_path_factory.mktemp("cache")
    return out, train(data, out, RECIPE, cache, silent), cache


def test_a_trained_student_loads_and_its_recipe_lies_beside_it(trained):
    out, result, _ = trained
    assert load_student(str(out)).config.name == "small"
    record = json.loads((out / "training.json").read_text())
    assert record["recipe"]["epochs"] == 2
    assert record["val"] == result.to_json()


def test_the_same_seed_trains_the_same_student(trained, data, tmp_path):
    out, _, cache = trained
    train(data, tmp_path / "small", RECIPE, cache, silent)
    first, second = load_student(str(out)), load_student(str(tmp_path / "small"))
    for (name, one), two in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        assert torch.allclose(one, two, atol=1e-3), name


def test_features_are_computed_once_and_views_differ(data, tmp_path):
    photos = sorted((data / "images").iterdir())[:3]
    student = load_student()
    calls = []
    first = cached_features(student, photos, 2, tmp_path, lambda *step: calls.append(step))
    again = cached_features(student, photos, 2, tmp_path, lambda *step: pytest.fail("recomputed"))
    assert calls
    assert first.shape == (2, 3, 1280)
    assert np.array_equal(first, again)
    assert not np.allclose(first[0], first[1], atol=0.1)


def test_features_of_view_0_are_those_of_the_photo_itself(data, tmp_path):
    photo = sorted((data / "images").iterdir())[0]
    student = load_student()
    features = cached_features(student, [photo], 1, tmp_path, silent)
    with torch.no_grad():
        pixels = torch.from_numpy(student.config.preprocess(photo)[None])
        expected = student.image.features(pixels).numpy()
    similarity = np.corrcoef(features[0, 0].astype(np.float32), expected[0])[0, 1]
    assert similarity > 0.999  # the cache is made in bfloat16


def test_other_weights_are_not_served_from_the_cache(data, tmp_path):
    photo = sorted((data / "images").iterdir())[:1]
    student = load_student()
    cached_features(student, photo, 1, tmp_path, silent)
    with torch.no_grad():
        student.image.stem.weight.mul_(1.5)
    cached_features(student, photo, 1, tmp_path, silent)
    assert len(list(tmp_path.glob("*.npy"))) == 2
