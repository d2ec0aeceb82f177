"""What a search for precisions chooses among."""

from __future__ import annotations

import pytest

from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.backends.onnx.mixed_precision import cpu_candidates, sensitivities
from tests.export.test_tower_job import LoudChannel, Residual, job_of

pytestmark = pytest.mark.usefixtures("traced_once")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Of a convolutional tower, one of whose samples is 20 times as large as the others."""
    return job_of(Residual(1), tmp_path_factory.mktemp("job"), rare=20)


def test_weights_have_4_bits_in_the_order_of_what_they_cost(job):
    ranked = sensitivities(job)
    whole, eight, *mixed = cpu_candidates(job, ranked)
    assert (whole.precision, eight.precision) == ("fp32", "int8")
    assert not eight.four_bit_weights
    counts = [0]
    for candidate in mixed:
        count = len(candidate.four_bit_weights)
        assert candidate.precision == "mixed"
        assert candidate.label == f"{count} of 8 weights in 4 bits"
        assert candidate.four_bit_weights == {weight.name for weight in ranked[:count]}
        assert candidate.bytes == candidate.path.stat().st_size
        counts.append(count)
    assert counts == sorted({*counts}) and counts[-1] == 8


def test_a_tower_without_such_weights_is_tried_in_float_and_8_bits(tmp_path):
    job = job_of(LoudChannel(1), tmp_path)
    whole, eight = cpu_candidates(job, [])
    assert (whole.precision, whole.path) == ("fp32", job.cpu_onnx)
    assert whole.bytes == whole.weight_bytes == job.cpu_onnx.stat().st_size
    assert eight.precision == "int8"


def test_weights_whose_numbers_cost_least_come_first(job):
    found = sensitivities(job)
    costs = [weight.loss / weight.numbers for weight in found]
    assert len(found) == 8 and costs == sorted(costs) and costs[0] < costs[-1]
    assert all(0 < weight.loss < 0.5 for weight in found)
    four = cpu.each_weight_in_four_bits(job)
    assert {weight.name: weight.numbers for weight in found} == {
        name: weight.numbers.size for name, weight in four.items()
    }


def test_other_weights_in_4_bits_are_other_files(job):
    names = [*cpu.each_weight_in_four_bits(job)]
    written = {}
    for count in (0, 1, 2):
        weights = frozenset(names[:count])
        path = cpu.quantize_tower(job, "everywhere", weights)
        written[path] = path.read_bytes()
        assert cpu.quantize_tower(job, "everywhere", weights) == path
    assert len(set(written.values())) == len(written) == 3
