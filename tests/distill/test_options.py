"""`distill` trains what its options ask for, by the recipe of the student that it ships."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import text_only
from mcad_mobile.distill import train_student as run
from mcad_mobile.distill import trainee as trainees
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.result import Provenance, find_finished, save
from mcad_mobile.distill.teachers import classifiers, library
from mcad_mobile.distill.text_only import TextRecipe
from mcad_mobile.distill.trainee import StudentChoice, load_trainee
from mcad_mobile.errors import DataError, DiskError, StudentError
from mcad_mobile.recall import RecallAt, Retrieval
from mcad_mobile.students.mcad import McadStudent
from tests.support.paths import ROOT

SMALL = StudentRecipe().changed(**run.smoke_changes(StudentRecipe()))
TAUGHT = StudentRecipe().teachers


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command, where training has a result; and what it was to train."""
    given: list[Any] = []

    def train(material, out, recipe, cache, show, asked):
        given.append((material, out, recipe, cache, asked))
        asked.record(3, {"loss": 0.5, "val": 2.0})
        return Retrieval(9, 18, RecallAt(10.0, 20.0, 30.0), RecallAt(40.0, 50.0, 60.0))

    monkeypatch.setattr(run, "train", train)
    for module, name in (
        (library, "load_duals"), (library, "load_single"), (classifiers, "load_classifier")
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *arguments: arguments[:-1])

    def call(*options: object) -> Any:
        given.clear()
        command = ["distill", "--out", tmp_path / "student", *options]
        if "--cache" not in options:
            command += ["--cache", tmp_path / "cache"]
        return CliRunner().invoke(app, [str(word) for word in command]), *given

    return call


@pytest.fixture
def distill(told: Any) -> Any:
    """Returns what a run was to train."""

    def call(*options: object) -> Any:
        done, *given = told(*options)
        assert given, done.output
        return given[0]

    return call


@pytest.mark.parametrize("kind", [StudentRecipe, TextRecipe])
def test_a_warm_up_is_a_share_of_the_steps(kind, tmp_path):
    (tmp_path / "recipe.json").write_text('{"warmup": 5}')
    with pytest.raises(DataError, match="warmup"):
        kind.load(tmp_path / "recipe.json")


@pytest.mark.parametrize("teachers", ["null", "[]", '"dual"', "3"])
def test_a_recipes_teachers_are_an_object(teachers, tmp_path):
    (tmp_path / "recipe.json").write_text(f'{{"teachers": {teachers}}}')
    with pytest.raises(DataError, match="teachers"):
        StudentRecipe.load(tmp_path / "recipe.json")


def test_a_text_towers_recipe_that_cannot_be_read_names_the_page_that_lists_its_keys(tmp_path):
    (tmp_path / "recipe.json").write_text('{"epochs": 2}')
    with pytest.raises(DataError, match=r"recipe\.json is not a recipe(?s:.)*docs/data\.md"):
        TextRecipe.load(tmp_path / "recipe.json")


def test_the_default_recipe_is_the_one_that_made_the_student_we_ship():
    made = StudentRecipe.load(ROOT / "models" / "mcad-s" / "recipe.json")
    assert made.teaching == "dual"  # for which the single-stream teacher's passes mean nothing
    passes = StudentRecipe().teachers.single_epochs
    assert replace(made, teachers=replace(made.teachers, single_epochs=passes)) == StudentRecipe()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), StudentRecipe()),
        (("--teaching", "none"), StudentRecipe(teaching="none")),
        (("--arithmetic", "fp32"), StudentRecipe(arithmetic="fp32")),
        (("--single-teacher", "reference"), StudentRecipe(teaching="mcad")),
        (("--seed", 5), StudentRecipe(seed=5, teachers=replace(TAUGHT, seed=5))),
        (
            ("--epochs", 2, "--seed", 5),
            StudentRecipe(
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
        (("--student", "open_clip:x"), StudentRecipe(head_lr=5e-4, tuned_lr=3e-5)),
        (("--recipe", "RECIPE", "--teaching", "none"), StudentRecipe(views=3, teaching="none")),
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
    assert (SMALL.epochs, SMALL.fusion_epochs) == (1, 1)
    assert (SMALL.teachers.epochs, SMALL.teachers.single_epochs) == (1, 1)
    fewer = StudentRecipe(batch=8, candidates=1, names=4, imagined=2)
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


def test_without_options_teachers_are_our_own(distill, packaged_pairs):
    material, *_, options = distill("--data", packaged_pairs)
    assert options.student == StudentChoice()
    taught_by = options.teachers
    assert (taught_by.dual, taught_by.single) == ((["reference"],), ("reference",))
    assert taught_by.classifier == ("reference", None)
    assert (material.extra.photos, material.extra.captions) == ((), ())
    packaged, *_ = distill("--smoke")
    assert len(packaged.val) == len(packaged.train) // 3
    assert all(photo.captions[0].startswith("a photo of ") for photo in packaged.train)


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
    done, (material, *_) = told(*data, "--smoke")
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
        (None, captions, Path("t.tgz"), [], None, None),
        (Material, out, TextRecipe(), cache),
    ]
    (tmp_path / "r.json").write_text('{"steps": 7}')
    more = (
        "--student",
        "s",
        "--languages",
        "de,ja",
        "--begin-with",
        "w",
        "--seed",
        5,
        "--phrases",
        "p",
    )
    (done,) = told(
        *needed, *more, "--arithmetic", "fp32", "--recipe", tmp_path / "r.json", "--json"
    )
    assert json.loads(done.stdout) == {"student": str(out)}
    assert calls[2:] == [
        ("s", captions, Path("t.tgz"), ["de", "ja"], Path("p"), "w"),
        (Material, out, TextRecipe(steps=7, seed=5, arithmetic="fp32"), cache),
    ]


def test_a_run_depends_on_the_names_of_its_classes() -> None:
    data = SimpleNamespace(
        fingerprint="f", paired_photos=1, photos=("a",), owner=[0], captions=("a",)
    )
    trainee: Any = SimpleNamespace(name="t", identity="i")

    def run_of(*names: str, teacher: str = "c") -> str:
        classes: Any = SimpleNamespace(identity=teacher, name="classifier", names=[names])
        return Provenance.of(StudentRecipe(), data, None, classes, trainee).facts["run"]

    usual = run_of("dog", "hound")
    assert run_of("dog", "hound") == usual
    assert len({usual, run_of("dog"), run_of("dog", "hound", teacher="d")}) == 3


def test_a_finished_run_stores_how_it_ran_and_what_it_reached(tmp_path):
    data = SimpleNamespace(
        fingerprint="d", paired_photos=2, photos=(1, 2, 3), owner=[0, 0, 1], captions=range(7)
    )
    trainee: Any = SimpleNamespace(name="t", identity="i", save=lambda out: None)
    labels: Any = SimpleNamespace(identity=("l",), names=("dual", "single"))
    recipe = StudentRecipe(arithmetic="auto", seed=3)
    provenance = Provenance.of(recipe, data, labels, None, trainee)
    other = replace(recipe, arithmetic="fp32")
    assert Provenance.of(other, data, labels, None, trainee).facts == provenance.facts
    reached = Retrieval(2, 3, RecallAt(1, 2, 3), RecallAt(4, 5, 6))
    save(trainee, tmp_path, provenance, "bf16", 90.0, reached)
    stored = json.loads((tmp_path / "training.json").read_text())
    assert stored.pop("device")
    assert stored == {
        "student": "t", "photos": {"captioned": 2, "extra": 1},
        "captions": {"paired": 3, "extra": 4}, "data": "d", "teachers": ["dual", "single"],
        "run": provenance.facts["run"], "arithmetic": "bf16", "minutes": 1.5,
        "val": reached.to_json(), "torch": torch.__version__,
    }  # fmt: skip
    assert StudentRecipe.load(tmp_path / "recipe.json") == recipe
    assert find_finished(tmp_path, provenance) == reached
    (tmp_path / "checkpoint.pt").touch()
    assert find_finished(tmp_path, provenance) is None


def test_a_student_that_training_would_not_help_is_refused():
    models, data = ROOT / "models", SimpleNamespace(photos=("a.jpg",), paired_photos=1)
    for choice, reason in (
        (StudentChoice(from_scratch=True), "trunk is frozen"),
        (StudentChoice(str(models / "mcad-s"), from_scratch=True), "trunk is frozen"),
        (StudentChoice(str(models / "mcad-m")), "has a multilingual text tower"),
    ):
        with pytest.raises(StudentError, match=reason):
            load_trainee(choice, "mine", data, StudentRecipe())
    student = McadStudent.load(models / "mcad-s")
    trained = load_trainee(StudentChoice(str(student.directory)), "mine", data, StudentRecipe())
    assert trained.has_a_space and trained.identity == student.sha256


def test_a_student_trained_further_keeps_its_licence_and_is_called_as_its_folder(tmp_path):
    start = McadStudent.load(ROOT / "models" / "mcad-s")
    choice = StudentChoice(str(start.directory))
    load_trainee(choice, "mine", None, StudentRecipe()).save(tmp_path / "mine")
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
        run.train(None, tmp_path, StudentRecipe(), tmp_path, lambda *step: None, options)


def test_a_smoke_run_replaces_no_other_run(told, packaged_pairs):
    found = [
        told(*options)[1][-1].may_replace for options in (("--data", packaged_pairs), ("--smoke",))
    ]
    assert found == [True, False]


def test_names_of_classes_weigh_as_much_as_twenty_captions_in_a_new_student(monkeypatch):
    weighed = []
    monkeypatch.setattr(trainees, "load_minilm", lambda tower, counts: weighed.append(counts))
    trained = trainees.FrozenTrunk.fresh("mine", 3 * torch.ones(30522))
    word, rare = (int(trained.tokens([text])[0][0, 1]) for text in ("retriever", "rightly"))
    assert weighed[0][word] >= 3 + 4 * 20 and weighed[0][rare] == 3
    assert ((weighed[0] - 3) % 20 == 0).all()


def test_packaged_photos_are_enough_from_four_on():
    paths = [Path(f"a_{number}.jpg") for number in range(8)]
    for count, split in ((4, (3, 1)), (8, (6, 2))):
        train, held_out = run.packaged_pairs(paths[:count])
        assert (len(train), len(held_out)) == split
        assert held_out[0].captions == ("a photo of a 3",)
    with pytest.raises(DataError, match="no photos to try it on"):
        run.packaged_pairs(paths[:3])
