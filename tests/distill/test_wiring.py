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

from mcad_mobile.data.captions import load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import caption_words, run
from mcad_mobile.distill.class_distillation import ClassDistillation, ClassLabels, class_losses
from mcad_mobile.distill.dataset import Batch, BatchSampler, Dataset, Extra, Views
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.fusion import JointLabels
from mcad_mobile.distill.labels import Labels
from mcad_mobile.distill.losses import at_widths, contrastive_loss, matching_loss
from mcad_mobile.distill.recipe import Recipe, TeacherRecipe
from mcad_mobile.distill.run import align_space, interleave, paired_losses, teacher_losses
from mcad_mobile.distill.teachers import prepare
from mcad_mobile.distill.teachers.prepare import TeacherTraining
from mcad_mobile.distill.teachers.protocol import Fused, Kind, Teachers
from mcad_mobile.engine.bundle import RecallAt
from mcad_mobile.errors import TeacherError
from mcad_mobile.recall import Retrieval

COUNTS = torch.arange(5.0)
TAUGHT = TeacherRecipe(
    views=2, members=3, batch=2, epochs=4, single_batch=1, single_epochs=6, seed=11,
    head_lr=0.5, tuned_lr=0.25, single_lr=0.125,
)  # fmt: skip


class Reference(SimpleNamespace):
    """A reference teacher."""


class Foreign(SimpleNamespace):
    """A teacher of a library."""


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(Dataset, "token_counts", lambda data: COUNTS)
    paths = tuple(packaged_photos()[:4])
    return Dataset(paths, ("a", "b", "c", "d"), np.arange(3), torch.zeros(4, 2), torch.ones(4, 2))


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path, lambda *step: None)


def test_the_labels_of_a_run_are_those_of_its_teachers_and_its_classifier(
    data: Dataset, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    trained = [Reference(identity=f"{n}", name=f"dual {n}") for n in range(2)]

    def making(name: str, result: Any) -> Any:
        def make(*about: Any) -> Any:
            made.append((name, *about))
            return result

        return make

    single = Foreign(identity="s", name="single", cosines=True)
    monkeypatch.setattr(prepare, "RegionTextTeacher", Reference)
    monkeypatch.setattr(prepare, "train_duals", making("duals", trained))
    monkeypatch.setattr(prepare, "train_single", making("single", single))
    monkeypatch.setattr(prepare, "train_fusion", making("fusion", "a fusion"))
    monkeypatch.setattr(prepare, "dual_labels", making("dual labels", "dual"))
    monkeypatch.setattr(prepare, "single_labels", making("single labels", "by single"))
    monkeypatch.setattr(prepare, "class_labels", making("classes", "class labels"))
    monkeypatch.setattr(prepare, "reference_trunks", lambda arithmetic: f"trunks {arithmetic}")
    monkeypatch.setattr(prepare, "LiteClassifier", lambda trunks: f"lite on {trunks}")
    views = Views(5, 1)
    recipe = Recipe(teachers=TAUGHT, candidates=7, batch=2, seed=3, kinds=0.2)

    def label(teaching: Any, classifier: float = 1.0, **given: Any) -> Any:
        made.clear()
        changed = with_fields(recipe, teaching=teaching, classifier=classifier)
        return prepare.label(data, views, changed, Teachers(**given), cache, "bf16")

    assert label("none") == (None, None) and made == []
    dual = Labels("dual", 7, identity=("0", "1"), names=("dual 0", "dual 1"))  # type: ignore[arg-type]
    assert label("dual") == (dual, "class labels")
    (_, training, counts), by_duals, by_classes = made
    assert (training.recipe, training.cache, training.arithmetic) == (TAUGHT, cache, "bf16")
    assert (len(training.data.photos), training.data.captions) == (3, ("a", "b", "c"))
    assert counts is COUNTS
    assert by_duals == ("dual labels", trained, data, views, cache)
    assert by_classes == ("classes", "lite on trunks bf16", data, views, cache, 0.2, True)
    assert label("dual", classifier=0.0) == (dual, None)
    own = [Foreign(identity="f", name="foreign")]
    found, _ = label("dual", dual=own)
    assert (found.identity, found.names, made[0][1]) == (("f",), ("foreign",), own)
    made.clear()
    teachers = Teachers(dual=own, classifier="mine")  # type: ignore[arg-type]
    prepare.label(data, views, with_fields(recipe, teaching="dual"), teachers, cache, "fp32")
    assert made[-1][1] == "mine"

    whole = replace(
        dual, single="by single", identity=("0", "1", "s"), names=("dual 0", "dual 1", "single")
    )
    assert label("single", classifier=0.0) == (whole, None)
    assert [name for name, *_ in made] == ["duals", "dual labels", "single", "single labels"]
    assert made[2][2] == trained and made[3][1:] == (single, data, views, cache)
    assert label("mcad", classifier=0.0)[0] == replace(whole, fusion="a fusion")
    assert made[-1][2:] == (whole, with_fields(recipe, teaching="mcad", classifier=0.0))
    # Scores that are no cosines are brought to the range of cosines, on photos of the run's views.
    samplers: list[BatchSampler] = []

    def calibrated(labels: Labels, sampler: BatchSampler) -> Labels:
        samplers.append(sampler)
        return replace(labels, scale=2.0)

    monkeypatch.setattr(Labels, "calibrated", calibrated)
    other = Foreign(identity="o", name="other", cosines=False)
    found, _ = label("single", classifier=0.0, single=other)
    assert (found.scale, found.names[-1]) == (2.0, "other")
    assert [(s.batch, s.views, s.seed, s.data.captions) for s in samplers] == [
        (2, views, 3, ("a", "b", "c"))
    ]
    with pytest.raises(TeacherError, match="not from foreign"):
        label("single", dual=own)
    assert made == []  # before any photo is embedded
    assert label("single", classifier=0.0, dual=own, single=other)[0].identity == ("f", "o")


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


def with_mask(training: TeacherTraining, mask: torch.Tensor) -> TeacherTraining:
    """The same training, of captions with these tokens."""
    return replace(training, data=replace(training.data, ids=mask, mask=mask))


def test_teachers_are_trained_at_the_rates_and_for_the_time_of_their_recipe(
    data: Dataset, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def train(
        self: Any, kind: Any, model: Any, groups: Any, sampler: Any, epochs: Any, *more: Any
    ) -> None:
        losses, taught_by = more
        rates = {id(value): group["lr"] for group in groups for value in group["params"]}
        by_rate = {name: rates.get(id(value)) for name, value in model.named_parameters()}
        calls.append((kind, by_rate, sampler, epochs, losses, taught_by))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.region, self.head = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
            self.text = nn.ModuleDict({"head": nn.Linear(1, 1, bias=False)})
            self.text.head = self.text["head"]
            self.log_scale = nn.Parameter(torch.zeros(()))

    trunks = {2: "lite2", 0: "lite0"}
    grids = torch.arange(4.0)[:, None]
    monkeypatch.setattr(TeacherTraining, "train", train)
    monkeypatch.setattr(TeacherTraining, "grids", lambda self, trunks: lambda batch: grids)
    monkeypatch.setattr(prepare, "reference_trunks", lambda arithmetic: trunks)
    monkeypatch.setattr(prepare.RegionText, "pretrained", lambda *about: Model())
    monkeypatch.setattr(prepare, "RegionTextTeacher", lambda *about: about)
    monkeypatch.setattr(prepare, "WordRegion", lambda duals: nn.Linear(1, 1, bias=False))
    monkeypatch.setattr(prepare, "WordRegionTeacher", lambda *about: about)
    training = TeacherTraining(data.pairs, TAUGHT, cache, "fp32")
    duals = prepare.train_duals(training, COUNTS)
    assert [made[0] for made in duals] == [["lite2", "lite0"]] * 3
    heads = {float(model.head.weight.detach()) for _, model in duals}
    assert len(heads) == 3  # of a seed each
    again = prepare.train_duals(training, COUNTS)
    assert {float(model.head.weight.detach()) for _, model in again} == heads
    for number, (kind, rates, sampler, epochs, _, taught_by) in enumerate(calls[:3]):
        assert (kind, epochs, taught_by) == ("dual-stream teacher", 4, calls[0][-1])
        assert rates == {
            **{"region.weight": 0.25, "head.weight": 0.5, "text.head.weight": 0.5},
            "log_scale": 0.5,
        }
        assert (sampler.batch, sampler.views, sampler.seed) == (2, Views(2, 0), 11 + number)
        assert (sampler.extra_photos, sampler.extra_captions) == (0, 0)
    losses = calls[0][4]
    batch = Batch(np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), 2)
    sides = F.normalize(torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)), dim=2)
    scale = torch.tensor(9.0)

    def forward(photos: Any, ids: Any, mask: Any) -> Any:
        assert photos is not None and torch.equal(photos, grids) and len(ids) == len(mask) == 2
        return sides[0], sides[1], scale

    (loss,) = losses(Backward(), forward, batch).values()
    assert loss == contrastive_loss(sides[0].flip(0), sides[1].flip(0), scale)

    calls.clear()
    named = [SimpleNamespace(identity=name, trunks=list(trunks.values())) for name in "ab"]
    prepare.train_single(training, named)  # type: ignore[arg-type]
    kind, rates, sampler, epochs, losses, taught_by = calls.pop()
    assert (kind, rates, epochs) == ("single-stream teacher", {"weight": 0.125}, 6)
    assert (sampler.batch, sampler.views, sampler.seed) == (1, Views(2, 0), 11)
    assert taught_by == ["a", "b"]
    two = with_mask(training, torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0]]))
    prepare.train_single(two, named)  # type: ignore[arg-type]
    losses = calls.pop()[4]
    words = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2))
    monkeypatch.setattr(prepare, "encode_photos", lambda duals, grids: (sides[0], ["regions"]))
    monkeypatch.setattr(prepare, "encode_texts", lambda duals, ids, mask: (sides[1], [words]))

    def match(regions: Any, tokens: Any, mean: Any, dual: Any) -> torch.Tensor:
        assert regions == ["regions"]
        assert torch.equal(tokens[0], torch.cat([words[0, :3], words[1, :2]]))
        # A caption's score is the mean of its own words'.
        assert torch.allclose(mean.T, torch.tensor([[1 / 3] * 3 + [0] * 2, [0] * 3 + [0.5] * 2]))
        assert torch.equal(dual, sides[0] @ sides[1].T)
        return 5 * dual

    (loss,) = losses(Backward(), match, batch).values()
    assert torch.isclose(loss, matching_loss(5 * sides[0] @ sides[1].T))

    similarity = torch.randn(2, 2, generator=torch.Generator().manual_seed(1))
    seen = torch.ones(2, 2, dtype=torch.bool)
    inputs = SimpleNamespace(
        image=sides[0], text=sides[1], candidates=seen, fused=Fused(torch.ones(4, 3), torch.ones(4))
    )
    labels: Any = SimpleNamespace(
        dual=SimpleNamespace(dim=4),
        single=SimpleNamespace(teacher=SimpleNamespace(fused_dim=3)),
        **{"identity": ("i", "j"), "candidates": 5, "scale": 2.0, "shift": 1.0},
        score_candidates=lambda batch: inputs,
    )
    recipe = Recipe(teachers=TAUGHT, views=9, fusion_lr=0.75, fusion_epochs=8)
    fusion = prepare.train_fusion(training, labels, recipe)
    assert not fusion.training and fusion.to_image.weight.shape == (4, 3)
    kind, rates, sampler, epochs, losses, taught_by = calls.pop()
    assert (kind, {*rates.values()}, epochs) == ("fusion", {0.75}, 8)
    assert (sampler.batch, sampler.views, sampler.seed) == (2, Views(9, 0), 11)
    assert taught_by == ["i", "j", 5, 2.0, 1.0]

    def fuse(image: Any, text: Any, among: Any, fused: Fused) -> Any:
        assert torch.equal(image, sides[0]) and torch.equal(text, sides[1]) and among is not None
        return SimpleNamespace(similarity=similarity)

    (loss,) = losses(Backward(), fuse, batch).values()
    assert loss == matching_loss(20 * similarity)


def test_a_teacher_is_trained_again_only_if_what_it_depends_on_has_changed(
    data: Dataset, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def loop(model: Any, groups: Any, schedule: Any, checkpoint: Path, name: str, *_: Any) -> Any:
        assert checkpoint == cache.folder / f"dual-{name}.checkpoint"
        names.append(name)
        accelerator = SimpleNamespace(is_main_process=False)
        return SimpleNamespace(accelerator=accelerator, run=lambda *a: None, finish=lambda: None)

    monkeypatch.setattr(prepare, "Loop", loop)

    def name(
        recipe: TeacherRecipe = TAUGHT, kind: str = "dual", start: float = 0.0, lr: float = 1.0,
        seed: int = 11, epochs: int = 4, taught_by: tuple[str, ...] = (), pairs: Any = data.pairs,
    ) -> str:  # fmt: skip
        model = nn.Linear(1, 1)
        nn.init.constant_(model.weight, start)
        nn.init.zeros_(model.bias)
        training = TeacherTraining(pairs, recipe, cache, "fp32")
        groups = [{"params": [*model.parameters()], "lr": lr}]
        sampler = training.sampler(2, seed)
        training.train(kind, model, groups, sampler, epochs, lambda *about: {}, taught_by)
        return names[-1]

    usual = name()
    assert len(usual) == 24 and name() == usual
    assert name(with_fields(TAUGHT, members=7)) == name(with_fields(TAUGHT, seed=5)) == usual
    changed = [
        name(with_fields(TAUGHT, views=3)),
        name(with_fields(TAUGHT, warmup=0.5)),
        name(start=1.0),
        name(lr=0.5),
        name(seed=12),
        name(epochs=5),
        name(taught_by=("a",)),
        name(pairs=replace(data.pairs, captions=("a", "b", "z"))),
    ]
    assert len({usual, *changed}) == 9


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


DIM, WIDE, CLASSES = 8, 12, 5
PHOTOS, CAPTIONS = unit(60, DIM, 1), unit(600, DIM, 2)  # a student's, by row
BY_TEACHERS, WORDS = unit(60, WIDE, 3), unit(600, WIDE, 4)
SHOWN = torch.randn(60, CLASSES, generator=torch.Generator().manual_seed(5)).log_softmax(1)


class Reader:
    imagines = True

    def photos(self, batch: Batch) -> torch.Tensor:
        return PHOTOS[batch.photos]

    def captions(self, captions: Any) -> Any:
        return CAPTIONS[captions], torch.ones(len(captions), DIM)

    def with_imagined(self, grids: Any) -> Reader | None:
        return self if self.imagines else None


class Student:
    name, identity, dim, has_a_space = "student", "s", DIM, False

    def __init__(self) -> None:
        self.module = nn.Linear(2, 2)

    def reader(self, *about: Any) -> Reader:
        return Reader()

    def tokens(self, texts: list[str]) -> Any:
        return unit(len(texts), DIM, len("".join(texts))), torch.ones(len(texts), DIM)

    def embed_photos(self, photos: torch.Tensor) -> torch.Tensor:
        return F.normalize(photos.flip(1), dim=1)

    def embed_captions(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.normalize(ids.roll(1, 1) * mask, dim=1)

    def prepare(self, recipe: Recipe) -> Any:
        return [{"params": [*self.module.parameters()], "lr": recipe.tuned_lr}]

    def save(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)


kept: list[Any] = []


class Step(Backward):
    """A loop that computes the losses of step 3 alone, and keeps them."""

    def __init__(self, model: nn.Module, groups: Any, schedule: Any, *more: Any) -> None:
        super().__init__(model=model, schedule=schedule, step=0)

    def run(self, losses: Any, progress: Any, after_epoch: Any, record: Any) -> None:
        kept.append((self.model, losses(self.model, 3)))

    def finish(self) -> None:
        pass


def taught(batch: Batch, teaching: str) -> JointLabels:
    assert teaching == "dual" and not batch.imagined
    image, text = BY_TEACHERS[batch.photos], WORDS[batch.captions]
    similarity = image @ text.T
    return JointLabels(image, text, similarity, torch.ones_like(similarity, dtype=torch.bool))


@pytest.mark.parametrize("case", ["captions", "teachers", "classes", "imagined", "no reader of it"])
def test_a_step_brings_together_what_captions_teachers_and_classes_say(
    case: str, monkeypatch: pytest.MonkeyPatch, packaged_pairs: Path, tmp_path: Path
) -> None:
    of_classes = case not in ("captions", "teachers")
    imagined = np.zeros((2, 2)) if case in ("imagined", "no reader of it") else None
    monkeypatch.setattr(Reader, "imagines", case == "imagined")
    principal = torch.linalg.qr(
        torch.randn(WIDE, WIDE, generator=torch.Generator().manual_seed(6))
    )[0]
    labels: Any = SimpleNamespace(
        **{"identity": ("t",), "names": ("teacher",), "of": taught},
        dual=SimpleNamespace(
            principal=lambda n: principal[:, :n],
            companions=lambda data: None,
            view=lambda photos: BY_TEACHERS[: paired if photos == "paired" else 0],
        ),
    )
    photos = SimpleNamespace(of=lambda batch: SHOWN[batch.photos])
    names = [(f"thing {n}",) for n in range(CLASSES)]
    kind = Kind((packaged_photos()[0].stem,), (0, 1))
    vectors = torch.randn(CLASSES + 1, 6, generator=torch.Generator().manual_seed(7))
    classes = ClassLabels(
        photos, [*names, kind.names], (kind,), vectors, "c", "i", imagined,  # type: ignore[arg-type]
    )  # fmt: skip
    given = (labels if case != "captions" else None, classes if of_classes else None)
    samplers: list[BatchSampler] = []

    def sample(*about: Any) -> BatchSampler:
        samplers.append(BatchSampler(*about))
        return samplers[-1]

    kept.clear()
    monkeypatch.setattr(caption_words, "LEAST_PHOTOS", 1)
    way = RecallAt(1.0, 5.0, 9.0)
    monkeypatch.setattr(run, "Loop", Step)
    monkeypatch.setattr(run, "BatchSampler", sample)
    monkeypatch.setattr(run, "load_trainee", lambda *about: Student())
    monkeypatch.setattr(run, "label", lambda *about: given)
    monkeypatch.setattr(run, "evaluate_trainee", lambda *about: Retrieval(1, 1, way, way))
    # At most three quarters of the numbers hold names.
    name_numbers, held = (7, 6) if case == "imagined" else (3, 3)
    recipe = Recipe(
        batch=4, epochs=9, extra_photos=2, extra_captions=3, names=96, imagined=2,
        name_numbers=name_numbers, words=0.0 if case == "no reader of it" else 0.5,
        contrastive=0.5, distribution=2.0, feature=3.0, classifier=4.0, called=5.0, widths=(4,),
        narrow=0.25, temperature=0.5, initial_scale=7.0, class_temperature=2.0,
    )  # fmt: skip
    pairs = [load_captions(packaged_pairs, split) for split in ("train", "val")]
    extra = Extra(tuple(packaged_photos()[:2]), ("one", "two"))
    paired = len(pairs[0])
    run.train(run.Material(*pairs, extra), tmp_path / "o", recipe, tmp_path, lambda *step: None)
    ((learner, found),) = kept
    (sampler,) = samplers
    assert sampler.imagined == (2 if case == "imagined" else 0)
    assert (learner.log_soft_scale is not None) == (case != "captions")

    student, batch, used = Student(), sampler.at(3), fit(recipe, len(pairs[0]))
    scale = torch.tensor(7.0)
    embeddings = {"image": student.embed_photos(PHOTOS[batch.photos]).flip(0), "scale": scale}
    embeddings["text"] = student.embed_captions(CAPTIONS[batch.captions], torch.ones(1)).flip(0)
    by_teachers = targets = None
    if case != "captions":
        embeddings["soft_scale"] = scale
        by_teachers = taught(batch.real, "dual")
        for_names = held if of_classes else 0
        space, of_names = interleave(principal[:, : DIM - for_names], for_names)
        image_target = F.normalize(by_teachers.image @ space, dim=1)
        embeddings["text_target"] = F.normalize(by_teachers.text @ space, dim=1)
        if of_classes:
            distillation = ClassDistillation(classes, used, of_names)
            if used.words:
                everything = np.arange(paired)
                all_photos = Batch(everything, everything * 0, everything[:0], 0)
                shown = distillation.targets(all_photos, 0).mean_classes
                by_captions = F.normalize(BY_TEACHERS[:paired] @ space, dim=1)
                both = F.normalize(by_captions + shown, dim=1)
                distillation.add_words(sampler.data, both, used.words)
                assert len(distillation.vectors) > CLASSES + 1
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


def fit(recipe: Recipe, photos: int) -> Recipe:
    return run.fit_batches(recipe, photos, 1)


def test_names_stay_apart_from_captions_in_the_space_that_a_student_has() -> None:
    student = Student()
    student.has_a_space = True
    principal = torch.linalg.qr(unit(WIDE, WIDE, 6))[0]
    dual: Any = SimpleNamespace(
        principal=lambda n: principal[:, :n],
        of=lambda batch: (BY_TEACHERS[batch.photos], WORDS[batch.captions]),
    )
    data: Any = SimpleNamespace(paired_photos=60, owner=np.arange(600))
    space, names = align_space(student, dual, Reader(), data, 3)  # type: ignore[arg-type]
    assert torch.allclose(names @ names.T, torch.eye(3), atol=1e-5)
    assert torch.allclose(space @ names.T, torch.zeros(WIDE, 3), atol=1e-5)
    unaligned, _ = interleave(principal[:, : DIM - 3], 3)
    assert not torch.allclose(space, unaligned, atol=0.1)
