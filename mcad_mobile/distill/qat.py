"""Fake-quantized activations: training feels what 8-bit activations will do to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.01  # of the running range


class FakeQuantization(nn.Module):
    """Rounds what every Linear, LayerNorm and Conv2d of `model` takes, and what the first two
    give, to 8 bits, per tensor and asymmetric, as a w8a8 export will; gradients pass straight
    through (arXiv 1712.05877, section 3). `on` is false at first, and ranges are learned only
    once it is set. They are state of this module, so that a checkpoint holds them, and not of
    `model`.
    """

    ranges: Tensor  # [tensors, 2] float32, NaN where nothing was seen yet

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.on = False
        kinds = nn.Linear | nn.LayerNorm | nn.Conv2d
        hooked = [module for module in model.modules() if isinstance(module, kinds)]
        self.register_buffer("ranges", torch.full((2 * len(hooked), 2), torch.nan))
        for number, module in enumerate(hooked):
            module.register_forward_pre_hook(self._before(2 * number))
            # An export clips a convolution's output to 0..6 first: the next layer's input.
            if not isinstance(module, nn.Conv2d):
                module.register_forward_hook(self._after(2 * number + 1))

    def _before(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            if not (self.on and module.training):
                return None
            return (self._rounded(number, inputs[0]), *inputs[1:])

        return hook

    def _after(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor | None:
            return self._rounded(number, output) if self.on and module.training else None

        return hook

    def _rounded(self, number: int, x: Tensor) -> Tensor:
        with torch.no_grad():
            seen = torch.stack([x.amin().float().clamp(max=0), x.amax().float().clamp(min=0)])
            old = self.ranges[number]
            self.ranges[number] = torch.where(old.isnan(), seen, old.lerp(seen, _MOMENTUM))
            low, high = self.ranges[number]
            step = ((high - low) / 255).clamp(min=1e-8)
            zero = (-low / step).round().clamp(0, 255).to(torch.int32)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x.float(), step, zero, 0, 255)
        return rounded.to(x.dtype)
