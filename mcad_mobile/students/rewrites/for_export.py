"""Rewrite a library's tower so that exporters accept all of it. Each rewrite preserves the tower's
outputs and is tested against the original."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mcad_mobile.errors import require
from mcad_mobile.students.rewrites import is_of, replace_modules
from mcad_mobile.students.rewrites.attention import spell_attention, spell_attention_pooling

_QUICK_GELUS = (("open_clip", "QuickGELU"), ("transformers", "QuickGELUActivation"))
QUICK_GELU = 1.702  # open_clip/transformer.py, QuickGELU
_EMBEDDINGS = tuple(
    f"{kind}VisionEmbeddings" for kind in ("CLIP", "MetaClip2", "Siglip", "ChineseCLIP")
)


def for_export(tower: nn.Module, *example: Tensor) -> None:
    """Rewrite a tower in eval mode, in place. `example`: inputs to run it on."""
    reparameterize(tower)
    fold_batch_norms(tower, *example)
    spell_attention_pooling(tower)
    spell_attention(tower)
    fold_quick_gelu(tower)
    bake_positions(tower)


def reparameterize(tower: nn.Module) -> None:
    """Merge training-time branches (MobileOne, RepMixer, RepVGG) into one convolution with timm's
    own functions. In 8 bits, separate branches would be rounded one by one."""
    if any(type(module).__module__.startswith("timm.") for module in tower.modules()):
        require("timm.utils", "students").reparameterize_model(tower, inplace=True)


@torch.no_grad()
def fold_quick_gelu(tower: nn.Module) -> None:
    """Turn each QuickGELU between two linear maps into a SiLU: x sigmoid(1.702 x) = silu(1.702 x)
    / 1.702. The maps absorb both factors: one operator per layer, one range less to quantize."""
    for module in tower.modules():
        for first, middle, last in (("c_fc", "gelu", "c_proj"), ("fc1", "activation_fn", "fc2")):
            gelu = getattr(module, middle, None)
            if not any(is_of(gelu, *kind) for kind in _QUICK_GELUS):
                continue
            if not isinstance(getattr(module, "ln", None), nn.Identity | None):
                continue
            up, down = module.get_submodule(first), module.get_submodule(last)
            for parameter in up.parameters():
                parameter.mul_(QUICK_GELU)
            down.get_parameter("weight").div_(QUICK_GELU)
            setattr(module, middle, nn.SiLU())


@torch.no_grad()
def bake_positions(tower: nn.Module) -> None:
    """Precompute transformers' patch positions, otherwise a gather of constants."""
    for module in tower.modules():
        if not any(is_of(module, "transformers", name) for name in _EMBEDDINGS):
            continue
        embeddings: Any = module
        rows = embeddings.position_embedding(embeddings.position_ids)
        embeddings.position_embedding = _Baked(rows.detach().clone())


class _Baked(nn.Module):
    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)

    def forward(self, ids: Tensor) -> Tensor:
        return self.get_buffer("rows")


_Norm = nn.BatchNorm1d | nn.BatchNorm2d


@torch.no_grad()
def fold_batch_norms(tower: nn.Module, *example: Tensor) -> None:
    """Fold batch norms into the preceding convolution, in place; a lone one becomes a product and a
    sum. Running `example` shows which norms are a convolution's only reader."""
    # onnxruntime-qnn 2.7 leaves a lone BatchNormalization on the CPU, and crashes on a 1 x 1
    # depthwise convolution in its place. Folded here, the quantized graph is the one that runs.
    norms = [module for module in tower.modules() if isinstance(module, _Norm)]
    if not norms:
        return
    before = _convolution_before(tower, example)
    for norm in norms:
        if convolution := before.get(id(norm)):
            folded = fuse_conv_bn_eval(convolution, norm)
            convolution.weight, convolution.bias = folded.weight, folded.bias

    def replacement(module: Any) -> nn.Module | None:
        if not isinstance(module, _Norm):
            return None
        activation: nn.Module = getattr(module, "act", nn.Identity())  # timm's norms include it
        return activation if id(module) in before else nn.Sequential(_Scale(module), activation)

    replace_modules(tower, replacement)


class _Scale(nn.Module):
    """A norm of [B, C] or [B, C, H, W] as one product and one sum."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias
        trailing_axes = (1, 1) if isinstance(norm, nn.BatchNorm2d) else ()
        self.register_buffer("scale", scale.reshape(-1, *trailing_axes))
        self.register_buffer("shift", shift.reshape(-1, *trailing_axes))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("scale") + self.get_buffer("shift")


def _convolution_before(tower: nn.Module, example: tuple[Tensor, ...]) -> dict[int, nn.Conv2d]:
    """Map a norm's id to the convolution of which it is the only reader."""
    reads = _ReadCounter()
    convolutions: dict[int, nn.Conv2d] = {}
    norm_inputs: dict[int, int] = {}
    runs: Counter[int] = Counter()

    def observe(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[id(module)] += 1
        if isinstance(module, _Norm):
            norm_inputs[id(module)] = id(inputs[0])
        else:
            convolutions[id(output)] = module
            reads.alive.append(output)

    hooks = [
        module.register_forward_hook(observe)
        for module in tower.modules()
        if isinstance(module, _Norm | nn.Conv2d)
    ]
    with reads:
        tower(*example)
    for hook in hooks:
        hook.remove()
    return {
        norm: convolutions[tensor]
        for norm, tensor in norm_inputs.items()
        if tensor in convolutions
        and reads.count[tensor] == 1
        and runs[norm] == runs[id(convolutions[tensor])] == 1
    }


class _ReadCounter(TorchFunctionMode):
    """Counts the functions that read each tensor, by its id. Keeps the tensors alive, because
    Python reuses the ids of freed objects."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self.alive: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # Functions that return no tensor, but a shape or a type, do not count.
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, Tensor):
                    self.count[id(leaf)] += 1
                    self.alive.append(leaf)
        return result
