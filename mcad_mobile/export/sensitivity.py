"""What 4 bits cost each weight of a tower: a proxy, by which weights are ranked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.quantize.four_bits import layers, with_weights
from mcad_mobile.runtimes import Inputs, normalize
from mcad_mobile.runtimes.onnx import OnnxTower

Progress = Callable[[str, int, int], None]
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
