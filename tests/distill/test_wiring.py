"""A run's teachers, their training and the losses of a step are those of the recipe: of parts that
do nothing, and of losses that other tests compare with their formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace as with_fields
from torch import nn
from torch.nn import functional as F

from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill.class_distillation import ClassDistillation, ClassLabels, class_losses
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.labels import JointLabels
from mcad_mobile.distill.loop import Schedule
from mcad_mobile.distill.losses import at_widths, matching_loss
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import StudentRecipe, TeacherRecipe
from mcad_mobile.distill.teachers import prepare
from mcad_mobile.distill.teachers.prepare import TeacherTraining
from mcad_mobile.distill.teachers.teacher import Fused, Kind
from mcad_mobile.distill.train_student import (
    StudentTraining,
    Targets,
    interleave,
    paired_losses,
    teacher_losses,
)
from mcad_mobile.distill.trainee import Learner

TAUGHT = TeacherRecipe(views=2, batch=2, seed=11)
PAIRS = Dataset(
    tuple(packaged_photos()[:3]), ("a", "b", "c"), np.arange(3), torch.zeros(3, 2), torch.ones(3, 2)
)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path, lambda *step: None)


class Backward(SimpleNamespace):
    """A loop whose processes hand back rows in reverse, and that trains nothing."""

    device = torch.device("cpu")
    arithmetic = "fp32"

    def share(self, batch: Batch) -> Any:
        return (
            batch,
            np.arange(len(batch.photos))[::-1].copy(),
            np.arange(len(batch.captions))[::-1].copy(),
        )

    def share_rows(self, rows: int) -> Any:
        return np.arange(rows), np.arange(rows)[::-1].copy()


def test_a_teacher_is_trained_again_only_if_what_it_depends_on_has_changed(
    cache: FeatureCache,
) -> None:
    def trains(
        recipe: TeacherRecipe = TAUGHT, start: float = 0.0, lr: float = 1.0, seed: int = 11,
        epochs: int = 1, taught_by: tuple[str, ...] = (), pairs: Any = PAIRS, factored: float = 0.0,
    ) -> bool:  # fmt: skip
        before = {*cache.folder.iterdir()}
        model = nn.Linear(1, 1)
        nn.init.constant_(model.weight, start)
        nn.init.zeros_(model.bias)
        model.text = nn.ModuleDict({"token": nn.Linear(1, 1, bias=False)})
        nn.init.constant_(model.text.token.weight, factored)
        training = TeacherTraining(pairs, recipe, cache, "fp32")
        groups = [{"params": [*model.parameters()], "lr": lr}]
        sampler = training.sampler(2, seed)

        def losses(loop: Any, forward: Any, batch: Batch) -> Any:
            given = recipe.warmup, recipe.weight_decay, seed
            assert loop.schedule == Schedule(epochs, sampler.steps_per_epoch, *given)
            return {"loss": forward(torch.ones(2, 1)).mean()}

        training.train("dual", model, groups, sampler, epochs, losses, taught_by)
        return {*cache.folder.iterdir()} != before

    assert trains() and not trains()
    assert not trains(with_fields(TAUGHT, members=7)) and not trains(with_fields(TAUGHT, seed=5))
    assert not trains(factored=1e-7)  # whose last digits depend on the number of threads
    changed: list[dict[str, Any]] = [
        {"recipe": with_fields(TAUGHT, views=3)},
        {"recipe": with_fields(TAUGHT, warmup=0.5)},
        {"recipe": with_fields(TAUGHT, weight_decay=0.0)},
        {"start": 1.0},
        {"lr": 0.5},
        {"seed": 12},
        {"epochs": 2},
        {"taught_by": ("a",)},
        {"pairs": replace(PAIRS, captions=("a", "b", "z"))},
    ]
    assert all(trains(**change) for change in changed)
    assert not any(trains(**change) for change in changed)


def test_single_stream_teacher_and_fusion_are_trained_as_the_recipe_says(
    cache: FeatureCache,
) -> None:
    seen: list[Any] = []

    class Recording(TeacherTraining):
        def train(self, kind, model, groups, sampler, epochs, losses, taught_by=()) -> None:
            given = [id(parameter) for group in groups for parameter in group["params"]]
            assert sorted(given) == sorted(map(id, model.parameters()))
            drawn = sampler.batch, sampler.seed, torch.initial_seed(), sampler.views
            seen.append((kind, [group["lr"] for group in groups], *drawn, epochs, losses))
            models.append((model, groups, taught_by))

    models: list[Any] = []
    recipe = with_fields(
        TAUGHT, batch=3, single_batch=2, single_epochs=5, head_lr=0.5, tuned_lr=0.125
    )
    training = Recording(PAIRS, recipe, cache, "fp32")
    prepare.train_single(training, torch.ones(30522))
    single, (heads, _), _ = models[0]
    new = single.base.head, single.base.text.head, single.region, single.word
    assert [*map(id, heads["params"])] == [id(row) for part in new for row in part.parameters()]
    rows, fused = torch.ones(2, 2), Fused(torch.ones(4, 2), torch.ones(4))
    labels: Any = SimpleNamespace(
        dual=SimpleNamespace(dim=4), single=SimpleNamespace(teacher=SimpleNamespace(fused_dim=2)),
        identity=("t",), candidates=7, scale=0.5, shift=0.25,
        score_candidates=lambda batch: (rows, rows, rows > 0, fused),
    )  # fmt: skip
    student = StudentRecipe(views=4, fusion_lr=0.25, fusion_epochs=6)
    prepare.train_fusion(training, labels, student)
    *_, losses = seen[1]
    similarity = torch.tensor([[0.5, 0.25], [0.0, 0.5]])
    (loss,) = losses(
        Backward(),
        lambda *rows: SimpleNamespace(similarity=similarity),
        training.sampler(2, 1).at(0),
    ).values()
    assert loss == pytest.approx(float(matching_loss(20 * similarity)))
    assert [entry[:-1] for entry in seen] == [
        ("single-stream teacher", [0.5, 0.125], 2, 111, 111, Views(2, 0), 5),
        ("fusion", [0.25], 3, 11, 11, Views(4, 0), 6),
    ]
    assert models[1][2] == ["t", 7, 0.5, 0.25]


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


DIM, WIDE, CLASSES = 8, 12, 5
PHOTOS, CAPTIONS = unit(60, DIM, 1), unit(600, DIM, 2)  # a student's, by row
BY_TEACHERS, WORDS = unit(60, WIDE, 3), unit(600, WIDE, 4)
SHOWN = torch.randn(60, CLASSES, generator=torch.Generator().manual_seed(5)).log_softmax(1)


class Reader:
    def photos(self, batch: Batch) -> torch.Tensor:
        return PHOTOS[batch.photos]

    def captions(self, captions: Any) -> Any:
        return CAPTIONS[captions], torch.ones(len(captions), DIM)


class Student:
    name, identity, dim, has_a_space = "student", "s", DIM, False

    def __init__(self) -> None:
        self.module = nn.Linear(2, 2)

    def tokens(self, texts: list[str]) -> Any:
        return unit(len(texts), DIM, len("".join(texts))), torch.ones(len(texts), DIM)

    def embed_photos(self, photos: torch.Tensor) -> torch.Tensor:
        return F.normalize(photos.flip(1), dim=1)

    def embed_captions(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.normalize(ids.roll(1, 1) * mask, dim=1)

    def prepare(self, recipe: StudentRecipe) -> Any:
        return [{"params": [*self.module.parameters()], "lr": recipe.tuned_lr}]


class Step(Backward):
    """A loop that computes the losses of step 3 alone, and keeps them."""

    def run(self, losses: Any, progress: Any, after_epoch: Any, record: Any) -> None:
        self.found = losses(self.model, 3)


def taught(batch: Batch) -> JointLabels:
    assert not batch.imagined
    image, text = BY_TEACHERS[batch.photos], WORDS[batch.captions]
    return JointLabels(image, text, image @ text.T)


@pytest.mark.parametrize("case", ["captions", "teachers", "classes", "imagined"])
def test_a_step_brings_together_what_captions_teachers_and_classes_say(case: str) -> None:
    of_classes = case not in ("captions", "teachers")
    imagined = np.zeros((2, 2)) if case == "imagined" else None
    principal = torch.linalg.qr(
        torch.randn(WIDE, WIDE, generator=torch.Generator().manual_seed(6))
    )[0]
    labels: Any = SimpleNamespace(
        **{"identity": ("t",), "names": ("teacher",), "of": taught},
        dual=SimpleNamespace(
            principal=lambda n: principal[:, :n],
            companions=lambda data: None,
            view=lambda photos: BY_TEACHERS,
        ),
    )
    photos: Any = SimpleNamespace(of=lambda batch: SHOWN[batch.photos])
    names = [(f"thing {n}",) for n in range(CLASSES)]
    kind = Kind(("kite",), (0, 1))
    vectors = torch.randn(CLASSES + 1, 6, generator=torch.Generator().manual_seed(7))
    classes = ClassLabels(photos, [*names, kind.names], (kind,), vectors, "c", "i", imagined)
    # At most three quarters of the numbers hold names.
    name_numbers, held = (7, 6) if case == "imagined" else (3, 3)
    used = StudentRecipe(
        batch=4, epochs=9, names=96, name_numbers=name_numbers, words=0.5, contrastive=0.5,
        distribution=2.0, feature=3.0, classifier=4.0, called=5.0, widths=(4,), narrow=0.25,
        temperature=0.5, initial_scale=7.0, class_temperature=2.0,
    )  # fmt: skip
    things = [("kite", "lamp", "chair")[n % 3] for n in range(60)]  # each on enough photos
    captioned = [
        CaptionedPhoto(Path(f"{n}.jpg"), (f"a {name}",), "train") for n, name in enumerate(things)
    ]
    data = dataset(captioned, minilm_tokenizer(), Extra((), ("one", "two")))
    sampler = BatchSampler(data, 4, Views(1, 0), 0, 3, 0, imagined=0 if imagined is None else 2)
    student, paired = Student(), 60
    made = Targets.of(
        labels, classes if of_classes else None, student, Reader(), data, used
    ) if case != "captions" else None  # fmt: skip
    learner = Learner(student, used, has_teachers=made is not None)
    loop: Any = Step(model=learner, schedule=SimpleNamespace(steps=9), step=0)
    training = StudentTraining(student, used, Reader(), sampler, loop, made)
    recall: Any = SimpleNamespace(mean_recall=1.0)
    training.run(lambda: recall, lambda *step: None, lambda *about: None)
    found = loop.found
    assert (learner.log_soft_scale is not None) == (case != "captions")

    batch = sampler.at(3)
    scale = torch.tensor(7.0)
    embeddings = {"image": student.embed_photos(PHOTOS[batch.photos]).flip(0), "scale": scale}
    embeddings["text"] = student.embed_captions(CAPTIONS[batch.captions], torch.ones(1)).flip(0)
    by_teachers = targets = None
    if case != "captions":
        embeddings["soft_scale"] = scale
        by_teachers = taught(batch.real)
        for_names = held if of_classes else 0
        space, of_names = interleave(principal[:, : DIM - for_names], for_names)
        image_target = F.normalize(by_teachers.image @ space, dim=1)
        embeddings["text_target"] = F.normalize(by_teachers.text @ space, dim=1)
        if of_classes:
            distillation = ClassDistillation(classes, used, of_names)
            everything = np.arange(paired)
            all_photos = Batch(everything, everything * 0, everything[:0], 0)
            shown = distillation.targets(all_photos, 0).mean_classes
            both = F.normalize(F.normalize(BY_TEACHERS @ space, dim=1) + shown, dim=1)
            distillation.add_words(data, both, used.words)
            assert len(distillation.vectors) == CLASSES + 1 + 2
            targets = distillation.targets(batch, 3)
            image_target = F.normalize(image_target + targets.mean_classes, dim=1)
            tokens = student.tokens(distillation.texts(3, np.arange(96)))
            embeddings["names"] = student.embed_captions(*tokens).flip(0)
            embeddings |= {"classes": targets.classes, "name_target": targets.prompt_classes}
        embeddings["image_target"] = image_target

    def at(embeddings: Any, width: int) -> Any:
        parts = paired_losses(embeddings, batch, used)
        if by_teachers is not None:
            parts |= teacher_losses(embeddings, by_teachers, used)
        if targets is not None:
            parts |= class_losses(embeddings, targets.log_probabilities, used)
        return parts

    expected = {name: float(part) for name, part in at_widths(at, embeddings, DIM, used).items()}
    assert {name: float(part.detach()) for name, part in found.items()} == pytest.approx(
        expected, rel=1e-4
    )
    named = {"captions": 1, "teachers": 3}.get(case, 6)
    assert len(expected) == named
