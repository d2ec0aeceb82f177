"""Student and target -> bundle: export, quantize, compile, reload, compare, write."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.bundle import (
    MANIFEST,
    TOWERS,
    Bundle,
    FileRecord,
    Golden,
    Rung,
    StudentFacts,
    TableRecord,
    TargetFacts,
    TensorSpec,
    Tower,
    TowerName,
)
from mcad_mobile.errors import ExportError
from mcad_mobile.export import validate
from mcad_mobile.export.aihub import CloudCompiler
from mcad_mobile.export.rungs import TowerJob, build_rung, evaluate_as_written
from mcad_mobile.quantize.bias_correction import corrected
from mcad_mobile.quantize.calibrate import Samples, load_samples
from mcad_mobile.runtimes import load_rung, normalize
from mcad_mobile.students.protocol import TEXT_INPUTS, Student
from mcad_mobile.targets import Target
from mcad_mobile.text.rows import TokenTable, write_token_table
from mcad_mobile.versions import tool_versions

GOLDEN_INPUTS = 2
PARITY_INPUTS = 16
TABLE = "token_table.bin"
TOKENIZER = "tokenizer.bin"
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


# What each quantized rung says of the golden inputs, evaluated as it is written: by tower and
# number in its ladder.
_Written = dict[tuple[TowerName, int], NDArray[np.float32]]


def export(
    student: Student,
    target: Target,
    out: Path,
    *,
    calibration: Path | None = None,
    samples: int = 32,
    allow_low_parity: bool = False,
    cloud: CloudCompiler | None = None,
    progress: Progress = lambda step, done, total: None,
) -> Exported:
    """Write a bundle of `student` for `target` to `out`.

    Calibrates on `samples` inputs a tower, then reloads every tower from its file and compares
    it with the float student on 16 other inputs, the same whatever `samples` is. Nothing stands
    at `out` unless all went well, and a bundle that stood there before stays until then. With
    `cloud`, QNN rungs are compiled in Qualcomm AI Hub and compared on its phone. ExportError or
    ParityError otherwise; DataError where there are no photos to calibrate on.
    """
    _check_out(out)
    calibrate, held_out = load_samples(student, calibration, samples)
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(
            f"{out} cannot be made: {error}.", "Give --out a folder that you may write to."
        ) from error
    try:
        table = _write_table(student, partial)
        written = _write(student, target, partial, calibrate, held_out, table, cloud, progress)
        bundle, warnings = _with_parity(
            student,
            written,
            held_out.first(PARITY_INPUTS),
            table,
            allow_low_parity,
            cloud,
            progress,
        )
        bundle.save()
        Bundle.load(partial)
        _replace(out, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Exported(replace(bundle, directory=out), warnings)


def _write_table(student: Student, directory: Path) -> TokenTable:
    path = directory / TABLE
    write_token_table(path, student.token_table.numpy())
    return TokenTable(path, *student.token_table.shape)


def _write(
    student: Student,
    target: Target,
    directory: Path,
    calibrate: Samples,
    held_out: Samples,
    table: TokenTable,
    cloud: CloudCompiler | None,
    progress: Progress,
) -> tuple[Bundle, _Written]:
    """All files of a bundle but bundle.json, the bundle without its parity, and what the parity of
    this machine's kernels is to be judged by."""
    towers: dict[TowerName, Tower] = {}
    written: _Written = {}
    done = 0
    with tempfile.TemporaryDirectory(prefix="mcad-") as scratch:
        for name in TOWERS:
            few = held_out.first(GOLDEN_INPUTS)
            golden = _golden(student, directory, name, few, table)
            inputs = few.read_from(table).inputs(name)
            samples = calibrate.read_from(table)
            exact, rounded = _jobs(student, name, directory, samples, golden, Path(scratch))
            rungs = []
            for number, plan in enumerate(target.ladder):
                precision = plan.image if name == "image" else plan.text
                progress(f"{name} tower: {plan.runtime} {precision}", done, _steps(target))
                job = exact if precision == "fp32" else rounded
                compile_context = None if cloud is None else cloud.compile
                rungs.append(build_rung(job, plan.runtime, precision, target, compile_context))
                if precision != "fp32":
                    written[name, number] = evaluate_as_written(job, rungs[-1], inputs)
                done += 1
            towers[name] = Tower(tuple(rungs), golden)
    tokenizer, file = student.tokenizer_file()
    (directory / TOKENIZER).write_bytes(file)
    photos = validate.float_embeddings(student.tower("image"), held_out.inputs("image"))
    bundle = Bundle(
        directory=directory,
        name=f"{student.name}-{target.id}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        student=StudentFacts(
            name=student.name,
            sha256=student.sha256(),
            source=student.source.weights,
            preprocess=student.source.preprocess,
            licence=student.source.licence or "not told",
        ),
        target=TargetFacts(target.id, target.chip, target.npu),
        dim=student.dim,
        image=towers["image"],
        text=towers["text"],
        preprocess=student.preprocess,
        tokenizer=tokenizer,
        tokenizer_file=FileRecord.of(directory, directory / TOKENIZER),
        token_table=TableRecord(
            FileRecord.of(directory, directory / TABLE), *student.token_table.shape
        ),
        no_match=student.no_match,
        sample=_save(directory, "golden/photo_sample.npy", photos),
        tools=tool_versions(_TOOLS),
    )
    return bundle, written


def _jobs(
    student: Student,
    name: TowerName,
    directory: Path,
    calibrate: Samples,
    golden: Golden,
    scratch: Path,
) -> tuple[TowerJob, TowerJob]:
    """The tower as it is, and as it is to be quantized: weights that will be rounded to 8 bits
    want other biases than float ones."""
    inputs, output = tower_specs(student, name)
    samples = calibrate.inputs(name)

    def job(module: nn.Module, folder: str) -> TowerJob:
        work = scratch / folder
        work.mkdir()
        any_length = name == "text" and not student.text_spec.attends_to_padding
        return TowerJob(module, name, inputs, output, samples, golden, directory, work, any_length)

    exact = job(student.tower(name), name)
    if name == "text":
        return exact, exact
    rounded = corrected(student.tower("image"), torch.from_numpy(calibrate.pixels))
    return exact, job(rounded, "corrected")


def _with_parity(
    student: Student,
    written: tuple[Bundle, _Written],
    compare: Samples,
    table: TokenTable,
    allow_low: bool,
    cloud: CloudCompiler | None,
    progress: Progress,
) -> tuple[Bundle, list[str]]:
    """The bundle with every rung, loaded from its file, compared with the float student and, for
    the golden inputs, with what it says evaluated as it is written; and warnings."""
    bundle, as_written = written
    warnings: list[str] = []
    compared: dict[TowerName, Tower] = {}
    total = 2 * sum(len(bundle.tower(name).rungs) for name in TOWERS)
    done = total // 2
    for name in TOWERS:
        rungs: list[Rung] = []
        inputs = compare.read_from(table).inputs(name)
        expected = validate.float_embeddings(student.tower(name), compare.inputs(name))
        for number, rung in enumerate(bundle.tower(name).rungs):
            progress(f"{name} tower: comparing {rung.runtime} with float", done, total)
            if cloud is not None and rung.runtime == "qnn":
                embeddings, rung = cloud.run(bundle, rung, inputs)
            else:
                embeddings = load_rung(bundle, rung)(inputs)
            if (name, number) in as_written:
                golden, said = embeddings[:GOLDEN_INPUTS], as_written[name, number]
                validate.judge_kernels(name, rung, expected[:GOLDEN_INPUTS], said, golden)
                rung = replace(rung, expected=_expected(bundle.directory, rung, golden))
            found = validate.parity(expected, embeddings)
            warning = validate.judge(name, rung.runtime, found, allow_low=allow_low)
            warnings += [warning] if warning else []
            rungs.append(replace(rung, parity=found))
            done += 1
        compared[name] = replace(bundle.tower(name), rungs=tuple(rungs))
    progress("done", total, total)
    return replace(bundle, image=compared["image"], text=compared["text"]), warnings


def _steps(target: Target) -> int:
    """Each rung of both towers is built and compared."""
    return 2 * len(TOWERS) * len(target.ladder)


def tower_specs(student: Student, name: TowerName) -> tuple[tuple[TensorSpec, ...], TensorSpec]:
    """Inputs and output of a float tower, for a batch of one."""
    output = TensorSpec(f"{name}_embedding", "float32", (1, student.dim), "ND")
    if name == "image":
        size = student.preprocess.size
        return (TensorSpec("pixels", "float32", (1, 3, size, size), "NCHW"),), output
    spec = student.text_spec
    shapes = ((1, spec.length, spec.width), (1, spec.length), (1, spec.length))
    return tuple(
        TensorSpec(tensor, "float32", shape, "NLW" if len(shape) == 3 else "NL")
        for tensor, shape in zip(TEXT_INPUTS, shapes, strict=True)
    ), output


def _golden(
    student: Student, directory: Path, name: TowerName, few: Samples, table: TokenTable
) -> Golden:
    """Inputs as a phone reads them, and what the float student makes of its own."""
    expected = validate.float_embeddings(student.tower(name), few.inputs(name))
    return Golden(
        inputs={
            key: _save(directory, f"golden/{key}.npy", value)
            for key, value in few.read_from(table).inputs(name).items()
        },
        embeddings=_save(directory, f"golden/{name}_embedding.npy", expected),
        texts=few.texts if name == "text" else (),
        ids=_save(directory, "golden/token_ids.npy", few.ids) if name == "text" else None,
    )


def _expected(directory: Path, rung: Rung, embeddings: NDArray[np.float32]) -> FileRecord:
    stem = Path(rung.files[0].path).stem
    return _save(directory, f"golden/{stem}_expected.npy", normalize(embeddings))


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
    file = next((folder for folder in out.absolute().parents if folder.is_file()), None)
    if file is not None:
        raise ExportError(
            f"{out} cannot be made: {file} is a file.", "Give --out a folder, new or a bundle."
        )
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise ExportError(
            f"{out} exists and is not a bundle: it would be overwritten.",
            "Give --out a new folder, or one that holds a bundle.",
        )
