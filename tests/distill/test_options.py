"""`distill` trains what its options ask for, by the recipe of the student that it ships."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from torch import nn
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import load_captions
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import run, teachers, text_only, trainees
from mcad_mobile.distill.dataset import BatchSampler, Extra, Views
from mcad_mobile.distill.recipe import Recipe, fit_batches
from mcad_mobile.distill.result import Provenance
from mcad_mobile.distill.text_only import TextRecipe
from mcad_mobile.distill.trainees import StudentChoice, frozen_trunk, load_trainee
from mcad_mobile.engine.bundle import RecallAt
from mcad_mobile.errors import DataError, DiskError, StudentError, TrainingError
from mcad_mobile.recall import Retrieval
from mcad_mobile.students import timm_transformers
from mcad_mobile.students.mcad import McadStudent
from mcad_mobile.students.tokenizers.sentencepiece import SentencePieceConfig
from tests.support.paths import ROOT

SMALL = Recipe().changed(**run.smoke_changes(Recipe()))
TAUGHT = Recipe().teachers


@pytest.fixture
def distill(monkeypatch: pytest.MonkeyPatch, packaged_pairs: Path, tmp_path: Path) -> Any:
    """Runs the command, and returns what it was to train, by which teachers."""

    def call(*options: object) -> Any:
        calls = []

        def train(material, out, recipe, cache, show, given):
            calls.append((material, out, recipe, cache, given))
            raise KeyboardInterrupt

        monkeypatch.setattr(run, "train", train)
        for name in ("load_duals", "load_single", "load_classifier"):
            monkeypatch.setattr(teachers, name, lambda *arguments: arguments[:-1])
        command = ["distill", "--out", tmp_path / "student", *options]
        done = CliRunner().invoke(app, [str(word) for word in command])
        assert calls, done.output
        return calls[0]

    return call


@pytest.mark.parametrize("kind", [Recipe, TextRecipe])
def test_a_warm_up_is_a_share_of_the_steps(kind, tmp_path):
    (tmp_path / "recipe.json").write_text('{"warmup": 5}')
    with pytest.raises(DataError, match="warmup"):
        kind.load(tmp_path / "recipe.json")


def test_a_text_towers_recipe_that_cannot_be_read_names_the_page_that_lists_its_keys(tmp_path):
    (tmp_path / "recipe.json").write_text('{"epochs": 2}')
    with pytest.raises(DataError, match=r"recipe\.json is not a recipe(?s:.)*docs/data\.md"):
        TextRecipe.load(tmp_path / "recipe.json")


def test_the_default_recipe_is_the_one_that_made_the_student_we_ship():
    assert Recipe.load(ROOT / "models" / "mcad-s" / "recipe.json") == Recipe()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), Recipe()),
        (("--teaching", "none"), Recipe(teaching="none")),
        (("--arithmetic", "fp32"), Recipe(arithmetic="fp32")),
        (("--single-teacher", "reference"), Recipe(teaching="mcad")),
        (("--single-teacher", "reference", "--teaching", "single"), Recipe(teaching="single")),
        (("--seed", 5), Recipe(seed=5, teachers=replace(TAUGHT, seed=5))),
        (
            ("--epochs", 2, "--seed", 5),
            Recipe(
                epochs=2,
                seed=5,
                teachers=replace(TAUGHT, epochs=2, single_epochs=2, seed=5),
            ),
        ),
        (("--smoke",), SMALL),
        (
            ("--smoke", "--epochs", 3, "--seed", 1),
            replace(SMALL, epochs=3, seed=1, teachers=replace(SMALL.teachers, seed=1)),
        ),
        (("--student", "open_clip:x"), Recipe(head_lr=5e-4, tuned_lr=3e-5)),
        (("--recipe", "RECIPE", "--teaching", "none"), Recipe(views=3, teaching="none")),
    ],
)  # fmt: skip
def test_options_change_the_recipe(distill, packaged_pairs, tmp_path, options, expected):
    (tmp_path / "recipe.json").write_text('{"views": 3}')
    options = [tmp_path / "recipe.json" if word == "RECIPE" else word for word in options]
    _, _, recipe, _, _ = distill("--data", packaged_pairs, *options)
    assert recipe == expected


def test_a_smoke_run_has_few_of_everything():
    assert (SMALL.views, SMALL.extra_views, SMALL.batch, SMALL.candidates) == (1, 1, 32, 2)
    assert (SMALL.names, SMALL.imagined, SMALL.teachers.members) == (16, 16, 1)
    fewer = Recipe(batch=8, candidates=1, names=4, imagined=2)
    assert fewer.changed(**run.smoke_changes(fewer)).batch == 8


def test_all_data_trains_and_the_first_evaluates(distill, packaged_pairs, tmp_path):
    second = shutil.copytree(packaged_pairs, tmp_path / "second")
    extra = tmp_path / "extra"
    extra.mkdir()
    shutil.copy(packaged_photos()[0], extra)
    (tmp_path / "more.txt").write_text("a dog\na cat\n")
    material, out, _, cache, options = distill(
        *("--data", packaged_pairs, "--data", second, "--extra-photos", extra),
        *("--extra-captions", tmp_path / "more.txt", "--cache", tmp_path / "cache"),
        *("--student", "hf:x", "--from-scratch"),
        *("--dual-teacher", "open_clip:a:b", "--dual-teacher", "hf:c"),
        *("--single-teacher", "hf:d", "--classifier", "timm:e", "--class-names", "f"),
    )
    assert (out, cache) == (tmp_path / "student", tmp_path / "cache")
    assert {photo.path.parents[1] for photo in material.train} == {packaged_pairs, second}
    assert {photo.path.parents[1] for photo in material.val} == {packaged_pairs}
    assert {photo.split for photo in material.val} == {"val"}
    assert material.extra.captions == ("a dog", "a cat")
    assert [photo.parent for photo in material.extra.photos] == [extra]
    assert options.student == StudentChoice("hf:x", from_scratch=True)
    assert options.teachers.dual == (["open_clip:a:b", "hf:c"],)
    assert options.teachers.single == ("hf:d",)
    assert options.teachers.classifier == ("timm:e", Path("f"))


def test_without_options_teachers_are_our_own_and_files_lie_under_build(distill, packaged_pairs):
    material, _, _, cache, options = distill("--data", packaged_pairs)
    assert (options.student, cache) == (StudentChoice(), Path("build/distill"))
    taught_by = options.teachers
    assert (taught_by.dual, taught_by.single) == ((["reference"],), ("reference",))
    assert taught_by.classifier == ("reference", None)
    assert (material.extra.photos, material.extra.captions) == ((), ())
    packaged, *_ = distill("--smoke")
    assert len(packaged.val) == len(packaged.train) // 3
    assert all(photo.captions[0].startswith("a photo of ") for photo in packaged.train)


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Runs the command, where training has a result; and what it was to train with."""

    def call(*options: object) -> Any:
        given = []

        def train(material, out, recipe, cache, show, asked):
            given.append((material, asked))
            asked.record(3, {"loss": 0.5, "val": 2.0})
            return Retrieval(9, 18, RecallAt(10.0, 20.0, 30.0), RecallAt(40.0, 50.0, 60.0))

        monkeypatch.setattr(run, "train", train)
        for name in ("load_duals", "load_single", "load_classifier"):
            monkeypatch.setattr(teachers, name, lambda *arguments: arguments[:-1])
        place = ["--out", tmp_path / "student", "--cache", tmp_path / "cache"]
        command = ["distill", *place, *options]
        return CliRunner().invoke(app, [str(word) for word in command]), *given

    return call


def test_the_result_of_a_run_is_told(told, packaged_pairs, tmp_path):
    data = ("--data", packaged_pairs)
    done, _ = told(*data)
    assert done.stdout == f"{tmp_path / 'student'}: mR 35.0 on the validation split\n"
    assert "smoke" not in done.stderr
    done, _ = told(*data, "--json")
    assert json.loads(done.stdout) == {
        "student": str(tmp_path / "student"),
        "val": {
            **{"photos": 9, "captions": 18, "mean_recall": 35.0},
            "text_to_image": {"r1": 10.0, "r5": 20.0, "r10": 30.0},
            "image_to_text": {"r1": 40.0, "r5": 50.0, "r10": 60.0},
        },
    }
    done, (material, _) = told(*data, "--smoke")
    assert {len(photo.captions) for photo in [*material.train, *material.val]} == {1}
    told_of = f"--smoke: {len(material.train)} photos, one pass: the student will find nothing"
    assert told_of in done.stderr


def test_losses_are_written_where_tensorboard_reads_them(told, packaged_pairs, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            written.append(folder)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            written.append("closed")

        def add_scalar(self, *values):
            written.append(values)

    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    told("--data", packaged_pairs, "--tensorboard", "logs")
    assert written == ["logs", ("loss", 0.5, 3), ("val", 2.0, 3), "closed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --data DIR, or --smoke"),
        (
            ("--smoke", "--teaching", "none", "--classifier", "timm:x"),
            "--classifier cannot be used with the teaching 'none'",
        ),
        (
            ("--smoke", "--teaching", "none", "--class-names", "f"),
            "--class-names cannot be used with the teaching 'none'",
        ),
        (
            ("--smoke", "--teaching", "none", "--dual-teacher", "hf:x"),
            "--dual-teacher cannot be used with the teaching 'none'",
        ),
        (
            ("--smoke", "--teaching", "dual", "--single-teacher", "hf:x"),
            "used with the teaching 'dual'",
        ),
        (("--smoke", "--teaching", "mcad", "--dual-teacher", "hf:x"), "for --single-teacher: the"),
        (("--text-only", "--extra-captions", "c"), "needs --things and --extra-captions"),
        (("--text-only", "--things", "t"), "needs --things and --extra-captions"),
    ],
)
def test_what_distill_would_ignore_is_wrong_usage(told, options, message):
    done, *trained = told(*options)
    assert (done.exit_code, trained) == (2, [])
    assert message in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize("place", ["--out", "--cache"])
def test_a_place_that_cannot_be_written_is_told_before_the_training(
    told, packaged_pairs, tmp_path, place
):
    (tmp_path / "file").touch()
    texts = ("--text-only", "--things", "t.tgz", "--extra-captions", "a")
    for words in (("--data", packaged_pairs), texts):
        done, *trained = told(*words, place, tmp_path / "file" / "below")
        assert isinstance(done.exception, DiskError) and trained == []


@pytest.mark.parametrize(
    "words",
    [
        ("--smoke",),
        ("--text-only", "--things", "t.tgz", "--extra-captions", "a"),
    ],
)
def test_a_seed_below_zero_is_refused_before_the_training(told, words):
    done, *trained = told(*words, "--seed", "-1")
    assert isinstance(done.exception, DataError) and trained == []
    assert "`$.seed`" in done.exception.message


def test_a_text_tower_is_trained_as_was_asked_for(told, tmp_path, monkeypatch):
    calls = []

    class Material:
        languages = ("de", "ja")

        @staticmethod
        def read(*about):
            calls.append(about)
            return Material

    def train_text_tower(material, out, recipe, cache, advance):
        calls.append((material, out, recipe, cache))

    monkeypatch.setattr(text_only, "TextMaterial", Material)
    monkeypatch.setattr(text_only, "train_text_tower", train_text_tower)
    needed = ("--text-only", "--things", "t.tgz", "--extra-captions", "a", "--extra-captions", "b")
    (done,) = told(*needed)
    out, cache = tmp_path / "student", tmp_path / "cache"
    captions = [Path("a"), Path("b")]
    assert done.stdout == f"{out}: 2 languages\n"
    assert calls == [
        (None, captions, Path("t.tgz"), [], None),
        (Material, out, TextRecipe(), cache),
    ]
    (tmp_path / "r.json").write_text('{"steps": 7}')
    more = ("--student", "s", "--languages", "de,ja", "--begin-with", "w", "--seed", 5)
    (done,) = told(
        *needed, *more, "--arithmetic", "fp32", "--recipe", tmp_path / "r.json", "--json"
    )
    assert json.loads(done.stdout) == {"student": str(out)}
    assert calls[2:] == [
        ("s", captions, Path("t.tgz"), ["de", "ja"], "w"),
        (Material, out, TextRecipe(steps=7, seed=5, arithmetic="fp32"), cache),
    ]


class Trained:
    """A loop that trains nothing: it has an end of each epoch, and keeps what it was made of."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of
        self.schedule = made_of[2]
        self.step, self.ended, self.finished = 0, [], False
        loops.append(self)

    def run(self, losses, progress, after_epoch, record) -> None:
        for epoch in range(1, self.schedule.epochs + 1):
            self.step += self.schedule.steps_per_epoch
            self.ended.append(after_epoch(epoch))

    def finish(self) -> None:
        self.finished = True


class Student:
    """A trainee of nothing."""

    name, identity, dim, has_a_space = "nothing", "n", 16, False

    def __init__(self) -> None:
        self.module = nn.Linear(2, 2)
        self.readers: list[Any] = []

    def reader(self, data, views, cache, arithmetic):
        self.readers.append((data.paired_photos, len(data.captions), views, arithmetic))
        return SimpleNamespace(photos=lambda batch: None)

    def prepare(self, recipe):
        return [{"params": [*self.module.parameters()], "lr": recipe.tuned_lr}]

    def save(self, folder):
        folder.mkdir(exist_ok=True)


loops: list[Trained] = []


def test_a_run_trains_evaluates_and_saves_as_its_recipe_says(monkeypatch, packaged_pairs, tmp_path):
    student, evaluated, recorded, notes = Student(), [], [], []
    del loops[:]
    monkeypatch.setattr(run, "Loop", Trained)
    seeds = []

    def load(*chosen):
        seeds.append(torch.initial_seed())
        return student

    monkeypatch.setattr(run, "load_trainee", load)
    monkeypatch.setattr(run, "label", lambda *about: (None, None))

    def sample(*made_of):
        samplers.append(BatchSampler(*made_of))
        return samplers[-1]

    samplers = []
    monkeypatch.setattr(run, "BatchSampler", sample)

    def evaluate(trainee, reader, data):
        evaluated.append(loops[0].step)
        way = RecallAt(1.0, 5.0, len(evaluated))
        return Retrieval(data.paired_photos, len(data.captions), way, way)

    monkeypatch.setattr(run, "evaluate_trainee", evaluate)
    pairs = [load_captions(packaged_pairs, split) for split in ("train", "val")]
    extra = Extra(tuple(packaged_photos()[:2]), tuple(f"caption {n}" for n in range(9)))
    recipe = Recipe(
        teaching="none", epochs=10, batch=64, views=3, extra_views=2, extra_photos=5, names=6,
        extra_captions=7, most_extra_captions=4, warmup=0.3, weight_decay=0.07, seed=11,
    )  # fmt: skip
    monkeypatch.setattr(
        run, "choose_arithmetic", lambda option: {"auto": "fp32"}.get(option, option)
    )
    options = run.RunOptions(
        record=lambda step, values: recorded.append((step, values)), note=notes.append
    )
    material = run.Material(*pairs, extra)
    out = tmp_path / "out"
    found = run.train(material, out, recipe, tmp_path / "cache", lambda *step: None, options)
    (loop,) = loops
    photos, batch = len(pairs[0]), 8
    learner, groups, schedule, checkpoint, fingerprint, label, arithmetic = loop.made_of
    assert (label, arithmetic, checkpoint) == ("student", "fp32", out / "checkpoint.pt")
    assert (schedule.epochs, schedule.steps_per_epoch) == (10, photos // batch)
    assert (schedule.warmup, schedule.weight_decay, schedule.seed) == (0.3, 0.07, 11)
    assert seeds == [11]  # of a student's random weights
    assert groups == learner.groups and groups[0]["lr"] == recipe.tuned_lr
    assert (groups[-1]["lr"], groups[-1]["weight_decay"]) == (recipe.head_lr, 0.0)  # temperatures
    assert learner.log_scale is not None and learner.log_soft_scale is None
    # Captions of photos, with four of those without; and the validation split as it is.
    assert student.readers == [
        (photos, 2 * photos + 4, Views(3, 2), "fp32"),
        (len(pairs[1]), 2 * len(pairs[1]), Views(1, 0), "fp32"),
    ]
    # At most four evaluations but for the last epoch's.
    steps = schedule.steps_per_epoch
    assert evaluated == [3 * steps, 6 * steps, 9 * steps, 10 * steps]
    assert [ended for ended in loop.ended if ended != "saved"] == [
        f"val mR {(6 + number) / 3:.1f}" for number in (1, 2, 3, 4)
    ]
    recalls = [values["val/mean_recall"] for _, values in recorded]
    assert [step for step, _ in recorded] == evaluated and recalls[-1] == found.mean_recall
    assert notes == [
        f"there are {photos} captioned photos, too few for the recipe: batch is {batch}, not 64, "
        f"teachers.batch is {batch}, not 128, teachers.single_batch is {batch}, not 128"
    ]
    (sampler,) = samplers
    assert (sampler.batch, sampler.views, sampler.seed) == (batch, Views(3, 2), 11)
    assert (sampler.extra_photos, sampler.extra_captions) == (5, 7)
    assert (sampler.companions, sampler.imagined) == (None, 0)
    assert loop.finished
    training = json.loads((out / "training.json").read_text())
    assert training["val"]["photos"] == len(pairs[1])
    assert training["photos"] == {"captioned": photos, "extra": 2}
    assert training["captions"] == {"paired": 2 * photos, "extra": 4}
    assert (training["batches"]["batch"], training["arithmetic"]) == (batch, "fp32")
    assert (training["student"], training["teachers"]) == ("nothing", [])
    assert Recipe.load(out / "recipe.json") == fit_batches(recipe, photos, 1)
    # The same run is not done again, whatever its arithmetic; one of another seed is.
    for same in (recipe, replace(recipe, arithmetic="bf16")):
        again = run.train(material, out, same, tmp_path / "cache", lambda *step: None, options)
        assert (len(loops), again.text_to_image) == (1, found.text_to_image)
    other = replace(recipe, seed=12)
    keeping = dataclasses.replace(options, may_replace=False)  # as with --smoke
    with pytest.raises(TrainingError, match="out holds the student of another run"):
        run.train(material, out, other, tmp_path / "cache", lambda *step: None, keeping)
    run.train(material, out, other, tmp_path / "cache", lambda *step: None, options)
    assert len(loops) == 2 and loops[1].made_of[4] != fingerprint
    (out / "checkpoint.pt").touch()  # of a run that was cut off
    run.train(material, out, other, tmp_path / "cache", lambda *step: None, options)
    assert len(loops) == 3 and loops[2].made_of[4] == loops[1].made_of[4]


def test_a_run_depends_on_the_names_of_its_classes() -> None:
    data = SimpleNamespace(
        fingerprint="f", paired_photos=1, photos=("a",), owner=[0], captions=("a",)
    )
    trainee: Any = SimpleNamespace(name="t", identity="i")

    def run_of(*names: str, teacher: str = "c") -> str:
        classes: Any = SimpleNamespace(identity=teacher, name="classifier", names=[names])
        return Provenance.of(Recipe(), data, None, classes, trainee).facts["run"]

    usual = run_of("dog", "hound")
    assert run_of("dog", "hound") == usual
    assert len({usual, run_of("dog"), run_of("dog", "hound", teacher="d")}) == 3


def test_a_student_that_training_would_not_help_is_refused(tmp_path, monkeypatch):
    refused = [
        (StudentChoice(from_scratch=True), "trunk is frozen"),
        (StudentChoice(str(ROOT / "models" / "mcad-s"), from_scratch=True), "trunk is frozen"),
    ]
    for choice, reason in refused:
        with pytest.raises(StudentError, match=reason):
            load_trainee(choice, "mine", None, Recipe())
    student = McadStudent.load(ROOT / "models" / "mcad-s")
    words = student.config.tokenizer
    trained = load_trainee(StudentChoice(str(student.directory)), "mine", None, Recipe())
    assert trained.has_a_space and trained.identity == student.sha256()
    pieces = SentencePieceConfig(file=words.file, length=words.length)
    student.config = replace(student.config, tokenizer=pieces)
    monkeypatch.setattr(McadStudent, "load", lambda folder: student)
    with pytest.raises(StudentError, match="has a multilingual text tower"):
        load_trainee(StudentChoice(str(student.directory)), "mine", None, Recipe())
    (tmp_path / "config.json").write_text('{"schema": "mcad-towers/1"}')
    data = SimpleNamespace(photos=("a.jpg",), paired_photos=1)
    monkeypatch.setattr(timm_transformers, "trainable_folder", _loaded)
    with pytest.raises(StudentError, match="starts from none"):
        load_trainee(StudentChoice(str(tmp_path), from_scratch=True), "mine", data, Recipe())
    with pytest.raises(Loaded):
        load_trainee(StudentChoice(str(tmp_path)), "mine", data, Recipe())


def test_a_student_trained_further_keeps_its_licence_and_is_called_as_its_folder(tmp_path):
    start = McadStudent.load(ROOT / "models" / "mcad-s")
    choice = StudentChoice(str(start.directory))
    load_trainee(choice, "mine", None, Recipe()).save(tmp_path / "mine")
    student = McadStudent.load(tmp_path / "mine")
    assert student.name == "mine"
    found, expected = student.source.licence, start.source.licence
    assert found.name == expected.name == "non-commercial-research"
    assert found.text.read_bytes() == expected.text.read_bytes()
    assert f"from {start.directory}." in (tmp_path / "mine" / "README.md").read_text()


@pytest.mark.parametrize("prefix", ["", "open_clip:local-dir:", "hf:"])
def test_the_student_that_training_starts_from_is_not_overwritten(prefix, tmp_path):
    options = run.RunOptions(student=StudentChoice(f"{prefix}{tmp_path}"))
    with pytest.raises(DataError, match="is the student itself"):
        run.train(None, tmp_path, Recipe(), tmp_path, lambda *step: None, options)


def test_a_smoke_run_replaces_no_other_run(told, packaged_pairs):
    found = [
        told(*options)[1][1].may_replace for options in (("--data", packaged_pairs), ("--smoke",))
    ]
    assert found == [True, False]


class Loaded(Exception):
    """A library's student would be loaded."""


def _loaded(*about):
    raise Loaded


def test_names_of_classes_weigh_as_much_as_twenty_captions_in_a_new_student(monkeypatch):
    weighed = []
    monkeypatch.setattr(frozen_trunk, "load_minilm", lambda tower, counts: weighed.append(counts))
    trained = frozen_trunk.FrozenTrunk.fresh("mine", 3 * torch.ones(30522))
    word, rare = (int(trained.tokens([text])[0][0, 1]) for text in ("retriever", "rightly"))
    assert weighed[0][word] >= 3 + 4 * 20 and weighed[0][rare] == 3
    assert ((weighed[0] - 3) % 20 == 0).all()


@pytest.mark.parametrize(("extra", "step"), [((), 8), (("a.jpg",), 11)])
def test_a_library_s_student_knows_how_many_photos_a_step_has(monkeypatch, extra, step):
    monkeypatch.setattr(trainees, "_trainable", lambda choice, recipe: "trainable")
    monkeypatch.setattr(trainees, "EndToEnd", lambda *about: about)
    data = SimpleNamespace(photos=("b.jpg", *extra), paired_photos=1)
    recipe = Recipe(batch=8, extra_photos=3)
    for from_scratch, name in ((False, "hf:x"), (True, "hf:x, from nothing")):
        choice = StudentChoice("hf:x", from_scratch)
        assert load_trainee(choice, "mine", data, recipe) == ("trainable", name, step)


def test_packaged_photos_are_enough_from_four_on(monkeypatch):
    paths = [Path(f"a_{number}.jpg") for number in range(8)]
    for count, split in ((4, (3, 1)), (8, (6, 2))):
        monkeypatch.setattr(run, "packaged_photos", lambda count=count: paths[:count])
        train, held_out = run.packaged_pairs()
        assert (len(train), len(held_out)) == split
        assert held_out[0].captions == ("a photo of a 3",)
    monkeypatch.setattr(run, "packaged_photos", lambda: paths[:3])
    with pytest.raises(DataError, match="no photos to try it on"):
        run.packaged_pairs()
