"""Products are computed in what is fastest here, everywhere in a run, and a run may move."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import device as arithmetic
from mcad_mobile.distill import run
from mcad_mobile.distill.device import autocast, choices, fastest, measure, slowest
from mcad_mobile.distill.fusion import Fusion
from mcad_mobile.distill.grids import GridTrunk
from mcad_mobile.distill.loop import Loop, Schedule
from mcad_mobile.distill.recipe import Recipe, TeacherRecipe
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.errors import TrainingError
from mcad_mobile.students.evaluation import evaluate_retrieval
from mcad_mobile.students.load import load_student

CPU = torch.device("cpu")
TEACHERS = TeacherRecipe(views=1, members=1, batch=4, epochs=1, single_batch=4, single_epochs=1)
RECIPE = Recipe(epochs=2, batch=4, views=1, candidates=2, names=8, teachers=TEACHERS)


def silent(*step):
    pass


@pytest.mark.parametrize(
    ("ms", "before", "chosen"),
    [
        ({"fp32": 10.0, "bf16": 80.0}, None, "fp32"),
        ({"fp32": 10.0, "bf16": 3.0}, None, "bf16"),
        ({"fp32": 10.0, "bf16": 9.0}, None, "fp32"),  # noise
        ({"fp32": 10.0, "bf16": 3.0, "fp16": 2.9}, None, "bf16"),
        ({"fp32": 10.0, "bf16": 3.0, "fp16": 2.0}, None, "fp16"),
        ({"fp32": 10.0, "fp16": 3.0}, None, "fp16"),
        # What a run began with:
        ({"fp32": 10.0, "bf16": 11.0}, "bf16", "bf16"),
        ({"fp32": 10.0, "bf16": 6.0}, "fp32", "fp32"),
        ({"fp32": 10.0, "bf16": 80.0}, "bf16", "fp32"),
        ({"fp32": 10.0, "bf16": 3.0}, "fp32", "bf16"),
        ({"fp32": 10.0, "bf16": 9.0}, "fp16", "fp32"),  # which this device lacks
    ],
)
def test_the_fastest_is_chosen_if_it_is_clearly_so(ms, before, chosen):
    assert fastest(ms, before) == chosen


def test_processes_wait_for_the_slowest_of_them():
    left, right = {"fp32": 10.0, "bf16": 3.0, "fp16": 2.0}, {"fp32": 8.0, "bf16": 60.0}
    assert slowest([left, right]) == {"fp32": 10.0, "bf16": 60.0}


def test_a_cpu_is_measured_in_float32_and_bfloat16_and_left_as_it_was():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ms = measure(CPU, seconds=0.0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert list(ms) == ["fp32", "bf16"]
    assert all(taken > 0 for taken in ms.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_what_is_measured_is_computed_in_the_arithmetic_of_its_name(name, kind):
    with watched_products() as seen, autocast(name, CPU):
        arithmetic.trial_work(CPU)()
    assert set(seen) == {kind}


@contextmanager
def watched_products() -> Iterator[list[torch.dtype]]:
    """The types of all products of layers; but those of the fusion, which is asked in float32."""
    seen: list[torch.dtype] = []
    exempt: set[int] = set()

    def before(module, inputs):
        if isinstance(module, Fusion):
            exempt.update(id(part) for part in module.modules())

    def after(module, inputs, output):
        if isinstance(module, nn.Linear | nn.Conv2d) and id(module) not in exempt:
            seen.append(output.dtype)

    hooks = [register_module_forward_pre_hook(before), register_module_forward_hook(after)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        pytest.param("fp32", torch.float32, marks=pytest.mark.slow),
        pytest.param("bf16", torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_one_arithmetic_makes_grids_teachers_labels_and_student(
    asked, kind, material, tmp_path, monkeypatch
):
    # Looking at the validation split is always float32.
    found = evaluate_retrieval(np.eye(4), np.eye(4), np.arange(4))
    monkeypatch.setattr(run, "evaluate_trainee", lambda *_: found)
    with watched_products() as seen:
        run.train(
            material,
            tmp_path / "s",
            replace(RECIPE, arithmetic=asked, epochs=1),
            tmp_path / "cache",
            silent,
        )
    assert len(seen) > 1000
    assert set(seen) == {kind}


def test_grids_of_either_arithmetic_are_alike_and_bear_one_name():
    photos = [open_photo(path) for path in packaged_photos()[:4]]
    single, half = (GridTrunk.pretrained(0, name) for name in ("fp32", "bf16"))
    assert single.identity == half.identity
    exact, rounded = (
        torch.from_numpy(trunk.grids(photos)).float().flatten(1) for trunk in (single, half)
    )
    assert not exact.equal(rounded)
    assert torch.cosine_similarity(exact, rounded).min() > 0.995


def measured(monkeypatch, device: str, **ms: float) -> None:
    monkeypatch.setattr(arithmetic, "measure", lambda _: dict(ms))
    monkeypatch.setattr(arithmetic, "device_name", lambda _: device)


def test_a_run_keeps_its_arithmetic_unless_another_is_much_faster_where_it_goes_on(
    tmp_path, monkeypatch
):
    note = tmp_path / "out" / "arithmetic.json"

    def used() -> list[tuple[str, str]]:
        return [(choice.device, choice.arithmetic) for choice in choices("auto", note)]

    measured(monkeypatch, "new", fp32=10.0, bf16=4.0)
    assert used() == [("new", "bf16")]
    measured(monkeypatch, "new", fp32=10.0, bf16=12.0)  # a busy moment
    assert used() == [("new", "bf16")]
    measured(monkeypatch, "old", fp32=10.0, bf16=90.0)
    assert used() == [("new", "bf16"), ("old", "fp32")]
    measured(monkeypatch, "new", fp32=10.0, bf16=6.0)
    assert used() == [("new", "bf16"), ("old", "fp32"), ("new", "fp32")]
    (last,) = [choice.arithmetic for choice in choices("bf16", note)][3:]
    assert last == "bf16"
    assert [path.name for path in note.parent.iterdir()] == ["arithmetic.json"]


def test_float16_takes_a_gpu(tmp_path):
    with pytest.raises(TrainingError, match="fp16, which takes a GPU; this runs on cpu"):
        choices("fp16", tmp_path / "out" / "arithmetic.json")
    assert not (tmp_path / "out").exists()


def test_the_option_overrides_the_recipe_and_what_is_refused_leaves_nothing(
    packaged_pairs, tmp_path
):
    recipe, out = tmp_path / "recipe.json", tmp_path / "out"
    recipe.write_text(json.dumps({**RECIPE.to_json(), "arithmetic": "fp32"}))
    done = CliRunner().invoke(
        app,
        [
            *("distill", "--data", str(packaged_pairs), "--out", str(out)),
            *("--recipe", str(recipe), "--arithmetic", "fp16", "--cache", str(tmp_path / "cache")),
        ],
    )
    assert isinstance(done.exception, TrainingError)
    assert "arithmetic is fp16" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_begun_in_bfloat16_ends_on_a_processor_without_it(material, tmp_path, monkeypatch):
    out, steps = tmp_path / "s", []

    def kill(step, values):
        if step == 5:  # in the second epoch of three steps
            raise Killed

    def begin(record) -> None:
        run.train(material, out, RECIPE, tmp_path / "cache", silent, run.RunOptions(record=record))

    measured(monkeypatch, "new", fp32=10.0, bf16=4.0)
    with pytest.raises(Killed):
        begin(kill)
    measured(monkeypatch, "old", fp32=10.0, bf16=90.0)
    begin(lambda step, values: steps.append(step))
    assert steps[0] == 4  # from the checkpoint, not from the start
    assert load_student(str(out)).config.name == "s"
    assert json.loads((out / "training.json").read_text())["arithmetic"] == [
        {"arithmetic": "bf16", "device": "new", "ms": {"fp32": 10.0, "bf16": 4.0}},
        {"arithmetic": "fp32", "device": "old", "ms": {"fp32": 10.0, "bf16": 90.0}},
    ]
    assert not (out / "arithmetic.json").exists()
    begin(lambda *_: pytest.fail("a finished run is done again"))
    assert not (out / "arithmetic.json").exists()


def loop(folder: Path, name: str, model: nn.Module, epochs: int = 2) -> Loop:
    schedule = Schedule(epochs, 3, warmup=0.5, weight_decay=0.0, seed=0)
    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    return Loop(model, groups, schedule, folder / "checkpoint", "test", "test", name)


def test_gradients_beyond_float16s_range_still_move_the_weights(tmp_path):
    model = nn.Linear(4, 4)
    before = model.weight.detach().clone()
    inputs = torch.ones(2, 4)
    # A gradient of 1e-8 is zero in float16.
    loop(tmp_path, "fp16", model).run(
        lambda forward, step: {"loss": 1e-8 * forward(inputs).float().mean()}, silent
    )
    assert (model.weight - before).abs().min() > 1e-2


@pytest.mark.parametrize(("first", "second"), [("bf16", "fp16"), ("fp16", "fp32")])
def test_a_checkpoint_goes_on_in_another_arithmetic(first, second, tmp_path):
    inputs = torch.ones(2, 4)

    def stop(epoch):
        raise Killed

    def losses(forward, step):
        steps.append(step)
        return {"loss": forward(inputs).float().mean()}

    for name, after in ((first, stop), (second, lambda epoch: "saved")):
        steps: list[int] = []
        try:
            loop(tmp_path, name, nn.Linear(4, 4)).run(losses, silent, after)
        except Killed:
            assert steps == [0, 1, 2]
    assert steps == [3, 4, 5]
