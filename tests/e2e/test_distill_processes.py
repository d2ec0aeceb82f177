"""`mcad-mobile distill` in processes of its own: killed and called again, and on two at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mcad_mobile.distill.dataset import restore_order
from mcad_mobile.students.load import load_student

CLI = [sys.executable, "-m", "mcad_mobile"]
# As for GPUs, on a free port: `accelerate launch --cpu` would look for MPI.
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
LAUNCH += ["--main_process_port", "0", "--mixed_precision", "no", "--num_machines", "1"]
LAUNCH += ["--dynamo_backend", "no", "--num_processes"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
TEACHERS = {"views": 1, "members": 1, "epochs": 1, "batch": 4, "single_batch": 4}
RECIPE = {"epochs": 4, "batch": 4, "views": 1, "candidates": 2, "names": 8, "teachers": TEACHERS}
RECIPE["arithmetic"] = "fp32"  # where two are as fast, each run that is compared could choose


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Where the recipe lies and features are kept."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    return folder


def distill(data: Path, work: Path, out: Path, *more: str) -> list[str]:
    where = ["--data", str(data), "--out", str(out), "--cache", str(work / "cache")]
    recipe = ["--recipe", str(work / "recipe.json")]
    return ["distill", *where, *recipe, "--json", *more]


def run(command: list[str], fails: bool = False) -> str:
    """Return what the command prints, or its errors if it is to fail."""
    done = subprocess.run(
        command, env=ONE_THREAD, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def kill_when(ready: Callable[[], bool], command: list[str]) -> None:
    """Start a command, and kill it as soon as it is that far."""
    process = subprocess.Popen(
        command, env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    assert process.wait(60) == -signal.SIGKILL


def same_weights(first_folder: Path, second_folder: Path) -> bool:
    first, second = (load_student(str(path)).state_dict() for path in (first_folder, second_folder))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_killed_at_a_checkpoint_and_called_again_it_trains_the_same_student(
    packaged_pairs, work, tmp_path
):
    straight, killed = tmp_path / "straight" / "s", tmp_path / "killed" / "s"
    printed = json.loads(run([*CLI, *distill(packaged_pairs, work, straight)]))
    assert printed["val"]["photos"] == 4

    kill_when((killed / "checkpoint.pt").exists, [*CLI, *distill(packaged_pairs, work, killed)])
    assert not (killed / "model.safetensors").exists()

    assert json.loads(run([*CLI, *distill(packaged_pairs, work, killed)]))["val"] == printed["val"]
    assert same_weights(straight, killed)


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    """More photos than the cache takes at once, in the Karpathy layout."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "images").mkdir()
    records = []
    for number in range(200):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        split = "val" if number < 4 else "train"
        sentences = [{"raw": f"noise number {number}"}]
        records.append({"filename": f"{number}.png", "split": split, "sentences": sentences})
    (folder / "dataset_noise.json").write_text(json.dumps({"images": records}))
    return folder


@pytest.mark.slow
def test_killed_inside_a_view_it_goes_on_there_and_leaves_no_partial_file(noise, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**RECIPE, "teaching": "none", "epochs": 1, "batch": 64}))

    def command(name: str) -> list[str]:
        where = ["--out", str(tmp_path / name / "s"), "--cache", str(tmp_path / name / "cache")]
        return [*CLI, "distill", "--data", str(noise), "--recipe", str(recipe), *where]

    run(command("straight"))
    cache = tmp_path / "killed" / "cache"
    kill_when(
        lambda: any(rows_of(path) >= 64 for path in cache.glob("*.npy.partial")),
        command("killed"),
    )
    (partial,) = cache.glob("*.npy.partial")
    kept, number = rows_of(partial), partial.stat().st_ino
    assert 64 <= kept < 196

    run(command("killed"))
    grown, straight = (
        np.load(tmp_path / name / "cache" / partial.name.removesuffix(".partial"))
        for name in ("killed", "straight")
    )
    assert (cache / partial.name.removesuffix(".partial")).stat().st_ino == number
    assert np.array_equal(grown, straight)
    assert {path.suffix for path in cache.iterdir()} == {".npy"}
    assert not list(tmp_path.glob("**/*.partial"))


def rows_of(partial: Path) -> int:
    """Grids of 7 x 7 x 192 float16 that lie behind the header."""
    return partial.stat().st_size // (7 * 7 * 192 * 2)


@pytest.mark.slow
def test_two_processes_train_teachers_and_one_student(packaged_pairs, work, tmp_path):
    out, logs = tmp_path / "s", tmp_path / "logs"
    launch = [*LAUNCH, "2", "-m", "mcad_mobile"]
    printed = run([*launch, *distill(packaged_pairs, work, out, "--tensorboard", str(logs))])
    assert printed.count('"student"') == 1
    assert load_student(str(out)).config.dim == 256
    assert not (out / "checkpoint.pt").exists()
    assert len(list(logs.iterdir())) == 1
    written = EventAccumulator(str(logs)).Reload()
    steps = [event.step for event in written.Scalars("loss/feature")]
    assert steps == list(range(1, 13))
    assert written.Scalars("val/mean_recall")[-1].value == pytest.approx(
        json.loads(printed)["val"]["mean_recall"], abs=0.01
    )


@pytest.mark.slow
def test_a_batch_that_processes_cannot_share_is_named(packaged_pairs, work, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({**RECIPE, "batch": 3}))
    command = [*LAUNCH, "2", "-m", "mcad_mobile", *distill(packaged_pairs, work, tmp_path / "s")]
    errors = run([*command, "--recipe", str(recipe)], fails=True)
    assert "batch is 3, which 2 processes cannot share evenly" in errors


LINEAR = """
import sys, torch
from pathlib import Path
from mcad_mobile.distill.dataset import Batch
from mcad_mobile.distill.loop import Loop, Schedule, gather
from mcad_mobile.distill.losses import contrastive_loss
import numpy as np

torch.manual_seed(0)
rows = torch.randn(8, 5)
model = torch.nn.Linear(5, 3)
schedule = Schedule(epochs=2, steps_per_epoch=3, warmup=0.5, weight_decay=0.0, seed=0)
groups = [{"params": list(model.parameters()), "lr": 0.1}]
out = Path(sys.argv[1])
loop = Loop(model, groups, schedule, out / "checkpoint", "test", "test", "fp32")
batch = Batch(np.arange(8), np.zeros(8, np.intp), np.arange(8), 8)

def losses(forward, step):
    mine, photos, texts = loop.share(batch)
    image = gather(forward(rows[mine.photos]))[photos]
    text = gather(forward(rows[mine.captions].flip(1)))[texts]
    return {"contrastive": contrastive_loss(image, text, torch.tensor(1.0))}

loop.run(losses, lambda *step: None)
if loop.accelerator.is_main_process:
    (out / "world").write_text(str(loop.accelerator.num_processes))
    torch.save(loop.accelerator.unwrap_model(loop.model).weight.detach().clone(), out / "weight")
loop.finish()
"""


UNLIKE = """
import os, sys
from pathlib import Path
from mcad_mobile.distill import accelerator as device

device.multiplies_bfloat16 = lambda _: os.environ["RANK"] == "0"
(Path(sys.argv[1]) / os.environ["RANK"]).write_text(device.choose_arithmetic("auto"))
"""


@pytest.mark.slow
def test_processes_on_unlike_processors_compute_alike(tmp_path):
    script = tmp_path / "unlike.py"
    script.write_text(UNLIKE)
    run([*LAUNCH, "2", str(script), str(tmp_path)])
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["fp32", "fp32"]


@pytest.mark.slow
def test_two_processes_take_the_steps_that_one_would(tmp_path):
    script = tmp_path / "linear.py"
    script.write_text(LINEAR)
    found = []
    for world in (1, 2):
        out = tmp_path / str(world)
        out.mkdir()
        launch = [sys.executable] if world == 1 else [*LAUNCH, str(world)]
        run([*launch, str(script), str(out)])
        found.append(torch.load(out / "weight"))
        assert (out / "world").read_text() == str(world)
    # Equal up to the order they are summed in.
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)
    assert restore_order(4, 2).tolist() == [0, 2, 1, 3]
