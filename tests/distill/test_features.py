"""Features are computed once, served only to who asks for the same, and kept as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mcad_mobile.data.augmentation import augment
from mcad_mobile.distill.dataset import Batch, Dataset, Views
from mcad_mobile.distill.features import (
    FeatureCache,
    GridTrunk,
    PhotoRows,
    by_length,
    compute_view,
    photo_rows,
)
from mcad_mobile.distill.labels import single_labels
from mcad_mobile.distill.recipe import TeacherRecipe
from mcad_mobile.distill.teachers.prepare import TeacherTraining
from mcad_mobile.distill.teachers.reference import RegionText
from mcad_mobile.distill.teachers.teacher import TextStates
from mcad_mobile.errors import PhotoError
from mcad_mobile.students.load import load_student
from mcad_mobile.students.text_transformer import TextConfig, TextTower

CAPTIONS = [f"caption {number}" for number in range(1200)]  # three batches of the cache


class Counted:
    """A model that says what it was asked and gives a row of numbers for each input."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.asked: list[int] = []

    def photos(self, photos: list[Image.Image]) -> np.ndarray:
        self.asked.append(len(photos))
        rows = [np.asarray(photo.resize((4, 4)), np.float32).reshape(-1) for photo in photos]
        return (self.factor * np.stack(rows) / 255).astype(np.float16)

    def captions(self, captions: list[str]) -> np.ndarray:
        self.asked.append(len(captions))
        rows = [[int(caption.split()[1]), len(caption)] for caption in captions]
        return (self.factor * np.array(rows)).astype(np.float16)


def refuse(inputs):
    pytest.fail("computed again")


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        noise = random.integers(0, 256, (40 + 10 * number, 60, 3), np.uint8)
        Image.fromarray(noise).save(path)
    return paths


def test_features_are_computed_once_batch_by_batch_and_served_from_then_on(cache):
    model = Counted()
    first = cache.of_captions(CAPTIONS, "m", "captions", model.captions)
    assert model.asked == [512, 512, 176]
    assert np.array_equal(first, Counted().captions(CAPTIONS))
    later = FeatureCache(cache.folder, cache.progress)
    assert np.array_equal(later.of_captions(CAPTIONS, "m", "other label", refuse), first)


def test_progress_counts_every_row_up_to_the_last(tmp_path):
    reports = []
    cache = FeatureCache(tmp_path, lambda *step: reports.append(step))
    cache.of_captions(CAPTIONS, "m", "captions", Counted().captions)
    assert reports == [("captions", done, 1200) for done in (0, 512, 1024, 1200)]
    FeatureCache(tmp_path, refuse).of_captions(CAPTIONS, "m", "captions", refuse)


def test_another_model_other_captions_or_another_order_are_computed_anew(cache):
    cache.of_captions(CAPTIONS, "m", "", Counted().captions)
    for captions, identity in (
        (CAPTIONS, "n"),
        (CAPTIONS[:-1], "m"),
        (CAPTIONS[::-1], "m"),
        ([*CAPTIONS[:-1], "caption 0"], "m"),
    ):
        model = Counted(2.0)
        found = cache.of_captions(captions, identity, "", model.captions)
        assert sum(model.asked) == len(captions)
        assert np.array_equal(found, Counted(2.0).captions(captions))


def test_captions_with_the_same_letters_are_not_the_same_captions(cache):
    def lengths(captions):
        return np.array([[len(caption)] for caption in captions], np.float16)

    assert cache.of_captions(["ab", "c"], "m", "", lengths).tolist() == [[2], [1]]
    assert cache.of_captions(["a", "bc"], "m", "", lengths).tolist() == [[1], [2]]


def test_another_model_view_or_photo_is_computed_anew(cache, photos):
    first = cache.of_photos(photos, 0, "m", "", Counted().photos)
    assert np.array_equal(cache.of_photos(photos, 0, "m", "", refuse), first)
    for paths, view, identity in (
        (photos, 0, "n"),
        (photos, 1, "m"),
        (photos[:2], 0, "m"),
        ([photos[1], photos[0], photos[2]], 0, "m"),
    ):
        model = Counted()
        cache.of_photos(paths, view, identity, "", model.photos)
        assert model.asked == [len(paths)]
    Image.new("RGB", (9, 9)).save(photos[0])
    assert not np.array_equal(cache.of_photos(photos, 0, "m", "", Counted().photos), first)


def test_view_0_is_the_photo_and_others_the_same_seeded_crops_for_every_model(cache, photos):
    for view in (0, 1, 2):
        opened = [Image.open(path).convert("RGB") for path in photos]
        looks = [augment(image, view, number) for number, image in enumerate(opened)]
        for model in (Counted(), Counted(0.5)):
            found = cache.of_photos(photos, view, f"{model.factor}", "", model.photos)
            assert np.array_equal(found, Counted(model.factor).photos(looks))
        if view == 0:
            assert looks == opened
        else:
            for look, whole in zip(looks, opened, strict=True):
                area = look.width * look.height / (whole.width * whole.height)
                assert 0.47 < area <= 1  # half, but for whole pixels
                assert look.size != whole.size or look != whole


def test_grids_serve_a_trunk_whose_later_blocks_were_trained_meanwhile():
    student = load_student()

    def identities() -> list[str]:
        return [
            GridTrunk("", student.image, student.preprocess, "fp32", dropped).identity
            for dropped in (0, 1)
        ]

    whole, shallow = identities()
    with torch.no_grad():
        next(student.image.blocks[-1].parameters()).add_(1)
    assert identities()[0] != whole and identities()[1] == shallow
    with torch.no_grad():
        next(student.image.blocks[-2].parameters()).add_(1)
    assert identities()[1] != shallow


def test_a_photo_is_cropped_alike_in_whatever_batch_it_is(photos):
    whole, *parts = (
        compute_view(photos[first:end], 1, first, Counted().photos)
        for first, end in ((0, 3), (0, 2), (2, 3))
    )
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_photo_that_cannot_be_opened_is_named_and_leaves_nothing_behind(cache, photos):
    whole = photos[1].read_bytes()
    photos[1].write_bytes(b"\0" * len(whole))
    with pytest.raises(PhotoError, match=r"1\.png"):
        cache.of_photos(photos, 0, "m", "", Counted().photos)
    photos[1].write_bytes(whole)
    model = Counted()
    cache.of_photos(photos, 0, "m", "", model.photos)
    assert model.asked == [3]


def test_a_second_model_on_a_firsts_features_is_kept_under_both(cache):
    first, other = (
        cache.of_captions(CAPTIONS, identity, "", Counted(factor).captions)
        for identity, factor in (("m", 1.0), ("n", 2.0))
    )
    asked = []

    def negative(sources):
        (rows,) = sources
        asked.append(len(rows))
        return -rows

    assert np.array_equal(cache.of_features([first], "second", "", negative), -first)
    assert asked == [64] * 18 + [48]
    assert np.array_equal(cache.of_features([first], "second", "", refuse), -first)
    assert np.array_equal(cache.of_features([other], "second", "", negative), -other)
    assert np.array_equal(
        cache.of_features([first], "third", "", lambda subset: 3 * subset[0]), 3 * first
    )
    added = cache.of_features([first, first], "sum", "", sum)
    assert np.array_equal(added, 2 * first)
    assert np.array_equal(cache.of_features([first, other], "sum", "", sum), first + other)


def dataset_of(photos: int, paired: int, captions: tuple[str, ...] = ()) -> Dataset:
    paths = tuple(Path(f"{number}.jpg") for number in range(photos))
    empty = torch.zeros(0, 0)
    return Dataset(paths, captions, np.arange(paired), empty, empty)


def test_rows_of_photos_are_those_of_the_photo_and_view_that_a_batch_names():
    data = dataset_of(photos=5, paired=3)
    asked = []

    def of_view(photos, view):
        asked.append(([int(photo.stem) for photo in photos], view))
        numbers = [[10 * int(photo.stem) + view, 0.5] for photo in photos]
        return np.array(numbers, np.float16)

    rows = photo_rows(data, Views(paired=3, extra=2), of_view)
    assert asked == [([0, 1, 2], view) for view in range(3)] + [([3, 4], view) for view in range(2)]
    batch = Batch(np.array([2, 0, 4, 3, 4]), np.array([1, 2, 0, 1, 1]), np.array([0, 1]), 2)
    found = rows.of(batch)
    assert found.dtype == torch.float32
    assert found.tolist() == [[number, 0.5] for number in (21, 2, 40, 31, 41)]
    asked.clear()
    assert photo_rows(dataset_of(3, 3), Views(1, 2), of_view).extra == ()
    assert asked == [([0, 1, 2], 0)]


class Reader:
    """A single-stream teacher's side of text: `states` for caption i, one after the other."""

    name = identity = "reader"
    trunks = ()
    fused_dim = 1

    def __init__(self, states: torch.Tensor) -> None:
        self.states = states

    def photo_states(self, photos):
        return torch.zeros(len(photos), 1, 1)

    def text_states(self, captions) -> TextStates:
        numbers = torch.tensor([int(caption.split()[1]) for caption in captions])
        mask = (torch.arange(self.states.shape[1]) <= numbers[:, None] % 6).float()
        return TextStates(self.states[numbers], mask)


@pytest.mark.parametrize("kind", ["token ids", "token states"])
def test_what_a_teacher_read_in_a_caption_survives_the_cache_exactly(cache, photos, kind):
    generator = torch.Generator().manual_seed(0)
    if kind == "token ids":  # beyond 2048 float16 has no odd numbers, beyond 65504 none at all
        states = torch.randint(2049, 250_000, (len(CAPTIONS), 6), generator=generator)
    else:
        states = torch.randn(len(CAPTIONS), 6, 5, generator=generator).half()
    data = Dataset(
        tuple(photos), tuple(CAPTIONS), np.arange(3), torch.zeros(0, 0), torch.zeros(0, 0)
    )
    teacher = Reader(states)
    labels = single_labels(teacher, data, Views(1, 0), cache)
    subset = np.array([149, 3, 3, 64, 0])
    found = labels.texts(subset)
    expected = teacher.text_states([CAPTIONS[number] for number in subset])
    assert found.states.equal(expected.states)
    assert found.states.dtype == expected.states.dtype
    assert found.mask.equal(expected.mask)
    assert found.mask.dtype == torch.float32


@pytest.mark.parametrize("captions", [1, 3, 10])
@torch.no_grad()
def test_groups_of_like_length_give_what_one_padded_batch_gives_in_its_order(captions):
    torch.manual_seed(0)
    config = TextConfig(vocab=50, length=12, width=16, heads=2, layers=2, mlp=32, embedding_rank=8)
    tower = TextTower(config, dim=6).eval()
    lengths = torch.tensor([3, 12, 1, 7, 7, 2, 12, 4, 9, 1])[:captions]
    mask = (torch.arange(12) < lengths[:, None]).float()
    ids = torch.randint(1, 50, (captions, 12)) * mask.long()
    cells = []

    def encode(ids, mask):
        cells.append(ids.numel())
        return tower(ids, mask)

    expected = tower(ids, mask)
    assert torch.allclose(by_length(encode, ids, mask), expected, atol=1e-5)
    assert sum(cells) < ids.numel()
    if captions > 1:
        assert (expected[0] - expected[1]).abs().max() > 1e-2


def test_photo_rows_without_extra_photos_need_none():
    rows = PhotoRows((np.eye(2, dtype=np.float16),), ())
    batch = Batch(np.array([1, 0]), np.zeros(2, np.intp), np.array([0]), 0)
    assert rows.of(batch).tolist() == [[0, 1], [1, 0]]


@pytest.fixture
def training(cache, photos):
    data = Dataset(
        tuple(photos),
        ("a", "b", "c"),
        np.arange(3),
        torch.zeros(3, 4, dtype=torch.int64),
        torch.ones(3, 4),
    )
    return TeacherTraining(data, TeacherRecipe(batch=2), cache, "fp32")


def test_what_is_trained_on_other_views_is_trained_anew(training):
    """The fusion sees as many views as its student does, which no recipe of teachers says."""
    weights = []

    def train(views: int) -> int:
        torch.manual_seed(0)
        model, steps = torch.nn.Linear(1, 1), 0

        def losses(loop, forward, batch):
            nonlocal steps
            steps += 1
            return {"loss": forward(torch.from_numpy(batch.views).float()[:, None]).mean()}

        sampler = replace(training.sampler(2, 0), views=Views(views, 0))
        groups = [{"params": list(model.parameters()), "lr": 0.1}]
        training.train("fusion", model, groups, sampler, 1, losses)
        weights.append((model.weight.item(), model.bias.item()))
        return steps

    assert [train(views) for views in (6, 6, 2, 2)] == [1, 0, 1, 0]
    torch.manual_seed(0)
    untrained = torch.nn.Linear(1, 1)
    assert weights[0] == weights[1] != (untrained.weight.item(), untrained.bias.item())


@pytest.mark.slow
def test_a_teacher_is_the_same_whatever_its_token_tables_last_digits_were(training):
    """They depend on the number of threads, and half an hour of training on them."""

    def train(changed: str) -> int:
        model = RegionText([2], dim=4)
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.fill_(0.5 + 1e-6 * (name == changed))
        steps = 0

        def losses(loop, forward, batch):
            nonlocal steps
            steps += 1
            return {"loss": model.log_scale.sum()}

        groups = [{"params": [model.log_scale], "lr": 0.1}]
        training.train("dual", model, groups, training.sampler(2, 0), 1, losses)
        return steps

    steps = [train(name) for name in ("", "text.token.weight", "text.widen.weight", "log_scale")]
    assert steps == [1, 0, 0, 1]
