"""A tower to export, and the models and ranges that its rungs start from, each made once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Golden, TensorSpec, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower
from mcad_mobile.engine.towers.protocol import summary
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.export.parity import measure_parity
from mcad_mobile.export.quantization.four_bits import FourBits
from mcad_mobile.export.quantization.smoothing import smooth

CpuScheme = Literal["dynamic", "smoothed", "everywhere", "products", "inner_convolutions", "reader"]


@dataclass(frozen=True, eq=False)
class TowerJob:
    """A tower to export, with inputs to calibrate on (`samples`) and to choose by (`validation`,
    with the float student's `expected` embeddings). `uncorrected`: the tower with its own biases;
    `any_length`: texts may be cut after their last token; `cpu_scheme`: how it is quantized for
    CPUs, if that is not found by trying; `rounded`: a cache of 4-bit weights."""

    module: nn.Module
    name: TowerName
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    samples: Inputs
    validation: Inputs
    expected: NDArray[np.float32]
    golden: Golden
    work: Path
    any_length: bool = False
    uncorrected: TowerJob | None = None
    cpu_scheme: CpuScheme | None = None
    progress: Progress = silent
    _cosines: dict[Path, float] = field(default_factory=dict, init=False, repr=False)
    rounded: dict[str, dict[str, FourBits]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def float_onnx(self) -> Path:
        """The tower as float ONNX with fixed shapes, as accelerators want them."""
        path = self.work / "float.onnx"
        self.progress("tracing")
        export_onnx(self.module, path, self.inputs, self.output)
        return path

    @cached_property
    def cpu_onnx(self) -> Path:
        """The tower as float ONNX for CPUs, without padding, which halves the time of ten words."""
        if not self.any_length:
            return self.float_onnx
        path = self.work / "any_length.onnx"
        self.progress("tracing, for texts of any length")
        export_onnx(self.module, path, self.inputs, self.output, any_length=True)
        return path

    @cached_property
    def smoothed_onnx(self) -> Path:
        """`cpu_onnx` with smoothed activations: the same embeddings, easier to quantize."""
        path = self.work / "smoothed.onnx"
        self.progress("smoothing activations")
        model = onnx.load(self.cpu_onnx)
        smooth(model, self.samples)
        onnx.save(model, path)
        return path

    def cosine(self, path: Path, load: Callable[[Path], LoadedTower]) -> float:
        """Return the mean cosine of a written model to float, computed once per file."""
        if path not in self._cosines:
            found = summary(load(path)(self.validation))
            self._cosines[path] = measure_parity(self.expected, found).cosine_mean
        return self._cosines[path]


# A layer's bias needs the mean over all photos before the next layer runs, so they are one batch. A
# mean over 64 photos and all their pixels is exact enough, and 512 would take gigabytes.
_MOST_PHOTOS = 64


@torch.no_grad()
def corrected(tower: nn.Module, pixels: Tensor) -> nn.Module:
    """Return a copy of `tower` whose biases give a layer the same mean output with int8 weights as
    with float ones (Nagel et al., arXiv 1906.04721, section 4.2); `pixels` [N, 3, S, S]."""
    if not _layers(tower):
        return tower
    pixels = pixels[:_MOST_PHOTOS]
    means = _channel_means(tower.eval(), pixels)
    rounded = copy.deepcopy(tower)
    for layer in rounded.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.copy_(_rounded(layer.weight))

    # One pass corrects all layers in order: each hook fixes its layer's output before the next
    # layer sees it.
    def correct(expected: Tensor, layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        shift = expected - _mean(layer, output)
        layer.get_parameter("bias").add_(shift)
        return output + (shift[:, None, None] if isinstance(layer, nn.Conv2d) else shift)

    for name, layer in _layers(rounded):
        layer.register_forward_hook(partial(correct, means[name]))
    rounded(pixels)

    result = copy.deepcopy(tower)
    for (_, layer), (_, source) in zip(_layers(result), _layers(rounded), strict=True):
        layer.get_parameter("bias").copy_(source.get_parameter("bias"))
    return result


def _channel_means(tower: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    means: dict[str, Tensor] = {}

    def see(name: str, layer: nn.Module, _: Any, output: Tensor) -> None:
        means[name] = _mean(layer, output)

    hooks = [layer.register_forward_hook(partial(see, name)) for name, layer in _layers(tower)]
    tower(pixels)
    for hook in hooks:
        hook.remove()
    return means


def _layers(tower: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [
        (name, module)
        for name, module in tower.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None
    ]


def _mean(layer: nn.Module, output: Tensor) -> Tensor:
    """Return the mean of each channel: axis 1 of a convolution's output, else the last axis."""
    return output.mean((0, 2, 3)) if isinstance(layer, nn.Conv2d) else output.flatten(0, -2).mean(0)


def _rounded(weight: Tensor) -> Tensor:
    """Round a weight to symmetric int8 per output channel, as the quantizers do, and back."""
    largest = weight.abs().flatten(1).amax(1).clamp(min=1e-12)
    scale = (largest / 127).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().clamp(-127, 127) * scale
