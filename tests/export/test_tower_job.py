"""How a tower is quantized is chosen by what it costs."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export import tower_job
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of
from mcad_mobile.export.backends.onnx.quantize import quantize_static_int8
from mcad_mobile.export.parity import float_embeddings, parity
from mcad_mobile.export.quantization.four_bits import products, together_in_four_bits
from mcad_mobile.export.tower_job import TowerJob
from tests.support.pythons import needs_litert

pytestmark = pytest.mark.usefixtures("traced_once")

SIDE, WIDTH = 32, 16


class Residual(nn.Module):
    """Blocks of a depthwise and two pointwise convolutions along a residual stream, one channel of
    which is `loud`: what MobileCLIP's image towers are made of, and what they do."""

    def __init__(self, loud: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, WIDTH, 4, 4)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, groups=WIDTH) for _ in range(4)
        )
        self.wide = nn.ModuleList(nn.Conv2d(WIDTH, 4 * WIDTH, 1) for _ in range(4))
        self.narrow = nn.ModuleList(nn.Conv2d(4 * WIDTH, WIDTH, 1) for _ in range(4))
        with torch.no_grad():
            for layer in self.depthwise:
                layer.weight[0] /= loud
        self.register_buffer("scale", torch.ones(WIDTH, 1, 1))
        self.scale[0] = loud

    def forward(self, pixels):
        stream = self.stem(pixels) * self.scale
        for depthwise, wide, narrow in zip(self.depthwise, self.wide, self.narrow, strict=True):
            stream = stream + narrow(nn.functional.gelu(wide(depthwise(stream))))
        return self.depthwise[0](stream).mean((2, 3))


def job_of(tower: nn.Module, folder, *, rare: float = 1, judged: float = 1) -> TowerJob:
    """The first sample is `rare` times as large as others, the inputs to choose by are `judged`
    times so."""
    pixels = np.random.default_rng(0).normal(size=(40, 3, SIDE, SIDE)).astype(np.float32)
    pixels[0] *= rare
    samples, others = {"pixels": pixels[:32]}, {"pixels": judged * pixels[32:]}
    inputs = (TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),)
    output = TensorSpec("image_embedding", "float32", (1, WIDTH), "ND")
    exact = float_embeddings(tower, others)
    return TowerJob(tower.eval(), "image", inputs, output, samples, others, exact, None, folder)


def cosine_of(job: TowerJob, path) -> float:
    return parity(job.exact, OnnxTower(path, exact_kernels=saturates())(job.judged)).cosine_mean


def kinds_of_float_convolutions(path) -> set[bool]:
    """Whether they are depthwise."""
    graph = onnx.load(path).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {
        any(one.name == "group" and one.i > 1 for one in node.attribute)
        for node in graph.node
        if node.op_type == "Conv" and node.input[0] not in dequantized
    }


@pytest.mark.parametrize("loud", [1.0, 200.0])
def test_depthwise_convolutions_stay_float_where_8_bits_cost_too_much(loud, tmp_path):
    job = job_of(Residual(loud), tmp_path)
    quantize_static_int8(job.cpu_onnx, tmp_path / "all.onnx", job.samples)
    path, notes = job.int8_onnx
    whole, chosen = cosine_of(job, tmp_path / "all.onnx"), cosine_of(job, path)
    if loud == 1:
        assert whole == chosen > 0.99
        assert not kinds_of_float_convolutions(path)
        assert not notes
    else:
        assert chosen > 0.99 > whole
        assert kinds_of_float_convolutions(path) == {True}
        assert f"{whole:.3f}" in notes[0]


@needs_litert
@pytest.mark.parametrize(("loud", "precision"), [(1.0, "w8a8"), (200.0, "w8a16")])
def test_activations_have_16_bits_on_dimensity_where_8_cost_too_much(loud, precision, tmp_path):
    job = job_of(Residual(loud), tmp_path)
    chosen, notes = job.litert_precision("w8a8")
    assert chosen == precision
    assert bool(notes) == (chosen != "w8a8")
    assert job.litert_precision("w8a16") == ("w8a16", ())


def test_rare_large_activations_are_cut_where_floats_for_sums_do_not_help(tmp_path):
    job = job_of(Residual(1), tmp_path, rare=150)
    quantize_static_int8(job.cpu_onnx, tmp_path / "all.onnx", job.samples)
    path, notes = job.int8_onnx
    whole = cosine_of(job, tmp_path / "all.onnx")
    assert cosine_of(job, path) > 0.99 > whole
    assert "rare large activations are cut" in notes[0]
    assert f"{whole:.3f}" in notes[0]


def test_the_best_way_is_taken_where_none_costs_little(tmp_path, monkeypatch):
    monkeypatch.setattr(tower_job, "WARN_BELOW", 1.1)
    job = job_of(Residual(200), tmp_path)
    path, _ = job.int8_onnx
    tried = {one: cosine_of(job, one) for one in tmp_path.glob("int8*.onnx")}
    assert len(tried) == 3
    assert tried[path] == max(tried.values()) > min(tried.values())


def test_weights_of_4_bits_are_in_a_tower_of_the_way_that_was_chosen(tmp_path):
    job = job_of(Residual(200), tmp_path)
    path, _ = job.int8_onnx
    assert kinds_of_float_convolutions(path) == {True}
    mixed = job.mixed_onnx(frozenset(list(job.four_bits)[:1]))
    assert kinds_of_float_convolutions(mixed) == {True}


def test_weights_that_stay_float_get_no_4_bits(tmp_path):
    job = job_of(Residual(1), tmp_path, rare=150)
    assert job.int8_onnx[0].name == "int8_inner_convolutions.onnx"
    names = set(job.four_bits)
    assert {f"wide.{i}.weight" for i in range(4)} <= names
    assert not {f"narrow.{i}.weight" for i in range(4)} & names
    mixed = onnx.load(job.mixed_onnx(frozenset(names))).graph
    assert {f"{name}_quantized/packed" for name in names} <= {t.name for t in mixed.initializer}
    assert cosine_of(job, job.mixed_onnx(frozenset(names))) > 0.9


def test_a_tower_of_4_bits_keeps_its_own_biases_and_one_of_8_does_not(tmp_path):
    (tmp_path / "own").mkdir()
    own = job_of(Residual(1), tmp_path / "own")
    moved = copy.deepcopy(own.module)
    with torch.no_grad():
        moved.stem.bias += 0.5  # as if that made up for 8 bits
    job = dataclasses.replace(own, module=moved, work=tmp_path, own_biases=own)
    cosines = {one: cosine_of(own, job.npu_onnx(one, 73)) for one in ("w4a16", "w8a16")}
    assert cosines["w4a16"] > 0.98 > cosines["w8a16"]


@needs_litert
def test_a_tflite_holds_the_weights_of_4_bits_as_they_were_rounded_together(tmp_path):
    from ai_edge_litert.tools.flatbuffer_utils import read_model

    own = job_of(Residual(1), tmp_path)
    path = own.integer_litert("w4a16")
    model = onnx.load(own.cpu_onnx)
    four = together_in_four_bits(model, own.samples, products(model)).values()
    assert len(four) == 8
    stored = [bytes(one.data) for one in read_model(str(path)).buffers if one.data is not None]
    for weight in four:
        low, high = weight.numbers.reshape(-1, 2).T
        assert (low & 15 | high << 4).astype(np.int8).tobytes() in stored
    assert four_bits_of(path) == sum(weight.numbers.size for weight in four) // 2
    inputs, output = stored_specs(path, channels_last(own.inputs), own.output)
    tower = LiteRTTower(path, inputs, (output,))
    assert parity(own.exact, tower(own.judged)).cosine_mean > 0.97
    for8 = dataclasses.replace(own, own_biases=own)  # whose biases make up for 8 bits
    assert for8.integer_litert("w4a16") == path


@needs_litert
def test_a_way_is_chosen_by_inputs_that_no_range_came_from(tmp_path):
    job = job_of(Residual(1), tmp_path, judged=8)
    (tmp_path / "seen").mkdir()
    seen = job_of(Residual(1), tmp_path / "seen")
    assert job.samples["pixels"].tolist() == seen.samples["pixels"].tolist()
    assert (seen.int8_onnx[1], seen.litert_precision("w8a8")[0]) == ((), "w8a8")
    assert job.int8_onnx[1]
    assert job.litert_precision("w8a8")[0] == "w8a16"
