"""Quantization: what the recipes promise, on real photos and texts."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers.litert import dequantize, quantize
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.errors import DataError, ParityError
from mcad_mobile.export.backends.onnx.quantize import quantize_int8
from mcad_mobile.export.backends.qnn.quantize import quantize_for_htp
from mcad_mobile.export.float_onnx import (
    export_onnx,
    is_convolutional,
    multiply_adds,
    save_mapped,
)
from mcad_mobile.export.parity import check_parity, float_embeddings, measure_parity
from mcad_mobile.export.prepare import tower_specs
from mcad_mobile.export.quantization.calibration import (
    Samples,
    captioned_samples,
    load_samples,
    missing_samples,
)
from mcad_mobile.export.quantization.smoothing import smooth
from mcad_mobile.export.tower_job import corrected
from mcad_mobile.students.load import load_student
from mcad_mobile.students.student import Texts


@pytest.fixture(scope="module")
def student():
    return load_student()


@pytest.fixture(scope="module")
def samples(student):
    return load_samples(student, None, 16)


def test_samples_to_calibrate_and_to_compare_are_different_real_inputs(samples):
    calibrate, held_out = samples
    assert calibrate.pixels.shape == (16, 3, 224, 224)
    assert held_out.pixels.shape == (32, 3, 224, 224)
    assert not set(calibrate.texts) & set(held_out.texts)
    for photo in held_out.pixels:
        assert np.abs(calibrate.pixels - photo).mean((1, 2, 3)).min() > 0.01


def test_samples_are_the_same_at_every_call(student, samples):
    again = load_samples(student, None, 16)
    assert np.array_equal(again[0].pixels, samples[0].pixels)
    assert again[1].texts == samples[1].texts


def test_the_inputs_of_parity_do_not_depend_on_how_many_samples_calibrate(student, samples):
    calibrate, held_out = load_samples(student, None, 2)
    assert len(calibrate.pixels) == len(calibrate.texts) == 2
    assert np.array_equal(held_out.pixels, samples[1].pixels)
    assert held_out.texts == samples[1].texts


def test_a_karpathy_folder_gives_its_own_photos_and_captions(student, flickr8k):
    calibrate, _ = load_samples(student, flickr8k, 4)
    dataset = next(flickr8k.glob("dataset_*.json")).read_text("utf-8")
    assert all(text in dataset for text in calibrate.texts)


def test_photos_that_do_not_decode_are_passed_over_and_a_folder_of_them_is_an_error(
    student, tmp_path
):
    (tmp_path / "a.jpg").write_text("no")
    with pytest.raises(DataError, match=str(tmp_path)):
        load_samples(student, tmp_path, 4)


def test_biases_are_corrected_on_no_more_photos_than_fit_into_memory():
    seen = []

    class Tower(nn.Sequential):
        def forward(self, pixels):
            seen.append(len(pixels))
            return super().forward(pixels)

    corrected(Tower(nn.Conv2d(3, 4, 2)), torch.rand(512, 3, 4, 4))
    assert set(seen) == {64}


class Reader:
    """A student that sees a photo's mean, and the length of a text."""

    def __init__(self):
        self.preprocess = lambda path: self.pixels(Image.open(path))
        self.preprocess.pixels = self.pixels

    def pixels(self, image):
        return np.full((3, 1, 1), np.asarray(image).mean() / 255, np.float32)

    def read(self, texts):
        ids = np.array([[len(text)] for text in texts], np.int32)
        rows = np.ones((*ids.shape, 1), np.float32)
        return Texts(ids, rows, rows[..., 0], rows[..., 0])


@pytest.fixture
def sorted_photos(tmp_path) -> list[CaptionedPhoto]:
    """90 dark photos, then 90 bright ones; the captions of each third photo are of `test`."""
    photos = []
    for number in range(180):
        path = tmp_path / f"{number:03}.png"
        Image.new("RGB", (4, 4), (255 * (number >= 90),) * 3).save(path)
        split = "train" if number % 3 else "test"
        photos.append(CaptionedPhoto(path, (f"{split} {number}", "a photo"), split))
    rows = [
        f"{photo.path.name},{text},{photo.split}" for photo in photos for text in photo.captions
    ]
    (tmp_path / "captions.csv").write_text("\n".join(["photo,caption,split", *rows]))
    return photos


def test_a_folder_that_is_sorted_by_theme_is_sampled_all_over(sorted_photos, tmp_path):
    calibrate, held_out = load_samples(Reader(), tmp_path, 8)
    for samples in (calibrate, held_out):
        assert 0.2 < samples.pixels.mean() < 0.8
        assert {text.partition(" ")[0] for text in samples.texts} == {"train"}
        numbers = [int(text.partition(" ")[2]) for text in samples.texts]
        assert min(numbers) < 90 < max(numbers)
    assert (len(calibrate.pixels), len(held_out.pixels)) == (8, 32)


def test_a_text_file_beside_each_photo_gives_its_captions_too(tmp_path):
    for split, shade in (("train", 255), ("test", 0)):
        folder = tmp_path / split
        folder.mkdir()
        Image.new("RGB", (4, 4), (shade,) * 3).save(folder / "a.png")
        (folder / "a.txt").write_text(f"a photo for {split}")
    calibrate, held_out = load_samples(Reader(), tmp_path, 8)
    assert calibrate.pixels.min() == held_out.pixels.min() == 1
    assert "a photo for train" in calibrate.texts
    assert "a photo for test" not in calibrate.texts + held_out.texts
    assert (len(set(calibrate.texts)), len(set(held_out.texts))) == (8, 32)


def test_photos_that_do_not_decode_cost_no_samples(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "whole.png")
    (tmp_path / "broken.jpg").write_text("no")
    calibrate, held_out = load_samples(Reader(), tmp_path, 8)
    assert (len(calibrate.pixels), len(held_out.pixels)) == (8, 32)


def test_data_gives_as_many_photos_and_first_captions_as_were_asked_for(sorted_photos):
    found = captioned_samples(Reader(), sorted_photos, photos=5, texts=20)
    assert (len(found.pixels), len(found.texts)) == (5, 20)
    assert 0 < found.pixels.mean() < 1
    assert len({*found.texts, "a photo"}) == 21
    assert found.ids.ravel().tolist() == [len(text) for text in found.texts]


@pytest.mark.parametrize(
    ("photos", "texts", "said"),
    [
        (4, "abcd", None),
        (4, "abca", "3 captions to"),
        (3, "abcd", "3 photos to"),
        (1, "aaaa", "1 photo and 1 caption to"),
    ],
)
def test_too_few_samples_are_told(photos, texts, said):
    pixels = np.zeros((photos, 3, 1, 1), np.float32)
    found = missing_samples(Samples(pixels, np.zeros((4, 1), np.int32), {}, tuple(texts)), 4)
    assert len(found) == (said is not None)
    assert not found or f"4 samples were asked for; there were {said}" in found[0]


def test_a_weight_that_two_products_share_is_not_smoothed_for_one_of_them():
    kind, shape = onnx.TensorProto.FLOAT, (1, 2, 4)
    nodes = [
        helper.make_node("MatMul", ["rows", "shared"], ["once"]),
        helper.make_node("MatMul", ["once", "shared"], ["twice"]),
        helper.make_node("MatMul", ["twice", "own"], ["out"]),
    ]
    values = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    held = [numpy_helper.from_array(x, n) for x, n in zip(values, ("shared", "own"), strict=True)]
    ends = [[helper.make_tensor_value_info(name, kind, shape)] for name in ("rows", "out")]
    graph = helper.make_graph(nodes, "graph", *ends, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rows = {"rows": np.array([[[1, 2, 300, 4], [5, 6, 700, 8]]], np.float32)}

    def run():
        session = ort.InferenceSession(model.SerializeToString())
        return session.run(None, rows)[0]

    before = run()
    smooth(model, rows)
    assert [node.op_type for node in model.graph.node].count("Mul") == 1
    assert np.allclose(run(), before, rtol=1e-4)


def test_an_outlier_is_divided_by_what_all_samples_and_all_products_that_read_it_say():
    weights = {"first": np.ones((4, 2), np.float32), "second": np.ones((4, 2), np.float32)}
    weights["second"][3, 1] = -8
    nodes = [helper.make_node("MatMul", ["rows", name], [f"{name} out"]) for name in weights]
    outs = [
        helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, (1, 2))
        for node in nodes
    ]
    rows = helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, (1, 4))
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "graph", [rows], outs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    smooth(model, {"rows": np.array([[1, 1, 1, -100], [1, 1, 1, 10]], np.float32)})
    (divided,) = (node for node in model.graph.node if node.op_type == "Mul")
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    factors = 1 / values[divided.input[1]]
    assert np.prod(factors) == pytest.approx(1, rel=1e-4)
    # Equation 4 of SmoothQuant, with a strength of 0.7.
    assert factors[3] / factors[:3] == pytest.approx([100**0.7 / 8**0.3] * 3, rel=1e-4)
    for name, value in weights.items():
        assert np.allclose(values[name], value * factors[:, None])


def test_a_channel_that_is_quiet_in_the_samples_may_be_loud_later(tmp_path):
    random = np.random.default_rng(0)
    weights = random.normal(size=(64, 16)).astype(np.float32)
    product = helper.make_node("MatMul", ["rows", "weights"], ["out"])
    ends = [
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 2, size))]
        for name, size in (("rows", 64), ("out", 16))
    ]
    held = [numpy_helper.from_array(weights, "weights")]
    model = helper.make_model(
        helper.make_graph([product], "graph", *ends, held),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=9,
    )  # fmt: skip
    samples = random.normal(size=(8, 2, 64)).astype(np.float32)
    samples[..., :8] *= 1e-4
    samples[..., 63] *= 30
    smooth(model, {"rows": samples})
    onnx.save(model, tmp_path / "smoothed.onnx")
    quantize_int8(tmp_path / "smoothed.onnx", tmp_path / "q.onnx", {"rows": samples}, "smoothed")
    rows = random.normal(size=(1, 2, 64)).astype(np.float32)
    found = ort.InferenceSession((tmp_path / "q.onnx").read_bytes()).run(None, {"rows": rows})[0]
    assert np.abs(found - rows @ weights).max() < 0.05 * np.abs(rows @ weights).max()


@pytest.mark.slow
def test_bias_correction_brings_the_8_bit_image_tower_closer_to_float(student, samples, tmp_path):
    calibrate, held_out = samples
    inputs, output = tower_specs(student, "image")
    expected = float_embeddings(student.image, held_out.inputs("image"))
    found = {}
    fixed = corrected(student.image, torch.from_numpy(calibrate.pixels))
    for name, module in (("plain", student.image), ("corrected", fixed)):
        export_onnx(module, tmp_path / f"{name}.onnx", inputs, output)
        quantized = tmp_path / f"{name}_int8.onnx"
        quantize_int8(tmp_path / f"{name}.onnx", quantized, calibrate.inputs("image"))
        found[name] = measure_parity(
            expected, OnnxTower(quantized, exact_kernels=saturates())(held_out.inputs("image"))
        )
    assert found["corrected"].cosine_mean > 0.99
    loss = {name: 1 - value.cosine_mean for name, value in found.items()}
    assert loss["corrected"] < loss["plain"] / 2


def test_bias_correction_leaves_the_student_and_its_weights_alone(student, samples):
    before = {name: value.clone() for name, value in student.image.state_dict().items()}
    fixed = corrected(student.image, torch.from_numpy(samples[0].pixels[:2]))
    after = student.image.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, value in fixed.state_dict().items():
        assert torch.equal(value, before[name]) == name.endswith("weight"), name
    assert not any(module._forward_hooks for module in fixed.modules())


def test_w8a16_weights_are_8_bit_per_channel_and_activations_16_bit(student, samples, tmp_path):
    inputs, output = tower_specs(student, "text")
    export_onnx(student.tower("text"), tmp_path / "text.onnx", inputs, output)
    quantize_for_htp(
        tmp_path / "text.onnx", tmp_path / "q.onnx", samples[0].inputs("text"), "w8a16"
    )
    graph = onnx.load(tmp_path / "q.onnx").graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {node.output[0]: node for node in graph.node}
    seen = 0
    for node in graph.node:
        if node.op_type != "MatMul":
            continue
        weight = made_by[node.input[1]]
        if weight.input[0] not in constants:
            continue
        stored = numpy_helper.to_array(constants[weight.input[0]])
        scales = numpy_helper.to_array(constants[weight.input[1]])
        assert stored.dtype == np.int8
        assert scales.shape == (stored.shape[1],)
        activation = constants[made_by[node.input[0]].input[2]]
        assert numpy_helper.to_array(activation).dtype == np.uint16
        seen += 1
    assert seen >= 18  # six a layer


def test_parity_is_judged_by_the_mean_and_tells_the_worst():
    expected = np.tile(np.array([[1, 0]], np.float32), (20, 1))
    found = expected.copy()
    found[7] = [0.9, 0.436]
    one_bad = measure_parity(expected, found)
    assert (one_bad.inputs, round(one_bad.cosine_min, 3)) == (20, 0.9)
    assert one_bad.cosine_mean == pytest.approx(0.995, abs=1e-4)
    assert check_parity("image", "qnn", one_bad, allow_low=False) == []
    found[:10] = [0.9, 0.436]
    found[0] = [0.8, 0.6]
    half_bad = measure_parity(expected, found)  # 0.945 on average
    with pytest.raises(ParityError, match=r"0\.94\d+ on average, 0\.8000 at worst, over 20"):
        check_parity("image", "qnn", half_bad, allow_low=False)
    found[5:10] = expected[5:10]  # 0.97
    (warning,) = check_parity("image", "qnn", measure_parity(expected, found), allow_low=False)
    assert "0.8000 at worst" in warning


def test_parity_under_0_95_is_an_error_unless_allowed():
    expected = np.array([[1, 0]], np.float32)
    low = measure_parity(expected, np.array([[0.9, 0.436]], np.float32))
    with pytest.raises(ParityError, match=r"(?s)0\.9.*allow low parity"):
        check_parity("text", "litert", low, allow_low=False)
    (warning,) = check_parity("text", "litert", low, allow_low=True)
    assert "0.9" in warning


def test_integer_inputs_and_outputs_round_and_clip_as_their_spec_says():
    spec = TensorSpec("x", "int8", (1, 4), "ND", scale=0.5, zero_point=10)
    real = np.array([[-100, 0.2, 0.3, 100]], np.float32)
    stored = quantize(real, spec)
    assert stored.dtype == np.int8
    assert stored.tolist() == [[-128, 10, 11, 127]]
    assert dequantize(stored, spec).tolist() == [[-69.0, 0.0, 0.5, 58.5]]


class Convolution(nn.Module):
    """A convolution that is most of the work, and more products than convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 64, 3, padding=1, groups=1)
        self.depthwise = nn.Conv2d(64, 64, 5, padding=2, groups=64)
        self.products = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6)))

    def forward(self, pixels):
        return self.products(self.depthwise(self.convolution(pixels)).mean((2, 3)))


class Patches(nn.Module):
    """A transformer's shape: one convolution, and products of each patch with each."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 16, 16)
        self.wide, self.narrow = nn.Linear(64, 512), nn.Linear(512, 64)

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).mT
        tokens = (tokens @ tokens.mT).softmax(2) @ tokens
        return self.narrow(self.wide(tokens)).mean(1)


def test_weights_beside_a_model_are_readable_to_everyone(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "tower",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(np.ones((64, 64), np.float32), "weight")],
    )
    weights = save_mapped(helper.make_model(graph), tmp_path / "tower.onnx")
    assert weights.stat().st_mode & 0o777 == 0o644


def test_a_transposed_product_has_its_inner_numbers_along_the_first_axis(tmp_path):
    values = {"x": [8, 4], "weight": [8, 6], "y": [4, 6]}
    infos = {
        name: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in values.items()
    }
    node = helper.make_node("Gemm", ["x", "weight"], ["y"], transA=1)
    graph = helper.make_graph([node], "t", [infos["x"], infos["weight"]], [infos["y"]])
    onnx.save(helper.make_model(graph), tmp_path / "t.onnx")
    assert multiply_adds(tmp_path / "t.onnx") == (0, 4 * 6 * 8)


@pytest.mark.parametrize("module", [Convolution, Patches])
def test_a_tower_is_convolutional_by_its_multiply_adds(module, tmp_path):
    tower, pixels = module().eval(), TensorSpec("pixels", "float32", (1, 3, 64, 64), "NCHW")
    export_onnx(tower, tmp_path / "t.onnx", (pixels,), TensorSpec("out", "float32", (1, 64), "ND"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        tower(torch.zeros(pixels.shape))
    counted = {
        str(kernel): flops // 2 for kernel, flops in counter.get_flop_counts()["Global"].items()
    }
    convolutions = counted.pop("aten.convolution")
    assert multiply_adds(tmp_path / "t.onnx") == (convolutions, sum(counted.values()))
    assert is_convolutional(tmp_path / "t.onnx") == (module is Convolution)
