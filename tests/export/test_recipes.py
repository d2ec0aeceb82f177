"""What a search for precisions chooses among, and where its ranges come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.parity import parity
from mcad_mobile.export.precision.recipes import candidates_for, sensitivities
from mcad_mobile.export.quantization.ranges import METHODS
from mcad_mobile.export.targets import find_target
from tests.export.test_tower_job import Residual, cosine_of, job_of
from tests.support.pythons import needs_litert

pytestmark = pytest.mark.usefixtures("traced_once")


def quiet(*_):
    """No progress is told."""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Of a convolutional tower, one of whose samples is 20 times as large as the others."""
    return job_of(Residual(1), tmp_path_factory.mktemp("job"), rare=20)


def step_of_pixels(path) -> float:
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    (scale,) = {
        float(numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == "pixels"
    }
    return scale


@pytest.mark.parametrize(
    "best", [pytest.param(one, marks=[] if one == "mse" else pytest.mark.slow) for one in METHODS]
)
def test_mixes_have_the_ranges_of_the_8_bits_that_lose_least(job, best):
    def loses_least(eight):
        assert [one.method for one in eight] == list(METHODS)
        return eight[METHODS.index(best)]

    found = candidates_for(job, find_target("cpu"), sensitivities(job, quiet), loses_least, quiet)
    exact, eight, mixed = found[0], found[1 : 1 + len(METHODS)], found[1 + len(METHODS) :]
    assert exact.precision == "fp32"
    assert {one.precision for one in eight} == {"int8"}
    assert len({one.weights for one in eight}) == 1  # so that recall decides between them
    assert len({step_of_pixels(one.path) for one in eight}) == len(METHODS)
    assert mixed
    expected = step_of_pixels(eight[METHODS.index(best)].path)
    for one in mixed:
        assert (one.precision, one.method) == ("mixed", best)
        assert ("ranges by" in one.told) == (best != "min-max")
        assert step_of_pixels(one.path) == expected


def test_cutting_off_a_rare_extreme_leaves_a_tower_nearer_to_float(job):
    found = {method: cosine_of(job, job.int8_by(method)) for method in METHODS}
    assert found["mse"] > found["min-max"]
    assert found["percentile"] > found["min-max"]


@needs_litert
def test_a_tflite_gets_the_ranges_as_well(job):
    cosines, steps = {}, {}
    for method in ("min-max", "percentile"):
        path = job.integer_litert("w8a8", method)
        (pixels,), output = stored_specs(path, channels_last(job.inputs), job.output)
        tower = LiteRTTower(path, (pixels,), (output,))
        cosines[method] = parity(job.exact, tower(job.judged)).cosine_mean
        steps[method] = np.float32(pixels.scale)
    assert steps["percentile"] < steps["min-max"]
    assert cosines["percentile"] > cosines["min-max"]
