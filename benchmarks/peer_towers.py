"""The towers of peers.py as files: ours for every runtime, and open_clip's architectures."""

from __future__ import annotations

import contextlib
import copy
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs
from torch import nn

from benchmarks.peer_row import Row
from benchmarks.random_students import STUDENTS
from mcad_mobile.engine.bundle import TOWERS, Bundle, TensorSpec, TowerName
from mcad_mobile.export.backends.litert.convert import channels_last, convert_litert, stored_specs
from mcad_mobile.export.backends.litert.quantize import quantize_litert
from mcad_mobile.export.build import BundleRequest
from mcad_mobile.export.float_onnx import export_onnx
from mcad_mobile.export.pipeline import ExportOptions, export
from mcad_mobile.export.prepare import tower_specs
from mcad_mobile.export.quantization.calibration import load_samples
from mcad_mobile.students.load import load_student
from mcad_mobile.targets import find_target

# (label, open_clip's name, pixels, tokens)
ARCHITECTURES = (
    ("MobileCLIP-S1", "MobileCLIP-S1", 256, 77),
    ("CLIP ViT-B/32", "ViT-B-32", 224, 77),
)
_CALIBRATION = 32


def ours(folder: Path) -> list[Row]:
    """Return the default student's towers for every runtime."""
    student = load_student(None)
    (exported,) = export(student, [BundleRequest(find_target("cpu"), folder / "cpu")])
    bundle = exported.bundle
    rows = bundle_rows("ours", bundle, folder)
    for name in TOWERS:
        common = row_fields("ours", bundle, name, folder)
        module = str(folder / f"{name}.pt")
        torch.save(student.tower(name), module)
        rows.append(Row(runtime="torch", precision="fp32", file=module, **common))
        whole = folder / f"{name}_whole.onnx"
        specs, output = tower_specs(student, name)
        export_onnx(student.tower(name), whole, specs, output, any_length=name == "text")
        rows.append(Row(runtime="openvino", precision="fp32", file=str(whole), **common))
        rows += _litert(student, bundle, name, folder, common)
    return rows


def bundle_rows(model: str, bundle: Bundle, folder: Path) -> list[Row]:
    """Return every rung of a cpu bundle."""
    rows = []
    for name in TOWERS:
        common = row_fields(model, bundle, name, folder)
        for rung in bundle.tower(name).rungs:
            file = str(bundle.path(rung.files[0]))
            rows.append(Row(runtime="onnx", precision=rung.precision, file=file, **common))
    return rows


def row_fields(model: str, bundle: Bundle, name: TowerName, folder: Path) -> dict[str, str]:
    """Return the fields of a row that runs a tower on its bundle's test inputs."""
    golden = bundle.tower(name).golden
    inputs = folder / f"{name}.npz"
    np.savez(inputs, **{key: np.load(bundle.path(file)) for key, file in golden.inputs.items()})
    expected = str(bundle.path(golden.embeddings))
    return {"model": model, "tower": name, "inputs": str(inputs), "expected": expected}


def _litert(
    student: Any, bundle: Bundle, name: TowerName, folder: Path, common: dict[str, str]
) -> list[Row]:
    specs, output = tower_specs(student, name)
    specs = channels_last(specs)
    floats, integers = folder / f"{name}_fp32.tflite", folder / f"{name}_int8.tflite"
    convert_litert(student.tower(name), floats, specs)
    if name == "image":
        samples, _ = load_samples(student, None, _CALIBRATION)
        quantize_litert(floats, integers, samples.inputs(name), specs, "w8a8")
    else:
        _weights_only(floats, integers)
    rows = []
    for precision, file in (("fp32", floats), ("int8", integers)):
        inputs, stored = stored_specs(file, specs, output)
        as_dicts = [structs.asdict(spec) for spec in (*inputs, stored)]
        rows.append(
            Row(runtime="litert", precision=precision, file=str(file), specs=as_dicts, **common)
        )
    return rows


def _weights_only(source: Path, out: Path) -> None:
    """Quantize weights to 8 bits, and activations at run time, as ONNX Runtime's dynamic int8 does.
    All-integer arithmetic would ruin the text tower's embeddings (docs/targets.md)."""
    from ai_edge_quantizer import quantizer, recipe

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        job = quantizer.Quantizer(str(source), recipe.dynamic_wi8_afp32())
        job.quantize().export_model(str(out), overwrite=True)


def architectures(folder: Path) -> list[Row]:
    """Return other students' architectures with random weights, as open_clip runs them and as this
    project exports them: for time and memory, not recall."""
    rows = []
    for label, name, pixels, tokens in ARCHITECTURES:
        rows += _exported(label, name, folder / name)
        model = open_clip_model(name)
        dim = int(model.encode_text(torch.zeros(1, tokens, dtype=torch.long)).shape[1])
        taken: dict[str, tuple[str, Any]] = {
            "image": ("pixels", np.random.default_rng(0).normal(size=(2, 3, pixels, pixels))),
            "text": ("ids", np.random.default_rng(0).integers(1, 40000, (2, tokens))),
        }
        for tower, (key, value) in taken.items():
            dtype = "float32" if tower == "image" else "int64"
            inputs = folder / f"{name}_{tower}.npz"
            np.savez(inputs, **{key: value.astype(dtype)})
            spec = TensorSpec(key, dtype, (1, *value.shape[1:]), "")
            file = folder / f"{name}_{tower}.onnx"
            output = TensorSpec("peer_embedding", "float32", (1, dim), "ND")
            export_onnx(Encoder(model, tower), file, (spec,), output)
            module = folder / f"{name}_{tower}.pt"
            torch.save(Encoder(model, tower).alone(), module)
            common = {"model": label, "tower": tower, "precision": "fp32", "inputs": str(inputs)}
            rows.append(Row(runtime="torch", file=str(module), **common))
            rows.append(Row(runtime="onnx", file=str(file), **common))
    return rows


def _exported(label: str, name: str, folder: Path) -> list[Row]:
    (folder / "student").mkdir(parents=True)
    student = load_student(STUDENTS[name](folder / "student"))
    request = BundleRequest(find_target("cpu"), folder / "cpu")
    (exported,) = export(student, [request], ExportOptions(allow_low_parity=True))
    return bundle_rows(f"{label}, our export", exported.bundle, folder)


class Encoder(nn.Module):
    """One tower of an open_clip model."""

    def __init__(self, model: nn.Module, tower: str) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoded: torch.Tensor = getattr(self.model, f"encode_{self.tower}")(x)
        return encoded

    def alone(self) -> Encoder:
        """Return a copy without modules that only the other tower uses."""
        kept = copy.deepcopy(self)
        for name in list(dict(kept.model.named_children())):
            if (name == "visual") != (self.tower == "image"):
                delattr(kept.model, name)
        return kept


def open_clip_model(name: str) -> nn.Module:
    """Create a model with random weights, its training-time branches merged as for shipping."""
    import open_clip
    from timm.utils import reparameterize_model

    model = open_clip.create_model(name, pretrained=None)
    return reparameterize_model(model).eval()


def prepare(folder: Path) -> list[Row]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with torch.no_grad():
        return [*ours(folder), *architectures(folder)]
