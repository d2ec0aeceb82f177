"""Student and target -> bundle: export, quantize, compile, reload, compare, write."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.bundle import (
    MANIFEST,
    TOWERS,
    Bundle,
    FileRecord,
    Golden,
    Rung,
    TensorSpec,
    Tower,
    TowerName,
)
from mcad_mobile.errors import ExportError
from mcad_mobile.export import validate
from mcad_mobile.export.rungs import TowerJob, build_rung
from mcad_mobile.quantize.bias_correction import corrected
from mcad_mobile.quantize.calibrate import Samples, load_samples
from mcad_mobile.runtimes import load_rung
from mcad_mobile.students.mcad import Student
from mcad_mobile.targets import Target
from mcad_mobile.versions import tool_versions

GOLDEN_INPUTS = 2
_TOOLS = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-qnn",
    "litert-torch",
    "ai-edge-quantizer",
    "ai-edge-litert",
)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Exported:
    bundle: Bundle
    warnings: list[str]


def export(
    student: Student,
    target: Target,
    out: Path,
    *,
    calibration: Path | None = None,
    samples: int = 32,
    parity_samples: int = 16,
    allow_low_parity: bool = False,
    progress: Progress = lambda step, done, total: None,
) -> Exported:
    """Write a bundle of `student` for `target` to `out`.

    Calibrates on `samples` inputs a tower, then reloads every tower from its file and compares
    it with the float student on `parity_samples` other inputs. Nothing stands at `out` unless all
    went well, and a bundle that stood there before stays until then. ExportError or ParityError
    otherwise; DataError where there are no photos to calibrate on.
    """
    _check_out(out)
    preprocess, tokenizer = student.config.preprocess, student.tokenizer
    calibrate, held_out = load_samples(preprocess, tokenizer, calibration, samples)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        exported = _build(
            student,
            target,
            partial,
            calibrate,
            held_out,
            parity_samples,
            allow_low_parity,
            progress,
        )
        _replace(out, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return replace(exported, bundle=replace(exported.bundle, directory=out))


def _build(
    student: Student,
    target: Target,
    directory: Path,
    calibrate: Samples,
    held_out: Samples,
    parity_samples: int,
    allow_low_parity: bool,
    progress: Progress,
) -> Exported:
    steps = 2 * 2 * len(target.ladder)
    towers: dict[TowerName, Tower] = {}
    expected = {
        name: validate.float_embeddings(_module(student, name), held_out.inputs(name))
        for name in TOWERS
    }
    rounded = {
        "image": corrected(student.image, torch.from_numpy(calibrate.pixels)),
        "text": student.text,
    }
    done = 0
    for name in TOWERS:
        rungs = []
        for plan in target.ladder:
            precision = plan.image if name == "image" else plan.text
            progress(f"{name} tower: {plan.runtime} {precision}", done, steps)
            module = _module(student, name) if precision == "fp32" else rounded[name]
            inputs, output = tower_specs(student, name)
            samples = calibrate.inputs(name)
            job = TowerJob(module, name, inputs, output, samples, directory)
            rungs.append(build_rung(job, plan.runtime, precision, target))
            done += 2
        golden = _golden(directory, name, held_out, expected[name])
        towers[name] = Tower(tuple(rungs), golden)
    vocabulary = directory / student.config.tokenizer.file
    shutil.copyfile(student.directory / student.config.tokenizer.file, vocabulary)
    bundle = Bundle(
        directory=directory,
        name=f"{student.config.name}-{target.id}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        student={
            "name": student.config.name,
            "source": str(student.directory.name),
            "sha256": student.sha256(),
        },
        target={"id": target.id, "chip": target.chip, "npu": target.npu},
        dim=student.config.dim,
        image=towers["image"],
        text=towers["text"],
        preprocess=student.config.preprocess,
        tokenizer=student.config.tokenizer,
        tokenizer_file=FileRecord.of(directory, vocabulary),
        sample=_save(directory, "golden/photo_sample.npy", expected["image"]),
        tools=tool_versions(_TOOLS),
    )
    bundle, warnings = _with_parity(
        bundle, held_out, expected, parity_samples, allow_low_parity, progress
    )
    bundle.save()
    return Exported(Bundle.load(directory), warnings)


def _with_parity(
    bundle: Bundle,
    held_out: Samples,
    expected: dict[TowerName, NDArray[np.float32]],
    count: int,
    allow_low: bool,
    progress: Progress,
) -> tuple[Bundle, list[str]]:
    """Every rung, loaded from its file, against the float student."""
    warnings: list[str] = []
    compared: dict[TowerName, Tower] = {}
    total = sum(len(bundle.tower(name).rungs) for name in TOWERS)
    done = total
    for name in TOWERS:
        rungs: list[Rung] = []
        inputs = {key: value[:count] for key, value in held_out.inputs(name).items()}
        for rung in bundle.tower(name).rungs:
            progress(f"{name} tower: comparing {rung.runtime} with float", done, 2 * total)
            found = validate.parity(expected[name][:count], load_rung(bundle, rung)(inputs))
            warning = validate.judge(name, rung.runtime, found, allow_low=allow_low)
            warnings += [warning] if warning else []
            rungs.append(replace(rung, parity=found))
            done += 1
        compared[name] = replace(bundle.tower(name), rungs=tuple(rungs))
    progress("done", 2 * total, 2 * total)
    return replace(bundle, image=compared["image"], text=compared["text"]), warnings


def tower_specs(student: Student, name: TowerName) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Inputs and output of a float tower, for a batch of one."""
    config = student.config
    output = TensorSpec(f"{name}_embedding", "float32", (1, config.dim), "ND")
    if name == "image":
        size = config.preprocess.size
        return (TensorSpec("pixels", "float32", (1, 3, size, size), "NCHW"),), output
    length = config.tokenizer.length
    return (
        TensorSpec("input_ids", "int32", (1, length), "NL"),
        TensorSpec("attention_mask", "float32", (1, length), "NL"),
    ), output


def _module(student: Student, name: TowerName) -> nn.Module:
    return student.image if name == "image" else student.text


def _golden(
    directory: Path, name: TowerName, samples: Samples, expected: NDArray[np.float32]
) -> Golden:
    inputs = {
        key: _save(directory, f"golden/{key}.npy", value[:GOLDEN_INPUTS])
        for key, value in samples.inputs(name).items()
    }
    embeddings = _save(directory, f"golden/{name}_embedding.npy", expected[:GOLDEN_INPUTS])
    texts = samples.texts[:GOLDEN_INPUTS] if name == "text" else ()
    return Golden(inputs, embeddings, texts)


def _save(directory: Path, name: str, array: NDArray[np.generic]) -> FileRecord:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return FileRecord.of(directory, path)


def _replace(out: Path, made: Path) -> None:
    """Put `made` where `out` is; what was there goes only once the new one stands."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    made.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _check_out(out: Path) -> None:
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise ExportError(
            f"{out} exists and is not a bundle: it would be overwritten.",
            "Give --out a new folder, or one that holds a bundle.",
        )
