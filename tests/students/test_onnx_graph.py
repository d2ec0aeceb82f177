"""ONNX graphs in torch: what the exported module computes, for one input and for several."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
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
