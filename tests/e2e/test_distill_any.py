"""`mcad-mobile distill --student ...` in processes of its own: to a bundle that searches, killed
and called again, and on two at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.students.load import load_student
from tests.e2e.test_distill_processes import CLI, LAUNCH, kill_when, run
from tests.support.exported import mcad_json
from tests.support.tiny_students import write_hf, write_open_clip

RECIPE = {
    **{"epochs": 40, "batch": 4, "views": 2, "head_lr": 1e-3},
    "arithmetic": "fp32",  # where two are as fast, each run that is compared could choose
}


def distill(data: Path, folder: Path, out: Path, spec: str, *more: str) -> list[str]:
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(RECIPE))
    where = ["--data", str(data), "--out", str(out), "--cache", str(folder / "cache")]
    how = ["--student", spec, "--recipe", str(recipe), "--teaching", "none", "--json"]
    return ["distill", *where, *how, *more]


def spec_of(kind: str, folder: Path) -> list[str]:
    if kind == "hf":
        return [f"hf:{write_hf(folder, 'clip')}"]
    return [f"open_clip:local-dir:{write_open_clip(folder, kind)}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "hf"])
def test_a_trained_student_is_exported_evaluated_and_searched_with(kind, packaged_pairs, tmp_path):
    out, photos = tmp_path / "mine", tmp_path / "photos"
    spec = spec_of(kind, tmp_path / "start")
    printed = json.loads(run([*CLI, *distill(packaged_pairs, tmp_path, out, *spec)]))
    data = ("--data", packaged_pairs, "--split", "val")
    found = mcad_json("eval", *data, "--student", out)
    assert found == {**printed["val"], "student": found["student"]}
    document = mcad_json("export", "--student", out, "-t", "cpu", "--out", tmp_path / "bundle")
    assert all(tower["cosine_mean"] > 0.98 for tower in document["towers"].values())
    photos.mkdir()
    for path in packaged_photos()[:4]:
        (photos / path.name).symlink_to(path)
    where = ("--bundle", tmp_path / "bundle", "--index", tmp_path / "index")
    assert mcad_json("index", photos, *where)["added"] == 4
    first = packaged_photos()[0]
    asked = f"a photo of {first.stem}"  # which it was trained on, forty times
    results = mcad_json("search", asked, *where)["results"]
    assert first.name in [Path(result["path"]).name for result in results[:2]]


@pytest.mark.slow
def test_killed_at_a_checkpoint_and_called_again_it_trains_the_same_student(
    packaged_pairs, tmp_path
):
    spec = spec_of("resnet", tmp_path / "start")
    straight, killed = tmp_path / "straight" / "s", tmp_path / "killed" / "s"
    run([*CLI, *distill(packaged_pairs, tmp_path, straight, *spec)])
    command = [*CLI, *distill(packaged_pairs, tmp_path, killed, *spec)]
    kill_when((killed / "checkpoint.pt").exists, command)
    assert not (killed / "training.json").exists()
    run(command)
    assert load_student(str(straight)).sha256 == load_student(str(killed)).sha256


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "hf"])
def test_two_processes_train_one_student(kind, packaged_pairs, tmp_path):
    """Every weight that trains gets a gradient: torch would wait for one that does not."""
    spec, out = spec_of(kind, tmp_path / "start"), tmp_path / "s"
    command = distill(packaged_pairs, tmp_path, out, *spec, "--epochs", "2")
    printed = run([*LAUNCH, "2", "-m", "mcad_mobile", *command])
    assert printed.count('"student"') == 1
    data = ("--data", packaged_pairs, "--split", "val")
    found = mcad_json("eval", *data, "--student", out)
    assert found == {**json.loads(printed)["val"], "student": found["student"]}
