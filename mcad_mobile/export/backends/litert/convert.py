"""Convert towers to float LiteRT flatbuffers. LiteRT's quantizer leaves SQUARED_DIFFERENCE in
float, and the variance of a norm can need more than 16 bits, so a tower is rewritten to operators
that stay integer."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import Tensor, nn

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import TensorSpec
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import require
from mcad_mobile.students.rewrites import replace_modules

_TOLERANCE = 1e-3  # of a norm's largest output; float32 sums depend on the order of additions
_MAX_VARIANCE_RATIO = 32.0  # the largest ratio of variances that share a 16-bit scale
_NEGLIGIBLE = 1e-3  # of a variance
_MOST_BYTES = 32 * 2**20  # of a convolution's weights: ai-edge-quantizer 0.10 refuses more


def integer_friendly(tower: nn.Module, examples: Sequence[tuple[Tensor, ...]]) -> nn.Module:
    """Return a copy of `tower` with split large convolutions, and decomposed norms that fit the
    `examples`."""
    tower = copy.deepcopy(tower).eval()
    norms = _decomposed_norms(tower, examples)

    def replacement(module: Any) -> nn.Module | None:
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            parts = math.ceil(module.weight.nbytes / _MOST_BYTES)
            return _SplitConvolution(module, parts) if parts > 1 else None
        return norms.get(module)

    replace_modules(tower, replacement)
    return tower


def equalize_channels(tower: nn.Module, gains: Mapping[bytes, NDArray[np.float32]]) -> nn.Module:
    """Return a copy of `tower` with equalized channels after the matrices in `gains`."""
    tower = copy.deepcopy(tower)

    def replacement(module: Any) -> nn.Module | None:
        if not isinstance(module, nn.Linear):
            return None
        gain = gains.get(module.weight.detach().contiguous().numpy().tobytes())
        return None if gain is None else _EqualizedLinear(module, torch.from_numpy(gain))

    replace_modules(tower, replacement)
    return tower


class _EqualizedLinear(nn.Module):
    def __init__(self, source: nn.Linear, gains: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(source.in_features, source.out_features, source.bias is not None)
        self.register_buffer("gains", gains)
        with torch.no_grad():
            self.linear.weight.copy_(source.weight / gains[:, None])
            if source.bias is not None:
                self.linear.bias.copy_(source.bias / gains)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.gains  # type: ignore[no-any-return]


class _SplitConvolution(nn.Module):
    """A convolution as several, each with a share of its output channels."""

    def __init__(self, source: nn.Conv2d, parts: int) -> None:
        super().__init__()
        weights = source.weight.chunk(parts)
        biases = [None] * parts if source.bias is None else source.bias.chunk(parts)
        self.parts = nn.ModuleList()
        for weight, bias in zip(weights, biases, strict=True):
            part = copy.deepcopy(source)
            part.weight = nn.Parameter(weight)
            part.bias = None if bias is None else nn.Parameter(bias)
            self.parts.append(part)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], 1)


class _DecomposedNorm(nn.Module):
    """nn.LayerNorm over `axes`, with its activation if it has one, and with the variance as a mean
    of products. Its weight and bias get `trailing_axes` trailing axes of size 1."""

    def __init__(self, source: nn.LayerNorm, axes: tuple[int, ...], trailing_axes: int) -> None:
        super().__init__()
        self.axes, self.eps = axes, source.eps
        shape = (*source.normalized_shape, *(1,) * trailing_axes)
        self.weight = None if source.weight is None else nn.Parameter(source.weight.reshape(shape))
        self.bias = None if source.bias is None else nn.Parameter(source.bias.reshape(shape))
        self.activation = getattr(source, "act", None)
        self.variances: list[Tensor] = []
        self.added_constants: list[float] = []

    def observe(self, x: Tensor) -> Tensor:
        """Return the norm of `x`, and remember its variances for `calibrate`."""
        self.variances.append(self._variance(self._centred(x)).flatten())
        return self(x)  # type: ignore[no-any-return]

    def calibrate(self) -> None:
        """Normalize in several steps from now on if the observed variances are far apart."""
        # Some tokens of a transformer are a hundred times as large as the rest. A 16-bit scale that
        # holds their squares rounds the squares of the rest to 0, where the reciprocal root, a
        # table of equal steps, is steep. So tokens are first brought closer together, several times
        # if needed: divided by the root of their variance plus a constant, roughly halfway.
        variances = torch.cat(self.variances)
        least, most = float(variances.min()), float(variances.max())
        self.variances.clear()
        eps = self.eps
        while most > _MAX_VARIANCE_RATIO * least:
            # eps must be negligible: it is divided by this constant alone, not by the variance
            constant = max((least * most) ** 0.5, eps / _NEGLIGIBLE)
            self.added_constants.append(constant)
            least, most, eps = least / (least + constant), most / (most + constant), eps / constant
            if eps >= least:
                break  # a variance near 0 cannot be brought closer

    def forward(self, x: Tensor) -> Tensor:
        centred, eps = self._centred(x), self.eps
        for constant in self.added_constants:
            centred, eps = self._normalized(centred, constant), eps / constant
        normed = self._normalized(centred, eps)
        scaled = normed if self.weight is None else normed * self.weight
        shifted = scaled if self.bias is None else scaled + self.bias
        return shifted if self.activation is None else self.activation(shifted)

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(self.axes, keepdim=True)

    def _variance(self, centred: Tensor) -> Tensor:
        return (centred * centred).mean(self.axes, keepdim=True)

    def _normalized(self, centred: Tensor, eps: float) -> Tensor:
        return centred * torch.rsqrt(self._variance(centred) + eps)


@torch.no_grad()
def _decomposed_norms(
    tower: nn.Module, examples: Sequence[tuple[Tensor, ...]]
) -> dict[nn.Module, _DecomposedNorm]:
    """Return each norm's replacement: the first decomposition that computes the same. Libraries
    derive norms over other axes (timm's LayerNorm2d) or with an activation from nn.LayerNorm."""
    candidates: dict[nn.Module, list[_DecomposedNorm]] = {}

    def observe(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        (x,) = inputs
        possible = candidates.get(norm, _decompositions(norm, x))
        tolerance = _TOLERANCE * output.abs().max()
        candidates[norm] = [
            decomposed
            for decomposed in possible
            if (decomposed.observe(x) - output).abs().max() <= tolerance
        ]

    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(observe) for norm in norms]
    for example in examples:
        tower(*example)
    for hook in hooks:
        hook.remove()
    chosen = {norm: fitting[0] for norm, fitting in candidates.items() if fitting}
    for decomposed in chosen.values():
        decomposed.calibrate()
    return chosen


def _decompositions(norm: Any, x: Tensor) -> list[_DecomposedNorm]:
    """Return the norm over the last axes and, for [N, C, H, W], over C, if the shapes agree."""
    shape = tuple(norm.normalized_shape)
    decompositions = []
    if tuple(x.shape[-len(shape) :]) == shape:
        decompositions.append(_DecomposedNorm(norm, tuple(range(-len(shape), 0)), 0))
    if x.ndim == 4 and tuple(x.shape[1:2]) == shape:
        decompositions.append(_DecomposedNorm(norm, (1,), 2))
    return decompositions


def convert_litert(
    tower: nn.Module, out: Path, inputs: tuple[TensorSpec, ...], samples: Inputs | None = None
) -> None:
    """Write a float .tflite for a batch of one; NHWC inputs are channels-last there."""
    with quiet():
        litert_torch = require("litert_torch", "dimensity")
        last = [index for index, spec in enumerate(inputs) if spec.layout == "NHWC"]
        arguments = tuple(
            torch.rand(spec.shape, generator=torch.Generator().manual_seed(0)).to(
                getattr(torch, spec.dtype)
            )
            for spec in inputs
        )
        channels_first = tuple(
            value.permute(0, 3, 1, 2) if index in last else value
            for index, value in enumerate(arguments)
        )
        examples = [channels_first]
        if samples is not None:
            examples = [
                tuple(torch.from_numpy(single[spec.name]) for spec in inputs)
                for single in split_batch(samples)
            ]
        module = integer_friendly(tower, examples)
        if last:
            module = litert_torch.to_channel_last_io(module, args=last)
        litert_torch.convert(module.eval(), arguments).export(str(out))


def channels_last(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Return the same inputs with images [N, H, W, C], which is LiteRT's layout."""
    return tuple(
        replace(spec, layout="NHWC", shape=tuple(spec.shape[i] for i in (0, 2, 3, 1)))
        if spec.layout == "NCHW"
        else spec
        for spec in specs
    )


def stored_specs(
    path: Path, inputs: tuple[TensorSpec, ...], output: TensorSpec
) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Return the specs of a written model, with types, scales and zero points from its file."""
    interpreter = require("ai_edge_litert.interpreter", "dimensity").Interpreter(str(path))
    runner = interpreter.get_signature_runner()

    def stored(spec: TensorSpec, detail: dict[str, Any]) -> TensorSpec:
        scale, zero_point = detail["quantization"]
        dtype = np.dtype(detail["dtype"]).name
        if not scale:
            return replace(spec, dtype=dtype)
        return replace(spec, dtype=dtype, scale=float(scale), zero_point=int(zero_point))

    details = runner.get_input_details()
    stored_inputs = tuple(stored(spec, details[f"args_{i}"]) for i, spec in enumerate(inputs))
    (output_detail,) = runner.get_output_details().values()
    return stored_inputs, stored(output, output_detail)
