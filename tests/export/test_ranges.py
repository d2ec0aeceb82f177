"""Ranges of activations: what each method cuts off, and that towers are given them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import HistogramCollector

from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.quantization.ranges import (
    HEADROOM,
    METHODS,
    Histogram,
    activations,
    cut,
    histograms,
)

_LEVELS = 255


def histogram_of(values: np.ndarray) -> Histogram:
    given = np.asarray(values, np.float32)
    return histograms(lambda single: single, [{"x": given[None]}])["x"]


@pytest.fixture(scope="module")
def rare_extreme():
    """Values around 0, of which one in two millions is a hundred times as large."""
    values = np.random.default_rng(0).normal(0, 1, 2_000_000).astype(np.float32)
    values[:2] = 100, -3
    return values


def test_a_histogram_holds_every_value_of_all_inputs_once():
    generator = np.random.default_rng(0)
    inputs = [{"x": generator.normal(i, 1, (1, 500)).astype(np.float32)} for i in range(3)]
    found = histograms(lambda single: single, inputs)["x"]
    everything = np.concatenate([value["x"].ravel() for value in inputs])
    expected, _ = np.histogram(everything, len(found.counts), (found.least, found.largest))
    assert found.counts.sum() == 1500
    assert (found.least, found.largest) == (everything.min(), everything.max())
    assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 2  # at the edges of parts


def test_min_max_cuts_nothing(rare_extreme):
    assert cut(histogram_of(rare_extreme), "min-max") == (rare_extreme.min(), rare_extreme.max())


@pytest.mark.parametrize("method", METHODS[1:])
def test_others_cut_a_rare_extreme_and_leave_nearly_all_values(rare_extreme, method):
    least, largest = cut(histogram_of(rare_extreme), method)
    assert largest < 30
    assert ((rare_extreme >= least) & (rare_extreme <= largest)).mean() > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_zero_is_in_every_range(method):
    for sign in (1, -1):
        least, largest = cut(histogram_of(sign * np.linspace(5, 9, 1000)), method)
        assert least <= 0 <= largest


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_a_range(method):
    assert cut(histogram_of(np.zeros(10)), method) == (0, 0)


def test_percentile_is_what_onnxruntime_takes():
    """To a value or two out there: histograms have other parts."""
    values = np.random.default_rng(1).standard_t(3, 500_000).astype(np.float32)
    theirs = HistogramCollector("percentile", False, 16_384, 128, 99.99, "same")
    theirs.collect({"x": [values]})
    expected = [float(end) for end in theirs.compute_percentile()["x"][:2]]
    found = histogram_of(values)
    assert list(cut(found, "percentile")) == pytest.approx(expected, rel=0.02)


def rounding_error(values: np.ndarray, ends: tuple[float, float]) -> float:
    step = (ends[1] - ends[0]) / _LEVELS
    rounded = np.clip(np.rint((values - ends[0]) / step), 0, _LEVELS) * step + ends[0]
    return float(np.square(values - rounded).mean())


def test_mse_has_the_least_error_of_values_that_are_rounded():
    values = np.random.default_rng(2).standard_t(4, 100_000).astype(np.float32)
    found = histogram_of(values)
    ends = {method: cut(found, method) for method in METHODS}
    errors = {method: rounding_error(values, limits) for method, limits in ends.items()}
    assert errors["mse"] <= min(errors.values()) * 1.001
    assert errors["mse"] < errors["min-max"] * 0.9
    for share in (0.8, 1.25):  # neither a narrower nor a wider one is better
        other = (ends["mse"][0] * share, ends["mse"][1] * share)
        assert errors["mse"] <= rounding_error(values, other)


def test_entropy_cuts_less_where_there_is_more_beyond():
    """Ten times as many values far out are worth telling apart."""
    generator = np.random.default_rng(3)
    near = generator.normal(0, 1, 100_000)
    ends = []
    for count in (5, 30_000):
        far = generator.uniform(8, 10, count)
        ends.append(cut(histogram_of(np.concatenate([near, far])), "entropy")[1])
    assert ends[0] < 8 < ends[1]
    rectified = cut(histogram_of(np.maximum(near, 0)), "entropy")  # half its values are 0
    assert rectified == pytest.approx((0, 2.1), abs=0.2)


@pytest.fixture(scope="module")
def convolution(tmp_path_factory):
    """A convolution of random weights as ONNX, and inputs, one value of which is far out."""
    generator = np.random.default_rng(4)
    weight = generator.normal(0, 0.1, (8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pixels", "weight"], ["out"], name="conv")],
        "one",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 3, 16, 16))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 8, 14, 14))],
        [numpy_helper.from_array(weight, "weight")],
    )
    path = tmp_path_factory.mktemp("convolution") / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    pixels = generator.normal(0, 1, (4, 3, 16, 16)).astype(np.float32)
    pixels[0, 0, 0, 0] = 50
    return path, {"pixels": pixels}


@pytest.mark.parametrize(
    ("quantize", "recipe"), [(quantize_int8, "everywhere"), (quantize_for_htp, "w8a8")]
)
def test_towers_are_given_the_ranges(convolution, tmp_path, quantize, recipe):
    model, inputs = convolution
    singles = [{"pixels": value[None]} for value in inputs["pixels"]]
    found = histograms(activations(onnx.load(model)), singles)
    assert set(found) == {"pixels", "out"}
    steps = {}
    for method in ("min-max", "entropy"):
        ranges = {name: cut(histogram, method) for name, histogram in found.items()}
        quantize(model, tmp_path / "q.onnx", inputs, recipe, ranges=ranges)
        steps[method] = steps_of(tmp_path / "q.onnx")
        for name, (least, largest) in ranges.items():
            assert steps[method][name] == pytest.approx((largest - least) / _LEVELS, rel=1e-3)
    quantize(model, tmp_path / "own.onnx", inputs, recipe)
    wider = {**steps["min-max"], "out": steps["min-max"]["out"] * HEADROOM[8]}
    assert steps_of(tmp_path / "own.onnx") == pytest.approx(wider, rel=1e-3)
    assert steps["entropy"]["pixels"] < steps["min-max"]["pixels"] / 3


def steps_of(path):
    """By activation, the scale that its 8 bits have."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): float(constants[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
