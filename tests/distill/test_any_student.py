"""Any student trained end to end: tiny architectures of random weights, on real photos."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from mcad_mobile.base.licences import find_licence
from mcad_mobile.distill.dataset import Batch, Extra, Views, dataset
from mcad_mobile.distill.features import FeatureCache, compute_view
from mcad_mobile.distill.pretrained import minilm_directory
from mcad_mobile.distill.recipe import StudentRecipe
from mcad_mobile.distill.teachers.library import load_duals
from mcad_mobile.distill.teachers.teacher import Teachers
from mcad_mobile.distill.train_student import RunOptions, train
from mcad_mobile.distill.trainee import EndToEnd, StudentChoice
from mcad_mobile.engine.text.tokenizer import Tokenizer
from mcad_mobile.errors import TrainingError
from mcad_mobile.recall import embed_by_student
from mcad_mobile.students.load import load_student
from mcad_mobile.students.mcad import default_config
from mcad_mobile.students.transformers import trainable_transformers
from tests.support.tiny_students import (
    register_open_clip,
    write_hf,
    write_open_clip,
)

RECIPE = StudentRecipe(
    teaching="none",
    epochs=2,
    batch=4,
    views=2,
    arithmetic="fp32",
    head_lr=1e-3,
    tuned_lr=1e-3,
)


def silent(*reports):
    pass


def wordpiece():
    return Tokenizer(*default_config().tokenizer.compiled(minilm_directory()))


def start(kind: str, folder: Path) -> StudentChoice:
    """One of each library, from weights or from nothing."""
    if kind == "open_clip":
        return StudentChoice(f"open_clip:local-dir:{write_open_clip(folder)}")
    if kind == "open_clip by name":
        name = register_open_clip(folder, "tiny-resnet", "resnet")
        return StudentChoice(f"open_clip:{name}", from_scratch=True)
    if kind == "hf":
        return StudentChoice(f"hf:{write_hf(folder, 'clip')}")
    return StudentChoice(f"hf:{write_hf(folder, 'siglip')}", from_scratch=True)


KINDS = (
    "open_clip",
    "open_clip by name",
    "hf",
    "hf from nothing",
)
# What `make test` trains: from weights of a library, and from nothing.
QUICK = ("open_clip", "open_clip by name")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(left, marks=() if left in QUICK else pytest.mark.slow) for left in KINDS],
)
def test_it_trains_and_what_comes_out_is_a_student_that_was_looked_at_as_it_is(
    kind, material, tmp_path
):
    out, losses = tmp_path / "mine", []

    def record(step, values):
        losses.extend(value for name, value in values.items() if name.startswith("loss/"))

    asked = start(kind, tmp_path / "start")
    recipe = replace(RECIPE, epochs=6, views=1, warmup=0.2)
    found = train(material, out, recipe, tmp_path, silent, RunOptions(record=record, student=asked))
    assert len(losses) == 18 and np.mean(losses[-3:]) < np.mean(losses[:3])
    assert not (out / "checkpoint.pt").exists()
    student = load_student(str(out))
    assert student.name == "mine"
    # By the towers that are exported, and by the library's own modules as they were trained.
    assert embed_by_student(student, material.val, silent).retrieval() == found
    training = json.loads((out / "training.json").read_text())
    assert training["student"].startswith(asked.spec)
    assert training["student"].endswith(", from nothing") == asked.from_scratch


class Killed(Exception):
    pass


def test_a_run_that_was_cut_off_ends_with_the_same_bits(material, tmp_path):
    """Batch norms, whose statistics a checkpoint has to hold, too."""
    asked = start("open_clip by name", tmp_path / "start")

    def kill(step, values):
        if step == 5:  # in the second epoch of three steps
            raise Killed

    straight, cut, steps = tmp_path / "straight" / "s", tmp_path / "cut" / "s", []
    train(material, straight, RECIPE, tmp_path, silent, RunOptions(student=asked))
    with pytest.raises(Killed):
        train(material, cut, RECIPE, tmp_path, silent, RunOptions(record=kill, student=asked))
    assert (cut / "checkpoint.pt").exists()
    train(
        material, cut, RECIPE, tmp_path, silent,
        RunOptions(record=lambda step, values: steps.append(step), student=asked),
    )  # fmt: skip
    assert steps[0] == 4
    assert load_student(str(straight)).sha256 == load_student(str(cut)).sha256


@pytest.mark.parametrize(
    ("front", "from_scratch", "licence"),
    [("mit", False, "unknown"), ("apple-amlr", False, "apple-amlr"), ("mit", True, "unknown")],
)
def test_only_a_limit_of_the_weights_it_starts_from_is_the_student_s_licence(
    front, from_scratch, licence, material, tmp_path
):
    """What it learns from has licences, too, and only the user knows them."""
    folder, out = write_hf(tmp_path / "start", "clip"), tmp_path / "out"
    (folder / "README.md").write_text(f"---\nlicense: {front}\n---\nA model.\n")
    (folder / "LICENSE").write_text("Do what you want.")
    student = StudentChoice(f"hf:{folder}", from_scratch=from_scratch)
    once = replace(RECIPE, epochs=1)
    train(material, out, once, tmp_path, silent, RunOptions(student=student))
    assert load_student(str(out)).source.licence.name == licence
    assert (out / "LICENSE").exists() != from_scratch
    if from_scratch:
        return
    assert (out / "LICENSE").read_text() == "Do what you want."
    card, named = out / "README.md", find_licence(front).name
    assert f"weights that training started from: {named}." in card.read_text()
    card.write_text(card.read_text().replace(f"license: {licence}", "license: cc-by-4.0"))
    assert load_student(str(out)).source.licence.name == "CC-BY-4.0"


def test_a_checkpoint_of_another_student_is_not_gone_on_with(material, tmp_path):
    def kill(step, values):
        if step == 4:
            raise Killed

    left = start("hf", tmp_path / "one")
    right = StudentChoice(f"hf:{write_hf(tmp_path / 'other', 'clip', seed=1)}")
    with pytest.raises(Killed):
        train(
            material,
            tmp_path / "s",
            RECIPE,
            tmp_path,
            silent,
            RunOptions(record=kill, student=left),
        )
    with pytest.raises(TrainingError, match="written by another recipe"):
        train(material, tmp_path / "s", RECIPE, tmp_path, silent, RunOptions(student=right))


@pytest.mark.slow
def test_a_students_own_teacher_has_nothing_to_tell_it_at_first(material, tmp_path):
    """The teacher's space is rotated to where the student's own lies, whatever its basis."""
    folder = write_open_clip(tmp_path / "start")
    teachers = Teachers(load_duals([f"open_clip:local-dir:{folder}"], "cpu"))
    recipe = replace(
        RECIPE, teaching="dual", views=1, distribution=0.0, contrastive=0.0, classifier=0.0
    )
    losses = []
    options = RunOptions(
        teachers,
        StudentChoice(f"open_clip:local-dir:{folder}"),
        record=lambda step, values: losses.append(values.get("loss/feature")),
    )
    train(material, tmp_path / "s", recipe, tmp_path / "cache", silent, options)
    assert losses[0] < 0.01  # of at most 40; labels are kept in float16


def test_weights_that_no_embedding_depends_on_are_left_alone(material, tmp_path):
    folder = write_hf(tmp_path / "start", "clip")
    train(
        material,
        tmp_path / "s",
        RECIPE,
        tmp_path,
        silent,
        RunOptions(student=StudentChoice(f"hf:{folder}")),
    )
    old, new = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "s"))
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert "logit_scale" in same and "visual_projection.weight" not in same
    assert len(same) < 4


def test_photos_are_cropped_as_the_teachers_saw_them(material, tmp_path):
    extra = Extra(tuple(photo.path for photo in material.val), ())
    data = dataset(material.train, wordpiece(), extra)
    student = trainable_transformers(str(write_hf(tmp_path / "start", "clip")), True)
    cache = FeatureCache(tmp_path, silent)
    trainee = EndToEnd(student, "towers", 4)
    reader = trainee.reader(data, Views(3, 3), cache, "fp32")
    rows, views = np.array([3, 5, len(material.train) + 1]), np.array([0, 2, 1])
    found = reader.photos(Batch(rows, views, rows[:0], 0)).numpy()
    for mine, row, view in zip(found, rows, views, strict=True):
        # What a frozen trunk or a teacher is handed of the same view.
        few = data.photos[: data.paired_photos] if row < data.paired_photos else extra.photos
        place = int(row) if row < data.paired_photos else int(row) - data.paired_photos
        seen = []

        def keep(photos, seen=seen):
            seen.extend(student.preprocess.pixels(photo) for photo in photos)
            return np.zeros((len(photos), 1), np.float16)

        compute_view(few[place : place + 1], int(view), place, keep)
        # A JPEG may be decoded smaller here.
        assert np.abs(mine - seen[0]).mean() < 0.1


def test_what_starts_anew_is_faster_and_norms_do_not_decay(tmp_path):
    student = trainable_transformers(str(write_hf(tmp_path, "clip")), True)
    model = student.module
    maps = (model.visual_projection.weight, model.text_projection.weight)
    recipe = replace(RECIPE, head_lr=0.5, tuned_lr=0.25, weight_decay=0.125)
    groups = EndToEnd(dataclasses.replace(student, new=maps), "towers", 4).prepare(recipe)
    reports = {
        id(left): (group["lr"], group["weight_decay"])
        for group in groups
        for left in group["params"]
    }
    assert len(reports) == sum(left.requires_grad for left in model.parameters())
    assert {reports[id(left)] for left in maps} == {(0.5, 0.125)}
    assert reports[id(model.text_model.final_layer_norm.weight)] == (0.25, 0.0)
    assert reports[id(model.vision_model.embeddings.patch_embedding.weight)] == (0.25, 0.125)
    assert not model.logit_scale.requires_grad
