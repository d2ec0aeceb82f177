"""QNN rungs compiled by Qualcomm AI Hub, and compared on a phone there instead of a simulator."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import Bundle, Rung
from mcad_mobile.engine.towers import Inputs
from mcad_mobile.engine.towers.protocol import split_batch
from mcad_mobile.errors import ExportError
from mcad_mobile.export.aihub import TARGET_RUNTIMES, AiHub, CloudDevice, Job, Outcome, Runner
from mcad_mobile.export.float_onnx import node_count
from mcad_mobile.targets import Target

_OPTIONS = f"--target_runtime {TARGET_RUNTIMES['qnn']}"


@dataclass(frozen=True)
class CloudCompiler:
    """Compiles and runs on `device`."""

    hub: AiHub
    device: CloudDevice
    poll_s: float = 10.0
    progress: Progress = silent

    @staticmethod
    def open(target: Target, device: str | None = None) -> CloudCompiler:
        """Use a phone by name, or the newest one with the target's chip."""
        hub = AiHub()
        found = hub.device(device) if device else hub.device_with(target)
        if found.target is None or found.target.id != target.id:
            raise ExportError(
                f"{found.name} has {found.chipset or 'an unknown chip'}, and the bundle is "
                f"for {target.id} ({target.chip}).",
                "Leave the phone out, or export for its chip.",
            )
        return CloudCompiler(hub, found)

    def compile(self, model: Path, out: Path, target: Target) -> tuple[list[Path], int]:
        """Do what backends.qnn.compile_context does, in the cloud."""
        with tempfile.TemporaryDirectory(prefix="mcad-aihub-") as scratch:
            job = Job(out.stem, self.device, (model,), {}, _OPTIONS)
            (outcome,) = self._runner().compile([job])
            if outcome.failure:
                raise ExportError(
                    f"{out.name} does not compile for {target.chip} in AI Hub: {outcome.failure}.",
                    "Change the operators that it names, or compile here.",
                )
            archive = self.hub.download_model(outcome.model, Path(scratch))
            binary = _unpack(archive, out)
        expected, found = _inputs(model), _inputs(out)
        if expected != found:
            raise ExportError(
                f"AI Hub's {out.name} takes {found}; the tower takes {expected}.",
                "Report this, with the version of qai-hub.",
            )
        return [binary], node_count(model)

    def run(self, bundle: Bundle, rung: Rung, inputs: Inputs) -> tuple[NDArray[np.float32], Rung]:
        """Return the rung's embeddings [N, dim] on the phone, and the rung with a note."""
        files = tuple(bundle.path(record) for record in rung.files)
        samples = split_batch(inputs)
        data = {name: [sample[name] for sample in samples] for name in inputs}
        (outcome,) = self._runner().run([Job(files[0].stem, self.device, files, data)])
        if outcome.failure:
            raise ExportError(
                f"{files[0].name} does not run on {self.device.name}: {outcome.failure}.",
                "Export again without AI Hub to look at it in the simulator.",
            )
        embeddings = self.hub.output(outcome.inference)
        return embeddings.astype(np.float32), self._described(rung, outcome)

    def _described(self, rung: Rung, outcome: Outcome) -> Rung:
        layers = self.hub.profile(outcome.inference)["execution_detail"]
        note = (
            f"Compiled by Qualcomm AI Hub and compared on a {self.device.name} there "
            f"(job {outcome.inference})."
        )
        return msgspec.structs.replace(
            rung,
            total_nodes=len(layers) or rung.total_nodes,
            npu_nodes=sum(layer["compute_unit"] == "NPU" for layer in layers),
            notes=(*rung.notes, note),
        )

    def _runner(self) -> Runner:
        return Runner(self.hub, poll_s=self.poll_s, progress=self.progress)


def _unpack(archive: Path, out: Path) -> Path:
    """Unpack an EPContext model to `out`, and its binary beside it, as STEM_qnn.bin."""
    with tempfile.TemporaryDirectory(prefix="mcad-aihub-") as folder:
        try:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ExportError(
                f"AI Hub gave {archive.name}, which is not a zip of a precompiled model.",
                "Report this, with the version of qai-hub.",
            ) from error
        models = [path for path in Path(folder).rglob("*.onnx") if path.is_file()]
        binaries = [path for path in Path(folder).rglob("*.bin") if path.is_file()]
        if len(models) != 1 or len(binaries) != 1:
            raise ExportError(
                f"AI Hub's {archive.name} holds {len(models)} models and {len(binaries)} context "
                "binaries; one of each is expected.",
                "Report this, with the version of qai-hub.",
            )
        binary = out.with_name(f"{out.stem}_qnn.bin")
        shutil.copyfile(binaries[0], binary)
        model = onnx.load(models[0], load_external_data=False)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "EPContext" and attribute.name == "ep_cache_context":
                attribute.s = binary.name.encode()
    onnx.save(model, out)
    return binary


def _inputs(path: Path) -> str:
    """Return names, types and shapes as text: "pixels float32 [1, 3, 224, 224]"."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = []
    for value in graph.input:
        tensor = value.type.tensor_type
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        shape = [dimension.dim_value for dimension in tensor.shape.dim]
        if value.name not in weights:
            inputs.append(f"{value.name} {dtype} {shape}")
    return ", ".join(inputs)
