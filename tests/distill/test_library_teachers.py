"""A student from teachers that a user brings: real CLIP and BLIP classes, tiny and random."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.distill.recipe import StudentRecipe, TeacherRecipe
from mcad_mobile.distill.teachers.library import load_duals, load_single
from mcad_mobile.distill.teachers.teacher import Fused, Teachers
from mcad_mobile.distill.train_student import RunOptions, train
from tests.support.tiny_students import write_hf
from tests.support.tiny_teachers import write_blip

# More views than the student's: of photos that teachers are not trained on, none are kept.
TEACHERS = TeacherRecipe(views=3, batch=4, single_batch=4)
RECIPE = StudentRecipe(
    teaching="mcad",
    epochs=1, batch=4, views=1, candidates=2, names=8, teachers=TEACHERS,
    arithmetic="fp32",  # where two are as fast, runs that are compared may choose differently
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("teachers")
    torch.manual_seed(2)
    return {
        "clip": write_hf(root / "clip", "clip", seed=0),
        "other clip": write_hf(root / "other clip", "clip", seed=1),
        "blip": write_blip(root / "blip"),
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def silent(*step):
    pass


@pytest.mark.slow
def test_distill_learns_from_teachers_given_by_name(checkpoints, packaged_pairs, cache, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(RECIPE.to_json()))
    done = CliRunner().invoke(
        app,
        [
            *("distill", "--data", str(packaged_pairs), "--out", str(tmp_path / "s")),
            *("--recipe", str(recipe), "--cache", str(cache), "--json"),
            *("--dual-teacher", f"hf:{checkpoints['clip']}"),
            *("--dual-teacher", f"hf:{checkpoints['other clip']}"),
            *("--single-teacher", f"hf:{checkpoints['blip']}"),
        ],
    )
    assert done.exit_code == 0, done.output
    training = json.loads((tmp_path / "s" / "training.json").read_text())
    assert training["teachers"][:3] == ["clip", "other clip", "blip"]
    assert training["teachers"][3].startswith("ImageNet classifiers")


class Louder:
    """A teacher's scores in another unit: what it says of each pair is the same."""

    def __init__(self, teacher) -> None:
        self.teacher = teacher

    def __getattr__(self, name):
        return getattr(self.teacher, name)

    def fuse(self, photos, texts, pairs):
        fused = self.teacher.fuse(photos, texts, pairs)
        return Fused(fused.features, 50 * fused.scores - 7)


@pytest.mark.slow
def test_the_unit_of_a_cross_encoders_scores_does_not_matter(
    checkpoints, material, cache, tmp_path
):
    duals = load_duals([f"hf:{checkpoints['clip']}"], "cpu")
    single = load_single(f"hf:{checkpoints['blip']}", "cpu")

    def distribution_losses(teacher, name) -> list[float]:
        parts = []
        train(
            material, tmp_path / name, RECIPE, cache / "units",
            silent,
            RunOptions(Teachers(duals, teacher), record=lambda _, values: parts.append(values)),
        )  # fmt: skip
        return [part["loss/distribution"] for part in parts if "loss/distribution" in part]

    spoken, shouted = distribution_losses(single, "a"), distribution_losses(Louder(single), "b")
    assert spoken == pytest.approx(shouted, rel=0.01)


@pytest.mark.slow
def test_another_teacher_or_more_candidates_make_another_fusion(
    checkpoints, material, cache, tmp_path
):
    single = load_single(f"hf:{checkpoints['blip']}", "cpu")

    def fusions(dual: str, recipe: StudentRecipe) -> set[Path]:
        duals = load_duals([f"hf:{checkpoints[dual]}"], "cpu")
        out = tmp_path / f"{dual}-{recipe.candidates}"
        train(material, out, recipe, cache / "fusions", silent, RunOptions(Teachers(duals, single)))
        return set((cache / "fusions").glob("fusion-*.safetensors"))

    first = fusions("clip", RECIPE)
    other = fusions("other clip", RECIPE)
    assert (len(first), len(other)) == (1, 2)
    assert len(fusions("clip", replace(RECIPE, candidates=3))) == 3
