"""The backend for Snapdragons: context binaries for their Hexagon NPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.engine.bundle import FileRecord, Rung
from mcad_mobile.export.backends.qnn.compile import compile_context
from mcad_mobile.export.backends.qnn.quantize import quantize_tower

if TYPE_CHECKING:
    from mcad_mobile.export.rungs import RungOptions, TowerPlan
    from mcad_mobile.export.targets import Target
    from mcad_mobile.export.tower_job import TowerJob


def build(
    tower: TowerJob, plan: TowerPlan, target: Target, folder: Path, options: RungOptions
) -> Rung:
    """Quantize a tower for the target's NPU, and compile it to `folder`: an EPContext model and the
    context binary beside it. ExportError if it does not compile."""
    assert target.htp_arch is not None
    quantized = quantize_tower(tower, plan.precision, target.htp_arch, options.method)
    out = folder / f"{tower.name}_qnn_{plan.precision}.onnx"
    binaries, nodes = (options.compile_context or compile_context)(quantized, out, target)
    return Rung(
        runtime="qnn",
        precision=plan.precision,
        files=tuple(FileRecord.of(folder, file) for file in (out, *binaries)),
        inputs=tower.inputs,
        outputs=(tower.output,),
        expected=tower.golden.embeddings,
        total_nodes=nodes,
        npu_nodes=nodes,
    )
