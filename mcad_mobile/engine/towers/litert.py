"""Towers on LiteRT (TensorFlow Lite), on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, Rung, TensorSpec
from mcad_mobile.engine.towers.protocol import Inputs, Runtime, split_batch
from mcad_mobile.errors import Remedy, RuntimeUnavailable, require

SLOW_16_BITS = "LiteRT has no fast CPU kernels for 16-bit activations"


class LiteRTTower:
    """A .tflite model, with one interpreter per concurrent call. Integers are quantized and
    dequantized here, with the scales in the bundle."""

    simulated = False

    def __init__(
        self,
        path: Path,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        threads: int = 1,
        *,
        xnnpack: bool = True,
    ) -> None:
        """Without `xnnpack`, LiteRT's own slow kernels run the model."""
        interpreter = require("ai_edge_litert.interpreter", "dimensity")
        kinds = interpreter.OpResolverType
        kernels = kinds.AUTO if xnnpack else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self.kernels = "XNNPACK" if xnnpack else "LiteRT's own kernels"
        self._path, self._inputs, self._output = path, inputs, outputs[0]
        self._new: Callable[[], Any] = partial(
            interpreter.Interpreter,
            str(path),
            num_threads=threads,
            experimental_op_resolver_type=kernels,
        )
        self._idle = [self._loaded()]

    def _loaded(self) -> Any:
        try:
            interpreter = self._new()
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise RuntimeUnavailable(
                f"LiteRT cannot load {self._path}: {error}.", Remedy.EXPORT_AGAIN
            ) from error

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        return np.concatenate([self._run(single) for single in split_batch(inputs)])

    def _run(self, inputs: Inputs) -> NDArray[np.float32]:
        try:
            run = self._idle.pop()
        except IndexError:  # all are in use
            run = self._loaded()
        try:
            names = sorted(run.get_input_details())
            (output,) = run(**signature_arguments(inputs, self._inputs, names)).values()
        except (ValueError, RuntimeError) as error:
            raise RuntimeUnavailable(
                f"LiteRT cannot run {self._path}: {error}.", Remedy.EXPORT_AGAIN
            ) from error
        self._idle.append(run)
        return dequantize(output, self._output)


def signature_arguments(
    inputs: Inputs, specs: tuple[TensorSpec, ...], names: Sequence[str] | None = None
) -> Inputs:
    """Inputs by name -> by the file's `names`, which are in the order of `specs` (default:
    litert-torch's), in each spec's layout, shape and stored type."""
    arguments = {}
    names = [f"args_{index}" for index in range(len(specs))] if names is None else names
    for name, spec in zip(names, specs, strict=True):
        value = inputs[spec.name]
        if spec.layout == "NHWC":
            value = value.transpose(0, 2, 3, 1)
        arguments[name] = quantize(value.reshape(-1, *spec.shape[1:]), spec)
    return arguments


def quantize(value: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """Real values -> the stored type: round(value / scale) + zero_point, clipped to its range."""
    dtype = np.dtype(spec.dtype)
    if spec.scale is None:
        return value.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    stored = np.rint(value.astype(np.float32) / np.float32(spec.scale)) + (spec.zero_point or 0)
    clipped: NDArray[np.generic] = stored.clip(limits.min, limits.max)
    return clipped.astype(dtype)


def dequantize(stored: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.float32]:
    """The stored type -> real values: scale * (stored - zero_point)."""
    if spec.scale is None:
        return stored.astype(np.float32, copy=False)
    centred = stored.astype(np.float32) - np.float32(spec.zero_point or 0)
    return centred * np.float32(spec.scale)


class LiteRT(Runtime):
    """Integer .tflite models."""

    name, label = "litert", "LiteRT"
    library, package = "ai_edge_litert.interpreter", "ai-edge-litert"
    in_app = "LiteRT"
    counts = "accepted"

    def why_not(self, rung: Rung) -> str | None:
        if self.slow_on_cpus(rung):
            return f"{SLOW_16_BITS}: it is for the NPU"
        if importlib.util.find_spec("ai_edge_litert") is None:
            return f"{self.package} is not installed here"
        return None

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> LiteRTTower:
        return LiteRTTower(bundle.path(rung.files[0]), rung.inputs, rung.outputs, threads)

    def slow_on_cpus(self, rung: Rung) -> bool:
        return rung.precision in ("w8a16", "w4a16")

    def stored_inputs(self, inputs: Inputs, specs: tuple[TensorSpec, ...]) -> Inputs:
        return signature_arguments(inputs, specs)

    def real_output(self, stored: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.float32]:
        return dequantize(stored, spec)


class CompiledFromLiteRT(Runtime):
    """What a vendor's compiler makes of a .tflite for the NPU of one chip."""

    source = LiteRT.name
    for_one_chip = True
    counts = "compiled"

    def __init__(self, name: str, label: str) -> None:
        self.name, self.label = name, label

    def why_not(self, rung: Rung) -> str | None:
        return "it is compiled for a phone's NPU and runs only there"

    def load(self, bundle: Bundle, rung: Rung, threads: int, gpu: bool) -> LiteRTTower:
        raise RuntimeUnavailable(
            f"{bundle.path(rung.files[0])} is compiled for the NPU of {bundle.chip(rung).chip} and "
            "runs only there.",
            Remedy.USE_LITERT,
        )
