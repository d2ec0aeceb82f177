"""Fake-quantized activations: training feels what 8-bit activations will do to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.01  # of the running range


class FakeQuantization:
    """Rounds the inputs and outputs of every Linear and LayerNorm of `model` to 8 bits, per tensor
    and asymmetric, as a w8a8 export will; gradients pass straight through (arXiv 1712.05877,
    section 3). `on` is false at first: the ranges are learned only once it is set, and are not
    part of the model's state.
    """

    def __init__(self, model: nn.Module) -> None:
        self.on = False
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.LayerNorm):
                module.register_forward_pre_hook(self._before(f"{name}.in"))
                module.register_forward_hook(self._after(f"{name}.out"))

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not (self.on and module.training):
                return None
            return (self._rounded(name, inputs[0]), *inputs[1:])

        return hook

    def _after(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            return self._rounded(name, output) if self.on and module.training else None

        return hook

    def _rounded(self, name: str, x: Tensor) -> Tensor:
        with torch.no_grad():
            low, high = x.amin().float().clamp(max=0), x.amax().float().clamp(min=0)
            if name in self._ranges:
                old_low, old_high = self._ranges[name]
                low, high = old_low.lerp(low, _MOMENTUM), old_high.lerp(high, _MOMENTUM)
            self._ranges[name] = (low, high)
            step = ((high - low) / 255).clamp(min=1e-8)
            zero = (-low / step).round().clamp(0, 255).to(torch.int32)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x.float(), step, zero, 0, 255)
        return rounded.to(x.dtype)
