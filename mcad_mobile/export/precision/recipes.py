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

from mcad_mobile.base.progress import Progress
from mcad_mobile.engine.bundle import Precision, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, normalize
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.quantization.four_bits import layers, with_weights
from mcad_mobile.export.quantization.ranges import METHODS, CalibrationMethod
from mcad_mobile.export.rungs import RungOptions, tower_plans
from mcad_mobile.export.targets import Family, Target
from mcad_mobile.export.tower_job import TowerJob

_SENSITIVITY_SAMPLES = 16
# Of what 4 bits can save. Finer steps differ by less recall than a thousand photos can resolve.
_SHARES = 6
# How recall was measured, for readers of the result
MEASURED_BY: dict[Family, str] = {
    "cpu": "the files that were written, by the runtimes that they are for",
    "snapdragon": "the graphs that were compiled, by ONNX Runtime on this processor and not on an "
    "HTP",
    "dimensity": "the .tflite files, by LiteRT on this processor and not on an NPU",
}
_ACTIVATION_BITS = {"w8a8": 8, "w8a16": 16, "w4a16": 16}


@dataclass(frozen=True, eq=False)
class Recipe:
    """A tower that was written in one precision.

    label: the recipe in words.
    bytes: how much of a bundle it takes; `weight_bytes` are its weights, by which recipes are
        ranked.
    path: the file that was written; recall is measured by what `load` makes of it.
    method: how 8-bit ranges of activations are calibrated.
    four_bit_weights: the names of the weights in 4 bits, of precision `mixed`.
    uniform: all weights are treated alike.
    activation_bits: on an NPU, which decide between recipes of one size.
    simulated: the same tower in its chip's simulator, if it has one.
    """

    tower: TowerName
    precision: Precision
    label: str
    bytes: int
    weight_bytes: int
    path: Path
    load: Callable[[Path], LoadedTower]
    method: CalibrationMethod = "min-max"
    four_bit_weights: frozenset[str] = frozenset()
    uniform: bool = True
    activation_bits: int = 0
    simulated: Recipe | None = None

    def rung_options(self) -> RungOptions:
        """Return the options by which a backend builds a rung of this recipe."""
        return RungOptions(self.method, self.four_bit_weights, keep_precision=True)


Pair = tuple[Recipe, Recipe]  # of the image tower and of the text tower


def size(pair: Pair) -> int:
    """Return how many bytes of a bundle two towers take."""
    return sum(recipe.bytes for recipe in pair)


@dataclass(frozen=True)
class Sensitivity:
    """How much of a tower's mean cosine to float the weight `name`, its student's `layer` of so
    many `numbers`, costs in 4 bits."""

    name: str
    layer: str
    numbers: int
    loss: float


def sensitivities(tower: TowerJob, progress: Progress) -> list[Sensitivity]:
    """Return all weights that can have 4 bits on CPUs, those that cost least for their bytes
    first. The cosine stands in for recall, which would take too long for each weight."""
    four = cpu.each_weight_in_four_bits(tower)
    model = onnx.load(tower.cpu_onnx)
    names = layers(model)
    samples = {key: value[:_SENSITIVITY_SAMPLES] for key, value in tower.samples.items()}
    expected = _run(model, tower.work / "ranked.onnx", samples)
    found = []
    for number, (name, weight) in enumerate(four.items()):
        progress(f"{tower.name} tower: 4 bits in one weight", number, len(four))
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
    progress: Progress,
) -> list[Recipe]:
    """Write a tower in all ways that the first rung of `target` can have."""
    runtime = tower_plans(tower.name, target)[0].runtime
    if runtime == "onnx":
        return _cpu_recipes(tower, ranked, loses_least, progress)
    if runtime == "qnn":
        return _htp_recipes(tower, target, progress)
    if target.family == "cpu":  # LiteRT's fast kernels for CPUs have 8-bit activations
        return _litert_recipes(tower, ["w8a8"], progress)
    return _litert_recipes(tower, ["w8a8", "w8a16", "w4a16"], progress)


def _cpu_recipes(
    tower: TowerJob,
    ranked: Sequence[Sensitivity],
    loses_least: Callable[[Sequence[Recipe]], Recipe],
    progress: Progress,
) -> list[Recipe]:
    """Return float, 8 bits by each method of calibration, and, by the method that loses least, more
    and more of the weights `ranked` in 4 bits, up to all of them."""
    cpu_recipe, _ = cpu.choose_recipe(tower)
    methods = METHODS[:1] if cpu_recipe == "dynamic" else METHODS
    counts = [count for count in mixes([weight.numbers for weight in ranked]) if count]
    steps = len(methods) + len(counts)

    def quantized(step: int, label: str, count: int, method: CalibrationMethod) -> Recipe:
        progress(f"{tower.name} tower: writing it", step, steps)
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
            uniform=count in (0, len(ranked)),
        )

    eight = [quantized(step, "int8", 0, method) for step, method in enumerate(methods)]
    # Ranges add or take some bytes of the format, which must not decide between methods.
    eight = [replace(recipe, weight_bytes=eight[0].weight_bytes) for recipe in eight]
    best = loses_least(eight).method
    mixed = [
        quantized(step, f"{count} of {len(ranked)} weights in 4 bits", count, best)
        for step, count in enumerate(counts, len(methods))
    ]
    path = tower.cpu_onnx
    bytes_ = path.stat().st_size
    return [
        Recipe(tower.name, "fp32", "fp32", bytes_, bytes_, path, cpu.load_quantized),
        *eight,
        *mixed,
    ]


def _label(label: str, method: CalibrationMethod) -> str:
    return label if method == "min-max" else f"{label}, ranges by {method}"


def _htp_recipes(tower: TowerJob, target: Target, progress: Progress) -> list[Recipe]:
    """Return what the HTP of `target` can run, compiled for its size. ONNX Runtime runs the graph
    that was compiled to measure recall: the HTP's simulator takes too long."""
    from mcad_mobile.engine.towers.qnn import QnnTower
    from mcad_mobile.export.backends.qnn.compile import compile_context
    from mcad_mobile.export.backends.qnn.quantize import quantize_tower

    assert target.soc_model is not None and target.htp_arch is not None
    numbers = _weight_count(tower)
    halved = sum(weight.numbers.size for weight in cpu.each_weight_in_four_bits(tower).values())
    simulator = partial(QnnTower, soc_model=target.soc_model, htp_arch=target.htp_arch)
    found = []
    for precision, method in _npu_ways(tower, ("w8a8", "w8a16", "w4a16"), progress):
        path = quantize_tower(tower, precision, target.htp_arch, method)
        folder = tower.work / method
        folder.mkdir(exist_ok=True)
        context = folder / f"{tower.name}_qnn_{precision}.onnx"  # it contains its name in a bundle
        binaries, _ = compile_context(path, context, target)
        recipe = Recipe(
            tower.name,
            precision,
            _label(precision, method),
            sum(file.stat().st_size for file in (context, *binaries)),
            numbers - (halved // 2 if precision == "w4a16" else 0),
            path,
            cpu.load_quantized,
            method=method,
            activation_bits=_ACTIVATION_BITS[precision],
        )
        label = f"{recipe.label}, simulated"
        simulated = replace(recipe, label=label, path=context, load=simulator)
        found.append(replace(recipe, simulated=simulated))
    return found


def _litert_recipes(
    tower: TowerJob, precisions: Sequence[Precision], progress: Progress
) -> list[Recipe]:
    """Return what LiteRT runs, or gives a Dimensity's NPU. LiteRT on this processor measures their
    recall."""
    from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of
    from mcad_mobile.export.backends.litert.quantize import load_quantized, quantize_tower

    numbers, found = _weight_count(tower), []
    for precision, method in _npu_ways(tower, precisions, progress):
        path = quantize_tower(tower, precision, method)
        halved = four_bits_of(path)
        if precision == "w4a16" and not halved:  # the converter changed all such weights
            continue
        found.append(
            Recipe(
                tower.name,
                precision,
                _label(precision, method),
                path.stat().st_size,
                numbers - halved,
                path,
                partial(load_quantized, tower),
                method=method,
                activation_bits=_ACTIVATION_BITS[precision],
            )
        )
    return found


def _npu_ways(
    tower: TowerJob, precisions: Sequence[Precision], progress: Progress
) -> Iterator[tuple[Precision, CalibrationMethod]]:
    """Give each precision with its methods: with 16 bits, all values have enough steps."""
    ways = [
        (precision, method)
        for precision in precisions
        for method in (METHODS if _ACTIVATION_BITS[precision] == 8 else METHODS[:1])
    ]
    for number, way in enumerate(ways):
        progress(f"{tower.name} tower: writing it", number, len(ways))
        yield way


def _weight_count(tower: TowerJob) -> int:
    tensors = onnx.load(tower.float_onnx).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors)


def mixes(numbers: Sequence[int]) -> list[int]:
    """Return how many of the first weights, of so many numbers each, to take: none, all, and as
    many as make up at most each sixth of all numbers."""
    ends = np.cumsum(numbers)
    shares = np.arange(_SHARES + 1) / _SHARES
    return sorted({int(np.searchsorted(ends, share * sum(numbers), "right")) for share in shares})
