"""The backend for LiteRT: integer flatbuffers for NPUs and for CPUs."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Precision, Rung, TensorSpec
from mcad_mobile.engine.towers import RUNTIMES, Inputs, LoadedTower, normalize
from mcad_mobile.engine.towers.litert import LiteRTTower
from mcad_mobile.engine.towers.protocol import summary
from mcad_mobile.export.backends.backend import Backend, Compiled, Quantized, RungOrder
from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
from mcad_mobile.export.backends.litert.flatbuffer import four_bits_of, operators
from mcad_mobile.export.backends.litert.quantize import load_quantized, quantize_tower
from mcad_mobile.export.backends.litert.vendors import (
    VENDORS,
    compile_for_npu,
    counted,
    refusals,
    why_not_compiled,
)
from mcad_mobile.export.parity import WARN_BELOW
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.students.litert_pair import GivenTower
from mcad_mobile.targets import Target

_UNCOMPILED = (
    "The .tflite was not compiled for the NPU. Accepted operators are {}. {} Our app runs the ONNX "
    "rung, if there is one; if it contains LiteRT, LiteRT's Interpreter runs a w8a8 .tflite on the "
    "CPU."
)
_NOT_RUN = (
    "Files compiled for a {} cannot run here, nor in our app: the cosines are those of the "
    ".tflite before compiling."
)


class LiteRTBackend(Backend):
    """Writes integer .tflite files, and compiles them for the NPUs of other runtimes."""

    compiler = ("litert_torch", "dimensity")
    suffix = "tflite"

    def quantize(self, order: RungOrder) -> Quantized:
        """A tower for an NPU gets 16-bit activations if 8-bit ones lose too much."""
        tower, precision, target = order.tower, order.precision, order.target
        if isinstance(tower.module, GivenTower):
            return Quantized(tower.module.file, precision)
        tower.progress("converting and quantizing")
        path = quantize_tower(tower, precision)
        if precision != "w8a8" or order.keep_precision or not target.has_npu:
            return Quantized(path, precision)
        cosine = tower.cosine(path, lambda path: load_quantized(tower, path))
        if cosine >= WARN_BELOW:
            return Quantized(path, precision)
        note = (
            f"The {tower.name} tower has 16-bit activations on {target.family.capitalize()}: with "
            f"8-bit ones its cosine is {cosine:.3f}."
        )
        return Quantized(quantize_tower(tower, "w8a16"), "w8a16", (note,))

    def compile(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        tower, target = order.tower, order.target
        if RUNTIMES[order.runtime].source:
            return self._for_npu(order, quantized, out)
        shutil.copyfile(quantized, out)
        found = operators(out)
        if not target.has_npu:
            return Compiled((out,), len(found))
        vendor, reason = VENDORS[target.vendor], why_not_compiled(target)
        refused = refusals(found, vendor)
        notes = [] if reason is None else [_UNCOMPILED.format(vendor.accepts, reason)]
        if refused:
            notes.append(
                f"{vendor.name}'s compiler does not take {refused.total()} of {len(found)} "
                f"operators of the {tower.name} tower, by its list: {counted(refused)}. They stay "
                "on the CPU."
            )
        return Compiled((out,), len(found), len(found) - refused.total(), tuple(notes))

    def _for_npu(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        tower, target = order.tower, order.target
        left = compile_for_npu(quantized, out, target)
        total = len(operators(quantized))
        notes = [_NOT_RUN.format(target.family.capitalize())]
        if left:
            names = counted(Counter(operator.name for operator in left))
            notes.append(
                f"{len(left)} of {total} operators of the {tower.name} tower stay on the CPU: "
                f"{names}."
            )
        return Compiled((out,), total, total - len(left), tuple(notes))

    def specs(self, tower: TowerJob, quantized: Path) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
        if isinstance(tower.module, GivenTower):
            return tower.module.inputs, tower.module.output
        return stored_specs(quantized, channels_last(tower.inputs), tower.output)

    def load(self, tower: TowerJob, quantized: Path) -> LoadedTower:
        return load_quantized(tower, quantized)

    def reference(self, rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32]:
        file = directory / rung.files[0].path
        return normalize(
            summary(LiteRTTower(file, rung.inputs, rung.outputs, xnnpack=False)(inputs))
        )

    def can_build(self, runtime: str, target: Target) -> bool:
        return not RUNTIMES[runtime].source or why_not_compiled(target) is None

    def shared_by(self, runtime: str, target: Target) -> str:
        """The notes of an uncompiled .tflite name the SDK that would compile it, unless it is for
        CPUs."""
        return target.id if RUNTIMES[runtime].source else target.neuropilot or target.family

    def measured_by(self, target: Target) -> str:
        if not target.has_npu:
            return "the files that were written, by the runtimes that they are for"
        return "the .tflite files, by LiteRT on this processor and not on an NPU"

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        """LiteRT's fast kernels for CPUs have 8-bit activations."""
        return super().precisions(target) if target.has_npu else ("w8a8",)

    def sizes(self, order: RungOrder, quantized: Path) -> tuple[int, int] | None:
        halved = four_bits_of(quantized)
        if order.precision == "w4a16" and not halved:  # the converter changed all such weights
            return None
        return quantized.stat().st_size, halved


BACKEND = LiteRTBackend()
