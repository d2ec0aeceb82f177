"""A simulated rung is compared beside other work, its inputs on several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.engine.towers import normalize
from mcad_mobile.errors import ParityError
from mcad_mobile.export import comparison
from mcad_mobile.export.comparison import GOLDEN_INPUTS, Comparison
from mcad_mobile.export.precision.candidates import Candidate
from tests.support.tiny_bundle import make_tiny_bundle

COUNT = 6
WAIT_S = 60


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Begin to compare a rung whose simulator answers an input's number by a function; each
    expected embedding is the unit vector of that number."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    rung = replace(bundle.image.rungs[0], runtime="qnn", precision="w8a16")

    class Simulated:
        simulated = True

        def __init__(self):
            begin.loaded += 1

        def __call__(self, inputs):
            return answer(int(inputs["pixels"][0, 0]))

    def begin(
        function: Callable[[int], np.ndarray], steps: list | None = None, inputs: int = COUNT
    ):
        nonlocal answer
        answer = function
        begin.comparison = Comparison(
            {"image": {"pixels": np.arange(inputs, dtype=np.float32)[:, None]}},
            {"image": np.eye(COUNT, dtype=np.float32)[:inputs]},
            allow_low_parity=False,
            simulated_inputs=COUNT,
            progress=lambda *step: None if steps is None else steps.append(step),
        )
        return begin.comparison.start("image", rung, bundle, None)

    def other_chip(function: Callable[[int], np.ndarray]):
        nonlocal answer
        answer = function
        return begin.comparison.start("image", rung, bundle, None)

    answer, begin.loaded, begin.other_chip = unit, 0, other_chip
    monkeypatch.setattr(comparison, "load_tower", lambda bundle, rung: Simulated())
    monkeypatch.setattr(comparison, "allowed_cores", lambda: 2)
    return begin


def unit(number: int) -> np.ndarray:
    return np.eye(COUNT, dtype=np.float32)[number : number + 1]


def test_other_work_goes_on_while_a_simulator_runs(start):
    begun, go_on = threading.Event(), threading.Event()

    def slow(number):
        begun.set()
        assert go_on.wait(WAIT_S)
        return unit(number)

    result = start(slow)
    assert begun.wait(WAIT_S)
    go_on.set()
    rung, warnings = result()
    assert (rung.parity.inputs, rung.parity.cosine_min, warnings) == (COUNT, 1.0, [])


def test_inputs_are_simulated_beside_each_other_and_keep_their_order(start):
    later = threading.Event()
    steps: list[tuple] = []

    def first_waits_for_the_next(number):
        if number == 3:
            later.set()
        assert number != 2 or later.wait(WAIT_S)
        return unit(number)

    rung, _ = start(first_waits_for_the_next, steps)()
    assert rung.parity.cosine_min == 1.0
    assert (max(done for _, done, _ in steps), len(steps)) == (COUNT, COUNT)
    assert start.loaded == 2  # one for each core


@pytest.mark.parametrize("inputs", [1, 2, COUNT - 1])
def test_fewer_inputs_than_are_to_be_simulated_are_all_simulated(start, inputs):
    steps: list[tuple] = []
    rung, _ = start(unit, steps, inputs)()
    assert (rung.parity.inputs, rung.parity.cosine_min) == (inputs, 1.0)
    assert steps[-1][1:] == (inputs, inputs)


def test_what_fails_in_a_simulator_fails_where_it_is_waited_for(start):
    def broken(number):
        raise OSError("the simulator gave up")

    with pytest.raises(OSError, match="gave up"):
        start(broken)()
    with pytest.raises(ParityError, match="cosine"):
        start(lambda number: unit((number + 1) % COUNT))()


@pytest.mark.parametrize(("off", "asked"), [(1e-7, 2), (-1e-3, COUNT)])
def test_a_chip_that_answers_golden_inputs_otherwise_is_asked_about_all(start, off, asked):
    numbers: list[int] = []

    def nearly(number):
        numbers.append(number)
        return unit(number) + np.float32(off) * unit((number + 1) % COUNT)

    start(unit)()
    rung, _ = start.other_chip(nearly)()
    assert sorted(numbers) == list(range(asked))
    assert rung.parity.inputs == COUNT


class Tower:
    simulated = False

    def __init__(self, embeddings):
        self.embeddings = embeddings

    def __call__(self, inputs):
        return self.embeddings[: len(next(iter(inputs.values())))]


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Compare a rung of the tiny bundle that gives these embeddings here; any parity will do."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    golden = bundle.image.golden
    inputs = {"image": {"pixels": bundle.array(golden.inputs["pixels"])}}
    expected = normalize(bundle.array(golden.embeddings))

    def run(change=lambda rows: rows, cloud=None, **facts):
        rung = replace(bundle.image.rungs[0], **facts)
        tower = Tower(change(3 * expected))
        monkeypatch.setattr(comparison, "load_tower", lambda bundle, rung: tower)
        done = Comparison(
            inputs, {"image": expected}, allow_low_parity=True, simulated_inputs=COUNT
        )
        return done.start("image", rung, bundle, cloud)()

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
        Comparison(inputs, {"image": expected}, allow_low_parity=allowed, simulated_inputs=COUNT)
        for allowed in (False, True)
    )
    with pytest.raises(ParityError, match="The less far image tower"):
        strict.acceptable("image", candidates)
    assert loose.acceptable("image", candidates) == (candidates, "")


def test_an_end_waits_for_the_inputs_that_are_simulated_and_begins_no_other(start):
    begun, go_on = threading.Event(), threading.Event()
    asked = []

    def slow(number):
        asked.append(number)
        begun.set()
        assert go_on.wait(WAIT_S)
        return unit(number)

    start(slow)
    assert begun.wait(WAIT_S)
    end = threading.Thread(target=start.comparison.close)
    end.start()
    end.join(0.05)
    assert end.is_alive()  # an input is being simulated
    go_on.set()
    end.join(WAIT_S)
    assert not end.is_alive()
    assert len(asked) <= 2  # threads
