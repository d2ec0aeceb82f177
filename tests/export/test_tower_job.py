"""How a tower is quantized is chosen by what it costs."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from mcad_mobile.engine.bundle import FileRecord, Golden, TensorSpec
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export.backends import litert as litert_backend
from mcad_mobile.export.backends import onnx as onnx_backend
from mcad_mobile.export.backends import qnn as qnn_backend
from mcad_mobile.export.backends.litert import flatbuffer
from mcad_mobile.export.backends.litert import quantize as litert
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.litert.flatbuffer import Operator, four_bits_of
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn import quantize as htp
from mcad_mobile.export.parity import float_embeddings, measure_parity
from mcad_mobile.export.precision.recipes import recipes_for
from mcad_mobile.export.quantization.four_bits import products, together_in_four_bits
from mcad_mobile.export.rungs import RungOptions, TowerPlan, backend
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import find_target
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
    recipe, notes = cpu.choose_recipe(job)
    return cpu.quantize_tower(job, recipe), notes


def mixed_bits(job: TowerJob, names):
    """The tower with these weights in 4 bits."""
    return cpu.quantize_tower(job, cpu.choose_recipe(job)[0], frozenset(names))


def dimensity_rung(job: TowerJob, precision: str):
    plan, target = TowerPlan("litert", precision), find_target("dimensity-8200")
    return backend("litert")(job, plan, target, job.work, RungOptions())


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
    recipe, notes = cpu.choose_recipe(job)
    path = cpu.quantize_tower(job, recipe)
    plain = cosine_of(job, cpu.quantize_tower(job, "dynamic"))
    assert not notes
    if loud == 1:
        assert recipe == "dynamic" and plain > 0.999
        return
    assert recipe == "smoothed"
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
    recipe, _ = cpu.choose_recipe(job)
    path = cpu.quantize_tower(job, recipe)
    tried = {file: cosine_of(job, file) for file in tmp_path.glob("int8*.onnx")}
    assert len(tried) == 3
    assert tried[path] == max(tried.values()) > min(tried.values())


def test_weights_of_4_bits_are_in_a_tower_of_the_way_that_was_chosen(tmp_path):
    job = job_of(Residual(200), tmp_path)
    path, _ = eight_bits(job)
    assert kinds_of_float_convolutions(path) == {True}
    mixed = mixed_bits(job, list(cpu.each_weight_in_four_bits(job))[:1])
    assert kinds_of_float_convolutions(mixed) == {True}


def test_weights_that_stay_float_get_no_4_bits(tmp_path):
    job = job_of(Residual(1), tmp_path, rare=150)
    assert eight_bits(job)[0].name == "int8_inner_convolutions.onnx"
    names = set(cpu.each_weight_in_four_bits(job))
    assert {f"wide.{i}.weight" for i in range(4)} <= names
    assert not {f"narrow.{i}.weight" for i in range(4)} & names
    mixed = onnx.load(mixed_bits(job, names)).graph
    assert {f"{name}_quantized/packed" for name in names} <= {t.name for t in mixed.initializer}
    assert cosine_of(job, mixed_bits(job, names)) > 0.9


def test_a_tower_is_quantized_for_dimensity_from_what_its_precision_needs(tmp_path, monkeypatch):
    """Its own biases and whole ranges with 4 bits; equalized channels with 8-bit activations."""
    own = dataclasses.replace(job_of(Residual(1), tmp_path))
    job = dataclasses.replace(own, uncorrected=own)
    calls = []

    def quantize(source, path, samples, specs, precision, method, narrow, *, stream):
        calls.append((source, path.name, precision, method, narrow, stream))
        path.touch()

    monkeypatch.setattr(litert, "quantize_litert", quantize)
    monkeypatch.setattr(litert, "float_litert", lambda tower: ("float", tower is own))
    monkeypatch.setattr(
        litert, "_equalized_litert", lambda tower: (("equalized", tower is own), True)
    )
    narrow = ("a", "b")
    monkeypatch.setattr(litert, "_four_bits_litert", lambda tower: (("4", tower is own), narrow))
    for precision, method in (("w8a8", "mse"), ("w8a16", "mse"), ("w4a16", "mse")):
        litert.quantize_tower(job, precision, method)
        litert.quantize_tower(job, precision, method)  # once
    assert calls == [
        (("equalized", False), "w8a8_mse.tflite", "w8a8", "mse", (), True),
        (("float", False), "w8a16_mse.tflite", "w8a16", "mse", (), False),
        (("4", True), "w4a16.tflite", "w4a16", "min-max", narrow, False),
    ]


def test_a_tower_without_a_residual_stream_has_no_channels_to_equalize(tmp_path, monkeypatch):
    job = job_of(Residual(1), tmp_path)
    gains: dict[bytes, object] = {}
    written = []

    def write(module, path, specs, samples):
        written.append(module)
        path.touch()

    monkeypatch.setattr(TowerJob, "cpu_onnx", "model")
    monkeypatch.setattr(litert.onnx, "load", lambda path: path)
    monkeypatch.setattr(litert, "gains_by_matrix", lambda model, samples: gains)
    monkeypatch.setattr(litert, "equalize_channels", lambda module, gains: gains)
    monkeypatch.setattr(litert, "convert_litert", write)
    monkeypatch.setattr(litert, "quantize_litert", lambda *about, stream: streams.append(stream))
    streams = []
    for _ in range(2):
        litert.quantize_tower(job, "w8a8")
    gains[b"matrix"] = 2
    for method in ("min-max", "mse"):
        litert.quantize_tower(job, "w8a8", method)
    assert written == [job.module, gains]  # each once
    assert streams == [False, False, True, True]


@pytest.mark.parametrize(("precision", "four"), [("int8", frozenset()), ("mixed", {"a"})])
def test_a_backend_builds_what_its_options_say(tmp_path, monkeypatch, precision, four):
    job = job_of(Residual(1), tmp_path)
    monkeypatch.setattr(TowerJob, "cpu_onnx", tmp_path / "cpu.onnx")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "tower", [], []))
    onnx.save(model, job.cpu_onnx)
    asked = []

    def quantized(*about):
        asked.append(about[1:])
        return job.cpu_onnx

    def compiled(quantized, out, target):
        binary = out.with_suffix(".bin")
        for file in (out, binary):
            file.touch()
        return [binary], 7

    monkeypatch.setattr(onnx_backend, "choose_recipe", lambda tower: ("products", ("A note.",)))
    monkeypatch.setattr(onnx_backend, "quantize_tower", quantized)
    monkeypatch.setattr(qnn_backend, "quantize_tower", quantized)
    monkeypatch.setattr(onnx_backend, "save_mapped", lambda model, out: out.write_bytes(b"") or out)
    options = RungOptions("mse", frozenset({"a"}), compile_context=compiled)
    target = find_target("SM8650")
    cpu_rung = backend("onnx")(job, TowerPlan("onnx", precision), target, tmp_path, options)
    npu_rung = backend("qnn")(job, TowerPlan("qnn", "w8a8"), target, tmp_path, options)
    assert asked == [("products", four, "mse"), ("w8a8", 75, "mse")]
    assert (cpu_rung.precision, cpu_rung.notes) == (precision, ("A note.",))
    assert (npu_rung.npu_nodes, npu_rung.total_nodes) == (7, 7)
    names = [f"image_qnn_w8a8.{suffix}" for suffix in ("onnx", "bin")]
    assert [file.path for file in npu_rung.files] == names


OPERATORS = [Operator("ADD", ()), Operator("SIN", ()), Operator("SIN", ())]
SPEC = TensorSpec("pixels", "int8", (1, 8), "")
REFUSES = (
    "MediaTek's compiler does not take 2 of 3 operators of the image tower, by its list: SIN (2). "
    "They stay on the CPU."
)
STAYS = "1 of 3 operators of the image tower stay on the CPU: SIN (1)."
WIDER = "The image tower has 16-bit activations on Dimensity: with 8-bit ones its cosine is 0.900."


@pytest.mark.parametrize(
    ("family", "runtime", "keep", "file", "npu_nodes", "notes"),
    [
        ("cpu", "litert", False, "image_litert_w8a8.tflite", 0, []),
        ("dimensity", "litert", True, "image_litert_w8a8.tflite", 1, ["It needs.", REFUSES]),
        (
            "dimensity",
            "neuropilot",
            False,
            "image_neuropilot_w8a16.tflite",
            2,
            [WIDER, "not run here", STAYS],
        ),
    ],
)
def test_a_tflite_tells_what_the_npu_runs_of_it(
    tmp_path, monkeypatch, family, runtime, keep, file, npu_nodes, notes
):
    def quantize(tower, precision, method):
        path = tmp_path / f"{precision}_{method}"
        path.write_text(precision)
        return path

    def compiled(quantized, out, target):
        out.write_bytes(quantized.read_bytes())
        return OPERATORS[2:]

    for name, stand_in in {
        "quantize_tower": quantize,
        "compile_for_npu": compiled,
        "operators": lambda path: OPERATORS,
        "refusals": lambda found, vendor: Counter(o.name for o in found if o.name == "SIN"),
        "why_not_compiled": lambda target: "It needs.",
        "stored_specs": lambda *about: ((SPEC,), replace(SPEC, name=about[0].name)),
        "channels_last": lambda inputs: inputs,
    }.items():
        monkeypatch.setattr(litert_backend, name, stand_in)
    tower = SimpleNamespace(
        name="image",
        progress=lambda *step: None,
        cosine=lambda quantized, load: 0.9,
        inputs=(),
        output=SPEC,
        golden=SimpleNamespace(embeddings="golden/image.npy"),
    )
    rung = litert_backend.build(
        tower,
        TowerPlan(runtime, "w8a8"),
        SimpleNamespace(family=family),
        tmp_path,
        SimpleNamespace(method="mse", keep_precision=keep),
    )
    assert (rung.files[0].path, rung.runtime, rung.expected) == (file, runtime, "golden/image.npy")
    assert (tmp_path / file).read_text() == rung.precision
    assert (rung.inputs, rung.outputs[0].name) == ((SPEC,), f"{rung.precision}_mse")
    assert (rung.npu_nodes, rung.total_nodes) == (npu_nodes, 3)
    assert len(rung.notes) == len(notes)
    assert all(note in written for note, written in zip(notes, rung.notes, strict=True))


def test_what_a_dimensity_supports_is_written_in_each_way(tmp_path, monkeypatch):
    """Ranges matter with 8-bit activations; 4 bits count half, where the converter kept any."""
    weights = onnx.numpy_helper.from_array(np.zeros((10, 10), np.float32), "weights")
    graph = onnx.helper.make_graph([], "tower", [], [], [weights])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "float.onnx")
    steps = []
    tower = SimpleNamespace(
        name="text",
        float_onnx=tmp_path / "float.onnx",
        progress=lambda step, done=0, total=0: steps.append((step, done, total)),
    )

    def quantize(tower, precision, method):
        path = tmp_path / f"{precision}-{method}"
        path.write_bytes(bytes(len(method)))
        return path

    monkeypatch.setattr(litert, "quantize_tower", quantize)
    monkeypatch.setattr(flatbuffer, "four_bits_of", lambda path: 40 * ("w4" in path.name))

    def written(chip):
        return [
            (r.tower, r.label, r.precision, r.method, r.bytes, r.weight_bytes, r.activation_bits)
            for r in recipes_for(tower, find_target(chip), [], min)
        ]

    of_8_bits = [
        ("text", "w8a8", "w8a8", "min-max", 7, 100, 8),
        ("text", "w8a8, ranges by percentile", "w8a8", "percentile", 10, 100, 8),
        ("text", "w8a8, ranges by entropy", "w8a8", "entropy", 7, 100, 8),
        ("text", "w8a8, ranges by mse", "w8a8", "mse", 3, 100, 8),
    ]
    of_16_bits = [
        ("text", "w8a16", "w8a16", "min-max", 7, 100, 16),
        ("text", "w4a16", "w4a16", "min-max", 7, 60, 16),
    ]
    assert written("dimensity-9400") == [*of_8_bits, *of_16_bits]
    assert steps == [("writing candidates", number, 6) for number in range(6)]
    monkeypatch.setattr(flatbuffer, "four_bits_of", lambda path: 0)
    assert written("dimensity-9400") == [*of_8_bits, of_16_bits[0]]
    tower.name = "image"  # which LiteRT runs on a computer, by kernels of 8 bits
    assert written("cpu-litert") == [("image", *about[1:]) for about in of_8_bits]


def test_what_a_snapdragon_supports_is_compiled_in_each_way(tmp_path, monkeypatch):
    weights = onnx.numpy_helper.from_array(np.zeros((10, 10), np.float32), "weights")
    graph = onnx.helper.make_graph([], "tower", [], [], [weights])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "float.onnx")
    tower = SimpleNamespace(
        name="text",
        float_onnx=tmp_path / "float.onnx",
        work=tmp_path,
        progress=lambda *step: None,
    )
    target = find_target("SM8650")

    def compiled(quantized, out, chip):
        assert chip == target
        binary = out.with_suffix(".bin")
        out.write_bytes(bytes(10))
        binary.write_bytes(quantized.read_bytes())
        return [binary], 1

    def quantize(tower, precision, arch, method):
        assert arch == target.htp_arch
        path = tmp_path / f"{precision}-{method}"
        path.write_bytes(bytes(len(method)))
        return path

    half = SimpleNamespace(numbers=np.zeros(60))
    monkeypatch.setattr(qnn_backend, "compile_context", compiled)
    monkeypatch.setattr(htp, "quantize_tower", quantize)
    monkeypatch.setattr(cpu, "each_weight_in_four_bits", lambda tower: {"weights": half})
    found = recipes_for(tower, target, [], min)
    assert [(r.label, r.path.name, r.bytes, r.weight_bytes, r.activation_bits) for r in found] == [
        ("w8a8", "w8a8-min-max", 17, 100, 8),
        ("w8a8, ranges by percentile", "w8a8-percentile", 20, 100, 8),
        ("w8a8, ranges by entropy", "w8a8-entropy", 17, 100, 8),
        ("w8a8, ranges by mse", "w8a8-mse", 13, 100, 8),
        ("w8a16", "w8a16-min-max", 17, 100, 16),
        ("w4a16", "w4a16-min-max", 17, 70, 16),
    ]


def test_a_tower_is_quantized_for_a_snapdragon_once_for_all_chips_that_take_the_same_graph(
    tmp_path, monkeypatch
):
    own = job_of(Residual(1), tmp_path)
    job = dataclasses.replace(own, uncorrected=own)
    calls = []

    def quantize(model, path, samples, precision, arch, *, four, ranges):
        calls.append((precision, arch, four, ranges))
        path.write_text(f"{precision} {four} {ranges}")

    monkeypatch.setattr(htp, "quantize_for_htp", quantize)
    monkeypatch.setattr(htp, "all_weights_in_four_bits", lambda tower: "4" * (tower is own))
    monkeypatch.setattr(TowerJob, "float_onnx", tmp_path / "float.onnx")
    monkeypatch.setattr(TowerJob, "ranges", lambda tower, method: method)
    for precision, method in (("w8a8", "min-max"), ("w8a8", "mse"), ("w8a16", "mse")):
        for arch in (68, 69, 73, 81):
            path = htp.quantize_tower(job, precision, arch, method)
            assert path.read_text() == f"{precision} None {method if precision == 'w8a8' else None}"
    assert htp.quantize_tower(job, "w4a16", 75, "mse").read_text() == "w4a16 4 None"
    assert [(precision, arch) for precision, arch, _, _ in calls] == [
        *[("w8a8", 68), ("w8a8", 73)] * 2,
        *[("w8a16", 68), ("w8a16", 73), ("w4a16", 75)],
    ]


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
