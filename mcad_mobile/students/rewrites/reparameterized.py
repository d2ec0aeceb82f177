"""Branches that training needs, summed into the one convolution that they amount to."""

from __future__ import annotations

from torch import nn

from mcad_mobile.errors import require


def reparameterize(tower: nn.Module) -> None:
    """MobileOne and RepMixer blocks (MobileCLIP, FastViT), RepVGG and the like, by timm's own
    functions, in place. In 8 bits the branches' sum would be rounded many times."""
    if any(type(module).__module__.startswith("timm.") for module in tower.modules()):
        require("timm.utils", "students").reparameterize_model(tower, inplace=True)
