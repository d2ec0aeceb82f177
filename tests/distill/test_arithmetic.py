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

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.distill import train_student as run
from mcad_mobile.distill.accelerator import choose_arithmetic, multiplies_bfloat16
from mcad_mobile.distill.features import GridTrunk
from mcad_mobile.distill.labels import Fusion
from mcad_mobile.distill.loop import Loop, Schedule
from mcad_mobile.distill.recipe import StudentRecipe, TeacherRecipe
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.recall import evaluate_retrieval
from mcad_mobile.students.load import load_student

CPU = torch.device("cpu")
TEACHERS = TeacherRecipe(views=1, members=1, batch=4, epochs=1, single_batch=4, single_epochs=1)
RECIPE = StudentRecipe(
    teaching="mcad", epochs=2, batch=4, views=1, candidates=2, names=8, teachers=TEACHERS
)


def silent(*step):
    pass


AMD, INTEL = (
    f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: sse4_1 avx2"
    for vendor in ("AuthenticAMD", "GenuineIntel")
)


@pytest.mark.parametrize(
    ("cpuinfo", "multiplies"),
    [
        (AMD, False),
        (f"{AMD} avx512_vnni", False),
        (f"{AMD} avx512_bf16", True),
        (f"{INTEL} avx512_bf16", False),
        (f"{INTEL} avx512_bf16 amx_tile amx_bf16", True),
        ("processor\t: 0\nFeatures\t: asimd bf16", True),
    ],
)
def test_bfloat16_is_for_processors_that_multiply_it_faster(cpuinfo, multiplies):
    assert multiplies_bfloat16(CPU, cpuinfo) is multiplies
    assert not multiplies_bfloat16(torch.device("mps"), cpuinfo)


def test_a_recipe_that_names_an_arithmetic_has_it_and_auto_asks_the_device():
    assert [choose_arithmetic(name) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert choose_arithmetic("auto") == ("bf16" if multiplies_bfloat16(CPU) else "fp32")


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
    smaller = replace(single.preprocess, size=single.preprocess.size - 32)
    assert GridTrunk("", single.module, smaller, "fp32").identity != single.identity
    exact, rounded = (
        torch.from_numpy(trunk.grids(photos)).float().flatten(1) for trunk in (single, half)
    )
    assert not exact.equal(rounded)
    assert torch.cosine_similarity(exact, rounded).min() > 0.995


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_run_begun_in_bfloat16_ends_on_a_processor_without_it(material, tmp_path):
    out, steps = tmp_path / "s", []

    def kill(step, values):
        if step == 5:  # in the second epoch of three steps
            raise Killed

    def begin(arithmetic, record) -> None:
        options = run.RunOptions(record=record)
        recipe = replace(RECIPE, arithmetic=arithmetic)
        run.train(material, out, recipe, tmp_path / "cache", silent, options)

    with pytest.raises(Killed):
        begin("bf16", kill)
    begin("fp32", lambda step, values: steps.append(step))
    assert steps[0] == 4  # from the checkpoint, not from the start
    assert load_student(str(out)).config.name == "s"
    assert json.loads((out / "training.json").read_text())["arithmetic"] == "fp32"
    begin("bf16", lambda *_: pytest.fail("a finished run is done again"))


def loop(folder: Path, name: str, model: nn.Module, epochs: int = 2) -> Loop:
    schedule = Schedule(epochs, 3, warmup=0.5, weight_decay=0.0, seed=0)
    groups = [{"params": list(model.parameters()), "lr": 0.1}]
    return Loop(model, groups, schedule, folder / "checkpoint", "test", "test", name)
