"""What teachers say of a dataset, with teachers small enough to say it by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Views
from mcad_mobile.distill.labels import Fusion, Labels, candidates, dual_labels, single_labels
from mcad_mobile.distill.teachers.teacher import Fused, TextStates
from mcad_mobile.distill.train_student import align_space, find_rotation, interleave


class Dual:
    """A photo is its mean colour, a caption its numbers, each multiplied by a seeded matrix."""

    def __init__(self, seed: int, dim: int) -> None:
        self.name = self.identity = f"dual {seed}"
        self.trunks = ()
        self.dim = dim
        self.turn = torch.randn(3, dim, generator=torch.Generator().manual_seed(seed))

    def embed_photos(self, photos):
        colours = [np.asarray(photo, np.float32).mean((0, 1)) / 255 for photo in photos]
        return F.normalize(torch.from_numpy(np.stack(colours)) @ self.turn, dim=1)

    def embed_texts(self, captions):
        numbers = [[float(number) for number in caption.split()] for caption in captions]
        return F.normalize(torch.tensor(numbers) @ self.turn, dim=1)


class Single:
    """A pair's score and feature are the product of photo and caption, number by number."""

    name = identity = "single"
    trunks = ()
    fused_dim = 3
    cosines = True

    def photo_states(self, photos):
        colours = [np.asarray(photo, np.float32).mean((0, 1)) / 255 for photo in photos]
        return torch.from_numpy(np.stack(colours))[:, None].half()

    def text_states(self, captions):
        numbers = [[float(number) for number in caption.split()] for caption in captions]
        return TextStates(torch.tensor(numbers)[:, None].half(), torch.ones(len(captions), 1))

    def fuse(self, photos, texts, pairs):
        product = photos[pairs[:, 0], 0].float() * texts.states[pairs[:, 1], 0].float()
        return Fused(product, product.sum(1))


@pytest.fixture
def data(tmp_path) -> Dataset:
    random = np.random.default_rng(0)
    paths = []
    for number, colour in enumerate(random.integers(0, 256, (6, 3))):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), tuple(int(part) for part in colour)).save(path)
        paths.append(path)
    captions = [" ".join(f"{part:.3f}" for part in row) for row in random.random((9, 3))]
    # Four photos with five captions, two photos and four captions without.
    owner = np.array([0, 0, 1, 2, 3])
    return Dataset(tuple(paths), tuple(captions), owner, torch.zeros(9, 2), torch.ones(9, 2))


def batch() -> Batch:
    return Batch(np.array([2, 0, 5]), np.array([0, 0, 0]), np.array([3, 1, 8, 6]), 2)


def opened(data, rows):
    return [Image.open(data.photos[row]) for row in rows]


def test_several_dual_stream_teachers_speak_with_their_mean_similarity(data, cache):
    teachers = [Dual(0, 4), Dual(1, 7)]
    image, text = dual_labels(teachers, data, Views(1, 1), cache).of(batch())
    assert image.shape == (3, 11)
    assert torch.allclose(image.norm(dim=1), torch.ones(3), atol=1e-3)
    alone = [
        teacher.embed_photos(opened(data, batch().photos))
        @ teacher.embed_texts([data.captions[row] for row in batch().captions]).T
        for teacher in teachers
    ]
    assert torch.allclose(image @ text.T, (alone[0] + alone[1]) / 2, atol=2e-3)


def test_a_photos_companions_are_the_extra_captions_nearest_to_it(data, cache):
    teacher = Dual(0, 4)
    found = dual_labels([teacher], data, Views(1, 1), cache).companions(data, number=2)
    similarity = (
        teacher.embed_photos(opened(data, range(6))) @ teacher.embed_texts(data.captions[5:]).T
    )
    assert found.tolist() == (similarity.topk(2, 1).indices + 5).tolist()


def test_without_extra_captions_there_are_no_companions(data, cache):
    pairs = Dataset(data.photos[:4], data.captions[:5], data.owner, data.ids, data.mask)
    assert dual_labels([Dual(0, 4)], pairs, Views(1, 1), cache).companions(pairs) is None


def test_principal_directions_keep_cosines_and_drop_what_varies_least(data, cache):
    labels = dual_labels([Dual(0, 4), Dual(1, 4)], data, Views(1, 1), cache)
    photos, texts = labels.view("paired"), labels.all_texts()
    for width in (8, 12):
        space = labels.principal(width)
        assert space.shape == (8, width)
        assert torch.allclose((texts @ space) @ (photos @ space).T, texts @ photos.T, atol=1e-5)
    rows = torch.cat([photos / len(photos) ** 0.5, texts / len(texts) ** 0.5])
    for width in (1, 2, 3, 5):  # colours are three numbers: wider ones hold nearly all
        kept = (rows @ labels.principal(width)).square().sum()
        assert torch.isclose(kept, torch.linalg.svdvals(rows)[:width].square().sum())


def test_the_single_stream_teacher_is_asked_about_candidates_only(data, cache):
    dual = dual_labels([Dual(0, 4)], data, Views(1, 1), cache)
    labels = Labels(dual, 1, single_labels(Single(), data, Views(1, 1), cache))
    *_, asked, fused = labels.score_candidates(batch())
    assert asked.equal(candidates(*dual.of(batch()), 1)) and not asked.all()
    colours = Single().photo_states(opened(data, batch().photos))[:, 0].float()
    numbers = Single().text_states([data.captions[r] for r in batch().captions]).states[:, 0]
    assert torch.allclose(fused.scores, (colours @ numbers.float().T)[asked])


class Logits(Single):
    """Single's scores, of a cross-encoder's size."""

    name = identity = "logits"
    cosines = False

    def fuse(self, photos, texts, pairs):
        fused = super().fuse(photos, texts, pairs)
        return Fused(fused.features, 300 * fused.scores - 40)


def test_logits_are_brought_to_the_range_of_similarities_in_their_order(data, cache):
    dual = dual_labels([Dual(0, 4)], data, Views(1, 1), cache)
    sampler = BatchSampler(data, 4, Views(1, 1), 2, 3, seed=0)
    raw, labels = (
        Labels(dual, 2, single_labels(Logits(), data, Views(1, 1), cache)) for _ in range(2)
    )
    labels = labels.calibrated(sampler)
    batch = sampler.at(0)
    image, text, asked, scored = labels.score_candidates(batch)
    before = raw.score_candidates(batch)[3]
    similarity = (image @ text.T)[asked]
    assert before.scores.std() > 20 * similarity.std()
    assert torch.isclose(scored.scores.mean(), similarity.mean(), atol=1e-4)
    assert torch.isclose(scored.scores.std(), similarity.std(), rtol=1e-3)
    assert scored.scores.argsort().equal(before.scores.argsort())
    seen = []

    def at(step: int) -> Batch:
        seen.append(step)
        return batch

    for per_epoch in (9, 2):
        labels.calibrated(SimpleNamespace(steps_per_epoch=per_epoch, at=at))
    assert seen == [0, 1, 2, 3, 0, 1]


def test_mcad_starts_as_the_mean_of_both_teachers_on_what_both_have_seen(data, cache):
    dual = dual_labels([Dual(0, 4)], data, Views(1, 1), cache)
    single = single_labels(Single(), data, Views(1, 1), cache)
    labels = Labels(dual, 9, single, Fusion(4, 3))
    fused, (image, text, asked, pairs) = labels.of(batch()), labels.score_candidates(batch())
    assert asked.all()
    scores = pairs.scores.view_as(asked)
    assert torch.allclose(fused.image, image, atol=1e-3)
    assert torch.allclose(fused.similarity, (image @ text.T + scores) / 2, atol=1e-3)


def test_a_space_is_rotated_to_where_the_student_lies():
    random = torch.Generator().manual_seed(0)
    space = torch.linalg.qr(torch.randn(8, 3, generator=random))[0]
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=random))[0]
    teachers = F.normalize(torch.randn(50, 8, generator=random), dim=1)
    student = F.normalize(teachers @ space, dim=1) @ rotation
    found = find_rotation(F.normalize(teachers @ space, dim=1), student)
    assert torch.allclose(found, rotation, atol=1e-5)


def test_teachers_and_names_move_together_to_where_a_trained_student_lies():
    random = torch.Generator().manual_seed(0)
    photos, texts = (F.normalize(torch.randn(n, 5, generator=random), dim=1) for n in (40, 70))
    turn = torch.linalg.qr(torch.randn(6, 6, generator=random))[0]
    principal = torch.linalg.qr(torch.randn(5, 5, generator=random))[0]
    before, _ = interleave(principal[:, :4], 2)

    class Trained:
        dim, has_a_space, module = 6, True, nn.Linear(1, 1)

        def embed_photos(self, rows):
            return F.normalize(rows @ before, dim=1) @ turn

        def embed_captions(self, rows, mask):
            return F.normalize(rows @ before, dim=1) @ turn

    read = []
    reader = SimpleNamespace(
        photos=lambda batch: read.append(len(batch.photos)) or photos[batch.photos],
        captions=lambda captions: read.append(len(captions)) or (texts[captions], texts[captions]),
    )
    dual = SimpleNamespace(
        principal=lambda dim: principal[:, :dim],
        of=lambda batch: (photos[batch.photos], texts[batch.captions]),
    )
    data = SimpleNamespace(paired_photos=40, owner=np.arange(70) // 2)
    space, names = align_space(Trained(), dual, reader, data, for_names=2)
    assert torch.allclose(space, before @ turn, atol=1e-5) and read == [40, 70]
    assert torch.allclose(names @ names.T, torch.eye(2), atol=1e-5)
    assert torch.allclose(names @ space.T, torch.zeros(2, 5), atol=1e-5)
    Trained.has_a_space = False
    assert align_space(Trained(), dual, reader, data, for_names=2)[0].equal(before)


def test_two_names_follow_each_caption_so_that_a_narrower_student_keeps_both():
    captions, names = interleave(torch.eye(3), 5)
    assert captions.nonzero().tolist() == [[0, 0], [1, 3], [2, 6]]
    assert names.nonzero().tolist() == [[0, 1], [1, 2], [2, 4], [3, 5], [4, 7]]
    captions, names = interleave(torch.eye(1), 4)  # once one kind runs out, the other is left
    assert captions.nonzero().tolist() == [[0, 0]]
    assert names.nonzero().tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]
    captions, names = interleave(torch.eye(4), 2)
    assert captions.nonzero().tolist() == [[0, 0], [1, 3], [2, 4], [3, 5]]
    captions, names = interleave(torch.eye(3), 0)
    assert torch.equal(captions, torch.eye(3)) and names.shape == (0, 3)
