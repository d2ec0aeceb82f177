"""The recipes that a search for precisions tries: a tower in one precision, or in a mix of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Precision, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, normalize
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.quantization.four_bits import layers, with_weights
from mcad_mobile.export.quantization.ranges import METHODS, CalibrationMethod
from mcad_mobile.export.rungs import tower_plans
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Family, Target

_SENSITIVITY_SAMPLES = 16
# Parts of what 4 bits can save. Finer steps differ by less recall than 1000 photos can resolve.
_SHARES = 6
# How recall was measured, for readers of the result
MEASURED_BY: dict[Family, str] = {
    "cpu": "the files that were written, by the runtimes that they are for",
    "snapdragon": "the graphs that were compiled, by ONNX Runtime on this processor and not on an "
    "HTP",
    "dimensity": "the .tflite files, by LiteRT on this processor and not on an NPU",
    "tensor": "the .tflite files, by LiteRT on this processor and not on an NPU",
}
_ACTIVATION_BITS = {"w8a8": 8, "w8a16": 16, "w4a16": 16}


@dataclass(frozen=True, eq=False)
class Recipe:
    """A tower that was written to `path` in one precision, and how to `load` it. Recipes are ranked
    by `weight_bytes`, then by `activation_bits`."""

    tower: TowerName
    precision: Precision
    label: str
    bytes: int
    weight_bytes: int
    path: Path
    load: Callable[[Path], LoadedTower]
    method: CalibrationMethod = "min-max"
    four_bit_weights: frozenset[str] = frozenset()
    activation_bits: int = 0


Pair = tuple[Recipe, Recipe]  # image tower, text tower


def size(pair: Pair) -> int:
    """Return how many bytes of a bundle two towers take."""
    return sum(recipe.bytes for recipe in pair)


@dataclass(frozen=True)
class Sensitivity:
    """How much mean cosine to float a tower loses if the weight `name` has 4 bits."""

    name: str
    layer: str
    numbers: int
    loss: float


def sensitivities(tower: TowerJob) -> list[Sensitivity]:
    """Return the weights that can have 4 bits on CPUs, lowest loss per number first."""
    four = cpu.each_weight_in_four_bits(tower)
    model = onnx.load(tower.cpu_onnx)
    names = layers(model)
    samples = {key: value[:_SENSITIVITY_SAMPLES] for key, value in tower.samples.items()}
    expected = _run(model, tower.work / "ranked.onnx", samples)
    found = []
    for number, (name, weight) in enumerate(four.items()):
        tower.progress("trying 4 bits for one weight at a time", number, len(four))
        rounded = with_weights(model, {name: weight})
        cosines = (expected * _run(rounded, tower.work / "ranked.onnx", samples)).sum(1)
        loss = 1 - float(cosines.mean())
        found.append(Sensitivity(name, names[name], int(weight.numbers.size), loss))
    return sorted(found, key=lambda weight: (weight.loss / weight.numbers, weight.name))


def _run(model: onnx.ModelProto, path: Path, inputs: Inputs) -> NDArray[np.float32]:
    onnx.save(model, path)
    return normalize(OnnxTower(path)(inputs))


def recipes_for(
    tower: TowerJob,
    target: Target,
    ranked: Sequence[Sensitivity],
    loses_least: Callable[[Sequence[Recipe]], Recipe],
) -> list[Recipe]:
    """Write a tower in each way that the first rung of `target` supports."""
    runtime = tower_plans(tower.name, target)[0].runtime
    if runtime == "onnx":
        return _cpu_recipes(tower, ranked, loses_least)
    if runtime == "qnn":
        return _htp_recipes(tower, target)
    if not target.has_npu:  # LiteRT's fast kernels for CPUs have 8-bit activations
        return _litert_recipes(tower, ["w8a8"])
    return _litert_recipes(tower, ["w8a8", "w8a16", "w4a16"])


def _cpu_recipes(
    tower: TowerJob,
    ranked: Sequence[Sensitivity],
    loses_least: Callable[[Sequence[Recipe]], Recipe],
) -> list[Recipe]:
    """Return float, 8 bits with each method, and with the best one, more and more 4-bit weights."""
    cpu_recipe, _ = cpu.choose_recipe(tower)
    methods = METHODS[:1] if cpu_recipe in cpu.AT_RUN_TIME else METHODS
    counts = [count for count in mixes([weight.numbers for weight in ranked]) if count]
    steps = len(methods) + len(counts)

    def quantized(step: int, label: str, count: int, method: CalibrationMethod) -> Recipe:
        tower.progress("writing candidates", step, steps)
        weights = frozenset(weight.name for weight in ranked[:count])
        path = cpu.quantize_tower(tower, cpu_recipe, weights, method)
        bytes_ = path.stat().st_size
        return Recipe(
            tower.name,
            "mixed" if count else "int8",
            _label(label, method),
            bytes_,
            bytes_,
            path,
            cpu.load_quantized,
            method=method,
            four_bit_weights=weights,
        )

    eight = [quantized(step, "int8", 0, method) for step, method in enumerate(methods)]
    # Ranges change the size by a few bytes of the format, which must not decide between methods.
    eight = [replace(recipe, weight_bytes=eight[0].weight_bytes) for recipe in eight]
    best = loses_least(eight).method
    mixed = [
        quantized(step, f"{count} of {len(ranked)} weights in 4 bits", count, best)
        for step, count in enumerate(counts, len(methods))
    ]
    path = tower.cpu_onnx
    bytes_ = path.stat().st_size
    whole = Recipe(tower.name, "fp32", "fp32", bytes_, bytes_, path, cpu.load_quantized)
    return [whole, *eight, *mixed]


def _label(label: str, method: CalibrationMethod) -> str:
    return label if method == "min-max" else f"{label}, ranges by {method}"


def _htp_recipes(tower: TowerJob, target: Target) -> list[Recipe]:
    """Return what the HTP of `target` can run, compiled to know its size. ONNX Runtime runs the
    same graph to measure recall, because the HTP's simulator takes too long."""
    from mcad_mobile.export.backends.qnn import compile_context
    from mcad_mobile.export.backends.qnn.quantize import quantize_tower

    assert target.htp_arch is not None
    numbers = _weight_count(tower)
    halved = sum(weight.numbers.size for weight in cpu.each_weight_in_four_bits(tower).values())
    found = []
    for precision, method, recipe in _npu_ways(tower, ("w8a8", "w8a16", "w4a16")):
        path = quantize_tower(tower, precision, target.htp_arch, method)
        folder = tower.work / method
        folder.mkdir(exist_ok=True)
        context = folder / f"{tower.name}_qnn_{precision}.onnx"  # its files contain this name
        binaries, _ = compile_context(path, context, target)
        found.append(
            recipe(
                bytes=sum(file.stat().st_size for file in (context, *binaries)),
                weight_bytes=numbers - (halved // 2 if precision == "w4a16" else 0),
                path=path,
                load=cpu.load_quantized,
            )
        )
    return found


def _litert_recipes(tower: TowerJob, precisions: Sequence[Precision]) -> list[Recipe]:
    """Return what LiteRT runs on the CPU, or a vendor's compiler compiles for its NPU."""
    from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of
    from mcad_mobile.export.backends.litert.quantize import load_quantized, quantize_tower

    numbers, found = _weight_count(tower), []
    for precision, method, recipe in _npu_ways(tower, precisions):
        path = quantize_tower(tower, precision, method)
        halved = four_bits_of(path)
        if precision == "w4a16" and not halved:  # the converter changed all such weights
            continue
        bytes_, load = path.stat().st_size, partial(load_quantized, tower)
        found.append(recipe(bytes=bytes_, weight_bytes=numbers - halved, path=path, load=load))
    return found


def _npu_ways(
    tower: TowerJob, precisions: Sequence[Precision]
) -> Iterator[tuple[Precision, CalibrationMethod, Callable[..., Recipe]]]:
    """Yield each precision with its methods (16 bits need only one), and a maker of recipes."""
    ways = [
        (precision, method)
        for precision in precisions
        for method in (METHODS if _ACTIVATION_BITS[precision] == 8 else METHODS[:1])
    ]
    for number, (precision, method) in enumerate(ways):
        tower.progress("writing candidates", number, len(ways))
        label, bits = _label(precision, method), _ACTIVATION_BITS[precision]
        recipe = partial(Recipe, tower.name, precision, label, method=method, activation_bits=bits)
        yield precision, method, recipe


def _weight_count(tower: TowerJob) -> int:
    tensors = onnx.load(tower.float_onnx).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors)


def mixes(numbers: Sequence[int]) -> list[int]:
    """Return how many weights to take: none, all, and as many as fit each sixth of all numbers."""
    ends = np.cumsum(numbers)
    shares = np.arange(_SHARES + 1) / _SHARES
    return sorted({int(np.searchsorted(ends, share * sum(numbers), "right")) for share in shares})
