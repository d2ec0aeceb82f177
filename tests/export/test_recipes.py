"""What a search for precisions chooses among, and where its ranges come from."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.export.backends.litert import quantize as litert
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.parity import measure_parity
from mcad_mobile.export.precision import recipes
from mcad_mobile.export.precision.recipes import recipes_for, sensitivities
from mcad_mobile.export.quantization.four_bits import FourBits
from mcad_mobile.export.quantization.ranges import METHODS
from mcad_mobile.targets import find_target
from tests.export.test_tower_job import Residual, cosine_of, job_of
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

    found = recipes_for(job, find_target("cpu"), sensitivities(job), loses_least)
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


@pytest.mark.parametrize(
    ("recipe", "methods"), [("dynamic", 1), ("smoothed", 1), ("products", len(METHODS))]
)
def test_ranges_are_tried_where_they_are_calibrated(job, tmp_path, monkeypatch, recipe, methods):
    def quantize(tower, recipe, weights, method):
        (tmp_path / method).touch()
        return tmp_path / method

    monkeypatch.setattr(cpu, "choose_recipe", lambda tower: (recipe, ()))
    monkeypatch.setattr(cpu, "quantize_tower", quantize)
    whole, *eight = recipes_for(job, find_target("cpu"), [], min_method)
    assert (whole.precision, whole.path) == ("fp32", job.cpu_onnx)
    assert whole.bytes == whole.weight_bytes == job.cpu_onnx.stat().st_size
    assert [recipe.method for recipe in eight] == list(METHODS[:methods])


def min_method(recipes):
    return recipes[0]


def test_weights_whose_numbers_cost_least_come_first(job, monkeypatch):
    """Without rounding: of three weights, by what two samples lose."""
    sizes = {"large": 40, "small": 4, "lossless": 4}
    cosines = {"large": [0.9, 0.5], "small": [0.9, 0.7], "lossless": [1, 1]}
    rounded = {
        name: FourBits(np.zeros((2, size // 2), np.int8), np.ones(2), (2, size // 2), 0)
        for name, size in sizes.items()
    }

    def run(model, path, inputs):
        assert len(inputs["pixels"]) == 16
        loss = np.array(cosines[model] if isinstance(model, str) else [1, 1])
        return np.stack([loss, np.sqrt(1 - loss**2)], 1)

    monkeypatch.setattr(cpu, "each_weight_in_four_bits", lambda tower: rounded)
    monkeypatch.setattr(recipes, "layers", lambda model: {name: f"of {name}" for name in sizes})
    monkeypatch.setattr(recipes, "with_weights", lambda model, four: next(iter(four)))
    monkeypatch.setattr(recipes, "_run", run)
    found = sensitivities(job)
    assert [(weight.name, weight.layer, weight.numbers) for weight in found] == [
        (name, f"of {name}", sizes[name]) for name in ("lossless", "large", "small")
    ]
    assert [weight.loss for weight in found] == pytest.approx([0, 0.3, 0.2])


def test_other_weights_in_4_bits_and_other_ranges_are_other_files(job, tmp_path, monkeypatch):
    """Without quantizing: a file holds what it was asked to be."""

    def write(source, path, samples, recipe, *, four, ranges):
        path.write_text(f"{four} {ranges}")

    def together(model, samples, names, progress):
        return sorted(names)

    monkeypatch.setattr(cpu, "quantize_int8", write)
    monkeypatch.setattr(cpu, "together_in_four_bits", together)
    monkeypatch.setattr(type(job), "ranges", lambda tower, method: method)
    job = dataclasses.replace(job, work=tmp_path)
    monkeypatch.setattr(type(job), "cpu_onnx", tmp_path / "float.onnx")
    monkeypatch.setattr(cpu.onnx, "load", lambda path: None)
    for names in ((), ("a",), ("a", "b")):
        for method in METHODS:
            for _ in range(2):
                path = cpu.quantize_tower(job, "everywhere", frozenset(names), method)
                assert path.read_text() == f"{[*names] or None} {method}"


def test_cutting_off_a_rare_extreme_leaves_a_tower_nearer_to_float(job):
    recipe, _ = cpu.choose_recipe(job)
    found = {
        method: cosine_of(job, cpu.quantize_tower(job, recipe, method=method)) for method in METHODS
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
