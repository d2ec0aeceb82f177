"""Ranges of 8-bit activations."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.quantization.ranges import HEADROOM, activations, extremes, singles

_LEVELS = 255


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
def test_8_bits_reach_from_the_least_to_the_largest_value_with_headroom_but_in_photos(
    convolution, tmp_path, quantize, recipe
):
    model, inputs = convolution
    each = [{"pixels": value[None]} for value in inputs["pixels"]]
    found = extremes(activations(onnx.load(model)), each)
    quantize(model, tmp_path / "q.onnx", inputs, recipe)
    expected = {
        name: (largest - least) / _LEVELS * factor
        for (name, (least, largest)), factor in zip(found.items(), (1, HEADROOM[8]), strict=True)
    }
    assert [*expected] == ["pixels", "out"]
    assert steps_of(tmp_path / "q.onnx") == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("length", "seen"), [("length", [10, 12]), (16, [16, 16])])
def test_texts_are_read_without_padding_where_a_model_takes_any_length(length, seen):
    shape = [1, length, 5]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["token_rows"], ["out"])],
        "one",
        [helper.make_tensor_value_info("token_rows", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
    )
    mask = (np.arange(16) < np.array([[10], [12]])).astype(np.float32)
    inputs = {
        "token_rows": np.ones((2, 16, 5), np.float32),
        "attention_mask": mask,
        "pooling": mask,
    }
    found = singles(helper.make_model(graph), inputs)
    assert [single["token_rows"].shape[1] for single in found] == seen


def steps_of(path):
    """By activation, the scale that its 8 bits have."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {
        node.input[0].removesuffix("_QuantizeLinear_Input"): float(constants[node.input[1]])
        for node in graph.node
        if node.op_type == "QuantizeLinear"
    }
