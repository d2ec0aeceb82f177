"""The candidates of a search for precisions: whole recipes, and mixes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.base.progress import Progress
from mcad_mobile.engine.bundle import Precision
from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.engine.towers.onnx import OnnxTower, saturates
from mcad_mobile.export.backends.onnx.convert import is_convolutional
from mcad_mobile.export.quantization.four_bits import layers, with_weights
from mcad_mobile.export.quantization.ranges import METHODS, CalibrationMethod
from mcad_mobile.export.rungs import Candidate, plans_here
from mcad_mobile.export.targets import Family, Target
from mcad_mobile.export.tower_job import TowerJob

# What 4 bits cost each weight of a tower: a proxy, by which weights are ranked.

_SAMPLES = 16


@dataclass(frozen=True)
class Sensitivity:
    """Of the weight `name`, which its student calls `layer`: what 4 bits for it alone take off its
    tower's cosine to float, on average over samples."""

    name: str
    layer: str
    numbers: int
    loss: float


def sensitivities(job: TowerJob, progress: Progress) -> list[Sensitivity]:
    """Of all weights that can have 4 bits on CPUs: the cheapest for its bytes comes first."""
    four = job.four_bits
    model = onnx.load(job.cpu_onnx)
    named = layers(model)
    samples = {key: value[:_SAMPLES] for key, value in job.samples.items()}
    exact = _run(model, job.work / "ranked.onnx", samples)
    found = []
    for number, (name, weight) in enumerate(four.items()):
        progress(f"{job.name} tower: 4 bits in one weight", number, len(four))
        narrow = with_weights(model, {name: weight})
        cosines = (exact * _run(narrow, job.work / "ranked.onnx", samples)).sum(1)
        loss = 1 - float(cosines.mean())
        found.append(Sensitivity(name, named[name], int(weight.numbers.size), loss))
    return sorted(found, key=lambda one: (one.loss / one.numbers, one.name))


def _run(model: onnx.ModelProto, path: Path, inputs: Inputs) -> NDArray[np.float32]:
    onnx.save(model, path)
    return normalize(OnnxTower(path)(inputs))


# Of what 4 bits can save. Finer steps differ by less recall than a thousand photos can tell.
_SHARES = 6
# What recall is judged by, for who reads the result.
JUDGED_BY: dict[Family, str] = {
    "cpu": "the files that were written, by the runtimes that they are for",
    "snapdragon": "the graphs that were compiled, by ONNX Runtime on this processor and not on an "
    "HTP",
    "dimensity": "the .tflite files, by LiteRT on this processor and not on an NPU",
}
_ACTIVATIONS = {"w8a8": 8, "w8a16": 16, "w4a16": 16}


def candidates_for(
    job: TowerJob,
    target: Target,
    ranked: Sequence[Sensitivity],
    loses_least: Callable[[Sequence[Candidate]], Candidate],
    progress: Progress,
) -> list[Candidate]:
    """All ways to write a tower for the first rung of `target`."""
    runtime = plans_here(job.name, target)[0].runtime
    if runtime == "onnx":
        return _cpu(job, ranked, loses_least, progress)
    if runtime == "qnn":
        return _htp(job, target, progress)
    if target.family == "cpu":  # there LiteRT has fast kernels for 8-bit activations alone
        return _litert(job, ["w8a8"], progress)
    return _litert(job, ["w8a8", "w8a16", "w4a16"], progress)


def _cpu(
    job: TowerJob,
    ranked: Sequence[Sensitivity],
    loses_least: Callable[[Sequence[Candidate]], Candidate],
    progress: Progress,
) -> list[Candidate]:
    """Float, 8 bits by each method of calibration, and, by that which loses least, more and more of
    the weights `ranked` in 4 bits, up to all of them."""
    methods = METHODS if is_convolutional(job.cpu_onnx) else METHODS[:1]
    counts = [count for count in mixes([weight.numbers for weight in ranked]) if count]
    steps = len(methods) + len(counts)

    def one(
        step: int, precision: Precision, told: str, four: frozenset[str], method: CalibrationMethod
    ) -> Candidate:
        progress(f"{job.name} tower: writing it", step, steps)
        written = _on_cpu(job, precision, told, job.mixed_onnx(four, method))
        return replace(written, four=four, whole=len(four) in (0, len(ranked)), method=method)

    eight = [
        one(number, "int8", _told("int8", method), frozenset(), method)
        for number, method in enumerate(methods)
    ]
    # Some bytes of a format, which ranges add and take, are no reason for one of them.
    eight = [replace(one, weights=eight[0].weights) for one in eight]
    best = loses_least(eight).method
    mixed = [
        one(
            len(methods) + number,
            "mixed",
            _told(f"{count} of {len(ranked)} weights in 4 bits", best),
            frozenset(weight.name for weight in ranked[:count]),
            best,
        )
        for number, count in enumerate(counts)
    ]
    return [_on_cpu(job, "fp32", "fp32", job.cpu_onnx), *eight, *mixed]


def _told(precision: str, method: CalibrationMethod) -> str:
    return precision if method == "min-max" else f"{precision}, ranges by {method}"


def _on_cpu(job: TowerJob, precision: Precision, told: str, path: Path) -> Candidate:
    count = path.stat().st_size
    return Candidate(job.name, precision, told, count, count, path, _by_onnxruntime)


def _htp(job: TowerJob, target: Target, progress: Progress) -> list[Candidate]:
    """What the HTP of `target` can run, compiled for its size. Recall is judged by the graph that
    was compiled, by ONNX Runtime on this processor: the HTP's simulator takes too long."""
    from mcad_mobile.engine.towers.qnn import QnnTower
    from mcad_mobile.export.backends.qnn.compile import compile_context

    assert target.soc_model is not None and target.htp_arch is not None
    ways = _ways("w8a8", "w8a16", "w4a16")
    numbers, four = _numbers(job), sum(one.numbers.size for one in job.four_bits.values())
    simulator = partial(QnnTower, soc_model=target.soc_model, htp_arch=target.htp_arch)
    found = []
    for number, (precision, method) in enumerate(ways):
        progress(f"{job.name} tower: writing it", number, len(ways))
        path = job.npu_onnx(precision, target.htp_arch, method)
        folder = job.work / method
        folder.mkdir(exist_ok=True)
        context = folder / f"{job.name}_qnn_{precision}.onnx"  # a bundle's name for it is in it
        binaries, _ = compile_context(path, context, target)
        told = _told(precision, method)
        one = Candidate(
            job.name,
            precision,
            told,
            sum(file.stat().st_size for file in (context, *binaries)),
            numbers - (four // 2 if precision == "w4a16" else 0),
            path,
            _by_onnxruntime,
            activations=_ACTIVATIONS[precision],
            method=method,
        )
        simulated = replace(one, told=f"{told}, simulated", path=context, load=simulator)
        found.append(replace(one, simulated=simulated))
    return found


def _litert(job: TowerJob, precisions: Sequence[Precision], progress: Progress) -> list[Candidate]:
    """What LiteRT runs, or gives a Dimensity's NPU. Recall is judged by LiteRT on this
    processor."""
    from mcad_mobile.engine.towers.litert import LiteRTTower
    from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
    from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of

    ways = _ways(*precisions)
    numbers, found = _numbers(job), []
    for number, (precision, method) in enumerate(ways):
        progress(f"{job.name} tower: writing it", number, len(ways))
        path = job.integer_litert(precision, method)
        halved = four_bits_of(path)
        if precision == "w4a16" and not halved:  # the converter stored none as it is known
            continue
        inputs, output = stored_specs(path, channels_last(job.inputs), job.output)
        load = partial(LiteRTTower, inputs=inputs, outputs=(output,))
        bits = _ACTIVATIONS[precision]
        found.append(
            Candidate(
                job.name,
                precision,
                _told(precision, method),
                path.stat().st_size,
                numbers - halved,
                path,
                load,
                activations=bits,
                method=method,
            )
        )
    return found


def _ways(*precisions: Precision) -> list[tuple[Precision, CalibrationMethod]]:
    """Activations of 8 bits by each method of calibration; 16 have steps enough for all values."""
    return [
        (precision, method)
        for precision in precisions
        for method in (METHODS if _ACTIVATIONS[precision] == 8 else METHODS[:1])
    ]


def _numbers(job: TowerJob) -> int:
    """How many the tower's weights are."""
    tensors = onnx.load(job.float_onnx).graph.initializer
    return sum(math.prod(tensor.dims) for tensor in tensors)


def _by_onnxruntime(path: Path) -> OnnxTower:
    return OnnxTower(path, exact_kernels=saturates())


def mixes(numbers: Sequence[int]) -> list[int]:
    """How many of the first weights, of so many numbers each, are taken: none, all, and as many as
    make up each sixth of all numbers, or less than it."""
    ends = np.cumsum(numbers)
    shares = np.arange(_SHARES + 1) / _SHARES
    return sorted({int(np.searchsorted(ends, share * sum(numbers), "right")) for share in shares})
