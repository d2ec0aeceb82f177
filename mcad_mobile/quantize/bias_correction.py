"""Bias correction: make a layer's mean output the same with 8-bit weights as with float ones.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(arXiv 1906.04721, section 4.2), in its form with data: rounding a weight matrix shifts the mean
of what a layer puts out, the shift adds up through a deep tower, and a bias can take it back.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def corrected(tower: nn.Module, pixels: Tensor) -> nn.Module:
    """A copy of a convolutional `tower` with float weights and new biases, for quantization of
    its weights to int8 per output channel; `pixels` [N, 3, S, S] are real photos."""
    means = _channel_means(tower.eval(), pixels)
    rounded = copy.deepcopy(tower)
    for _, layer in _layers(rounded):
        layer.weight.copy_(_rounded(layer.weight))

    # One pass corrects all layers in order: each hook fixes its layer's output before the next
    # layer sees it.
    def correct(layer: nn.Module, wanted: Tensor, output: Tensor) -> Tensor:
        shift = wanted - _mean(output)
        layer.get_parameter("bias").add_(shift)
        return output + (shift[:, None, None] if output.ndim == 4 else shift)

    for name, layer in _layers(rounded):
        layer.register_forward_hook(
            lambda layer, _, output, name=name: correct(layer, means[name], output)
        )
    rounded(pixels)

    result = copy.deepcopy(tower)
    for (_, layer), (_, source) in zip(_layers(result), _layers(rounded), strict=True):
        layer.get_parameter("bias").copy_(source.get_parameter("bias"))
    return result


def _channel_means(tower: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    means: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(
            lambda _, __, output, name=name: means.__setitem__(name, _mean(output))
        )
        for name, layer in _layers(tower)
    ]
    tower(pixels)
    for handle in handles:
        handle.remove()
    return means


def _layers(tower: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    return [
        (name, module)
        for name, module in tower.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def _mean(output: Tensor) -> Tensor:
    return output.mean((0, 2, 3) if output.ndim == 4 else 0)


def _rounded(weight: Tensor) -> Tensor:
    """Symmetric int8 per output channel, and back: what the quantizers do to a weight."""
    largest = weight.abs().flatten(1).amax(1).clamp(min=1e-12)
    scale = (largest / 127).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().clamp(-127, 127) * scale
