"""Bias correction: make a layer's mean output the same with 8-bit weights as with float ones.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(arXiv 1906.04721, section 4.2), in its form with data: rounding a weight matrix shifts a layer's
mean output, the shifts add up through a deep tower, and biases can undo them.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def corrected(tower: nn.Module, pixels: Tensor) -> nn.Module:
    """Return a copy of `tower` with float weights and biases that are corrected for int8 weights
    per output channel; `pixels` [N, 3, S, S] are real photos."""
    means = _channel_means(tower.eval(), pixels)
    rounded = copy.deepcopy(tower)
    for layer in rounded.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.copy_(_rounded(layer.weight))

    # One pass corrects all layers in order: each hook fixes its layer's output before the next
    # layer sees it.
    def correct(layer: nn.Module, expected: Tensor, output: Tensor) -> Tensor:
        shift = expected - _mean(output, isinstance(layer, nn.Conv2d))
        layer.get_parameter("bias").add_(shift)
        return output + (shift[:, None, None] if isinstance(layer, nn.Conv2d) else shift)

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
            lambda layer, __, output, name=name: means.__setitem__(
                name, _mean(output, isinstance(layer, nn.Conv2d))
            )
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
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None
    ]


def _mean(output: Tensor, image: bool) -> Tensor:
    """Return the mean of each channel, which is the second axis of an image and else the last."""
    return output.mean((0, 2, 3)) if image else output.flatten(0, -2).mean(0)


def _rounded(weight: Tensor) -> Tensor:
    """Round a weight to symmetric int8 per output channel, as the quantizers do, and back."""
    largest = weight.abs().flatten(1).amax(1).clamp(min=1e-12)
    scale = (largest / 127).reshape(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().clamp(-127, 127) * scale
