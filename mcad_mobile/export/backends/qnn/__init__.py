"""The backend for Snapdragons: context binaries for their Hexagon NPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime as ort

from mcad_mobile.engine.bundle import FileRecord, Rung
from mcad_mobile.engine.towers.qnn import open_session, session_options
from mcad_mobile.errors import ExportError
from mcad_mobile.export.backends.onnx.convert import is_conversion, node_count
from mcad_mobile.export.backends.qnn.quantize import quantize_tower
from mcad_mobile.targets import Target

if TYPE_CHECKING:
    from mcad_mobile.export.rungs import RungOptions, TowerPlan
    from mcad_mobile.export.tower_job import TowerJob


def build(
    tower: TowerJob, plan: TowerPlan, target: Target, folder: Path, options: RungOptions
) -> Rung:
    """Quantize a tower, and compile it to an EPContext model and a binary beside it."""
    assert target.htp_arch is not None
    tower.progress("quantizing")
    quantized = quantize_tower(tower, plan.precision, target.htp_arch, options.method)
    out = folder / f"{tower.name}_qnn_{plan.precision}.onnx"
    tower.progress(f"compiling for {target.npu}")
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


def compile_context(model: Path, out: Path, target: Target) -> tuple[list[Path], int]:
    """Compile `model` (QDQ) into the EPContext model `out`; return the binaries beside it and the
    number of nodes, all of which the NPU runs. ExportError names nodes that it cannot run."""
    assert target.soc_model is not None and target.htp_arch is not None
    options = session_options(target.soc_model, target.htp_arch)
    options.add_session_config_entry("ep.context_enable", "1")
    options.add_session_config_entry("ep.context_file_path", str(out))
    options.add_session_config_entry("ep.context_embed_mode", "0")
    try:
        # The content, not the path, which would go into the names in the compiled graph.
        open_session(model.read_bytes(), options)
    except Exception as error:  # onnxruntime's exceptions share no public base
        left = _nodes_off_the_npu(model, target)
        if left:
            raise ExportError(
                f"{len(left)} nodes of {out.stem} cannot run on {target.npu} "
                f"({target.chip}): {', '.join(left)}.",
                "Change these operators in the tower, or export for the target cpu.",
            ) from error
        raise ExportError(
            f"{out.stem} does not compile for {target.chip}: {error}.",
            "Try another chip, or export for the target cpu.",
        ) from error
    return sorted(out.parent.glob(f"{out.stem}*.bin")), node_count(model)


def _nodes_off_the_npu(model: Path, target: Target) -> list[str]:
    """Return names and types of the nodes that fall back to the CPU when that is allowed."""
    assert target.soc_model is not None and target.htp_arch is not None
    options = session_options(target.soc_model, target.htp_arch)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = open_session(model, options)
    except Exception:  # it fails for a reason other than placement, which the caller reports
        return []
    return [
        f"{node.name} ({node.op_type})"
        for subgraph in session.get_provider_graph_assignment_info()
        if subgraph.ep_name == "CPUExecutionProvider"
        for node in subgraph.get_nodes()
        if not is_conversion(node.op_type)
    ]
