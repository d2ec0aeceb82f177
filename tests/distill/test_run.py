"""Distillation, end to end: small runs on real photos, from real starting weights."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from benchmarks.distill_rows import evaluate_cached
from mcad_mobile.distill.dataset import Extra, dataset
from mcad_mobile.distill.features import FeatureCache
from mcad_mobile.distill.losses import showing_loss
from mcad_mobile.distill.pretrained import minilm_tokenizer
from mcad_mobile.distill.recipe import StudentRecipe, TeacherRecipe
from mcad_mobile.distill.teachers.prepare import TeacherTraining, train_duals
from mcad_mobile.distill.teachers.reference import RegionText
from mcad_mobile.distill.train_student import RunOptions, train
from mcad_mobile.distill.trainee import StudentChoice
from mcad_mobile.errors import TrainingError
from mcad_mobile.recall import embed_by_student
from mcad_mobile.students.load import load_student

TEACHERS = TeacherRecipe(views=1, members=2, batch=4, epochs=1, single_batch=4, single_epochs=1)
RECIPE = StudentRecipe(
    teaching="mcad",
    epochs=2, batch=4, views=2, extra_photos=2, extra_captions=4, candidates=2, names=8,
    imagined=3, teachers=TEACHERS,
    arithmetic="fp32",  # where two are as fast, runs that are compared may choose differently
)  # fmt: skip


NAMED = ("naming", "showing", "called")  # what a classifier teaches


def silent(*step):
    pass


@pytest.fixture(scope="module")
def unpaired(material):
    extra = Extra(
        tuple(photo.path for photo in material.val),
        tuple(f"a picture of {thing}" for thing in ("a cat", "the moon", "a cup", "a street")),
    )
    return dataclasses.replace(material, extra=extra)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def distilled(unpaired, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "small"
    parts = []
    train(
        unpaired,
        out,
        RECIPE,
        cache,
        silent,
        RunOptions(record=lambda step, values: parts.append(values)),
    )
    return out, parts


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_student(str(folder)).state_dict()


def same_weights(entry: Path, other: Path) -> bool:
    first, second = weights(entry), weights(other)
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_distilled_student_loads_and_its_recipe_repeats_it(distilled):
    out, parts = distilled
    assert load_student(str(out)).config.name == "small"
    assert StudentRecipe.load(out / "recipe.json") == RECIPE
    assert {f"loss/{name}" for name in ("contrastive", "distribution", "feature", *NAMED)} == set(
        parts[0]
    )
    assert not (out / "checkpoint.pt").exists()


def test_what_a_student_was_made_of_lies_beside_it(distilled, unpaired):
    training = json.loads((distilled[0] / "training.json").read_text())
    assert training["photos"] == {"captioned": 12, "extra": len(unpaired.extra.photos)}
    assert training["captions"]["extra"] == 4
    assert training["minutes"] > 0
    assert [name.split()[0] for name in training["teachers"]] == [
        *["region-text"] * 2,
        "word-region",
        "ImageNet",
    ]


def test_a_finished_run_is_not_done_again_but_another_one_is(unpaired, cache, tmp_path):
    out, recipe, steps = tmp_path / "small", replace(RECIPE, teaching="none", epochs=1), []

    def count(step, values):
        steps.append(step)

    first = train(unpaired, out, recipe, cache, silent, RunOptions(record=count))
    done = len(steps)
    assert train(unpaired, out, recipe, cache, silent, RunOptions(record=count)) == first
    assert len(steps) == done
    keeping = RunOptions(may_replace=False)  # as with --smoke
    with pytest.raises(TrainingError, match="small holds the student of another run"):
        train(unpaired, out, replace(recipe, seed=1), cache, silent, keeping)
    train(unpaired, out, replace(recipe, seed=1), cache, silent, RunOptions(record=count))
    assert len(steps) == 2 * done


def test_recall_on_the_validation_split_is_recorded(distilled):
    looked = [values for values in distilled[1] if "val/mean_recall" in values]
    assert len(looked) == RECIPE.epochs
    assert all(0 <= values["val/mean_recall"] <= 100 for values in looked)


@pytest.mark.parametrize(
    "teaching",
    [
        "none",
        *(pytest.param(entry, marks=pytest.mark.slow) for entry in ("mcad", "dual")),
    ],
)
def test_each_way_of_teaching_moves_the_student_somewhere_else(
    teaching, material, cache, tmp_path, distilled
):
    recipe = replace(RECIPE, teaching=teaching, epochs=1, feature=0.0)
    parts = []
    out = tmp_path / "small"
    train(
        material,
        out,
        recipe,
        cache,
        silent,
        RunOptions(record=lambda step, values: parts.append(values)),
    )
    taught = set() if teaching == "none" else {"distribution", *NAMED}
    assert set(parts[0]) == {f"loss/{name}" for name in ("contrastive", *taught)}
    assert not same_weights(out, distilled[0])


@pytest.mark.slow
def test_a_class_finds_its_photos_among_real_and_imagined_ones_at_every_width(
    unpaired, cache, tmp_path, monkeypatch
):
    seen = []

    def showing(student, teacher):
        seen.append(tuple(student.shape))
        return showing_loss(student, teacher)

    monkeypatch.setattr("mcad_mobile.distill.class_distillation.showing_loss", showing)
    train(unpaired, tmp_path / "small", replace(RECIPE, epochs=1), cache, silent)
    # Four captioned photos a step, two others, and three imagined ones.
    assert seen == [(9, 1000)] * 9


@pytest.mark.slow
def test_a_classifier_of_no_weight_is_not_asked(unpaired, cache, tmp_path):
    parts, steps = [], []
    recipe = replace(RECIPE, classifier=0.0, epochs=1)
    train(
        unpaired, tmp_path / "small", recipe, tmp_path / "cache",
        lambda step, *_: steps.append(step),
        RunOptions(record=lambda step, values: parts.append(values)),
    )  # fmt: skip
    assert not {f"loss/{name}" for name in NAMED} & set(parts[0])
    assert not [step for step in steps if "classifier" in step]
    assert len(json.loads((tmp_path / "small" / "training.json").read_text())["teachers"]) == 3


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(unpaired, distilled, cache, tmp_path):
    def kill(step, values):
        if step == 5:  # in the second epoch of three steps
            raise Killed

    out = tmp_path / "small"
    with pytest.raises(Killed):
        train(unpaired, out, RECIPE, cache, silent, RunOptions(record=kill))
    assert (out / "checkpoint.pt").exists()
    steps, message = [], []
    train(
        unpaired, out, RECIPE, cache, lambda doing, *_: message.append(doing),
        RunOptions(record=lambda step, values: steps.append(step)),
    )  # fmt: skip
    assert steps[0] == 4  # from the checkpoint, not from the start
    assert {doing.partition(",")[0] for doing in message} == {"student", "student: epoch 2/2"}
    assert same_weights(out, distilled[0])


def test_a_checkpoint_of_another_recipe_is_not_gone_on_with(material, cache, tmp_path):
    recipe = replace(RECIPE, teaching="none")

    def kill(step, values):
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        train(material, tmp_path / "small", recipe, cache, silent, RunOptions(record=kill))
    with pytest.raises(TrainingError, match=r"checkpoint\.pt was written by another recipe"):
        train(material, tmp_path / "small", replace(recipe, seed=1), cache, silent)


@pytest.mark.slow
def test_teachers_and_features_are_made_once(unpaired, distilled, cache, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    steps = []
    train(unpaired, tmp_path / "small", RECIPE, cache, lambda step, *_: steps.append(step))
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == before
    assert {step.split(": ")[0] for step in steps} == {"student"}


def test_partial_files_that_nobody_went_on_with_are_gone_when_a_run_ends_well(
    material, cache, tmp_path
):
    left = cache / "of another run.npy.partial"
    left.write_bytes(b"rows")
    os.utime(left, (0, 0))  # years ago
    recipe = replace(RECIPE, teaching="none", epochs=1)
    train(material, tmp_path / "small", recipe, cache, silent)
    assert not left.exists()


def test_cached_retrieval_is_that_of_the_student_itself(material, cache):
    student = load_student()
    photos = material.train
    quick = evaluate_cached(student, photos, FeatureCache(cache, silent), "fp32")
    # The cache's float16 may swap neighbours: 3 points are about one rank in one of six recalls.
    exact = embed_by_student(student, photos, silent).retrieval()
    assert quick.mean_recall == pytest.approx(exact.mean_recall, abs=3)
    assert exact.mean_recall > 50


def test_few_photos_are_trained_in_smaller_batches_which_are_told_and_kept(
    material, cache, tmp_path
):
    reports, recipe = [], replace(RECIPE, teaching="none", batch=256, epochs=1)
    captions = Extra((), tuple(f"caption {number}" for number in range(9)))
    material = dataclasses.replace(material, extra=captions)
    recipe = replace(recipe, most_extra_captions=4)
    out = tmp_path / "small"
    train(material, out, recipe, cache, silent, RunOptions(note=reports.append))
    (line,) = reports
    assert "12 captioned photos" in line
    training = json.loads((out / "training.json").read_text())
    assert training["captions"]["extra"] == 4
    assert StudentRecipe.load(out / "recipe.json") == replace(recipe, batch=8)


def test_a_student_of_ours_is_trained_further_from_where_it_was(
    material, distilled, cache, tmp_path
):
    still = replace(RECIPE, teaching="none", epochs=1, head_lr=1e-12, tuned_lr=1e-12)
    student = StudentChoice(str(distilled[0]))
    train(material, tmp_path / "more", still, cache, silent, RunOptions(student=student))
    before, after = weights(distilled[0]), weights(tmp_path / "more")
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


@pytest.mark.slow
def test_the_last_epoch_is_evaluated_whatever_their_number(material, cache, tmp_path):
    recalls = {}

    def record(step, values):
        if "val/mean_recall" in values:
            recalls[step] = values["val/mean_recall"]

    recipe = replace(RECIPE, teaching="none", classifier=0.0, views=1, epochs=5)
    result = train(material, tmp_path / "s", recipe, cache, silent, RunOptions(record=record))
    steps = len(material.train) // recipe.batch
    assert [*recalls] == [2 * steps, 4 * steps, 5 * steps]  # at most four times but for the last
    assert result.mean_recall == recalls[5 * steps]


def test_heads_of_the_reference_teachers_learn_at_a_rate_of_their_own(material, cache):
    data = dataset(material.train, minilm_tokenizer(), Extra())
    recipe = replace(TEACHERS, members=1, head_lr=1e-12, tuned_lr=1e-3, seed=3)
    training = TeacherTraining(data, recipe, FeatureCache(cache, silent), "fp32")
    (teacher,) = train_duals(training, data.token_counts())
    torch.manual_seed(3)
    start = RegionText.pretrained(teacher.trunks, data.token_counts()).state_dict()
    moved = {
        name: (value - start[name]).abs().max() > 1e-6
        for name, value in teacher.model.state_dict().items()
    }
    assert not any(moved[name] for name in moved if name.startswith(("head.", "text.head.")))
    assert moved["region.0.weight"] and moved["text.layers.0.up.weight"]
