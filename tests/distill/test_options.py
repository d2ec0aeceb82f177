"""`distill` trains what its options ask for, by the recipe of the student that it ships."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import run, teachers
from mcad_mobile.distill.recipe import Recipe
from mcad_mobile.distill.trainees import StudentChoice
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
        *("--student", "hf:x", "--from-scratch", "--ray", "auto")[:3],
        *("--dual-teacher", "open_clip:a:b", "--dual-teacher", "transformers:c"),
        *("--single-teacher", "transformers:d", "--classifier", "timm:e", "--class-names", "f"),
    )
    assert (out, cache) == (tmp_path / "student", tmp_path / "cache")
    assert {photo.path.parents[1] for photo in material.train} == {packaged_pairs, second}
    assert {photo.path.parents[1] for photo in material.val} == {packaged_pairs}
    assert {photo.split for photo in material.val} == {"val"}
    assert material.extra.captions == ("a dog", "a cat")
    assert [photo.parent for photo in material.extra.photos] == [extra]
    assert options.student == StudentChoice("hf:x", from_scratch=True)
    assert options.teachers.dual == (["open_clip:a:b", "transformers:c"],)
    assert options.teachers.single == ("transformers:d",)
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
