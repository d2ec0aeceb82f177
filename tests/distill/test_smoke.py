"""`distill --smoke`: everything once, on little."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.distill.dataset import Extra
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.train_student import Material, limit_to_smoke


@pytest.mark.slow
def test_a_smoke_run_without_data_goes_through_every_part_and_says_what_it_is(tmp_path):
    out = tmp_path / "smoke"
    command = ["distill", "--smoke", "--out", str(out), "--cache", str(tmp_path / "cache")]
    command += ["--single-teacher", "reference"]
    done = CliRunner().invoke(app, [*command, "--epochs", "5", "--seed", "3", "--json"])
    assert done.exit_code == 0, done.output
    assert "--smoke: 12 photos, one pass: the student will find nothing" in done.stderr
    assert "12 captioned photos, too few for the recipe: batch is 8, not 32" in done.stderr
    assert json.loads(done.stdout)["val"]["photos"] == 4
    training = json.loads((out / "training.json").read_text())
    assert len(training["teachers"]) == 3
    recipe = StudentRecipe.load(out / "recipe.json")
    assert recipe.teaching == "mcad"  # what a single-stream teacher is for
    assert (recipe.epochs, recipe.seed, recipe.teachers.seed) == (5, 3, 3)
    assert (recipe.teachers.epochs, recipe.teachers.members, recipe.views) == (1, 1, 1)


def test_a_smoke_run_takes_the_first_of_everything_with_one_caption():
    photos = [CaptionedPhoto(f"{n}.jpg", (f"{n}", "more"), "train") for n in range(300)]
    extra = Extra(tuple(range(300)), tuple(map(str, range(300))))
    subset = limit_to_smoke(Material(photos, photos, extra))
    assert [photo.captions for photo in subset.train] == [(f"{n}",) for n in range(200)]
    assert len(subset.val) == 50
    assert (len(subset.extra.photos), len(subset.extra.captions)) == (200, 200)
