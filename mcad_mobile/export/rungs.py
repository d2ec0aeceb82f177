"""One tower for one (runtime, precision): the files and what is known of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

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


def build_rung(
    *,
    module: nn.Module,
    name: TowerName,
    runtime: str,
    precision: str,
    directory: Path,
    target: Target,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    samples: Inputs,
) -> Rung:
    """Write the files of a rung to `directory`. ExportError if it cannot be made."""
    stem = f"{name}_{runtime}_{precision}"
    with tempfile.TemporaryDirectory(prefix="mcad-") as scratch:
        work = Path(scratch)
        if runtime == "litert":
            return _litert(
                module, work, directory / f"{stem}.tflite", precision, inputs, output, samples
            )
        source = work / f"{name}.onnx"
        export_onnx(module, source, inputs, output)
        out = directory / f"{stem}.onnx"
        if runtime == "qnn":
            from mcad_mobile.export.qnn import compile_context
            from mcad_mobile.quantize.qdq import quantize_w8a16

            quantized = work / f"{name}_{precision}.onnx"
            quantize_w8a16(source, quantized, samples)
            files, npu_nodes = compile_context(quantized, out, target)
            total_nodes = npu_nodes
        else:
            _cpu(source, out, name, precision, samples)
            files, npu_nodes, total_nodes = [out], 0, node_count(source)
    return Rung(
        runtime=runtime,
        precision=precision,
        files=tuple(FileRecord.of(directory, file) for file in files),
        inputs=inputs,
        outputs=(output,),
        npu_nodes=npu_nodes,
        total_nodes=total_nodes,
    )


def _cpu(source: Path, out: Path, name: TowerName, precision: str, samples: Inputs) -> None:
    from mcad_mobile.quantize.qdq import quantize_dynamic_int8, quantize_static_int8

    if precision == "fp32":
        out.write_bytes(source.read_bytes())
    elif name == "image":
        quantize_static_int8(source, out, samples)
    else:
        quantize_dynamic_int8(source, out)


def _litert(
    module: nn.Module,
    work: Path,
    out: Path,
    precision: str,
    inputs: tuple[TensorSpec, ...],
    output: TensorSpec,
    samples: Inputs,
) -> Rung:
    from mcad_mobile.export.litert import channels_last, convert_litert, operators, stored_specs
    from mcad_mobile.quantize.litert import quantize_litert

    source = work / "float.tflite"
    specs = channels_last(inputs)
    convert_litert(module, source, specs)
    quantize_litert(source, out, samples, specs, precision)
    stored_inputs, stored_output = stored_specs(out, specs, output)
    return Rung(
        runtime="litert",
        precision=precision,
        files=(FileRecord.of(out.parent, out),),
        inputs=stored_inputs,
        outputs=(stored_output,),
        npu_nodes=0,
        total_nodes=operators(out),
        notes=(_NO_AOT,),
    )
