"""The rungs of a bundle's ladder: which of them a target gets, and the backend that builds each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import TOWERS, Precision, Rung, TowerName
from mcad_mobile.errors import require
from mcad_mobile.export.quantization.ranges import CalibrationMethod
from mcad_mobile.targets import Target

if TYPE_CHECKING:
    from mcad_mobile.export.tower_job import TowerJob

# These rungs cannot run here, but have the integers of the rung that they are compiled from.
COMPILED_FROM: dict[str, str] = {"neuropilot": "litert", "tpu": "litert"}

# (quantized ONNX model, EPContext model to write, target) -> context binaries, number of nodes
CompileContext = Callable[[Path, Path, Target], tuple[list[Path], int]]


class TowerPlan(NamedTuple):
    """One way to run one tower."""

    runtime: str
    precision: Precision


@dataclass(frozen=True)
class RungOptions:
    """How a backend builds a rung; with `keep_precision`, it must not widen the precision."""

    method: CalibrationMethod = "min-max"
    four_bit_weights: frozenset[str] = frozenset()
    keep_precision: bool = False
    compile_context: CompileContext | None = None


# Convert, quantize and compile a tower to files in the folder. Until the rung has run, its expected
# embeddings are the float student's.
BuildRung = Callable[["TowerJob", TowerPlan, Target, Path, RungOptions], Rung]


def backend(runtime: str) -> BuildRung:
    """Return the function that builds rungs of `runtime`, and import its libraries now."""
    name = COMPILED_FROM.get(runtime, runtime)
    build: BuildRung = importlib.import_module(f"mcad_mobile.export.backends.{name}").build
    return build


def tower_plans(
    name: TowerName, target: Target, precisions: Mapping[TowerName, Precision] | None = None
) -> list[TowerPlan]:
    """Return a tower's rungs that can be built here; `precisions` replaces the first one's."""
    from mcad_mobile.export.backends.litert.vendors import why_not_compiled

    plans = [
        TowerPlan(plan.runtime, precision)
        for plan in target.ladder
        for precision in [plan.image if name == "image" else plan.text]
        if precision is not None
        and (plan.runtime not in COMPILED_FROM or why_not_compiled(target) is None)
    ]
    if precisions is None:
        return plans
    source = COMPILED_FROM.get(plans[0].runtime)
    return [
        TowerPlan(plan.runtime, precisions[name]) if number == 0 or plan.runtime == source else plan
        for number, plan in enumerate(plans)
    ]


def keyed_plans(
    target: Target, precisions: Mapping[TowerName, Precision] | None = None
) -> dict[TowerName, dict[tuple[str, ...], TowerPlan]]:
    """Return the rungs of a bundle by tower and key; equal keys mean equal files and notes."""
    # The notes of an uncompiled .tflite name the SDK that would compile it, unless it is for CPUs.
    compilers = {"litert": target.neuropilot or target.family, "onnx": "any"}

    def key(name: TowerName, plan: TowerPlan) -> tuple[str, ...]:
        return name, plan.runtime, plan.precision, compilers.get(plan.runtime, target.id)

    return {
        name: {key(name, plan): plan for plan in tower_plans(name, target, precisions)}
        for name in TOWERS
    }


def require_compilers(target: Target, *, cloud: bool) -> None:
    """Raise MissingExtra if a compiler for one of the target's rungs is not installed."""
    for plan in target.ladder:
        with quiet():
            if plan.runtime == "qnn" and not cloud:
                require("onnxruntime_qnn", "snapdragon")
            elif plan.runtime == "litert":
                require("litert_torch", "dimensity")


def with_source_facts(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """Give rungs that cannot run here the parity and embeddings of the rung they come from."""
    by_runtime = {rung.runtime: rung for rung in rungs}

    def complete(rung: Rung) -> Rung:
        if rung.runtime not in COMPILED_FROM:
            return rung
        source = by_runtime[COMPILED_FROM[rung.runtime]]
        return replace(rung, parity=source.parity, expected=source.expected)

    return tuple(map(complete, rungs))
