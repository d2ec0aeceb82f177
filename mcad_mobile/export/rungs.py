"""One tower for one (runtime, precision): the files, and what is known of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import onnx
from torch import nn

from mcad_mobile.bundle import FileRecord, Rung, TensorSpec, TowerName
from mcad_mobile.export.onnx import export_onnx, node_count
from mcad_mobile.runtimes import Inputs
from mcad_mobile.targets import Target

_NO_AOT = (
    "Not compiled ahead of time for the NPU: that needs MediaTek's NeuroPilot SDK "
    "(pip install ai-edge-litert-sdk-mediatek, on an open network). On the phone, LiteRT "
    "delegates this integer model to the NPU at run time where the vendor's delegate is present."
)
_MAPPED_FROM_BYTES = 1024


@dataclass(frozen=True)
class TowerJob:
    """A tower to export: `module` with its float inputs and output, for a batch of one, and real
    `samples` of its inputs to calibrate on. Files go to `directory`."""

    module: nn.Module
    name: TowerName
    inputs: tuple[TensorSpec, ...]
    output: TensorSpec
    samples: Inputs
    directory: Path


def build_rung(job: TowerJob, runtime: str, precision: str, target: Target) -> Rung:
    """Write the files of a rung. ExportError if it cannot be made."""
    stem = f"{job.name}_{runtime}_{precision}"
    with tempfile.TemporaryDirectory(prefix="mcad-") as work:
        if runtime == "litert":
            return _litert(job, job.directory / f"{stem}.tflite", precision, Path(work))
        source = Path(work) / f"{job.name}.onnx"
        export_onnx(job.module, source, job.inputs, job.output)
        out = job.directory / f"{stem}.onnx"
        if runtime == "qnn":
            return _qnn(job, source, out, precision, target)
        return _onnx(job, source, out, precision)


def _onnx(job: TowerJob, source: Path, out: Path, precision: str) -> Rung:
    from mcad_mobile.quantize.qdq import quantize_dynamic_int8, quantize_static_int8

    quantized = source.with_name("quantized.onnx")
    if precision == "fp32":
        quantized = source
    elif job.name == "image":
        quantize_static_int8(source, quantized, job.samples)
    else:
        quantize_dynamic_int8(source, quantized)
    # Weights in a file of their own are mapped by the runtime, not copied: 5 MiB less for the
    # text tower (benchmarks/results/main_job.json).
    weights = out.with_name(f"{out.name}.data")
    onnx.save(
        onnx.load(quantized),
        out,
        save_as_external_data=True,
        location=weights.name,
        size_threshold=_MAPPED_FROM_BYTES,
    )
    weights.chmod(0o644)  # onnx leaves it readable to its owner only
    return Rung(
        runtime="onnx",
        precision=precision,
        files=_records(job, out, weights),
        inputs=job.inputs,
        outputs=(job.output,),
        total_nodes=node_count(source),
    )


def _qnn(job: TowerJob, source: Path, out: Path, precision: str, target: Target) -> Rung:
    from mcad_mobile.export.qnn import compile_context
    from mcad_mobile.quantize.qdq import quantize_w8a16

    quantized = source.with_name("quantized.onnx")
    quantize_w8a16(source, quantized, job.samples)
    binaries, nodes = compile_context(quantized, out, target)
    return Rung(
        runtime="qnn",
        precision=precision,
        files=_records(job, out, *binaries),
        inputs=job.inputs,
        outputs=(job.output,),
        total_nodes=nodes,
        npu_nodes=nodes,
    )


def _litert(job: TowerJob, out: Path, precision: str, work: Path) -> Rung:
    from mcad_mobile.export.litert import channels_last, convert_litert, operators, stored_specs
    from mcad_mobile.quantize.litert import quantize_litert

    source = work / "float.tflite"
    specs = channels_last(job.inputs)
    convert_litert(job.module, source, specs)
    quantize_litert(source, out, job.samples, specs, precision)
    inputs, output = stored_specs(out, specs, job.output)
    return Rung(
        runtime="litert",
        precision=precision,
        files=_records(job, out),
        inputs=inputs,
        outputs=(output,),
        total_nodes=operators(out),
        notes=(_NO_AOT,),
    )


def _records(job: TowerJob, *files: Path) -> tuple[FileRecord, ...]:
    return tuple(FileRecord.of(job.directory, file) for file in files)
