"""Student and targets -> bundles: export, quantize, compile, reload, compare, write."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from mcad_mobile import disk
from mcad_mobile.bundle import Bundle, TowerName
from mcad_mobile.bundle_precision import PrecisionRecord
from mcad_mobile.data.captioned_photo import CaptionedPhoto
from mcad_mobile.export.aihub import CloudCompiler
from mcad_mobile.export.budget import Budget
from mcad_mobile.export.comparison import PARITY_INPUTS
from mcad_mobile.export.place import check_place
from mcad_mobile.export.rungs import require_compilers
from mcad_mobile.export.workshop import Workshop, rung_keys
from mcad_mobile.quantize.calibrate import captioned_samples, load_samples, shortfall
from mcad_mobile.replace import replace_folder, restore
from mcad_mobile.students.load import load_student
from mcad_mobile.students.protocol import Student
from mcad_mobile.targets import Target, find_target
from mcad_mobile.targets.target import Precision

Progress = Callable[[str, int, int], None]
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
    progress: Progress = lambda step, done, total: None,
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

    def step(what: str) -> None:
        nonlocal done
        progress(what, done, total)
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
    progress: Progress = lambda step, done, total: None,
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


def _write(
    workshop: Workshop, order: Order, step: Callable[[str], None]
) -> tuple[Bundle, list[str]]:
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
        disk_error = disk.trouble(out, error)  # asked before the partial bundle makes room
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # one that holds other bundles stays
            for folder in made_for_it:
                folder.rmdir()
        if disk_error is not None:
            raise disk_error from error
        raise
    return replace(bundle, directory=out), doubts
