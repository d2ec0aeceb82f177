"""The backend for LiteRT: integer flatbuffers for NPUs and for CPUs."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.engine.bundle import FileRecord, Rung
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.litert.flatbuffer import operators
from mcad_mobile.export.backends.litert.quantize import load_quantized, quantize_tower
from mcad_mobile.export.backends.litert.vendors import (
    VENDORS,
    compile_for_npu,
    counted,
    refusals,
    why_not_compiled,
)
from mcad_mobile.export.parity import WARN_BELOW

if TYPE_CHECKING:
    from mcad_mobile.export.rungs import RungOptions, TowerPlan
    from mcad_mobile.export.tower_job import TowerJob
    from mcad_mobile.targets import Target

_UNCOMPILED = (
    "The .tflite was not compiled for the NPU. Accepted operators are {}. {} Our app runs the ONNX "
    "rung; if it contains LiteRT, LiteRT's Interpreter runs a w8a8 .tflite on the CPU."
)
_NOT_RUN = (
    "Files compiled for a {} cannot run here, nor in our app: the cosines are those of the "
    ".tflite before compiling."
)


def build(
    tower: TowerJob, plan: TowerPlan, target: Target, folder: Path, options: RungOptions
) -> Rung:
    """Write a tower as an integer .tflite, compiled for the NPU unless the runtime is litert. A
    tower for an NPU gets 16-bit activations if 8-bit ones lose too much."""
    precision = plan.precision
    notes: tuple[str, ...] = ()
    tower.progress("converting and quantizing")
    quantized = quantize_tower(tower, precision, options.method)
    if precision == "w8a8" and not options.keep_precision and target.has_npu:
        cosine = tower.cosine(quantized, lambda path: load_quantized(tower, path))
        if cosine < WARN_BELOW:
            precision = "w8a16"
            quantized = quantize_tower(tower, precision, options.method)
            notes = (
                f"The {tower.name} tower has 16-bit activations on "
                f"{target.family.capitalize()}: with 8-bit ones its cosine is {cosine:.3f}.",
            )
    out = folder / f"{tower.name}_{plan.runtime}_{precision}.tflite"
    write = _uncompiled if plan.runtime == "litert" else _compiled
    npu_nodes, npu_notes = write(tower, quantized, out, target)
    inputs, output = stored_specs(quantized, channels_last(tower.inputs), tower.output)
    return Rung(
        runtime=plan.runtime,
        precision=precision,
        files=(FileRecord.of(folder, out),),
        inputs=inputs,
        outputs=(output,),
        expected=tower.golden.embeddings,
        total_nodes=len(operators(quantized)),
        npu_nodes=npu_nodes,
        notes=(*notes, *npu_notes),
    )


def _uncompiled(
    tower: TowerJob, quantized: Path, out: Path, target: Target
) -> tuple[int, list[str]]:
    """Copy the model; return how many operators the NPU's compiler takes, and notes."""
    shutil.copyfile(quantized, out)
    if not target.has_npu:
        return 0, []
    vendor, found = VENDORS[target.vendor], operators(out)
    refused = refusals(found, vendor)
    reason = why_not_compiled(target)
    notes = [] if reason is None else [_UNCOMPILED.format(vendor.accepts, reason)]
    if refused:
        notes.append(
            f"{vendor.name}'s compiler does not take {refused.total()} of {len(found)} operators "
            f"of the {tower.name} tower, by its list: {counted(refused)}. They stay on the CPU."
        )
    return len(found) - refused.total(), notes


def _compiled(tower: TowerJob, quantized: Path, out: Path, target: Target) -> tuple[int, list[str]]:
    """Compile the model; return how many operators the NPU runs, and notes."""
    left = compile_for_npu(quantized, out, target)
    total = len(operators(quantized))
    notes = [_NOT_RUN.format(target.family.capitalize())]
    if left:
        names = counted(Counter(operator.name for operator in left))
        notes.append(
            f"{len(left)} of {total} operators of the {tower.name} tower stay on the CPU: {names}."
        )
    return total - len(left), notes
