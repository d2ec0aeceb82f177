"""A simulated rung is compared beside other work, its inputs on several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.errors import ParityError
from mcad_mobile.export import comparison
from mcad_mobile.export.comparison import Comparison
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

    def begin(function: Callable[[int], np.ndarray], steps: list | None = None):
        nonlocal answer
        answer = function
        inputs = {"image": {"pixels": np.arange(COUNT, dtype=np.float32)[:, None]}}
        begin.comparison = Comparison(
            inputs,
            {"image": np.eye(COUNT, dtype=np.float32)},
            allow_low_parity=False,
            simulated_inputs=COUNT,
            progress=lambda *step: None if steps is None else steps.append(step),
        )
        return begin.comparison.start("image", rung, bundle, None)

    answer, begin.loaded = unit, 0
    monkeypatch.setattr(comparison, "load_rung", lambda bundle, rung: Simulated())
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


def test_what_fails_in_a_simulator_fails_where_it_is_waited_for(start):
    def broken(number):
        raise OSError("the simulator gave up")

    with pytest.raises(OSError, match="gave up"):
        start(broken)()
    with pytest.raises(ParityError, match="cosine"):
        start(lambda number: unit((number + 1) % COUNT))()


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
