"""What a step of training is made of: losses, their weights and temperatures, and its chance."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn
from torch.nn import functional as F

from mcad_mobile.distill.dataset import Batch
from mcad_mobile.distill.labels import JointLabels
from mcad_mobile.distill.loop import Loop, Prefetch, Schedule
from mcad_mobile.distill.losses import (
    contrastive_loss,
    distribution_loss,
    feature_loss,
)
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.train_student import paired_losses, teacher_losses
from mcad_mobile.distill.trainee import FrozenTrunk, evaluate_trainee
from mcad_mobile.errors import StudentError, TrainingError
from mcad_mobile.students.load import load_student

RECIPE = StudentRecipe(contrastive=0.5, distribution=3.0, feature=11.0, temperature=0.25)


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator), dim=1)


@pytest.fixture
def made() -> dict[str, torch.Tensor]:
    """What a student of width 4 makes of five photos and six captions."""
    scales = {"scale": torch.tensor(9.0), "soft_scale": torch.tensor(4.0)}
    return {"image": unit(5, 4, 0), "text": unit(6, 4, 1), **scales}


@pytest.fixture
def taught() -> JointLabels:
    """What teachers of width 8 say of them."""
    image, text = unit(5, 8, 2), unit(6, 8, 3)
    return JointLabels(image, text, image @ text.T)


def test_pairs_are_drawn_together_with_the_recipes_weight_at_their_own_temperature(made):
    batch = Batch(np.arange(5), np.zeros(5, np.intp), np.arange(6), paired=3)
    (loss,) = paired_losses(made, batch, RECIPE).values()
    expected = contrastive_loss(made["image"][:3], made["text"][:3], torch.tensor(9.0))
    assert loss == pytest.approx(0.5 * float(expected))
    assert paired_losses(made, batch, replace(RECIPE, contrastive=0.0)) == {}


def test_the_teachers_count_with_the_recipes_weights_and_temperature(made, taught):
    targets = {"image_target": unit(5, 4, 4), "text_target": unit(6, 4, 5)}
    parts = teacher_losses(made | targets, taught, RECIPE)
    image, text = made["image"], made["text"]
    logits = 4.0 * image @ text.T
    divergence = distribution_loss(logits, taught.similarity / 0.25)
    apart = [
        feature_loss(mine, targets[name])
        for mine, name in ((image, "image_target"), (text, "text_target"))
    ]
    assert {name: float(part) for name, part in parts.items()} == pytest.approx(
        {
            "distribution": 3.0 * float(divergence),
            "feature": 11.0 * float(apart[0] + apart[1]) / 2,
        }
    )


def test_weights_of_zero_leave_a_teachers_loss_out(made, taught):
    none = replace(RECIPE, distribution=0.0, feature=0.0)
    assert teacher_losses(made, taught, none) == {}


class Dropped(nn.Module):
    """Ones, most of which are dropped; it keeps which."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64))
        self.seen: list[list[float]] = []

    def forward(self) -> torch.Tensor:
        out = F.dropout(self.weight.detach().sign(), 0.5, self.training)
        self.seen.append(out.tolist())
        return (self.weight * out).sum()


def dropped(folder: Path, seed: int, steps: int = 4) -> list[list[float]]:
    model = Dropped()
    groups = [{"params": [*model.parameters()], "lr": 1e-3}]
    schedule = Schedule(1, steps, 0.1, 0.0, seed)
    loop = Loop(model, groups, schedule, folder / f"{seed}.pt", "f", "test", "fp32")
    loop.run(lambda forward, step: {"loss": forward()}, lambda *reports: None)
    loop.finish()
    return model.seen


def test_a_step_is_reported_with_its_epoch(tmp_path):
    model, reports = Dropped(), []
    groups = [{"params": [*model.parameters()], "lr": 1e-3}]
    schedule = Schedule(2, 3, 0.1, 0.0, 0)
    loop = Loop(model, groups, schedule, tmp_path / "c.pt", "f", "test", "fp32")
    loop.run(lambda forward, step: {"near": forward()}, lambda *report: reports.append(report))
    assert reports[0] == ("test", 0, 6)
    assert [report[1:] for report in reports] == [(step, 6) for step in range(7)]
    starts = [step[: len("test: epoch 1/2, near")] for step, *_ in reports[1:]]
    assert starts == [f"test: epoch {epoch}/2, near" for epoch in (1, 1, 1, 2, 2, 2)]
    assert "; saved after epoch 1" in reports[4][0]


def test_the_rate_rises_while_it_warms_up_and_falls_to_the_end(tmp_path):
    model, rates = Dropped(), []
    groups = [{"params": [*model.parameters()], "lr": 0.5}]
    loop = Loop(model, groups, Schedule(2, 5, 0.4, 0.07, 0), tmp_path / "c.pt", "f", "t", "fp32")

    def losses(forward, step):
        (group,) = loop.optimizer.param_groups
        assert group["weight_decay"] == 0.07
        rates.append(group["lr"])
        return {"near": forward()}

    loop.run(losses, lambda *report: None)
    assert rates[3] == pytest.approx(0.5) and rates[-1] < 1e-3
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)


@pytest.mark.parametrize(("warmup", "steps"), [(0.1, 10), (0.05, 20), (0.5, 2)])
def test_a_warm_up_of_one_step_begins_at_the_peak(warmup, steps, tmp_path):
    model, rates = Dropped(), []
    groups = [{"params": [*model.parameters()], "lr": 0.5}]
    schedule = Schedule(1, steps, warmup, 0.0, 0)
    loop = Loop(model, groups, schedule, tmp_path / "c.pt", "f", "t", "fp32")

    def losses(forward, step):
        rates.extend(loop.rates.get_last_lr())
        return {"near": forward()}

    loop.run(losses, lambda *report: None)
    assert rates[0] == pytest.approx(0.5) and rates[-1] < 1e-3
    assert rates == sorted(rates, reverse=True)


def test_an_interrupted_run_ends_as_one_that_never_stopped(tmp_path):
    """In its weights, its momenta and its learning rates."""

    def train(name: str, stops_at: int | None = None) -> tuple[list[float], list[float]]:
        model, rates = Dropped(), []
        groups = [{"params": [*model.parameters()], "lr": 0.1}]
        loop = Loop(model, groups, Schedule(3, 2, 0.4, 0.0, 0), tmp_path / name, "f", "t", "fp32")

        def losses(forward, step):
            if step == stops_at:
                raise KeyboardInterrupt
            rates.append(loop.optimizer.param_groups[0]["lr"])
            return {"near": forward().square()}

        loop.run(losses, lambda *report: None)
        return model.weight.tolist(), rates

    weights, rates = train("whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train("stopped.pt", stops_at=3)
    assert train("stopped.pt") == (weights, rates[2:])


def test_the_largest_seed_that_a_recipe_takes_trains(tmp_path):
    largest = 2**63 - 1
    StudentRecipe(seed=0).changed(seed=largest)
    first = dropped(tmp_path, largest)
    assert dropped(tmp_path, largest) == first != dropped(tmp_path, largest - 1)


def test_a_loss_that_explodes_says_how_to_start_again(tmp_path):
    model, checkpoint = Dropped(), tmp_path / "c.pt"
    groups = [{"params": [*model.parameters()], "lr": 1e-3}]
    schedule = Schedule(2, 1, 0.1, 0.0, 0)

    def train(explodes: int) -> str:
        loop = Loop(model, groups, schedule, checkpoint, "f", "t", "fp32")
        with pytest.raises(TrainingError) as error:
            loop.run(
                lambda forward, step: {"near": forward() * (math.nan if step == explodes else 1)},
                lambda *report: None,
            )
        return error.value.hint

    assert train(0) == "Lower the learning rate in the recipe."
    assert f"delete {checkpoint} or give another --out" in train(1)


def test_dropout_is_of_the_seed_and_the_step(tmp_path):
    first = dropped(tmp_path, seed=3)
    assert len({tuple(step) for step in first}) == 4
    torch.rand(100)  # whatever else has drawn from chance meanwhile
    assert dropped(tmp_path, seed=3) == first
    assert all(left != right for left, right in zip(dropped(tmp_path, seed=4), first, strict=True))


def test_photos_of_a_step_are_read_while_the_one_before_trains_and_none_beyond_the_last():
    read, second = [], Event()

    def make(step: int) -> torch.Tensor:
        read.append(step)
        if step == 1:
            second.set()
        return torch.tensor(step)

    with Prefetch(make, 3) as photos_at:
        assert photos_at(0) == 0
        assert second.wait(60)
        assert [int(photos_at(step)) for step in (1, 2)] == [1, 2]
    assert read == [0, 1, 2]


def test_new_heads_text_layers_and_the_image_trunk_learn_at_their_own_rates():
    student = load_student()
    given = {"head_lr": 0.5, "tuned_lr": 0.25, "trunk_lr": 0.0625}
    recipe = StudentRecipe(head_dropout=0.375, text_dropout=0.125, **given)
    groups = FrozenTrunk(student, "ours", "x").prepare(recipe)
    dropped_out = [part.p for part in student.text.modules() if isinstance(part, nn.Dropout)]
    assert student.image.head.dropout.p == 0.375 and {*dropped_out} == {0.125}
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    names = {name for name, weight in student.named_parameters() if id(weight) in rates}
    heads = {name for name in names if name.startswith(("image.head.", "text.head."))}
    assert heads and names - heads
    for name, weight in student.named_parameters():
        if name in names:
            tower = 0.0625 if name.startswith("image.") else 0.25
            assert rates[id(weight)] == (0.5 if name in heads else tower), name


def test_a_student_can_be_cut_to_the_widths_that_its_recipe_trained(tmp_path):
    trainee = FrozenTrunk(load_student(), "ours", "x")
    recipes = {"96": StudentRecipe(widths=(128, 96, 32)), "none": StudentRecipe(narrow=0)}
    for name, recipe in recipes.items():
        trainee.prepare(recipe)
        trainee.save(tmp_path / name)
    assert load_student(str(tmp_path / "96"), 96).dim == 96
    for name, own in (("96", "256, 128, 96"), ("none", "256")):
        with pytest.raises(StudentError, match=rf"cut to 64 dim(?s:.)*for: {own}\.$"):
            load_student(str(tmp_path / name), 64)


def test_a_student_is_evaluated_as_it_is_on_every_photo_and_caption_once():
    """On more than it embeds at once: uncropped, and without dropout."""
    vectors = unit(700, 64, 0)
    owner = np.repeat(np.arange(600), [2] * 100 + [1] * 500)

    class Rows:
        def photos(self, batch):
            assert not batch.views.any() and not len(batch.captions)
            seen.append(batch.photos)
            return vectors[batch.photos]

        def captions(self, captions):
            read.append(captions)
            return vectors[owner[captions]], torch.ones(len(captions))

    class Same:
        module = nn.Linear(1, 1)

        def embed_photos(self, photos):
            assert not self.module.training
            return photos

        def embed_captions(self, ids, mask):
            return ids

    seen, read = [], []
    data = SimpleNamespace(paired_photos=600, owner=owner)
    found = evaluate_trainee(Same(), Rows(), data)
    assert np.concatenate(seen).tolist() == list(range(600))
    assert np.concatenate(read).tolist() == list(range(700))
    assert max(map(len, seen)) <= 512 and len(read) == 2
    assert (found.photos, found.captions, found.mean_recall) == (600, 700, 100.0)
