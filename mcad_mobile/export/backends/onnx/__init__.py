"""The backend for CPUs: ONNX models in float, in 8 bits, or in 8 and 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from mcad_mobile.engine.bundle import FileRecord, Rung
from mcad_mobile.export.backends.onnx.convert import node_count, save_mapped
from mcad_mobile.export.backends.onnx.quantize import choose_recipe, quantize_tower

if TYPE_CHECKING:
    from mcad_mobile.export.rungs import RungOptions, TowerPlan
    from mcad_mobile.export.tower_job import TowerJob
    from mcad_mobile.targets import Target


def build(
    tower: TowerJob, plan: TowerPlan, target: Target, folder: Path, options: RungOptions
) -> Rung:
    """Write a tower as an ONNX model to `folder`, its weights in a file beside it."""
    out = folder / f"{tower.name}_onnx_{plan.precision}.onnx"
    model = tower.cpu_onnx
    notes: tuple[str, ...] = ()
    if plan.precision != "fp32":
        four_bits = options.four_bit_weights if plan.precision == "mixed" else frozenset()
        recipe, notes = choose_recipe(tower)
        model = quantize_tower(tower, recipe, four_bits, options.method)
    weights = save_mapped(onnx.load(model), out)
    return Rung(
        runtime="onnx",
        precision=plan.precision,
        files=(FileRecord.of(folder, out), FileRecord.of(folder, weights)),
        inputs=tower.inputs,
        outputs=(tower.output,),
        expected=tower.golden.embeddings,
        total_nodes=node_count(tower.cpu_onnx),
        notes=notes,
    )
