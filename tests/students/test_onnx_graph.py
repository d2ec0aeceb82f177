"""ONNX graphs in torch: what the exported module computes, for one input and for several."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mcad_mobile.errors import StudentError
from mcad_mobile.students.onnx_graph import Graph, plain_onnx, torch_module

pytestmark = pytest.mark.long


def _plain(module: nn.Module, example: Tensor, out: Path, opset: int = 17) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            str(out),
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    return plain_onnx(onnx.load(out), {"x": (1, *example.shape[1:])})


class _Grid(nn.Module):
    """Layers of convolutional towers and of detectors of text."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, stride=2))
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.first(x)))
        x = x * F.hardsigmoid(x.mean((2, 3), keepdim=True)) + F.relu(self.depthwise(x))
        big = F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0, mode="nearest")
        fine = F.interpolate(F.avg_pool2d(x, 2), size=(8, 8), mode="bilinear", align_corners=False)
        return self.up(big + fine).sigmoid()  # type: ignore[no-any-return]


class _Tokens(nn.Module):
    """Layers of transformers: attention by hand, with a packed projection and a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.packed, self.out = nn.Linear(16, 48), nn.Linear(16, 8)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        query, key, value = self.packed(self.norm(x)).chunk(3, -1)
        x = x + (query @ key.transpose(1, 2) / 4).softmax(-1) @ value
        x = self.out(x[:, 0]) - x[:, 1:, ::2].mean(1).clamp(-1, 1)
        return F.normalize(x, dim=-1)


@pytest.mark.parametrize(
    ("module", "shape"), [(_Grid(), (2, 3, 16, 16)), (_Tokens(), (2, 16, 3, 3))]
)
def test_torch_computes_what_was_exported(
    module: nn.Module, shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = torch.randn(shape)
    made = torch_module(_plain(module, x, tmp_path / "model.onnx"))
    with torch.no_grad():
        expected = module(x)
        assert torch.allclose(made(x), expected, atol=1e-5)
        assert torch.allclose(made(x[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("opset", [14, 17])
def test_a_gelu_is_one_operator_again(approximate: str, opset: int, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(approximate), nn.Linear(16, 4))
    graph = Graph.read(_plain(module, torch.randn(2, 5, 8), tmp_path / "model.onnx", opset))
    graph.simplify()
    steps = graph.needed(graph.outputs)
    assert not {"Erf", "Tanh"} & {step.op for step in steps}
    (gelu,) = (step for step in steps if step.op == "Gelu")
    assert gelu.attributes.get("approximate", "none") == approximate


@pytest.mark.parametrize(
    ("steps", "constants"),
    [
        ("m = ReduceMean(x, a) n = Squeeze(m) y = Unsqueeze(n, b)", {"a": [2], "b": [0]}),
        ("m = ReduceSum <keepdims = 0> (x, a) y = Unsqueeze(m, b)", {"a": [-1], "b": [1, -1]}),
        ("n = Neg(x) y = Concat <axis = -1> (x, n)", {}),
        ("y = Concat <axis = 2> (row, x)", {"row": np.ones((1, 3, 1, 5), np.float32)}),
        ("y = Slice(x, a, b, c)", {"a": [1], "b": [4], "c": [3]}),
        ("y = Slice(x, a, b, c, d)", {"a": [0, 1], "b": [9, -1], "c": [2, -1], "d": [2, 1]}),
        ("y = Gather <axis = 1> (x, a)", {"a": [2, 0]}),
        ("y = Gather <axis = -1> (x, a)", {"a": -2}),
        ("y = Pad(x, a, b)", {"a": [0, 1, 2, 0, 0, 0, 1, 3], "b": np.float32(0.5)}),
        ("y = Pad(x, a, , b)", {"a": [1, 2], "b": [3]}),
        ("y = Transpose <perm = [0, 2, 3, 1]> (x)", {}),
        ("m = Flatten <axis = 2> (x) y = Unsqueeze(m, a)", {"a": [0]}),
        ("y = Reshape(x, a)", {"a": [0, -1, 5]}),
        ("m = ReduceL2(x, a) y = Expand(m, b)", {"a": [1], "b": [1, 3, 4, 5]}),
        ("m = ReduceMax <keepdims = 0> (x, a) y = Mul(m, m)", {"a": [1, 2]}),
        ("a, b = Split <axis = 2, num_outputs = 2> (x) y = Sub(a, b)", {}),
        ("a, b = Split <axis = 3> (x, c) d = ReduceSum(a, e) y = Div(b, d)",
         {"c": [1, 4], "e": [1]}),
        ("y = Softmax <axis = 1> (x)", {}),
        ("y = MatMul(row, x)", {"row": np.float32([[[[1, -2, 3, 0.5]]]])}),
        ("y = HardSigmoid(x)", {}),
        ("y = LeakyRelu(x)", {}),
        ("y = Clip(x, a, b)", {"a": np.float32(-0.2), "b": np.float32(0.5)}),
        ("y = MaxPool <kernel_shape = [3, 2], strides = [2, 1], pads = [1, 0, 1, 0]> (x)", {}),
        ("y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", {}),
        ("y = MaxPool <kernel_shape = [3, 3], pads = [1, 0, 0, 1]> (x)", {}),
        *((f'y = MaxPool <kernel_shape = [2, 2], auto_pad = "SAME_{side}"> (x)', {})
          for side in ("UPPER", "LOWER")),
        *((f'y = Conv <strides = [{step}, 2], auto_pad = "SAME_{side}"> (x, w)',
           {"w": np.random.default_rng(0).normal(size=(2, 3, 3, 3)).astype(np.float32)})
          for step, side in ((2, "UPPER"), (3, "LOWER"))),
        *(("y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], "
           f"count_include_pad = {count}> (x)", {}) for count in (0, 1)),
        ("y = GlobalAveragePool(x)", {}),
        ("r = Relu(x) y = BatchNormalization <epsilon = 0.1> (r, a, b, c, d)",
         {name: np.float32([n, n + 1, n + 3]) for n, name in enumerate("abcd", 1)}),
        ("f = Flatten(x) y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (f, w, c)",
         {"w": np.random.default_rng(0).normal(size=(2, 60)).astype(np.float32),
          "c": np.float32([1, 2])}),
    ],
)  # fmt: skip
def test_an_operator_computes_what_onnx_runtime_does(steps: str, constants: dict[str, Any]) -> None:
    lines = re.sub(r"\) (?=\w+(, \w+)? = )", ")\n", steps).splitlines()
    graph = "g (float[1, 3, 4, 5] x) => (float y) { " + "\n".join(lines) + " }"
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 20]>\n' + graph)
    for name, value in constants.items():
        held = onnx.numpy_helper.from_array(np.asarray(value), name)
        model.graph.initializer.append(held)
    session = ort.InferenceSession(model.SerializeToString())
    rows = [np.random.default_rng(n).normal(size=(1, 3, 4, 5)).astype(np.float32) for n in (1, 2)]
    expected = np.concatenate([session.run(None, {"x": row})[0] for row in rows])
    found = torch_module(plain_onnx(model, {}))(torch.from_numpy(np.concatenate(rows)))
    assert found.shape == expected.shape
    assert np.allclose(found.detach(), expected, atol=1e-5)


@pytest.mark.parametrize(
    "step",
    ['Pad <mode = "reflect"> (x, a)',
     "AveragePool <kernel_shape = [3, 3], pads = [1, 0, 0, 1]> (x)"],
)  # fmt: skip
def test_a_way_of_an_operator_that_is_not_known_is_named(step: str) -> None:
    graph = f"g (float[1, 3, 4, 5] x) => (float y) {{ y = {step} }}"
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 20]>\n' + graph)
    pads = onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "a")
    model.graph.initializer.append(pads)
    with pytest.raises(StudentError, match=f"operator {step.split()[0]} .*cannot be converted"):
        torch_module(plain_onnx(model, {}))(torch.zeros(1, 3, 4, 5))


def test_a_size_by_factors_is_known_to_an_export() -> None:
    """As LiteRT's converter traces it, which knows no number of a tensor."""
    graph = "g (float[1, 3, 4, 5] x) => (float y) { y = Resize(x, , scales) }"
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 20]>\n' + graph)
    scales = onnx.numpy_helper.from_array(np.float32([1, 1, 2, 3]), "scales")
    model.graph.initializer.append(scales)
    traced = torch.export.export(torch_module(plain_onnx(model, {})), (torch.zeros(1, 3, 4, 5),))
    assert traced.module()(torch.zeros(1, 3, 4, 5)).shape == (1, 3, 8, 15)


def test_a_constant_row_by_a_tensor_is_no_product_of_matrices() -> None:
    """As in SigLIP's pooling: LiteRT has no BATCH_MATMUL of an 8-bit row by 16-bit activations."""
    graph = "g (float[1, 3, 4, 5] x) => (float y) { y = MatMul(row, x) }"
    model = onnx.parser.parse_model('<ir_version: 9, opset_import: ["" : 20]>\n' + graph)
    row = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 4), np.float32), "row")
    model.graph.initializer.append(row)
    found = Graph.read(plain_onnx(model, {}))
    found.simplify()
    assert "MatMul" not in {step.op for step in found.steps}


class _NormBeside(nn.Module):
    """A grid beside its norm, before a GELU, as in MobileCLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return F.gelu(x + self.norm(x))


def test_a_gelu_behind_layers_of_grids_is_found(tmp_path: Path) -> None:
    module, x = _NormBeside(), torch.randn(2, 3, 8, 8)
    graph = Graph.read(_plain(module, x, tmp_path / "model.onnx"))
    graph.simplify()
    assert "Gelu" in {step.op for step in graph.steps}
    assert torch.allclose(graph.part(["x"], graph.outputs)(x), module(x), atol=1e-5)


def test_an_operator_that_is_not_known_is_named_with_its_node() -> None:
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sinh", ["x"], ["y"], "strange")],
        "graph",
        [value("x", onnx.TensorProto.FLOAT, [1, 4])],
        [value("y", onnx.TensorProto.FLOAT, [1, 4])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    with pytest.raises(StudentError, match=r"Sinh \(node 'strange'\)"):
        torch_module(plain_onnx(model, {}))
