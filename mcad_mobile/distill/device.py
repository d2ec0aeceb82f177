"""Where a module lives, and how to multiply there."""

from __future__ import annotations

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def bfloat16(device: torch.device) -> torch.autocast:
    """Autocast: matrix products and convolutions in bfloat16, on CPUs, too."""
    return torch.autocast(device.type, torch.bfloat16)
