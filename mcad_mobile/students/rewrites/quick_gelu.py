"""QuickGELU as SiLU: x sigmoid(1.702 x) = silu(1.702 x) / 1.702, and both factors go into the
linear maps around it. Two operators a layer are left of three, and ranges of one tensor less are
to be found when activations are quantized."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from mcad_mobile.students.rewrites.replace import is_of

FACTOR = 1.702  # open_clip/transformer.py, QuickGELU


@torch.no_grad()
def fold_quick_gelu(tower: nn.Module) -> None:
    """Rewrite each QuickGELU of `tower` that stands between two linear maps, in place. Any other
    stays as it is, and exports as a sigmoid and two products."""
    for module in tower.modules():
        for first, middle, last in (("c_fc", "gelu", "c_proj"), ("fc1", "activation_fn", "fc2")):
            if not _is_quick_gelu(getattr(module, middle, None)):
                continue
            if not isinstance(getattr(module, "ln", None), nn.Identity | None):
                continue
            up, down = module.get_submodule(first), module.get_submodule(last)
            for parameter in up.parameters():
                parameter.mul_(FACTOR)
            down.get_parameter("weight").div_(FACTOR)
            setattr(module, middle, nn.SiLU())


def _is_quick_gelu(module: Any) -> bool:
    return is_of(module, "open_clip", "QuickGELU") or is_of(
        module, "transformers", "QuickGELUActivation"
    )
