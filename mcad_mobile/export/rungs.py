"""One tower for one (runtime, precision): the files, and what is known of them."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray

from mcad_mobile.base.standard_output import quiet
from mcad_mobile.engine.bundle import FileRecord, Precision, Rung, Runtime, TowerName
from mcad_mobile.engine.towers import Inputs, LoadedTower, normalize
from mcad_mobile.errors import require
from mcad_mobile.export.backends.onnx.convert import node_count
from mcad_mobile.export.parity import evaluate_onnx
from mcad_mobile.export.quantization.ranges import CalibrationMethod
from mcad_mobile.export.targets import Target
from mcad_mobile.export.tower_job import TowerJob

# One way in which a tower can be written, for a search among several.


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tower in one precision, which `told` says in words, with `bytes` of what a bundle holds of
    it, of which so many are `weights`. `path` was written, and recall is judged by what `load`
    makes of it. `four` are the weights in 4 bits; a `whole` recipe treats all weights alike.
    `activations`: their bits on an NPU, which decide between weights of one size. `simulated`: the
    same in its chip's simulator, if it has one. Activations of 8 bits have ranges by `method`."""

    tower: TowerName
    precision: Precision
    told: str
    bytes: int
    weights: int
    path: Path
    load: Callable[[Path], LoadedTower]
    four: frozenset[str] = frozenset()
    whole: bool = True
    simulated: Candidate | None = None
    activations: int = 0
    method: CalibrationMethod = "min-max"


Pair = tuple[Candidate, Candidate]  # of the image tower and of the text tower


def size(pair: Pair) -> int:
    return sum(one.bytes for one in pair)


# What a rung that nothing here can run was compiled from: the same integers, in the next rung.
COMPILED_FROM = {"neuropilot": "litert"}

# What makes rungs of a runtime, and the extra that brings it.

_BY_THE_LIST = (
    "Nodes on NPU of a .tflite are the operators that MediaTek's compiler takes, by its list; it "
    "is not compiled for the NPU here."
)
_OTHERWISE = "On the phone, LiteRT can compile it as the app starts, or runs it on the CPU."
_NOT_RUN = (
    "What is compiled for a Dimensity runs on that chip alone, and was not run here: its cosines "
    "are those of the .tflite that it was compiled from."
)
_MAPPED_FROM_BYTES = 1024


# (quantized ONNX model, EPContext model to write, target) -> context binaries, number of nodes
CompileContext = Callable[[Path, Path, Target], tuple[list[Path], int]]


class TowerPlan(NamedTuple):
    """One way to run one tower."""

    runtime: Runtime
    precision: Precision


def plans_here(
    name: TowerName, target: Target, first: Mapping[TowerName, Precision] | None = None
) -> list[TowerPlan]:
    """A tower's ladder for `target`, without what the compilers that are installed here cannot
    make; its first rung, and what that is compiled from, with the precision that `first` has for
    it, if any is given."""
    from mcad_mobile.export.backends.litert.mediatek import why_not_compiled

    plans = [
        TowerPlan(plan.runtime, precision)
        for plan in target.ladder
        for precision in [plan.precision(name)]
        if precision is not None
        and (plan.runtime != "neuropilot" or why_not_compiled(target) is None)
    ]
    if first is None:
        return plans
    source = COMPILED_FROM.get(plans[0].runtime)
    return [
        TowerPlan(plan.runtime, first[name]) if number == 0 or plan.runtime == source else plan
        for number, plan in enumerate(plans)
    ]


def require_compilers(target: Target, *, cloud: bool) -> None:
    """MissingExtra if what makes one of the target's rungs is not installed; `cloud`: those of QNN
    are made elsewhere."""
    for plan in target.ladder:
        with quiet():
            if plan.runtime == "qnn" and not cloud:
                require("onnxruntime_qnn", "snapdragon")
            elif plan.runtime == "litert":
                require("litert_torch", "dimensity")


def build_rung(
    job: TowerJob,
    runtime: str,
    precision: str,
    target: Target,
    directory: Path,
    compile_context: CompileContext | None = None,
    chosen: Candidate | None = None,
    *,
    asked: bool = False,
) -> Rung:
    """Write the files of a rung to `directory`; a QNN one by `compile_context`, on this machine
    unless given; as a search has `chosen` it, if one has. A .tflite that loses much by `precision`
    gets 16-bit activations, unless this one is `asked` for. What is expected of it is what is
    expected of the float student, until it was run. ExportError if it cannot be made."""
    method = chosen.method if chosen and chosen.precision == precision else "min-max"
    if runtime in ("neuropilot", "litert"):
        planned = asked or chosen is not None or target.family == "cpu"
        precision, notes = (precision, ()) if planned else job.litert_precision(precision)
        build = _neuropilot if runtime == "neuropilot" else _litert
        out = directory / f"{job.name}_{runtime}_{precision}.tflite"
        rung = build(job, job.integer_litert(precision, method), out, precision, target)
        return replace(rung, notes=(*notes, *rung.notes))
    out = directory / f"{job.name}_{runtime}_{precision}.onnx"
    if runtime == "qnn":
        assert target.htp_arch is not None
        quantized = job.npu_onnx(precision, target.htp_arch, method)
        return _qnn(job, quantized, out, precision, target, compile_context)
    return _onnx(job, out, precision, chosen.four if chosen else frozenset(), method)


def with_source(rungs: list[Rung]) -> tuple[Rung, ...]:
    """Rungs that nothing here can run, with what was found of what they were compiled from."""
    found = {rung.runtime: rung for rung in rungs}

    def told(rung: Rung) -> Rung:
        if rung.runtime not in COMPILED_FROM:
            return rung
        source = found[COMPILED_FROM[rung.runtime]]
        return replace(rung, parity=source.parity, expected=source.expected)

    return tuple(map(told, rungs))


def evaluate_as_written(rung: Rung, directory: Path, inputs: Inputs) -> NDArray[np.float32]:
    """Embeddings [N, dim] of unit length by a quantized rung in `directory`, by other kernels than
    those that will run it. Not of a context binary: only its chip, or a simulator of that, can."""
    file = directory / rung.files[0].path
    if rung.runtime == "litert":
        from mcad_mobile.engine.towers.litert import LiteRTTower

        return normalize(LiteRTTower(file, rung.inputs, rung.outputs, xnnpack=False)(inputs))
    return evaluate_onnx(file, inputs)


def _onnx(
    job: TowerJob, out: Path, precision: str, four: frozenset[str], method: CalibrationMethod
) -> Rung:
    model, notes = (job.cpu_onnx, ()) if precision == "fp32" else job.int8_onnx
    if precision in ("int8", "mixed"):
        model = job.mixed_onnx(four if precision == "mixed" else frozenset(), method)
    return Rung(
        runtime="onnx",
        precision=precision,
        files=_records(out, save_mapped(onnx.load(model), out)),
        inputs=job.inputs,
        outputs=(job.output,),
        expected=job.golden.embeddings,
        total_nodes=node_count(job.cpu_onnx),
        notes=notes,
    )


def save_mapped(model: onnx.ModelProto, out: Path) -> Path:
    """Write `model` with its weights in a file beside `out`, and return that: the runtime maps it
    and copies nothing, 5 MiB less for the text tower (benchmarks/results/main_job.json)."""
    weights = out.with_name(f"{out.name}.data")
    onnx.save(
        model,
        out,
        save_as_external_data=True,
        location=weights.name,
        size_threshold=_MAPPED_FROM_BYTES,
    )
    weights.chmod(0o644)  # onnx leaves it readable to its owner only
    return weights


def _qnn(
    job: TowerJob,
    quantized: Path,
    out: Path,
    precision: str,
    target: Target,
    compile_context: CompileContext | None,
) -> Rung:
    if compile_context is None:
        from mcad_mobile.export.backends.qnn import compile

        compile_context = compile.compile_context
    binaries, nodes = compile_context(quantized, out, target)
    return Rung(
        runtime="qnn",
        precision=precision,
        files=_records(out, *binaries),
        inputs=job.inputs,
        outputs=(job.output,),
        expected=job.golden.embeddings,
        total_nodes=nodes,
        npu_nodes=nodes,
    )


def _litert(job: TowerJob, quantized: Path, out: Path, precision: str, target: Target) -> Rung:
    from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
    from mcad_mobile.export.backends.litert.flatbuffer import operators
    from mcad_mobile.export.backends.litert.mediatek import named, refusals, why_not_compiled

    shutil.copyfile(quantized, out)
    inputs, output = stored_specs(out, channels_last(job.inputs), job.output)
    found = operators(out)
    rung = Rung(
        runtime="litert",
        precision=precision,
        files=_records(out),
        inputs=inputs,
        outputs=(output,),
        expected=job.golden.embeddings,
        total_nodes=len(found),
    )
    if target.family == "cpu":
        return rung
    refused = refusals(found)
    why_not = why_not_compiled(target)
    notes = [] if why_not is None else [f"{_BY_THE_LIST} {why_not} {_OTHERWISE}"]
    if refused:
        notes.append(
            f"MediaTek's compiler does not take {refused.total()} of {len(found)} operators of the "
            f"{job.name} tower, by its list: {named(refused)}. They stay on the CPU."
        )
    return replace(rung, npu_nodes=len(found) - refused.total(), notes=tuple(notes))


def _neuropilot(job: TowerJob, quantized: Path, out: Path, precision: str, target: Target) -> Rung:
    from mcad_mobile.export.backends.litert.convert import channels_last, stored_specs
    from mcad_mobile.export.backends.litert.flatbuffer import operators
    from mcad_mobile.export.backends.litert.mediatek import compile_for_npu, named

    left = compile_for_npu(quantized, out, target)
    inputs, output = stored_specs(quantized, channels_last(job.inputs), job.output)
    total = len(operators(quantized))
    notes = [_NOT_RUN]
    if left:
        names = named(Counter(operator.name for operator in left))
        notes.append(
            f"{len(left)} of {total} operators of the {job.name} tower stay on the CPU: {names}."
        )
    return Rung(
        runtime="neuropilot",
        precision=precision,
        files=_records(out),
        inputs=inputs,
        outputs=(output,),
        expected=job.golden.embeddings,
        total_nodes=total,
        npu_nodes=total - len(left),
        notes=tuple(notes),
    )


def _records(*files: Path) -> tuple[FileRecord, ...]:
    return tuple(FileRecord.of(file.parent, file) for file in files)
