"""8-bit products beside a residual stream of 16 bits."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import normalize
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.export.backends.litert import convert
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.export.quantization.ranges import HEADROOM, activations, extremes
from mcad_mobile.export.quantization.residual_stream import (
    equalize_channels,
    find_stream,
    gains_by_matrix,
)
from mcad_mobile.students.load import load_student
from mcad_mobile.students.published import RowTower, TextLayers
from mcad_mobile.students.text_transformer import MASKED_SCORE, TextConfig, TextTower
from tests.support.tiny_students import TEXTS, write_open_clip

LENGTH, WIDTH, LOUD = 12, 64, 300.0
KINDS = {
    onnx.TensorProto.UINT8: "8",
    onnx.TensorProto.INT8: "8",
    onnx.TensorProto.UINT16: "16",
    onnx.TensorProto.INT16: "16",
}


def bert() -> RowTower:
    """A post-norm transformer, a few channels of whose branches are loud, as MiniLM's are."""
    torch.manual_seed(0)
    config = TextConfig(
        vocab=50, length=LENGTH, width=WIDTH, heads=4, layers=3, mlp=4 * WIDTH, embedding_rank=32
    )
    text = TextTower(config, 48).eval()
    with torch.no_grad():
        for layer in text.layers:
            layer.down.weight[5] *= LOUD
            layer.attention_norm.weight[5] = layer.mlp_norm.weight[5] = 0.05
    parts = TextLayers(text.position, text.layers, text.head, widen=text.widen, before=text.norm)
    return RowTower(parts, mask_kind="padding", length=LENGTH, hidden_score=MASKED_SCORE).eval()


def inputs_of_bert() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    mask = (np.arange(LENGTH) < random.integers(4, LENGTH + 1, (16, 1))).astype(np.float32)
    return {
        "token_rows": random.normal(size=(16, LENGTH, 32)).astype(np.float32),
        "attention_mask": mask,
        "pooling": mask / mask.sum(1, keepdims=True),
    }


@pytest.fixture(scope="module")
def post_norm(tmp_path_factory):
    """Of BERT's kind: path, and inputs."""
    inputs = inputs_of_bert()
    path = tmp_path_factory.mktemp("post") / "float.onnx"
    export_onnx(bert(), path, specs(inputs), TensorSpec("e", "float32", (1, 48), "ND"))
    return path, inputs


@pytest.fixture(scope="module")
def pre_norm(tmp_path_factory):
    """CLIP's text tower."""
    folder = tmp_path_factory.mktemp("pre")
    student = load_student(f"open_clip:local-dir:{write_open_clip(folder / 'student')}")
    inputs = student.read(TEXTS).inputs()
    path = folder / "float.onnx"
    output = TensorSpec("e", "float32", (1, student.dim), "ND")
    export_onnx(student.tower("text"), path, specs(inputs), output)
    return path, inputs


def specs(inputs):
    return tuple(
        TensorSpec(name, "float32", (1, *value.shape[1:]), "ND") for name, value in inputs.items()
    )


def run(model: onnx.ModelProto, inputs) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, single)[0] for single in split_batch(inputs)])


@pytest.mark.parametrize(("tower", "branches"), [("post_norm", 7), ("pre_norm", 4)])
def test_equalized_channels_compute_the_same_in_float(tower, branches, request):
    path, inputs = request.getfixturevalue(tower)
    model = onnx.load(path)
    equalized = equalize_channels(model, inputs)
    onnx.checker.check_model(equalized, full_check=True)
    assert len(find_stream(model).products) == branches
    assert len(equalized.graph.node) == len(model.graph.node) + branches
    expected = run(model, inputs)
    assert np.abs(run(equalized, inputs) - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_channel_that_is_silent_in_all_samples_is_a_thousandth_of_the_loudest():
    weights = np.diag([1, 2, 0, 50]).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["rows", "weights"], ["branch"], name="product"),
        helper.make_node("Add", ["rows", "branch"], ["stream"], name="join"),
        helper.make_node("LayerNormalization", ["stream", "ones"], ["out"], name="norm"),
    ]
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 4))]
        for name in ("rows", "out")
    ]
    held = {"weights": weights, "ones": np.ones(4, np.float32)}
    tensors = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "graph", *ends, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    samples = {"rows": np.array([[1, -1, 1, 1], [0.5, 0.5, 2, 0.5]], np.float32)}
    (gains,) = gains_by_matrix(model, samples).values()
    median = 1.5  # of 1, 2, 0.05 and 50
    assert gains == pytest.approx(np.array([1, 2, 0.05, 50]) / median, rel=1e-5)
    loud = {"rows": np.array([[1, 1, 1000, 1]], np.float32)}
    assert np.allclose(run(equalize_channels(model, samples), loud), run(model, loud))


@torch.no_grad()
def test_a_torch_tower_with_equalized_channels_computes_the_same(post_norm):
    """As LiteRT's converter takes it."""
    path, inputs = post_norm
    model, tower = onnx.load(path), bert()
    gains = gains_by_matrix(model, inputs)
    assert len(gains) == len(find_stream(model).products)
    equalized = convert.equalize_channels(tower, gains)
    given = [torch.from_numpy(value) for value in inputs.values()]
    expected = tower(*given)
    assert (equalized(*given) - expected).abs().max() < 1e-5 * expected.abs().max()
    loudest: list[torch.Tensor] = []
    for module in equalized.modules():
        if hasattr(module, "gains"):
            module.linear.register_forward_hook(
                lambda module, inputs, made: loudest.append(made.detach().abs().amax((0, 1)))
            )
    equalized(*given)
    assert len(loudest) == len(gains)
    assert all(loud.max() / loud.min() < 10 for loud in loudest)  # biases are not equalized


def test_loud_channels_cost_w8a8_nothing_where_the_stream_has_16_bits(post_norm, tmp_path):
    path, inputs = post_norm
    quantize_for_htp(path, tmp_path / "q.onnx", inputs, "w8a8")
    floats = normalize(OnnxTower(path)(inputs))
    with_stream = OnnxTower(tmp_path / "q.onnx", exact_kernels=saturates())
    assert (floats * normalize(with_stream(inputs))).sum(1).min() > 0.98
    no_stream = OnnxTower(
        _without_stream(path, tmp_path / "flat.onnx", inputs), exact_kernels=saturates()
    )
    assert (floats * normalize(no_stream(inputs))).sum(1).mean() < 0.95


@pytest.mark.parametrize("tower", ["post_norm", "pre_norm"])
def test_products_have_8_bits_and_norms_and_sums_16(tower, request, tmp_path):
    path, inputs = request.getfixturevalue(tower)
    quantize_for_htp(path, tmp_path / "q.onnx", inputs, "w8a8")
    graph = onnx.load(tmp_path / "q.onnx").graph
    made_by = {node.output[0]: node for node in graph.node}
    zeros = {t.name: t.data_type for t in graph.initializer}
    stream = find_stream(equalize_channels(onnx.load(path), inputs)).nodes
    seen = {"MatMul": 0, "LayerNormalization": 0, "stream": 0}
    for node in graph.node:
        kinds = [
            KINDS[zeros[made_by[name].input[2]]]
            for name in node.input[:2]
            if name in made_by and made_by[name].op_type == "DequantizeLinear"
        ]
        if node.op_type in ("MatMul", "Gemm"):
            assert kinds == ["8", "8"], node.name
            seen["MatMul"] += 1
        elif node.name in stream:
            assert kinds == ["16", "16"], node.name
            seen["LayerNormalization" if "Norm" in node.op_type else "stream"] += 1
    assert min(seen.values()) >= 5, seen
    # Nothing is converted that nobody reads so.
    read = {name for node in graph.node for name in node.input} | {graph.output[0].name}
    assert all(read.intersection(node.output) for node in graph.node)


def test_the_stream_has_headroom_and_8_bit_products_have_none(post_norm, tmp_path):
    path, inputs = post_norm
    equalized = equalize_channels(onnx.load(path), inputs)
    seen = extremes(activations(equalized), split_batch(inputs))
    quantize_for_htp(path, tmp_path / "q.onnx", inputs, "w8a8")
    graph = onnx.load(tmp_path / "q.onnx").graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stream = find_stream(equalized)
    products = {node.output[0] for node in equalized.graph.node if node.name in stream.products}
    recorded = dict.fromkeys(stream.tensors, 0) | dict.fromkeys(products, 0)
    for node in graph.node:
        name = node.input[0]
        if node.op_type != "QuantizeLinear" or name not in recorded:
            continue
        wide = stored[node.input[2]].dtype == np.uint16
        least, largest = seen[name]
        step = (largest - least) / 65535 * HEADROOM[16] if wide else (largest - least) / 255
        assert float(stored[node.input[1]]) == pytest.approx(step, rel=1e-3)
        assert wide == (name in stream.tensors)
        recorded[name] += 1
    assert all(recorded.values())


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["SM8350", "SM8750"])
def test_every_node_of_it_runs_on_the_npu(chip, post_norm, tmp_path):
    from mcad_mobile.engine.towers.qnn import QnnTower
    from mcad_mobile.export.backends.qnn import compile_context
    from mcad_mobile.targets import find_target

    path, inputs = post_norm
    target = find_target(chip)
    quantize_for_htp(path, tmp_path / "q.onnx", inputs, "w8a8", target.htp_arch)
    compile_context(tmp_path / "q.onnx", tmp_path / "c.onnx", target)  # an error names the others
    found = QnnTower(tmp_path / "c.onnx", target.soc_model, target.htp_arch)
    few = {name: value[:2] for name, value in inputs.items()}
    assert (normalize(found(few)) * normalize(OnnxTower(path)(few))).sum(1).min() > 0.97


def _without_stream(path, out, inputs):
    """The same tower, 8 bits a tensor everywhere."""
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    from mcad_mobile.export.quantization.calibration import Reader, weights_per_channel

    config = get_qnn_qdq_config(
        str(path),
        Reader(inputs),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=weights_per_channel(onnx.load(path)),
    )
    quantize(str(path), str(out), config)
    weights = [numpy_helper.to_array(t) for t in onnx.load(out).graph.initializer]
    assert any(weight.dtype == np.int8 for weight in weights)
    return out
