"""Recipes: what a file changes and what is none, and batches where there are few photos, or many
processes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mcad_mobile.distill.recipe import StudentRecipe, TeacherRecipe, fit_batches
from mcad_mobile.errors import DataError, TrainingError

RECIPE = StudentRecipe(teachers=TeacherRecipe(single_batch=32))


def sizes(recipe: StudentRecipe) -> tuple[int, int, int]:
    return recipe.batch, recipe.teachers.batch, recipe.teachers.single_batch


@pytest.mark.parametrize(
    ("photos", "world", "expected"),
    [
        (128, 1, (128, 128, 32)),  # one step, as the recipe says
        (127, 1, (31, 31, 32)),
        (120, 1, (30, 30, 32)),
        (120, 4, (28, 28, 32)),
        (31, 1, (8, 8, 8)),  # not 7: of eight pairs a caption has seven others to be told from
        (5, 1, (5, 5, 5)),
        (5, 2, (4, 4, 4)),
        (2, 2, (2, 2, 2)),
    ],
)
def test_a_batch_that_photos_do_not_fill_is_a_quarter_of_them(photos, world, expected):
    used = fit_batches(RECIPE, photos, world)
    assert sizes(used) == expected
    back = replace(used, batch=128, teachers=RECIPE.teachers)
    assert back == RECIPE
    assert all(size % world == 0 and size <= photos for size in sizes(used))


def test_what_processes_cannot_share_is_named():
    with pytest.raises(TrainingError, match="batch is 128, which 3 processes cannot share"):
        fit_batches(RECIPE, 6000, 3)
    for name in ("extra_photos", "extra_captions", "names", "imagined"):
        with pytest.raises(TrainingError, match=f"{name} is 7, which 2 processes cannot share"):
            fit_batches(replace(RECIPE, **{name: 7}), 6000, 2)
    with pytest.raises(TrainingError, match="2 processes, but only 1 captioned photos"):
        fit_batches(RECIPE, 1, 2)


def test_one_epoch_is_one_of_all_that_trains():
    once = StudentRecipe().changed(**StudentRecipe(fusion_epochs=3).at_most(1))
    assert (once.epochs, once.fusion_epochs) == (1, 1)
    assert (once.teachers.epochs, once.teachers.single_epochs) == (1, 1)
    more = StudentRecipe().changed(**StudentRecipe().at_most(30))
    assert more == replace(StudentRecipe(), epochs=30)  # longer for the student alone


def test_a_recipe_file_overrides_what_it_starts_from_and_nothing_else(tmp_path):
    (tmp_path / "recipe.json").write_text('{"epochs": 3, "teachers": {"views": 2}}')
    start = StudentRecipe(head_lr=5e-4, teachers=TeacherRecipe(members=1))
    expected = replace(start, epochs=3, teachers=replace(start.teachers, views=2))
    assert StudentRecipe.load(tmp_path / "recipe.json", start) == expected


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"epochs": 3, "speed": "high"}',
        '{"views": 0}',
        '{"teaching": "mcda"}',
        '{"arithmetic": "int8"}',
        '{"epochs": 2.5}',
        '{"epochs": true}',
        '{"feature": -1.0}',
        '{"head_lr": NaN}',
        '{"extra_photos": -1}',
        '{"teachers": {"members": 0}}',
    ],
)
def test_what_is_not_a_recipe_is_named(content, tmp_path):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(DataError, match=r"recipe\.json is not a recipe"):
        StudentRecipe.load(tmp_path / "recipe.json")
