"""A tower in operators that stay integer: LiteRT's quantizer leaves EMBEDDING_LOOKUP and
SQUARED_DIFFERENCE in float beside 16-bit activations. And one whose products can do with 8."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.students.rewrites.replace import replace

# Of the largest number that a norm puts out: float32 in another order of additions.
_SAME = 1e-3


def integer_friendly(tower: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
    """A copy of `tower`, in eval mode, that computes the same by a gather and means of products.
    `example`: inputs that it is run on, once, to see over which axes each norm goes."""
    tower = copy.deepcopy(tower).eval()
    norms = _spelled_norms(tower, example)

    def instead(module: Any) -> nn.Module | None:
        return _GatheredTable(module) if isinstance(module, nn.Embedding) else norms.get(module)

    replace(tower, instead)
    return tower


def even(tower: nn.Module, gains: Mapping[bytes, NDArray[np.float32]]) -> nn.Module:
    """A copy of `tower` that computes the same, in which each product with one of these matrices
    gives channels of one loudness, and a multiplication restores them (gains_by_matrix)."""
    tower = copy.deepcopy(tower)

    def instead(module: Any) -> nn.Module | None:
        if not isinstance(module, nn.Linear):
            return None
        gain = gains.get(module.weight.detach().contiguous().numpy().tobytes())
        return None if gain is None else _EvenLinear(module, torch.from_numpy(gain))

    replace(tower, instead)
    return tower


class _EvenLinear(nn.Module):
    def __init__(self, source: nn.Linear, gains: Tensor) -> None:
        super().__init__()
        self.even = nn.Linear(source.in_features, source.out_features, source.bias is not None)
        self.register_buffer("gains", gains)
        with torch.no_grad():
            self.even.weight.copy_(source.weight / gains[:, None])
            if source.bias is not None:
                self.even.bias.copy_(source.bias / gains)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.even(x) * self.gains
        return made


class _GatheredTable(nn.Module):
    """nn.Embedding as a gather of rows."""

    def __init__(self, source: nn.Embedding) -> None:
        super().__init__()
        self.weight = source.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight.index_select(0, ids.reshape(-1)).reshape(*ids.shape, -1)


class _SpelledNorm(nn.Module):
    """nn.LayerNorm over `axes`, with the variance as a mean of products. `places` follow the
    weight's own axes."""

    def __init__(self, source: nn.LayerNorm, axes: tuple[int, ...], places: int) -> None:
        super().__init__()
        self.axes, self.eps = axes, source.eps
        shape = (*source.normalized_shape, *(1,) * places)
        self.weight = None if source.weight is None else nn.Parameter(source.weight.reshape(shape))
        self.bias = None if source.bias is None else nn.Parameter(source.bias.reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        variance = (centred * centred).mean(self.axes, keepdim=True)
        normed = centred * torch.rsqrt(variance + self.eps)
        scaled = normed if self.weight is None else normed * self.weight
        return scaled if self.bias is None else scaled + self.bias


@torch.no_grad()
def _spelled_norms(tower: nn.Module, example: tuple[Tensor, ...]) -> dict[nn.Module, nn.Module]:
    """What takes each norm's place. Libraries derive classes from nn.LayerNorm that go over other
    axes (timm's LayerNorm2d: the channels of NCHW) or have their activation inside: taken is what
    puts out the same. A norm that nothing here equals is left as it is."""
    found: dict[nn.Module, list[nn.Module]] = {}

    def see(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        (x,) = inputs
        tried = found.get(norm, _candidates(norm, x))
        found[norm] = [spelled for spelled in tried if _same(spelled(x), output)]

    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(see) for norm in norms]
    tower(*example)
    for hook in hooks:
        hook.remove()
    return {norm: spelled[0] for norm, spelled in found.items() if spelled}


def _same(found: Tensor, output: Tensor) -> bool:
    return bool((found - output).abs().max() <= _SAME * output.abs().max())


def _candidates(norm: Any, x: Tensor) -> list[nn.Module]:
    """The norm spelled over the last axes and, of [N, C, H, W], over C, where the shapes agree."""
    shape = tuple(norm.normalized_shape)
    found = []
    if tuple(x.shape[-len(shape) :]) == shape:
        found.append(_SpelledNorm(norm, tuple(range(-len(shape), 0)), 0))
    if x.ndim == 4 and tuple(x.shape[1:2]) == shape:
        found.append(_SpelledNorm(norm, (1,), 2))
    if hasattr(norm, "act"):
        return [nn.Sequential(spelled, norm.act) for spelled in found]
    return list(found)
