"""The backend for Snapdragons: context binaries for their Hexagon NPUs."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime as ort

from mcad_mobile.engine.towers import LoadedTower
from mcad_mobile.engine.towers.qnn import open_session, session_options
from mcad_mobile.errors import ExportError
from mcad_mobile.export.backends.backend import Backend, Compiled, Quantized, RungOrder
from mcad_mobile.export.backends.onnx.quantize import each_weight_in_four_bits, load_quantized
from mcad_mobile.export.backends.qnn.quantize import graph_form, quantize_tower
from mcad_mobile.export.float_onnx import IR_VERSION, OPSET, is_conversion, node_count
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.targets import Target


class QnnBackend(Backend):
    """Quantizes towers, and compiles them to EPContext models with a binary beside them."""

    compiler = ("onnxruntime_qnn", "snapdragon")
    in_cloud = True

    def quantize(self, order: RungOrder) -> Quantized:
        assert order.target.htp_arch is not None
        order.tower.progress("quantizing")
        path = quantize_tower(order.tower, order.precision, order.target.htp_arch)
        return Quantized(path, order.precision)

    def compile(self, order: RungOrder, quantized: Path, out: Path) -> Compiled:
        order.tower.progress(f"compiling for {order.target.npu}")
        compile_it = order.compile_context or compile_context
        binaries, nodes = compile_it(quantized, out, order.target)
        context = onnx.load(out, load_external_data=False)
        imports = [
            onnx.helper.make_opsetid("", OPSET),
            onnx.helper.make_opsetid("com.microsoft", 1),
        ]
        plain = {"opset_imports": imports, "ir_version": IR_VERSION}
        onnx.save(onnx.helper.make_model(context.graph, **plain), out)
        return Compiled((out, *binaries), nodes, nodes)

    def load(self, tower: TowerJob, quantized: Path) -> LoadedTower:
        return load_quantized(quantized)  # the HTP's simulator takes too long

    def graph_form(self, target: Target) -> int:
        assert target.htp_arch is not None
        return graph_form(target.htp_arch)

    def measured_by(self, target: Target) -> str:
        return "the graphs that were compiled, by ONNX Runtime on this processor and not on an HTP"

    def sizes(self, order: RungOrder, quantized: Path) -> tuple[int, int]:
        folder = order.tower.work / f"{quantized.stem}-compiled"
        folder.mkdir(exist_ok=True)
        context = folder / f"{order.tower.name}_qnn_{order.precision}.onnx"  # it is in its files
        binaries, _ = compile_context(quantized, context, order.target)
        saved = 0
        if order.precision == "w4a16":
            weights = each_weight_in_four_bits(order.tower).values()
            saved = sum(weight.numbers.size for weight in weights) // 2
        return sum(file.stat().st_size for file in (context, *binaries)), saved


BACKEND = QnnBackend()


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
