"""The backend for CPUs: ONNX models in float, in 8 bits, or in 8 and 4 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Rung
from mcad_mobile.engine.towers import Inputs, LoadedTower
from mcad_mobile.export.backends.backend import (
    Backend,
    Candidate,
    Compiled,
    LosesLeast,
    Quantized,
    RungOrder,
    Sensitivity,
)
from mcad_mobile.export.backends.onnx.mixed_precision import cpu_candidates, sensitivities
from mcad_mobile.export.backends.onnx.quantize import (
    choose_scheme,
    load_quantized,
    quantize_tower,
)
from mcad_mobile.export.backends.onnx.reference import evaluate_onnx
from mcad_mobile.export.float_onnx import node_count, save_mapped
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Target


class OnnxBackend(Backend):
    """Writes ONNX models with the weights in a file beside them."""

    def quantize(self, order: RungOrder) -> Quantized:
        tower, precision = order.tower, order.precision
        if precision == "fp32":
            return Quantized(tower.cpu_onnx, precision)
        four_bits = order.four_bit_weights if precision == "mixed" else frozenset()
        scheme, notes = choose_scheme(tower)
        return Quantized(quantize_tower(tower, scheme, four_bits, order.method), precision, notes)

    def compile(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        weights = save_mapped(onnx.load(quantized), out)
        return Compiled((out, weights), node_count(order.tower.cpu_onnx))

    def load(self, tower: TowerJob, quantized: Path) -> LoadedTower:
        return load_quantized(quantized)

    def reference(self, rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32]:
        return evaluate_onnx(directory / rung.files[0].path, inputs)

    def shared_by(self, runtime: str, target: Target) -> str:
        return "any"

    def measured_by(self, target: Target) -> str:
        return "the files that were written, by the runtimes that they are for"

    def candidates(
        self, tower: TowerJob, target: Target, loses_least: LosesLeast
    ) -> tuple[list[Candidate], list[Sensitivity]]:
        ranked = sensitivities(tower)
        return cpu_candidates(tower, ranked, loses_least), ranked


BACKEND = OnnxBackend()
