"""What a search for precisions chooses among, and where its ranges come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.export.backends.litert import quantize as litert
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.backends.onnx.mixed_precision import cpu_candidates, sensitivities
from mcad_mobile.export.parity import measure_parity
from mcad_mobile.export.quantization.ranges import METHODS
from tests.export.test_tower_job import LoudChannel, Residual, cosine_of, job_of
from tests.support.pythons import needs_litert

pytestmark = pytest.mark.usefixtures("traced_once")


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
    "best",
    [pytest.param(best, marks=[] if best == "mse" else pytest.mark.slow) for best in METHODS],
)
def test_mixes_have_the_ranges_of_the_8_bits_that_lose_least(job, best):
    def loses_least(eight):
        assert [recipe.method for recipe in eight] == list(METHODS)
        return eight[METHODS.index(best)]

    found = cpu_candidates(job, sensitivities(job), loses_least)
    unquantized, eight, mixed = found[0], found[1 : 1 + len(METHODS)], found[1 + len(METHODS) :]
    assert unquantized.precision == "fp32"
    assert {recipe.precision for recipe in eight} == {"int8"}
    assert (
        len({recipe.weight_bytes for recipe in eight}) == 1
    )  # so that recall decides between them
    assert len({step_of_pixels(recipe.path) for recipe in eight}) == len(METHODS)
    assert mixed
    expected = step_of_pixels(eight[METHODS.index(best)].path)
    for recipe in mixed:
        assert (recipe.precision, recipe.method) == ("mixed", best)
        assert ("ranges by" in recipe.label) == (best != "min-max")
        assert step_of_pixels(recipe.path) == expected


def test_ranges_are_tried_where_they_are_calibrated(tmp_path):
    """A transformer's are found at run time."""
    job = job_of(LoudChannel(1), tmp_path)
    whole, eight = cpu_candidates(job, [], lambda candidates: candidates[0])
    assert (whole.precision, whole.path) == ("fp32", job.cpu_onnx)
    assert whole.bytes == whole.weight_bytes == job.cpu_onnx.stat().st_size
    assert (eight.precision, eight.method) == ("int8", "min-max")


def test_weights_whose_numbers_cost_least_come_first(job):
    found = sensitivities(job)
    costs = [weight.loss / weight.numbers for weight in found]
    assert len(found) == 8 and costs == sorted(costs) and costs[0] < costs[-1]
    assert all(0 < weight.loss < 0.5 for weight in found)
    four = cpu.each_weight_in_four_bits(job)
    assert {weight.name: weight.numbers for weight in found} == {
        name: weight.numbers.size for name, weight in four.items()
    }


def test_other_weights_in_4_bits_and_other_ranges_are_other_files(job):
    names = [*cpu.each_weight_in_four_bits(job)]
    written = {}
    for count in (0, 1, 2):
        for method in METHODS[:2]:
            weights = frozenset(names[:count])
            path = cpu.quantize_tower(job, "everywhere", weights, method)
            written[path] = path.read_bytes()
            assert cpu.quantize_tower(job, "everywhere", weights, method) == path
    assert len(set(written.values())) == len(written) == 6


def test_cutting_off_a_rare_extreme_leaves_a_tower_nearer_to_float(job):
    scheme, _ = cpu.choose_scheme(job)
    found = {
        method: cosine_of(job, cpu.quantize_tower(job, scheme, method=method)) for method in METHODS
    }
    assert found["mse"] > found["min-max"]
    assert found["percentile"] > found["min-max"]


@needs_litert
def test_a_tflite_gets_the_ranges_as_well(job):
    cosines, steps = {}, {}
    for method in ("min-max", "percentile"):
        path = litert.quantize_tower(job, "w8a8", method)
        (pixels,), output = stored_specs(path, channels_last(job.inputs), job.output)
        tower = LiteRTTower(path, (pixels,), (output,))
        cosines[method] = measure_parity(job.expected, tower(job.validation)).cosine_mean
        steps[method] = np.float32(pixels.scale)
    assert steps["percentile"] < steps["min-max"]
    assert cosines["percentile"] > cosines["min-max"]
