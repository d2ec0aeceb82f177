"""Towers as LiteRT models: what is rewritten for integers computes what it did."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from timm.layers import LayerNorm2d, LayerNormAct2d
from torch import nn

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.export.backends.litert.convert import (
    channels_last,
    convert_litert,
    integer_friendly,
    stored_specs,
)
from mcad_mobile.export.backends.litert.flatbuffer import operators
from mcad_mobile.export.backends.litert.quantize import quantize_litert
from mcad_mobile.students.load import load_student
from tests.support.pythons import needs_litert
from tests.support.tiny_students import TEXTS, spread, write_hf, write_open_clip
from tests.support.variants import first_of

pytestmark = needs_litert
SIDE = 16
OUTPUT = TensorSpec("embedding", "float32", (1, 8), "ND")


@pytest.fixture(scope="module")
def photos():
    images = [np.asarray(open_photo(path).resize((SIDE, SIDE))) for path in packaged_photos()[:4]]
    return np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255


class Norms(nn.Module):
    """Norms over the channels, of as many as there are rows and columns, and over the last axes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, SIDE, 3, padding=1)
        self.channels = LayerNorm2d(SIDE)
        self.second = nn.Conv2d(SIDE, SIDE, 3, padding=1)
        self.activated = LayerNormAct2d(SIDE, act_layer=nn.GELU)
        self.last_axes = nn.LayerNorm((SIDE, SIDE), elementwise_affine=False)
        self.vector = nn.LayerNorm(SIDE)
        self.head = nn.Linear(SIDE, 8)

    def forward(self, x):
        x = self.last_axes(self.activated(self.second(self.channels(self.first(x)))))
        return self.head(self.vector(x.amax((2, 3))))


@pytest.fixture(scope="module")
def norms():
    torch.manual_seed(0)
    made = Norms()
    spread(made)
    return made.eval()


@torch.no_grad()
def float_of(tower, inputs):
    return tower(*(torch.from_numpy(value) for value in inputs.values())).numpy()


def assert_same(found, expected):
    assert expected.std(0).min() > 1e-3, "the tower says the same of all inputs"
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_a_norm_goes_over_the_axes_of_the_librarys_class(norms, photos, tmp_path):
    specs = channels_last((TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),))
    convert_litert(norms, tmp_path / "norms.tflite", specs)
    found = LiteRTTower(tmp_path / "norms.tflite", specs, (OUTPUT,))({"pixels": photos})
    assert_same(found, float_of(norms, {"pixels": photos}))


def test_only_images_have_their_channels_last():
    image = TensorSpec("pixels", "float32", (1, 3, 4, 5), "NCHW")
    rows = TensorSpec("rows", "float32", (1, 2, 6), "NLW")
    wanted = TensorSpec("pixels", "float32", (1, 4, 5, 3), "NHWC")
    assert channels_last((image, rows)) == (wanted, rows)


@pytest.mark.slow
def test_a_litert_tower_may_be_called_from_several_threads_at_once(norms, photos, tmp_path):
    specs = channels_last((TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),))
    convert_litert(norms, tmp_path / "norms.tflite", specs)
    tower = LiteRTTower(tmp_path / "norms.tflite", specs, (OUTPUT,))
    each = [{"pixels": photos[number % 4][None]} for number in range(400)]
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(tower, each)))
    assert np.array_equal(found, np.tile(tower({"pixels": photos}), (100, 1)))


def test_every_norm_that_is_known_is_spelled_out(norms, photos, tmp_path):
    specs = (TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),)
    convert_litert(norms, tmp_path / "norms.tflite", specs)
    names = {operator.name for operator in operators(tmp_path / "norms.tflite")}
    assert "RSQRT" in names
    assert "SQUARED_DIFFERENCE" not in names
    friendly = integer_friendly(norms, [(torch.from_numpy(photos[:1]),)])
    assert not any(isinstance(module, nn.LayerNorm) for module in friendly.modules())
    assert isinstance(norms.channels, LayerNorm2d)  # of the copy alone


class Wide(nn.Module):
    """A convolution with more weights than ai-edge-quantizer takes at once."""

    def __init__(self, **bias):
        super().__init__()
        self.wide = nn.Conv2d(3, 2900, 1)
        self.square = nn.Conv2d(2900, 2901, 1, **bias)
        self.head = nn.Linear(2901, 8)

    def forward(self, x):
        return self.head(self.square(self.wide(x)).relu().amax((2, 3)))


@pytest.mark.parametrize("bias", first_of([True, False]))
def test_a_tower_with_a_large_convolution_is_quantized(bias, photos, tmp_path):
    torch.manual_seed(0)
    tower = Wide(bias=bias).eval()
    found, expected = in_16_bits(tower, photos, tmp_path)
    spread_of_photos = np.abs(expected - expected.mean(0)).max()
    np.testing.assert_allclose(found, expected, atol=0.05 * spread_of_photos)


def in_16_bits(tower, photos, folder):
    """What a tower says when quantized, and what it says."""
    specs = channels_last((TensorSpec("pixels", "float32", (1, 3, SIDE, SIDE), "NCHW"),))
    convert_litert(tower, folder / "float.tflite", specs)
    inputs, out = {"pixels": photos}, folder / "quantized.tflite"
    quantize_litert(folder / "float.tflite", out, inputs, specs, "w8a16")
    stored, output = stored_specs(out, specs, OUTPUT)
    return LiteRTTower(out, stored, (output,))(inputs), float_of(tower, inputs)


class Pruned(nn.Module):
    """Half of the channels of each layer have weights of nearly nothing, and a bias."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, SIDE, 3, padding=1),
                nn.Conv2d(SIDE, SIDE, 3, padding=1, groups=SIDE),
                nn.Conv2d(SIDE, SIDE, 1),
                nn.Linear(SIDE, 8),
            ]
        )
        for layer in self.layers:
            layer.weight.data[::2] *= 1e-10
            layer.bias.data[::2] = 1.0

    def forward(self, x):
        first, second, third, head = self.layers
        return head(third(second(first(x)).relu()).relu().amax((2, 3)))


def test_a_channel_without_weights_keeps_its_bias(photos, tmp_path):
    torch.manual_seed(0)
    found, expected = in_16_bits(Pruned().eval(), photos, tmp_path)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_a_layer_that_sees_only_zeros_says_its_bias(photos, tmp_path):
    torch.manual_seed(0)
    tower = Pruned().eval()
    tower.layers[0].weight.data.zero_()
    tower.layers[0].bias.data.zero_()
    found, expected = in_16_bits(tower, photos, tmp_path)
    np.testing.assert_allclose(found, expected, atol=0.01)


class Doubled(nn.LayerNorm):
    def forward(self, x):
        return 2 * super().forward(x)


def test_a_norm_that_computes_something_else_is_left_as_it_is():
    torch.manual_seed(0)
    tower = nn.Sequential(nn.Linear(8, 8), Doubled(8), nn.LayerNorm(8))
    friendly = integer_friendly(tower, [(torch.randn(1, 8),)])
    assert [isinstance(module, nn.LayerNorm) for module in friendly] == [False, True, False]
    x = torch.randn(4, 8)
    assert torch.allclose(friendly(x), tower(x), atol=1e-5)


@pytest.mark.parametrize("kind", ["ours", "vit", "resnet", "siglip", "hf:clip", "hf:chinese_clip"])
def test_a_students_towers_say_what_they_said(kind, tmp_path):
    if kind == "ours":
        student = load_student()
    elif kind.startswith("hf:"):
        student = load_student(f"hf:{write_hf(tmp_path, kind.removeprefix('hf:'))}")
    else:
        student = load_student(f"open_clip:local-dir:{write_open_clip(tmp_path / 'student', kind)}")
    pixels = np.stack([student.preprocess(path) for path in packaged_photos()[:4]])
    for name, inputs in (("image", {"pixels": pixels}), ("text", student.read(TEXTS).inputs())):
        tower = student.tower(name)
        example = tuple(torch.from_numpy(value[:1]) for value in inputs.values())
        assert_same(float_of(integer_friendly(tower, [example]), inputs), float_of(tower, inputs))
