"""Student and targets -> bundles: export, quantize, compile, reload, compare, write."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from mcad_mobile.base import files
from mcad_mobile.base.files import check_room, check_writable, replace_folder, restore
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import (
    MANIFEST,
    TOWERS,
    Bundle,
    Precision,
    PrecisionRecord,
    TowerName,
)
from mcad_mobile.errors import ExportError
from mcad_mobile.export.aihub.compiler import CloudCompiler
from mcad_mobile.export.bundle_builder import Workshop, rung_keys
from mcad_mobile.export.comparison import PARITY_INPUTS
from mcad_mobile.export.precision.recall import Budget
from mcad_mobile.export.quantization.calibration import captioned_samples, load_samples, shortfall
from mcad_mobile.export.rungs import plans_here, require_compilers
from mcad_mobile.export.targets import Target, find_target
from mcad_mobile.students.load import load_student
from mcad_mobile.students.protocol import Student

# Where a bundle is to be written: looked at before the work of a minute is begun.


def check_place(
    out: Path,
    student: Student,
    target: Target,
    first: Mapping[TowerName, Precision] | None = None,
) -> None:
    """ExportError if something that is no bundle would be overwritten at `out`; DiskError if no
    bundle can be written there, or not even its weights would find room."""
    if out.exists() and not (out / MANIFEST).is_file() and (out.is_file() or any(out.iterdir())):
        raise ExportError(
            f"{out} exists and is not a bundle: it would be overwritten.",
            "Give --out a new folder, or one that holds a bundle.",
        )
    weights = {
        name: sum(weight.numel() for weight in student.tower(name).parameters()) for name in TOWERS
    }
    # The very least, so that nothing is refused that would go well: a weight takes a byte, or
    # four where a rung is float; the token table has 16 bits.
    rungs = sum(
        weights[name] * _bytes_each(plan.precision)
        for name in TOWERS
        for plan in plans_here(name, target, first)
    )
    check_writable(out, rungs + 2 * student.token_table.numel())
    check_room(Path(tempfile.gettempdir()), 4 * max(weights.values()))  # a tower as float ONNX


def _bytes_each(precision: Precision) -> int:
    return 4 if precision == "fp32" else 1


_TEXTS = 8  # captions to calibrate on for each photo: they have far fewer tokens than it has places


@dataclass(frozen=True)
class Order:
    """A bundle for `target`, written to `out`. With `cloud`, its QNN rungs are compiled in Qualcomm
    AI Hub and compared on its phone. `first`: the precisions of its first rung, where they are not
    the target's own."""

    target: Target
    out: Path
    cloud: CloudCompiler | None = None
    first: Mapping[TowerName, Precision] | None = None


@dataclass(frozen=True)
class Exported:
    bundle: Bundle
    warnings: list[str]


def export(
    student: Student,
    orders: Sequence[Order],
    *,
    calibration: Path | None = None,
    samples: int = 32,
    allow_low_parity: bool = False,
    simulated: int = PARITY_INPUTS,
    budget: Budget | None = None,
    calibrate_on: Sequence[CaptionedPhoto] = (),
    progress: Progress = silent,
) -> list[Exported]:
    """Write a bundle of `student` for each of `orders`; what several of them hold is made once.

    Calibrates on `samples` inputs a tower, then reloads every tower from its file and compares
    it with the float student on 16 other inputs, the same whatever `samples` is. The HTP simulator
    takes up to a minute for one: it is given the first `simulated` of them (2 at least), and what
    is compiled for a second chip 2, where it gives for these what the first chip's did. With
    `budget` the first rung gets the fewest bits that it allows, chosen for the first order's chip,
    and towers are calibrated on
    `calibrate_on`, if there are any: a split of captioned photos that is not measured on. Nothing
    stands at an `out` unless all of its bundle went well, and a bundle that stood there before
    stays until then; bundles that were done before one that fails stay. ExportError or ParityError
    otherwise; DataError where there are no photos to calibrate on; before any work, MissingExtra
    where a compiler is not installed, and DiskError where nothing can be written or there is too
    little room.
    """
    for order in orders:
        require_compilers(order.target, cloud=order.cloud is not None)
        restore(order.out)
        check_place(order.out, student, order.target, order.first)
    calibrate, held_out = load_samples(student, calibration, samples)
    doubts = shortfall(calibrate, samples)
    if calibrate_on:
        doubts = []
        calibrate = captioned_samples(student, calibrate_on, photos=samples, texts=_TEXTS * samples)
    rungs = {key for order in orders for key in rung_keys(order.target, order.first)}
    total, done = 2 * len(rungs), 0  # each is built, and compared

    def step(name: str, _done: int = 0, _total: int = 0, /) -> None:
        nonlocal done
        progress(name, done, total)
        done += 1

    exported = []
    with tempfile.TemporaryDirectory(prefix="mcad-") as scratch:
        workshop = Workshop(
            student,
            calibrate,
            held_out,
            Path(scratch),
            allow_low_parity=allow_low_parity,
            simulated=simulated,
            progress=progress,
        )
        if budget is not None:
            first, record = workshop.choose(budget, orders[0].target, progress)
            orders = [dataclasses.replace(order, first=first) for order in orders]
            doubts = [*doubts, *too_little(record)]
        for order in orders:
            bundle, warned = _write(workshop, order, step)
            exported.append(Exported(bundle, [*doubts, *warned]))
    if budget is not None:
        shutil.rmtree(budget.kept, ignore_errors=True)  # it went to its end
    progress("done", total, total)
    return exported


def too_little(record: PrecisionRecord) -> list[str]:
    """A sentence where the data cannot tell a drop of the whole budget from none."""
    if record.photos_to_tell <= record.data.photos:
        return []
    return [
        f"{record.data.photos} photos of split {record.data.split!r} are too few to tell a drop of "
        f"{record.max_recall_drop:g} points from none: {record.photos_to_tell} would do."
    ]


def export_bundle(
    target: str | Target,
    out: str | Path,
    *,
    student: str | Path | Student | None = None,
    calibration: str | Path | None = None,
    samples: int = 32,
    allow_low_parity: bool = False,
    progress: Progress = silent,
) -> Bundle:
    """Write a bundle for one chip, as `mcad-mobile export` does, and load it.

    `student`: as for load_student, None for the default one, or one that is loaded. What is
    doubtful of the bundle is a warning of Python's. Raises what `export` and `load_student` do;
    TargetError for a chip that is not in the table.
    """
    chip = target if isinstance(target, Target) else find_target(target)
    if isinstance(student, Path):
        student = str(student)
    loaded = load_student(student) if student is None or isinstance(student, str) else student
    (exported,) = export(
        loaded,
        [Order(chip, Path(out))],
        calibration=None if calibration is None else Path(calibration),
        samples=samples,
        allow_low_parity=allow_low_parity,
        progress=progress,
    )
    for sentence in exported.warnings:
        warnings.warn(sentence, stacklevel=2)
    return exported.bundle


def _write(workshop: Workshop, order: Order, step: Progress) -> tuple[Bundle, list[str]]:
    out = order.out
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    made_for_it = [folder for folder in out.absolute().parents if not folder.exists()]
    try:
        partial.mkdir(parents=True)
        bundle, doubts = workshop.make(order.target, partial, order.cloud, step, order.first)
        bundle.save()
        Bundle.load(partial)
        replace_folder(out, partial)
    except BaseException as error:
        disk_error = files.trouble(out, error)  # asked before the partial bundle makes room
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # one that holds other bundles stays
            for folder in made_for_it:
                folder.rmdir()
        if disk_error is not None:
            raise disk_error from error
        raise
    return replace(bundle, directory=out), doubts
