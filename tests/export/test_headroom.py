"""What calibration samples did not show: louder inputs, and tokens of very different loudness."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export.backends.litert.convert import (
    channels_last,
    convert_litert,
    integer_friendly,
    stored_specs,
)
from mcad_mobile.export.backends.litert.flatbuffer import operators
from mcad_mobile.export.backends.litert.quantize import quantize_litert
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.quantization.ranges import HEADROOM, ranges_with_headroom
from tests.support.pythons import needs_litert

SIDE, WIDTH, TOKENS = 16, 64, 6


@pytest.fixture(scope="module")
def clipped(tmp_path_factory):
    """A convolution whose sums are cut at 2 and convolved again, as ONNX; and photos."""
    generator = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "first"], ["sums"], name="first_conv"),
            helper.make_node("Clip", ["sums", "least", "most"], ["cut"], name="clip"),
            helper.make_node("Conv", ["cut", "second"], ["out"], name="second_conv"),
        ],
        "one",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 4, SIDE - 2, SIDE - 2))],
        [
            numpy_helper.from_array(random(generator, 8, 3, 3, 3), "first"),
            numpy_helper.from_array(random(generator, 4, 8, 1, 1), "second"),
            numpy_helper.from_array(np.float32(0), "least"),
            numpy_helper.from_array(np.float32(2), "most"),
        ],
    )
    path = tmp_path_factory.mktemp("clipped") / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
    return path, generator.uniform(-1, 1, (8, 3, SIDE, SIDE)).astype(np.float32)


def random(generator, *shape):
    return generator.normal(0, 0.5, shape).astype(np.float32)


def test_activations_have_headroom_but_those_with_bounds_of_their_own(clipped):
    path, photos = clipped
    out = OnnxTower(path)({"pixels": photos})
    for bits, factor in ((8, 1.4), (16, 2)):  # 16 bits have one to spare
        seen = ranges_with_headroom(onnx.load(path), {"pixels": photos}, bits)
        assert set(seen) == {"out"}  # not the pixels, and not what is cut
        assert seen["out"] == pytest.approx((out.min() * factor, out.max() * factor))


@pytest.mark.parametrize(
    ("quantize", "recipe"), [(quantize_for_htp, "w8a16"), (quantize_int8, "everywhere")]
)
def test_a_photo_unlike_the_samples_is_not_cut_and_what_is_to_be_cut_is(
    clipped, tmp_path, quantize, recipe
):
    path, photos = clipped
    out = tmp_path / "q.onnx"
    faint = photos[:4] * np.float32(0.75)
    quantize(path, out, {"pixels": faint}, recipe)
    loud = {"pixels": np.clip(photos[4:], faint.min(), faint.max())}
    expected, found = OnnxTower(path)(loud), OnnxTower(out, exact_kernels=saturates())(loud)
    assert np.abs(found - expected).mean() < 0.01 * np.abs(expected).max()


class Cut(nn.Module):
    """A convolution whose sums are cut at 6, another one, and a sum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, pixels):
        made = self.second(nn.functional.relu6(10 * self.first(pixels)))
        return made + made.mean((2, 3), keepdim=True)


PIXELS = channels_last((TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),))


@pytest.fixture(scope="module")
def cut_source(tmp_path_factory):
    """The float .tflite of `Cut`."""
    path = tmp_path_factory.mktemp("cut") / "float.tflite"
    convert_litert(Cut().eval(), path, PIXELS)
    return path


def scales_and_tensors(source, out):
    """The scales of a quantized `Cut`; and by name, of the float one: what its first product reads
    and writes, what its second writes, and its sum."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(str(out)).get_tensor_details()
    scales = {detail["name"]: detail["quantization"][0] for detail in details}
    first, second = (
        operator.tensors for operator in operators(source) if operator.name == "CONV_2D"
    )
    (addition,) = (operator.tensors for operator in operators(source) if operator.name == "ADD")
    return scales, [first[0].name, first[-1].name, second[-1].name, addition[-1].name]


def values_of_cut(pixels):
    tower = Cut().eval()
    cut = nn.functional.relu6(10 * tower.first(pixels))
    return [pixels, cut, tower.second(cut), tower(pixels)]


def step_of(least: float, largest: float, bits: int) -> float:
    if bits == 16:  # symmetric
        return 2 * max(-least, largest) / 65534
    return (largest - least) / 255


@needs_litert
@pytest.mark.parametrize(
    ("precision", "stream", "bits", "headroom"),
    [
        ("w8a16", False, (16, 16), HEADROOM[16]),
        ("w8a8", False, (8, 8), HEADROOM[8]),
        ("w8a8", True, (8, 16), 1.0),
    ],
)
@torch.no_grad()
def test_a_tflite_has_the_same_headroom(precision, stream, bits, headroom, cut_source, tmp_path):
    """Of `bits` of products and of sums; 8-bit products beside a residual stream have none."""
    pixels = torch.rand((4, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0)) * 2 - 1
    out = tmp_path / "integer.tflite"
    quantize_litert(cut_source, out, {"pixels": pixels.numpy()}, PIXELS, precision, stream=stream)
    scales, names = scales_and_tensors(cut_source, out)
    names[0] += "_quantized" * stream
    wide = (bits[0], bits[0], bits[0], bits[1])
    factors = (1.0, 1.0, headroom, HEADROOM[bits[1]])
    for name, values, count, factor in zip(
        names, values_of_cut(pixels), wide, factors, strict=True
    ):
        least, largest = min(float(values.min()), 0.0), float(values.max())
        assert scales[name] == pytest.approx(step_of(least, largest, count) * factor, rel=1e-2)


@pytest.mark.parametrize(("architecture", "headroom"), [(68, 1.0), (69, 1.0), (73, HEADROOM[16])])
def test_factors_that_an_old_hexagon_rounds_to_8_bits_have_no_headroom(
    architecture, headroom, tmp_path
):
    """The second factor of a product of two activations."""
    generator = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["rows", "first"], ["queries"], name="first_product"),
            helper.make_node("MatMul", ["rows", "second"], ["keys"], name="second_product"),
            helper.make_node("MatMul", ["queries", "keys"], ["out"], name="attention"),
        ],
        "one",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, (1, 8, 8))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 8, 8))],
        [numpy_helper.from_array(random(generator, 8, 8), name) for name in ("first", "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, tmp_path / "float.onnx")
    rows = {"rows": random(generator, 4, 8, 8)}
    quantize_for_htp(tmp_path / "float.onnx", tmp_path / "q.onnx", rows, "w8a16", architecture)
    seen = ranges_with_headroom(model, rows, 16)
    made = onnx.load(tmp_path / "q.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.initializer}
    scales = {
        node.input[0]: float(constants[node.input[1]])
        for node in made.node
        if node.op_type == "QuantizeLinear"
    }
    for name, factor in (("queries", HEADROOM[16]), ("keys", headroom)):
        least, largest = (end / HEADROOM[16] * factor for end in seen[name])
        assert scales[name] == pytest.approx((largest - least) / 65535, rel=1e-3)
    made_by = {node.output[0]: node for node in made.node}
    (product,) = (node for node in made.node if node.name == "attention")
    kinds = [constants[made_by[name].input[2]].dtype for name in product.input]
    assert kinds == [np.uint16, np.int16 if architecture == 73 else np.uint16]


class Tokens(nn.Module):
    """Tokens, normed and projected."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, rows):
        return self.head(self.norm(rows))


def tokens_of(loudest: float) -> np.ndarray:
    """[32, tokens, width]: the first of each six is so many times as loud as the last."""
    generator = np.random.default_rng(1)
    values = generator.normal(0, 1, (32, TOKENS, WIDTH))
    return (values * np.geomspace(loudest, 1, TOKENS)[:, None]).astype(np.float32)


@needs_litert
@pytest.mark.parametrize(("loudest", "roots"), [(2, 1), (20, 2), (300, 3)])
def test_a_norm_has_more_steps_where_tokens_are_far_from_equally_loud(loudest, roots, tmp_path):
    tower, rows = Tokens().eval(), tokens_of(loudest)
    friendly = integer_friendly(tower, [(torch.from_numpy(rows[:16]),)])
    given = torch.from_numpy(rows[16:])
    assert torch.allclose(friendly(given), tower(given), atol=1e-5)
    specs = (TensorSpec("rows", "float32", (1, TOKENS, WIDTH), "NLW"),)
    convert_litert(tower, tmp_path / "float.tflite", specs, {"rows": rows[:16]})
    names = [operator.name for operator in operators(tmp_path / "float.tflite")]
    assert names.count("RSQRT") == roots


@needs_litert
def test_quiet_tokens_keep_their_digits_beside_loud_ones(tmp_path):
    tower, rows = Tokens().eval(), tokens_of(150)
    specs = channels_last((TensorSpec("rows", "float32", (1, TOKENS, WIDTH), "NLW"),))
    output = TensorSpec("out", "float32", (1, TOKENS, WIDTH), "NLW")
    source, integer = tmp_path / "float.tflite", tmp_path / "integer.tflite"
    convert_litert(tower, source, specs, {"rows": rows[:16]})
    quantize_litert(source, integer, {"rows": rows[:16]}, specs, "w8a16")
    inputs, stored = stored_specs(integer, specs, output)
    found = LiteRTTower(integer, inputs, (stored,))({"rows": rows[16:]})
    expected = tower(torch.from_numpy(rows[16:])).detach().numpy()
    lost = np.linalg.norm(found - expected, axis=2) / np.linalg.norm(expected, axis=2)
    assert lost.mean(0).max() < 0.05
