"""The entry points of export, imported without the libraries that an export needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.engine.bundle import check_replaceable
from mcad_mobile.engine.photos.folder import find_photos
from mcad_mobile.errors import require
from mcad_mobile.students.load import check_spec, load_student
from mcad_mobile.targets import find_targets

if TYPE_CHECKING:
    from mcad_mobile.engine.bundle import Bundle
    from mcad_mobile.students.student import Student
    from mcad_mobile.targets import Target


def export_bundle(
    target: str | Target,
    out: str | Path,
    *,
    student: str | Path | Student | None = None,
    calibration: str | Path | None = None,
    samples: int = 32,
    allow_low_parity: bool = False,
    read_text: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Write a bundle for one chip or several, as the command does, and load it.

    Warnings about the bundle are issued as Python warnings.

    Args:
        target: a Target; a chip's id, model or name ("snapdragon-8-gen-3", "SM8650"); or
            "snapdragon", "dimensity", "tensor", "cpu" or "cpu-litert"; with commas between chips,
            the bundle holds them all; "snapdragon-phones" are those of the last four years.
        out: the bundle's folder; a bundle there is replaced when the new one is complete.
        student: a loaded student, or what `load_student` takes; None for the default student.
        calibration: a folder of photos like your users'; None for photos of installed packages.
        samples: how many photos and captions to calibrate on.
        allow_low_parity: keep towers whose mean cosine to the float student is under 0.95.
        read_text: add what reads the text in photos.
        progress: called as (step, done, total) before each step.

    Returns:
        The bundle at `out`.

    Raises:
        TargetError: no chip has this name.
        StudentError: the student cannot be loaded.
        MissingExtra: the extra `export` or `reader`, or a compiler for the chip, is not installed.
        DataError: there are no photos to calibrate on.
        DiskError: the bundle cannot be written, or there is too little room.
        ExportError: a tower cannot be made for the chip, or `out` exists and is not a bundle.
        ParityError: a tower's mean cosine to the float student is under 0.95.
    """
    chip, *more = find_targets(target) if isinstance(target, str) else [target]
    folder = None if calibration is None else Path(calibration)
    if isinstance(student, Path):
        student = str(student)
    check_arguments(student, [Path(out)], folder, read_text=read_text)
    from mcad_mobile.export.build import BundleRequest
    from mcad_mobile.export.pipeline import ExportOptions, export

    loaded = load_student(student) if student is None or isinstance(student, str) else student
    options = ExportOptions(
        calibration=folder,
        samples=samples,
        allow_low_parity=allow_low_parity,
        read_text=read_text,
    )
    (exported,) = export(
        loaded, [BundleRequest(chip, Path(out), more=tuple(more))], options, progress
    )
    for sentence in exported.warnings:
        warnings.warn(sentence, stacklevel=2)
    return exported.bundle


def check_arguments(
    student: str | Student | None,
    outs: Sequence[Path],
    calibration: Path | None,
    *,
    read_text: bool = False,
) -> None:
    """Raise errors for wrong names and folders before MissingExtra: importing torch takes long."""
    for out in outs:
        check_replaceable(out)
    if calibration is not None:
        find_photos(calibration)
    if student is None or isinstance(student, str):
        check_spec(student)
    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, "export")
    if read_text:
        from mcad_mobile.export.reader.models import package

        package()
