"""Every Snapdragon of the table: its compiler accepts the tower, and the binary names the chip; the
reloaded model gives the float model's numbers in the simulator, of one chip an architecture here
and of all in the slow run."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.qnn import QnnTower
from mcad_mobile.errors import ExportError
from mcad_mobile.export.backends.qnn import compile_context
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.students.efficientnet_lite import Block
from mcad_mobile.targets import all_targets, find_target

SNAPDRAGONS = [target for target in all_targets() if target.family == "snapdragon"]
FIRST_OF_ITS_ARCHITECTURE = {t.htp_arch: t for t in reversed(SNAPDRAGONS)}.values()
LENGTH, WIDTH = 16, 32
INPUT = TensorSpec("pixels", "float32", (1, 3, 32, 32), "NCHW")
OUTPUT = TensorSpec("image_embedding", "float32", (1, 16), "ND")


class SmallTower(nn.Module):
    """The image tower's kinds of layers, a few of each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(
            Block(3, 8, 3, 2, 6), Block(8, 8, 5, 1, 6), Block(8, 16, 3, 2, 6)
        )

    def forward(self, pixels):
        return self.blocks(pixels).mean((2, 3))


@pytest.fixture(scope="module")
def samples():
    return {"pixels": np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)}


@pytest.fixture(scope="module")
def quantized(tmp_path_factory, samples):
    folder = tmp_path_factory.mktemp("qnn")
    export_onnx(SmallTower().eval(), folder / "float.onnx", (INPUT,), OUTPUT)
    quantize_for_htp(folder / "float.onnx", folder / "w8a16.onnx", samples, "w8a16")
    return folder / "w8a16.onnx"


def least_cosine(expected, result):
    return (normalize(expected) * normalize(result)).sum(1).min()


@pytest.mark.parametrize("target", SNAPDRAGONS, ids=lambda target: target.id)
def test_a_tower_compiles_for_the_chip(tmp_path, quantized, target):
    (binary,), nodes = compile_context(quantized, tmp_path / "context.onnx", target)
    text = binary.read_bytes()
    # Not `arch`, which is a label: QAIRT 2.51 prints 68 there for SM8475 beside min_arch=69.
    found = re.search(rb"min_arch=(\d+).*?soc_type=(\w+).*?vtcm_size=(\d+)", text)
    assert found is not None
    arch, chip, vtcm = found.groups()
    assert (chip.decode(), int(arch)) == (target.chip, target.htp_arch)
    assert int(vtcm) == target.vtcm_mb * 2**20
    assert nodes > 10


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, marks=[] if target in FIRST_OF_ITS_ARCHITECTURE else pytest.mark.slow)
        for target in SNAPDRAGONS
    ],
    ids=lambda target: target.id,
)
def test_a_compiled_tower_runs_on_the_chips_simulator(tmp_path, quantized, samples, target):
    compile_context(quantized, tmp_path / "context.onnx", target)
    tower = QnnTower(tmp_path / "context.onnx", target.soc_model, target.htp_arch)
    with torch.no_grad():
        expected = SmallTower().eval()(torch.from_numpy(samples["pixels"])).numpy()
    result = tower(samples)
    assert least_cosine(expected, result) > 0.99
    assert tower.simulated


class Attention(nn.Module):
    """A norm, and attention whose scores are large: what a text tower has, and no image tower."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, rows):
        rows = self.norm(rows)
        scores = 4 * self.query(rows) @ self.key(rows).mT
        return (scores.softmax(2) @ self.value(rows)).mean(1)


@pytest.fixture(scope="module")
def attention(tmp_path_factory):
    """A float model of it, and inputs."""
    model = tmp_path_factory.mktemp("attention") / "float.onnx"
    rows = TensorSpec("token_rows", "float32", (1, LENGTH, WIDTH), "NLW")
    output = TensorSpec("text_embedding", "float32", (1, WIDTH), "ND")
    export_onnx(Attention().eval(), model, (rows,), output)
    random = np.random.default_rng(0)
    return model, {"token_rows": random.normal(size=(8, LENGTH, WIDTH)).astype(np.float32)}


@pytest.mark.parametrize("target", FIRST_OF_ITS_ARCHITECTURE, ids=lambda target: target.npu)
def test_norms_and_attention_run_on_every_architecture(tmp_path, attention, target):
    model, rows = attention
    quantize_for_htp(model, tmp_path / "w8a16.onnx", rows, "w8a16", target.htp_arch)
    compile_context(tmp_path / "w8a16.onnx", tmp_path / "context.onnx", target)
    result = QnnTower(tmp_path / "context.onnx", target.soc_model, target.htp_arch)(rows)
    with torch.no_grad():
        expected = Attention().eval()(torch.from_numpy(rows["token_rows"])).numpy()
    # Until v69 the HTP rounds the second of two factors to 8 bits.
    assert least_cosine(expected, result) > (0.9999 if target.htp_arch >= 73 else 0.99)


class WithErf(SmallTower):
    def forward(self, pixels):
        return torch.erf(super().forward(pixels))


def test_a_node_that_the_npu_cannot_run_is_an_error_that_names_it(tmp_path, samples):
    export_onnx(WithErf().eval(), tmp_path / "float.onnx", (INPUT,), OUTPUT)
    quantize_for_htp(tmp_path / "float.onnx", tmp_path / "w8a16.onnx", samples, "w8a16")
    with pytest.raises(ExportError, match=r"Hexagon v79.*\(Erf\)"):
        compile_context(
            tmp_path / "w8a16.onnx", tmp_path / "context.onnx", find_target("snapdragon")
        )
