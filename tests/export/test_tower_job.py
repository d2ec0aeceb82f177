"""How a tower is quantized is chosen by what it costs."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mcad_mobile.engine.bundle import FileRecord, Golden, TensorSpec
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import Quantized, RungOrder
from mcad_mobile.export.backends.litert import quantize as litert
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn import quantize as htp
from mcad_mobile.export.parity import float_embeddings, measure_parity
from mcad_mobile.export.quantization.four_bits import products, together_in_four_bits
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import find_target
from tests.support.backends import replace_methods
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


class LoudChannel(nn.Module):
    """Rows of pixels, of which one channel is `loud`; two products read them, and an addition."""

    def __init__(self, loud: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rows = nn.Linear(SIDE, SIDE, bias=False)
        self.left, self.right = (nn.Linear(SIDE, WIDTH, bias=False) for _ in range(2))
        with torch.no_grad():
            self.rows.weight[3] *= loud
            for layer in (self.left, self.right):
                layer.weight[:, 3] /= loud

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        rows = self.rows(pixels[:, 0])
        products = self.left(rows) * torch.sigmoid(self.right(rows))
        return products.mean(1) + rows.mean((1, 2))[:, None] / 1000


def job_of(tower: nn.Module, folder, *, rare: float = 1, validation: float = 1) -> TowerJob:
    """The first sample is `rare` times as large as the other ones, the inputs to choose by are
    `validation` times as large."""
    pixels = np.random.default_rng(0).normal(size=(40, 3, SIDE, SIDE)).astype(np.float32)
    pixels[0] *= rare
    samples, rest = {"pixels": pixels[:32]}, {"pixels": validation * pixels[32:]}
    inputs = (TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),)
    output = TensorSpec("image_embedding", "float32", (1, WIDTH), "ND")
    expected = float_embeddings(tower, rest)
    golden = Golden(inputs={}, embeddings=FileRecord("golden.npy", "0" * 64, 1))
    return TowerJob(tower.eval(), "image", inputs, output, samples, rest, expected, golden, folder)


def eight_bits(job: TowerJob):
    """The tower in 8 bits for CPUs, and notes on it."""
    scheme, notes = cpu.choose_scheme(job)
    return cpu.quantize_tower(job, scheme), notes


def mixed_bits(job: TowerJob, names):
    """The tower with these weights in 4 bits."""
    return cpu.quantize_tower(job, cpu.choose_scheme(job)[0], frozenset(names))


def dimensity_rung(job: TowerJob, precision: str):
    order = RungOrder(job, "litert", precision, find_target("dimensity-8200"))
    return backend_of("litert").build(order, job.work)


def cosine_of(job: TowerJob, path) -> float:
    return measure_parity(
        job.expected, OnnxTower(path, exact_kernels=saturates())(job.validation)
    ).cosine_mean


def kinds_of_float_convolutions(path) -> set[bool]:
    """Whether they are depthwise."""
    graph = onnx.load(path).graph
    dequantized = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return {
        any(item.name == "group" and item.i > 1 for item in node.attribute)
        for node in graph.node
        if node.op_type == "Conv" and node.input[0] not in dequantized
    }


@pytest.mark.parametrize("loud", [1.0, 200.0])
def test_depthwise_convolutions_stay_float_where_8_bits_cost_too_much(loud, tmp_path):
    job = job_of(Residual(loud), tmp_path)
    quantize_int8(job.cpu_onnx, tmp_path / "all.onnx", job.samples)
    path, notes = eight_bits(job)
    whole, chosen = cosine_of(job, tmp_path / "all.onnx"), cosine_of(job, path)
    if loud == 1:
        assert whole == chosen > 0.99
        assert not kinds_of_float_convolutions(path)
        assert not notes
    else:
        assert chosen > 0.99 > whole
        assert kinds_of_float_convolutions(path) == {True}
        assert f"{whole:.3f}" in notes[0]


@pytest.mark.parametrize("loud", [1.0, 300.0])
def test_activations_are_smoothed_where_8_bits_of_a_transformer_cost_too_much(loud, tmp_path):
    job = job_of(LoudChannel(loud), tmp_path)
    scheme, notes = cpu.choose_scheme(job)
    path = cpu.quantize_tower(job, scheme)
    plain = cosine_of(job, cpu.quantize_tower(job, "dynamic"))
    assert not notes
    if loud == 1:
        assert scheme == "dynamic" and plain > 0.999
        return
    assert scheme == "smoothed"
    assert cosine_of(job, path) > 0.999 > 0.99 > plain
    assert cosine_of(job, mixed_bits(job, [])) == cosine_of(job, path)
    exact = OnnxTower(job.smoothed_onnx)(job.validation)
    assert measure_parity(job.expected, exact).cosine_min > 0.999999
    # Both products that read the loud channel read the same smoothed tensor.
    nodes = onnx.load(job.smoothed_onnx).graph.node
    assert sum(name.endswith("/smooth") for node in nodes for name in node.output) == 2


@needs_litert
@pytest.mark.parametrize(("loud", "precision"), [(1.0, "w8a8"), (200.0, "w8a16")])
def test_activations_have_16_bits_on_dimensity_where_8_cost_too_much(loud, precision, tmp_path):
    job = job_of(Residual(loud), tmp_path)
    rung = dimensity_rung(job, "w8a8")
    assert rung.precision == precision
    assert any("16-bit activations" in note for note in rung.notes) == (precision != "w8a8")
    planned = dimensity_rung(job, "w8a16")
    assert planned.precision == "w8a16"
    assert not any("16-bit activations" in note for note in planned.notes)


def test_rare_large_activations_are_cut_where_floats_for_sums_do_not_help(tmp_path):
    job = job_of(Residual(1), tmp_path, rare=150)
    quantize_int8(job.cpu_onnx, tmp_path / "all.onnx", job.samples)
    path, notes = eight_bits(job)
    whole = cosine_of(job, tmp_path / "all.onnx")
    assert cosine_of(job, path) > 0.99 > whole
    assert "rare large activations are clipped" in notes[0]
    assert f"{whole:.3f}" in notes[0]


def test_the_best_way_is_taken_where_none_costs_little(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "WARN_BELOW", 1.1)
    job = job_of(Residual(200), tmp_path)
    scheme, _ = cpu.choose_scheme(job)
    path = cpu.quantize_tower(job, scheme)
    tried = {file: cosine_of(job, file) for file in tmp_path.glob("int8*.onnx")}
    assert len(tried) == 3
    assert tried[path] == max(tried.values()) > min(tried.values())


def test_weights_that_stay_float_get_no_4_bits(tmp_path):
    job = job_of(Residual(1), tmp_path, rare=150)
    assert eight_bits(job)[0].name == "int8_inner_convolutions.onnx"
    names = set(cpu.each_weight_in_four_bits(job))
    assert {f"wide.{i}.weight" for i in range(4)} <= names
    assert not {f"narrow.{i}.weight" for i in range(4)} & names
    mixed = onnx.load(mixed_bits(job, names)).graph
    assert {f"{name}_quantized/packed" for name in names} <= {t.name for t in mixed.initializer}
    assert cosine_of(job, mixed_bits(job, names)) > 0.9


@pytest.mark.parametrize("precision", ["int8", "mixed"])
def test_a_backend_builds_what_its_options_say(tmp_path, precision):
    job = job_of(Residual(1), tmp_path)
    name = next(iter(cpu.each_weight_in_four_bits(job)))

    def compiled(quantized, out, target):
        binary = out.with_suffix(".bin")
        for file in (out, binary):
            file.touch()
        return [binary], 7

    how = {"four_bit_weights": frozenset({name}), "compile_context": compiled}
    target = find_target("SM8650")
    order = RungOrder(job, "onnx", precision, target, **how)
    cpu_rung = backend_of("onnx").build(order, tmp_path)
    written = onnx.load(tmp_path / cpu_rung.files[0].path).graph.initializer
    assert (f"{name}_quantized/packed" in {t.name for t in written}) == (precision == "mixed")
    order = RungOrder(job, "qnn", "w8a8", target, **how)
    npu_rung = backend_of("qnn").build(order, tmp_path)
    assert (npu_rung.npu_nodes, npu_rung.total_nodes) == (7, 7)
    names = [f"image_qnn_w8a8.{suffix}" for suffix in ("onnx", "bin")]
    assert [file.path for file in npu_rung.files] == names


@pytest.mark.parametrize(
    ("runtime", "chip", "halves", "precisions"),
    [
        ("litert", "dimensity-9400", True, ["w8a8", "w8a16", "w4a16"]),
        ("litert", "dimensity-9400", False, ["w8a8", "w8a16"]),  # the converter kept no 4 bits
        ("litert", "cpu-litert", True, ["w8a8"]),  # fast kernels have 8 bits
        ("qnn", "SM8650", True, ["w8a8", "w8a16", "w4a16"]),
    ],
)
def test_a_tower_is_written_in_each_way_that_a_chip_supports(
    tmp_path, monkeypatch, runtime, chip, halves, precisions
):
    """4 bits count half, where there are any."""
    weights = onnx.numpy_helper.from_array(np.zeros((10, 10), np.float32), "weights")
    graph = onnx.helper.make_graph([], "tower", [], [], [weights])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "float.onnx")
    steps = []
    tower = SimpleNamespace(
        name="text",
        float_onnx=tmp_path / "float.onnx",
        progress=lambda step, done=0, total=0: steps.append((step, done, total)),
    )

    def quantize(order):
        assert order.keep_precision and order.target == find_target(chip)
        return Quantized(tmp_path / order.precision, order.precision)

    def sizes(order, path):
        if order.precision == "w4a16":
            return (len(path.name), 40) if halves else None
        return len(path.name), 0

    replace_methods(monkeypatch, runtime, quantize=quantize, sizes=sizes)
    found, ranked = backend_of(runtime).candidates(tower, find_target(chip))
    assert [candidate.precision for candidate in found] == precisions
    for candidate in found:
        assert candidate.label == candidate.precision
        assert candidate.bytes == len(candidate.path.name)
        assert candidate.weight_bytes == (60 if candidate.precision == "w4a16" else 100)
        assert candidate.activation_bits == (8 if candidate.precision == "w8a8" else 16)
        assert (candidate.tower, ranked) == ("text", [])
    total = steps[0][2]
    assert steps == [("writing candidates", number, total) for number in range(total)]


def test_a_tower_is_quantized_for_a_snapdragon_once_for_all_chips_that_take_the_same_graph(
    tmp_path,
):
    job = job_of(Residual(1), tmp_path, rare=20)
    written = {}
    for precision in ("w8a8", "w8a16"):
        paths = [htp.quantize_tower(job, precision, arch) for arch in (68, 69, 73, 81)]
        assert paths[0] == paths[1] != paths[2] == paths[3]
        written[precision] = paths[0].read_bytes()
    assert len(set(written.values())) == 2


def test_a_tower_of_4_bits_keeps_its_uncorrected_and_one_of_8_does_not(tmp_path):
    (tmp_path / "own").mkdir()
    own = job_of(Residual(1), tmp_path / "own")
    moved = copy.deepcopy(own.module)
    with torch.no_grad():
        moved.stem.bias += 0.5  # as if that made up for 8 bits
    job = dataclasses.replace(own, module=moved, work=tmp_path, uncorrected=own)
    cosines = {
        precision: cosine_of(own, htp.quantize_tower(job, precision, 73))
        for precision in ("w4a16", "w8a16")
    }
    assert cosines["w4a16"] > 0.98 > cosines["w8a16"]


@needs_litert
def test_a_tflite_holds_the_weights_of_4_bits_as_they_were_rounded_together(tmp_path):
    from ai_edge_litert.tools.flatbuffer_utils import read_model

    own = job_of(Residual(1), tmp_path)
    path = litert.quantize_tower(own, "w4a16")
    model = onnx.load(own.cpu_onnx)
    four = together_in_four_bits(model, own.samples, products(model)).values()
    assert len(four) == 8
    buffers = read_model(str(path)).buffers
    stored = [bytes(buffer.data) for buffer in buffers if buffer.data is not None]
    for weight in four:
        low, high = weight.numbers.reshape(-1, 2).T
        assert (low & 15 | high << 4).astype(np.int8).tobytes() in stored
    assert four_bits_of(path) == sum(weight.numbers.size for weight in four) // 2
    inputs, output = stored_specs(path, channels_last(own.inputs), own.output)
    tower = LiteRTTower(path, inputs, (output,))
    assert measure_parity(own.expected, tower(own.validation)).cosine_mean > 0.97
    for8 = dataclasses.replace(own, uncorrected=own)  # whose biases make up for 8 bits
    assert litert.quantize_tower(for8, "w4a16") == path


@needs_litert
def test_a_way_is_chosen_by_inputs_that_no_range_came_from(tmp_path):
    job = job_of(Residual(1), tmp_path, validation=8)
    (tmp_path / "seen").mkdir()
    seen = job_of(Residual(1), tmp_path / "seen")
    assert job.samples["pixels"].tolist() == seen.samples["pixels"].tolist()
    assert (eight_bits(seen)[1], dimensity_rung(seen, "w8a8").precision) == ((), "w8a8")
    assert eight_bits(job)[1]
    assert dimensity_rung(job, "w8a8").precision == "w8a16"
