"""What a search for precisions tries on CPUs: float, 8 bits, and 4 bits for ever more weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Precision
from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.engine.towers.onnx import OnnxTower
from mcad_mobile.export.backends.backend import Candidate, Sensitivity
from mcad_mobile.export.backends.onnx import quantize as cpu
from mcad_mobile.export.quantization.four_bits import layers, with_weights
from mcad_mobile.export.tower_job import TowerJob

_SENSITIVITY_SAMPLES = 16
# Parts of what 4 bits can save. Finer steps differ by less recall than 1000 photos can resolve.
_SHARES = 6


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


def cpu_candidates(tower: TowerJob, ranked: Sequence[Sensitivity]) -> list[Candidate]:
    """Return float, 8 bits, and more and more weights in 4 bits."""
    scheme, _ = cpu.choose_scheme(tower)
    counts = mixes([weight.numbers for weight in ranked])
    path = tower.cpu_onnx
    size = path.stat().st_size
    found = [Candidate(tower.name, "fp32", "fp32", size, size, path, cpu.load_quantized)]
    for step, count in enumerate(counts):
        tower.progress("writing candidates", step, len(counts))
        weights = frozenset(weight.name for weight in ranked[:count])
        path = cpu.quantize_tower(tower, scheme, weights)
        size = path.stat().st_size
        name = f"{count} of {len(ranked)} weights in 4 bits" if count else "int8"
        precision: Precision = "mixed" if count else "int8"
        found.append(
            Candidate(
                tower.name,
                precision,
                name,
                size,
                size,
                path,
                cpu.load_quantized,
                four_bit_weights=weights,
            )
        )
    return found


def mixes(numbers: Sequence[int]) -> list[int]:
    """Return how many weights to take: none, all, and as many as fit each sixth of all numbers."""
    ends = np.cumsum(numbers)
    shares = np.arange(_SHARES + 1) / _SHARES
    return sorted({int(np.searchsorted(ends, share * sum(numbers), "right")) for share in shares})
