"""Weights of 4 bits: what rounding costs, and that storing them costs nothing."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export.backends.onnx import evaluate_onnx
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.export.quantization.four_bits import (
    TOP,
    each_in_four_bits,
    layers,
    pack,
    products,
    rounded,
    together_in_four_bits,
    with_weights,
)

SIDE, WIDTH = 16, 48


class Convolutions(nn.Module):
    """Convolutions of one pixel and of nine, depthwise and not, and a matrix at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, 2, 1)
        self.wide = nn.Conv2d(WIDTH, 2 * WIDTH, 1)
        self.depthwise = nn.Conv2d(2 * WIDTH, 2 * WIDTH, 3, padding=1, groups=2 * WIDTH)
        self.narrow = nn.Conv2d(2 * WIDTH, WIDTH, 1)
        self.head = nn.Linear(WIDTH, 32)

    def forward(self, pixels):
        x = self.stem(pixels).relu()
        x = x + self.narrow(self.depthwise(self.wide(x).relu()).relu())
        return self.head(x.mean((2, 3)))


class Products(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, rows):
        x = rows
        for layer in self.layers:
            x = x + nn.functional.gelu(layer(x))
        return x.mean(1)


@pytest.fixture(scope="module")
def random():
    return np.random.default_rng(0)


def written(module: nn.Module, name: str, shape: tuple[int, ...], path):
    torch.manual_seed(0)
    layout = "NCHW" if len(shape) == 4 else "NLW"
    spec = TensorSpec(name, "float32", (1, *shape[1:]), layout)
    export_onnx(module.eval(), path, (spec,), TensorSpec("out", "float32", (1, 32), "ND"))
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return path, {name: values}


TOWERS = {
    "static": (Convolutions, "pixels", (8, 3, SIDE, SIDE), "everywhere"),
    "dynamic": (Products, "rows", (8, 12, WIDTH), "dynamic"),
}


@pytest.fixture(params=TOWERS, scope="module")
def tower(request, tmp_path_factory):
    """A float model, inputs, and how it is quantized with these weights in 4 bits."""
    torch.manual_seed(0)
    module, name, shape, recipe = TOWERS[request.param]
    path, inputs = written(module(), name, shape, tmp_path_factory.mktemp("tower") / "float.onnx")
    return path, inputs, lambda out, four: quantize_int8(path, out, inputs, recipe, four=four)


def test_outputs_of_a_product_change_less_than_by_rounding_to_the_nearest(random):
    inputs = random.normal(size=(400, 8)) @ random.normal(size=(8, 150))
    inputs += random.normal(size=(400, 150)) * 0.3  # correlated, as activations are
    weight = random.normal(size=(24, 150)).astype(np.float32)
    numbers, scales = rounded(weight, inputs.T @ inputs / len(inputs))
    assert numbers.dtype == np.int8
    assert np.abs(numbers).max() <= TOP
    nearest = np.abs(weight).max(1) / TOP
    nearest_weight = np.rint(weight / nearest[:, None]) * nearest[:, None]

    def error(found):
        return float((((found - weight) @ inputs.T) ** 2).sum())

    assert error(numbers * scales[:, None]) < error(nearest_weight) / 3


def test_inputs_that_are_always_zero_break_nothing(random):
    inputs = random.normal(size=(50, 16))
    inputs[:, 3] = 0
    weight = random.normal(size=(4, 16)).astype(np.float32)
    numbers, scales = rounded(weight, inputs.T @ inputs / len(inputs))
    assert np.isfinite(scales).all()
    assert np.abs(numbers * scales[:, None] - weight)[:, [0, 1, 2]].max() < 1


@pytest.mark.parametrize(("stride", "count"), [(1, 2), (2, 1)])
def test_a_convolution_that_leaves_pixels_out_has_no_4_bits(stride, count, tmp_path):
    """What it multiplies is not all that it is given, by which weights would be rounded."""
    layers = nn.Conv2d(WIDTH, WIDTH, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1, stride)
    path, _ = written(
        nn.Sequential(*layers), "pixels", (1, WIDTH, SIDE, SIDE), tmp_path / "float.onnx"
    )
    assert len(products(onnx.load(path))) == count


def weighted(*nodes: onnx.NodeProto, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """A graph of constants of these shapes."""
    held = [numpy_helper.from_array(np.zeros(shape, np.float32), name)
            for name, shape in shapes.items()]  # fmt: skip
    return helper.make_model(helper.make_graph(nodes, "graph", [], [], held))


@pytest.mark.parametrize(
    ("kind", "shape", "facts", "fits"),
    [
        ("MatMul", (32, 32), {}, True),
        ("MatMul", (31, 34), {}, False),  # it is cut in two along its first axis
        ("MatMul", (32, 31), {}, False),  # it is too small
        ("MatMul", (2, 32, 32), {}, False),
        ("Gemm", (32, 32), {"transB": 1}, True),
        ("Gemm", (32, 32), {"transA": 1}, False),
        ("Conv", (32, 32, 1, 1), {}, True),
        ("Conv", (32, 32, 1, 1), {"group": 2}, False),
        ("Conv", (32, 32, 3, 3), {}, False),
        ("Add", (32, 32), {}, False),
    ],
)
def test_what_can_have_4_bits_is_one_large_matrix_of_one_product(kind, shape, facts, fits):
    node = helper.make_node(kind, ["x", "weight"], ["y"], **facts)
    assert [*products(weighted(node, weight=shape))] == ["weight"] * fits
    other = helper.make_node(kind, ["z", "weight"], ["w"], **facts)
    assert not products(weighted(node, other, weight=shape))  # which would round it, too


def test_a_layer_is_named_by_its_bias_where_the_exporter_numbered_its_weight():
    nodes = [
        helper.make_node("MatMul", ["x", "val_3"], ["y"]),
        helper.make_node("Add", ["y", "layers.0.up.bias"], ["z"]),
        helper.make_node("MatMul", ["z", "head.weight"], ["out"]),
    ]
    model = weighted(*nodes, val_3=(32, 32), **{"head.weight": (32, 32)})
    assert layers(model) == {"val_3": "layers.0.up", "head.weight": "head"}


def test_weights_that_have_4_bits_together_make_up_for_each_other(tower):
    path, inputs, _ = tower
    model = onnx.load(path)
    exact = outputs(model, inputs)
    alone = each_in_four_bits(model, inputs)
    together = together_in_four_bits(model, inputs, alone)
    assert list(together) == list(products(model))
    lost = [1 - (outputs(with_weights(model, four), inputs) * exact).sum(1).mean()
            for four in (alone, together)]  # fmt: skip
    assert lost[1] < 0.9 * lost[0]


def test_a_weight_has_nothing_to_make_up_for_where_no_other_has_4_bits(tower):
    path, inputs, _ = tower
    model = onnx.load(path)
    for name, alone in each_in_four_bits(model, inputs).items():
        (found,) = together_in_four_bits(model, inputs, [name]).items()
        assert found[0] == name
        assert np.array_equal(found[1].numbers, alone.numbers)
        # Of two graphs, which a processor may add up in another order.
        assert np.allclose(found[1].scales, alone.scales, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rounds", [each_in_four_bits, together_in_four_bits])
def test_padding_of_a_text_does_not_round_its_weights(rounds):
    shape, cut = (4, 12, WIDTH), 7
    random = np.random.default_rng(2)
    inputs = {
        "token_rows": random.normal(size=shape).astype(np.float32),
        "attention_mask": np.repeat(np.float32(np.arange(12) < cut)[None], 4, 0),
        "pooling": np.repeat(np.float32(np.arange(12) == cut - 1)[None], 4, 0),
    }
    loud = {name: value.copy() for name, value in inputs.items()}
    loud["token_rows"][:, cut:] *= 100
    model = text_model()
    given = () if rounds is each_in_four_bits else (["first", "second"],)
    ours, theirs = (rounds(model, value, *given) for value in (inputs, loud))
    assert set(ours) == {"first", "second"}
    assert all(np.array_equal(ours[name].numbers, theirs[name].numbers) for name in ours)


def test_a_product_of_nothing_but_zeros_is_rounded_as_it_is():
    model, shape = text_model(), (2, 3, WIDTH)
    inputs = {"token_rows": np.zeros(shape, np.float32), "attention_mask": np.ones((2, 3)),
              "pooling": np.ones((2, 3))}  # fmt: skip
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    found = together_in_four_bits(model, inputs, ["first", "second"])
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, four in found.items():
        assert np.abs(four.floats() - held[name]).mean() < np.abs(held[name]).mean() / 5


def text_model() -> onnx.ModelProto:
    """Two products in a row, of a text of any length."""
    weights = np.random.default_rng(3).normal(size=(2, WIDTH, WIDTH)).astype(np.float32)
    shapes = {"token_rows": [1, "tokens", WIDTH], "attention_mask": [1, "tokens"]}
    shapes["pooling"] = [1, "tokens"]
    kind = onnx.TensorProto.FLOAT
    taken = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes.items()]
    out = helper.make_tensor_value_info("out", kind, shapes["token_rows"])
    nodes = [
        helper.make_node("MatMul", ["token_rows", "first"], ["middle"]),
        helper.make_node("MatMul", ["middle", "second"], ["out"]),
    ]
    names = ("first", "second")
    held = [
        numpy_helper.from_array(value, name) for name, value in zip(names, weights, strict=True)
    ]
    graph = helper.make_graph(nodes, "text", taken, [out], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def outputs(model: onnx.ModelProto, inputs) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString())
    name, values = next(iter(inputs.items()))
    return normalize(
        np.concatenate([session.run(None, {name: value[None]})[0] for value in values])
    )


def test_a_file_holds_the_numbers_that_were_rounded_two_to_a_byte(tower, tmp_path):
    path, inputs, quantize = tower
    four = each_in_four_bits(onnx.load(path), inputs)
    quantize(tmp_path / "four.onnx", four)
    quantize(tmp_path / "eight.onnx", {})
    model = onnx.load(tmp_path / "four.onnx")
    packed = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    packed = {name: value for name, value in packed.items() if name.endswith("/packed")}
    assert len(packed) == len(four)
    halves = [np.concatenate([value & 15, value >> 4]).astype(int) - 8 for value in packed.values()]
    assert {value.dtype for value in packed.values()} == {np.dtype(np.uint8)}
    numbers = [weight.numbers for weight in four.values()]
    assert sorted(map(_content, halves)) == sorted(map(_content, numbers))
    saved = sum(weight.numbers.size for weight in four.values()) // 2
    before = _weight_bytes(tmp_path / "eight.onnx")
    assert before - _weight_bytes(tmp_path / "four.onnx") == pytest.approx(saved, abs=400)


def test_packed_weights_give_the_same_numbers_as_unpacked_ones_and_as_the_file_says(
    tower, tmp_path, monkeypatch
):
    path, inputs, quantize = tower
    four = each_in_four_bits(onnx.load(path), inputs)
    quantize(tmp_path / "packed.onnx", four)
    monkeypatch.setattr("mcad_mobile.export.backends.onnx.quantize.pack", lambda model: 0)
    quantize(tmp_path / "plain.onnx", four)
    found = OnnxTower(tmp_path / "packed.onnx", exact_kernels=saturates())(inputs)
    assert np.array_equal(
        found, OnnxTower(tmp_path / "plain.onnx", exact_kernels=saturates())(inputs)
    )
    cosines = (normalize(found) * evaluate_onnx(tmp_path / "packed.onnx", inputs)).sum(1)
    assert cosines.min() > 0.999
    floats = OnnxTower(path)(inputs)
    assert (normalize(found) * normalize(floats)).sum(1).min() > 0.95


def test_weights_that_need_8_bits_keep_them(tower, tmp_path):
    path, inputs, quantize = tower
    name, weight = next(iter(each_in_four_bits(onnx.load(path), inputs).items()))
    quantize(tmp_path / "one.onnx", {name: weight})
    stored = list(onnx.load(tmp_path / "one.onnx").graph.initializer)
    assert sum(t.name.endswith("/packed") for t in stored) == 1
    assert any(t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1 for t in stored)
    assert pack(onnx.load(tmp_path / "one.onnx")) == 0


def _content(numbers) -> list[int]:
    return sorted(np.asarray(numbers).ravel().tolist())


def _weight_bytes(path) -> int:
    return sum(numpy_helper.to_array(t).nbytes for t in onnx.load(path).graph.initializer if t.dims)
