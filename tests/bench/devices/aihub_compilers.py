"""The compilers of the fake cloud, Qualcomm's own compiler and LiteRT's converter, and its
runtimes."""

from __future__ import annotations

import io
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn


def compiled(
    folder: Path, name: str, content: bytes, options: str, target_id: str
) -> tuple[str, bytes]:
    """Compile an uploaded model as a job's `options` ask; return its name and bytes."""
    if "precompiled_qnn_onnx" in options:
        return f"{folder.name}.onnx.zip", _to_context_binary(folder, name, content, target_id)
    if "tflite" in options:
        model = onnx.load(unpack(folder / "source", name, content))
        return f"{folder.name}.tflite", _to_tflite(folder, model)
    return name, content


def unpack(folder: Path, name: str, content: bytes) -> Path:
    """Unpack a model as a device gets it; return the file to open."""
    folder.mkdir(parents=True)
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(folder)
        return next(path for path in folder.rglob("*.onnx") if path.is_file())
    suffix = "tflite" if content[4:8] == b"TFL3" else "onnx"
    path = folder / (name if "." in name else f"{name}.{suffix}")
    path.write_bytes(content)
    return path


def run_model(
    folder: Path, name: str, content: bytes, entries: dict[str, list[Any]]
) -> tuple[str, list[Any]]:
    """Run a model; return the output's name, and one array per sample."""
    path = unpack(folder, name, content)
    count = len(next(iter(entries.values())))
    samples = [{key: value[n] for key, value in entries.items()} for n in range(count)]
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        run = interpreter.get_signature_runner()
        return "output_0", [next(iter(run(**sample).values())) for sample in samples]
    if list(path.parent.glob("*.bin")):
        from mcad_mobile.engine.towers.qnn import QnnTower

        tower = QnnTower(path, 69, 79)
        return "output_0", [tower(sample) for sample in samples]
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    output = session.get_outputs()[0].name
    return output, [session.run(None, sample)[0] for sample in samples]


def _to_context_binary(folder: Path, name: str, content: bytes, target_id: str) -> bytes:
    """Compile with the real compiler that onnxruntime-qnn contains."""
    from mcad_mobile.export.backends.qnn import compile_context
    from mcad_mobile.targets import find_target

    model = unpack(folder / "source", name, content)
    out = folder / "job.onnx"
    out.mkdir()
    compile_context(model, out / "model.onnx", find_target(target_id))
    archive = shutil.make_archive(str(folder / "job"), "zip", folder, "job.onnx")
    return Path(archive).read_bytes()


def _to_tflite(folder: Path, model: onnx.ModelProto) -> bytes:
    """Convert one of tiny_bundle.py's towers with LiteRT's converter; inputs keep their names and
    layout, as on AI Hub."""
    import litert_torch

    weights = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in model.graph.initializer
    }
    tower = _Text(weights) if "middle" in weights else _Image(weights)
    inputs = {
        value.name: torch.ones(
            [axis.dim_value for axis in value.type.tensor_type.shape.dim],
            dtype=_TYPES[value.type.tensor_type.elem_type],
        )
        for value in model.graph.input
    }
    path = folder / "model.tflite"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        litert_torch.convert(tower.eval(), sample_kwargs=inputs).export(str(path))
    return path.read_bytes()


_TYPES = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.INT32: torch.int32}


class _Image(nn.Module):
    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights["weight"])

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.flatten(1) @ self.weight


class _Text(nn.Module):
    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights["weight"])

    def forward(self, token_rows: Tensor, attention_mask: Tensor, pooling: Tensor) -> Tensor:
        row = (attention_mask * pooling)[:, None]
        return (row @ token_rows)[:, 0] @ self.weight
