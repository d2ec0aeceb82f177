"""Rungs are compared with float: those of a simulator on some inputs, which several threads run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.engine.towers import RUNTIMES, normalize
from mcad_mobile.engine.towers.onnx import OnnxRuntime
from mcad_mobile.errors import ParityError
from mcad_mobile.export.backends.backend import Candidate
from mcad_mobile.export.compare import GOLDEN_INPUTS, Standard
from mcad_mobile.export.smallest_pair import acceptable
from tests.support.tiny_bundle import make_tiny_bundle

COUNT = 6
WAIT_S = 60


class Simulated(OnnxRuntime):
    """A simulator that answers an input's number by a function; it counts the towers it loads."""

    name, simulated, loaded = "qnn", True, 0

    def load(self, bundle, rung, threads, gpu):
        self.loaded += 1
        return lambda inputs: self.answer(int(inputs["pixels"][0, 0]))


@pytest.fixture
def simulate(tmp_path, monkeypatch):
    """Compare a rung of a simulator that answers by this function; each expected embedding is the
    unit vector of its input's number."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    rung = replace(bundle.image.rungs[0], runtime="qnn", precision="w8a16")
    runtime, steps = Simulated(), []
    monkeypatch.setitem(RUNTIMES, "qnn", runtime)

    def standard(inputs: int = COUNT) -> Standard:
        return Standard(
            {"image": {"pixels": np.arange(inputs, dtype=np.float32)[:, None]}},
            {"image": np.eye(COUNT, dtype=np.float32)[:inputs]},
            simulated=COUNT,
            progress=lambda *step: steps.append(step),
        )

    def run(function: Callable[[int], np.ndarray], inputs: int = COUNT, compared=None):
        runtime.answer = function
        compared = compared or standard(inputs)
        return compared.compare("image", rung, bundle, None)

    run.standard, run.runtime, run.steps = standard, runtime, steps
    return run


def unit(number: int) -> np.ndarray:
    return np.eye(COUNT, dtype=np.float32)[number : number + 1]


@pytest.mark.skipif(allowed_cores() < 2, reason="needs two cores")
def test_inputs_are_simulated_beside_each_other_and_keep_their_order(simulate):
    later = threading.Event()

    def first_waits_for_the_next(number):
        if number == 3:
            later.set()
        assert number != 2 or later.wait(WAIT_S)
        return unit(number)

    rung, _ = simulate(first_waits_for_the_next)
    assert rung.parity.cosine_min == 1.0
    assert simulate.steps[-1] == ("image tower: simulated inputs", COUNT, COUNT)
    assert simulate.runtime.loaded == min(allowed_cores(), COUNT)  # one for each core


@pytest.mark.parametrize("inputs", [1, 2, COUNT - 1])
def test_fewer_inputs_than_are_to_be_simulated_are_all_simulated(simulate, inputs):
    rung, warnings = simulate(unit, inputs)
    assert (rung.parity.inputs, rung.parity.cosine_min, warnings) == (inputs, 1.0, [])
    assert simulate.steps[-1][1:] == (inputs, inputs)


def test_what_differs_from_float_is_an_error(simulate):
    with pytest.raises(ParityError, match="cosine"):
        simulate(lambda number: unit((number + 1) % COUNT))


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_end_begins_no_other_input(simulate, error):
    asked = []

    def ends(number):
        asked.append(number)
        raise error

    with pytest.raises(error):
        simulate(ends)
    assert len(asked) <= GOLDEN_INPUTS


@pytest.mark.parametrize(("off", "asked"), [(1e-7, 2), (-1e-3, COUNT)])
def test_a_chip_that_answers_golden_inputs_otherwise_is_asked_about_all(simulate, off, asked):
    numbers: list[int] = []

    def nearly(number):
        numbers.append(number)
        return unit(number) + np.float32(off) * unit((number + 1) % COUNT)

    standard = simulate.standard()
    simulate(unit, compared=standard)
    rung, _ = simulate(nearly, compared=standard)
    assert sorted(numbers) == list(range(asked))
    assert rung.parity.inputs == COUNT


class Tower:
    simulated = False

    def __init__(self, embeddings):
        self.embeddings = embeddings

    def __call__(self, inputs):
        return self.embeddings[: len(next(iter(inputs.values())))]


class Answers(OnnxRuntime):
    """A runtime whose tower gives these embeddings."""

    def __init__(self, name: str) -> None:
        self.name = name

    def load(self, bundle, rung, threads, gpu):
        return Tower(self.embeddings)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Compare a rung of the tiny bundle that gives these embeddings here; any parity will do."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    golden = bundle.image.golden
    inputs = {"image": {"pixels": bundle.array(golden.inputs["pixels"])}}
    expected = normalize(bundle.array(golden.embeddings))
    runtime = Answers("onnx")
    monkeypatch.setitem(RUNTIMES, "onnx", runtime)

    def run(change=lambda rows: rows, cloud=None, **facts):
        rung = replace(bundle.image.rungs[0], **facts)
        runtime.embeddings = change(3 * expected)
        standard = Standard(inputs, {"image": expected}, allow_low_parity=True)
        return standard.compare("image", rung, bundle, cloud)

    run.bundle, run.inputs, run.expected = bundle, inputs["image"], expected
    return run


def test_a_quantized_rung_keeps_its_own_golden_embeddings_of_unit_length(compare):
    rung, warnings = compare(precision="int8")
    own = np.load(compare.bundle.path(rung.expected))
    assert np.allclose(own, compare.expected[:GOLDEN_INPUTS], atol=1e-6)
    assert (rung.parity.inputs, warnings) == (len(compare.expected), [])
    assert compare(precision="fp32")[0].expected == compare.bundle.image.rungs[0].expected


def test_kernels_that_are_wrong_here_are_an_error_whatever_parity_is_allowed(compare):
    def rolled(rows):
        return np.roll(rows, 1, 1)

    with pytest.raises(ParityError, match="On this processor, the runtime"):
        compare(rolled, precision="int8")
    _, warnings = compare(rolled, precision="fp32")
    assert len(warnings) == 1


def test_a_cloud_runs_what_was_compiled_for_the_npu_alone(compare):
    class Cloud:
        def run(self, bundle, rung, inputs):
            assert (bundle, inputs) == (compare.bundle, compare.inputs)
            return compare.expected, replace(rung, notes=("On a phone.",))

    (npu, _), (cpu, _) = (
        compare(cloud=Cloud(), runtime=runtime, precision=precision)
        for runtime, precision in (("qnn", "w8a16"), ("onnx", "int8"))
    )
    assert (npu.notes, cpu.notes) == (("On a phone.",), ())
    assert npu.parity.cosine_min == pytest.approx(1, abs=1e-6)


def test_where_every_candidate_is_too_far_from_float_the_nearest_is_told_unless_that_is_allowed():
    expected = np.eye(COUNT, dtype=np.float32)
    inputs = {"image": {"pixels": expected}}
    candidates = [
        Candidate("image", "int8", label, 1, 1, Path(label), lambda path, rows=rows: Tower(rows))
        for label, rows in (("far", np.roll(expected, 1, 1)), ("less far", expected + 0.5))
    ]
    strict, loose = (
        Standard(inputs, {"image": expected}, allow_low_parity=allowed) for allowed in (False, True)
    )
    with pytest.raises(ParityError, match="The less far image tower"):
        acceptable("image", candidates, strict)
    assert acceptable("image", candidates, loose) == (candidates, "")
    near = Candidate("image", "int8", "near", 1, 1, Path(), lambda path: Tower(expected))
    enough, left_out = acceptable("image", [near, *candidates], strict)
    assert enough == [near]
    assert left_out.startswith(" Too far from float to be tried, by cosine: image far (0.000), ")
