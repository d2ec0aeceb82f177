"""Student and targets -> bundles: quantize, compile, compare with float, and write."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from mcad_mobile.base.files import (
    check_room,
    check_writable,
    disk_error,
    real_path,
    replace_folder,
    restore,
)
from mcad_mobile.base.progress import Progress, silent
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import READER_SHAPES, TOWERS, Bundle, TowerName, check_replaceable
from mcad_mobile.engine.towers import RUNTIMES
from mcad_mobile.engine.towers.litert import LiteRT
from mcad_mobile.errors import TargetError
from mcad_mobile.export.backends.litert.flatbuffer import precision_of
from mcad_mobile.export.build import (
    BuiltRung,
    BundleRequest,
    Key,
    build,
    keyed_plans,
    require_compilers,
)
from mcad_mobile.export.compare import PARITY_INPUTS, Standard
from mcad_mobile.export.export_report import ExportReport, PrecisionRecord
from mcad_mobile.export.prepare import Steps, prepare
from mcad_mobile.export.quantization.calibration import (
    Samples,
    captioned_samples,
    load_samples,
    missing_samples,
)
from mcad_mobile.export.reader.prepare import with_reader
from mcad_mobile.export.smallest_pair import Budget, choose_precisions
from mcad_mobile.students.litert_pair import GivenTower
from mcad_mobile.students.student import Student
from mcad_mobile.targets import RungPlan

# Captions to calibrate on for each photo: a caption has far fewer tokens than a tower takes
_TEXTS_PER_PHOTO = 8


@dataclass(frozen=True)
class ExportOptions:
    """How bundles are exported; by default, calibrated on photos of installed packages. Simulators
    are slow, so they run `simulated_inputs` of the 16 inputs that towers are compared on. With
    `read_text`, they get a reader of text in photos; with `multilingual`, a student with the same
    image tower, its text tower for languages other than English."""

    calibration: Path | None = None
    samples: int = 32
    calibrate_on: Sequence[CaptionedPhoto] = ()
    allow_low_parity: bool = False
    simulated_inputs: int = PARITY_INPUTS
    budget: Budget | None = None
    read_text: bool = False
    multilingual: Student | None = None


@dataclass(frozen=True)
class Exported:
    """A bundle that was written, warnings for its user, and what is in the report beside it."""

    bundle: Bundle
    warnings: list[str]
    report: ExportReport


def export(
    student: Student,
    requests: Sequence[BundleRequest],
    options: ExportOptions | None = None,
    progress: Progress = silent,
) -> list[Exported]:
    """Write a bundle for each request; shared parts are built once. A complete bundle replaces the
    one at its `out`, and stays if a later request fails."""
    options = options or ExportOptions()
    towers = map(student.tower, TOWERS)
    if files := [tower.file for tower in towers if isinstance(tower, GivenTower)]:
        requests = [_of_files(files, request, options) for request in requests]
    for request in requests:
        if len({target.family for target in request.targets}) > 1:
            raise TargetError(
                "A bundle is for chips of one family, and not for "
                f"{', '.join(target.id for target in request.targets)}.",
                "Export a bundle for each family.",
            )
        require_compilers(request.target, cloud=request.cloud is not None)
        restore(request.out)
        check_place(student, request)
    progress("reading photos and captions to calibrate on")
    calibrate, held_out, warned = calibration_samples(student, options)
    names: list[TowerName] = [*TOWERS, *(READER_SHAPES if options.read_text else ())]
    if options.multilingual is not None:
        names.append("multilingual")
    plans = [
        key
        for request in requests
        for keyed in keyed_plans(request.targets, request.precisions, names).values()
        for key in keyed
    ]
    steps = Steps(progress, len(set(plans)))
    exported, report, built = [], ExportReport(), dict[Key, BuiltRung]()
    with tempfile.TemporaryDirectory(prefix="mcad-") as scratch:
        prepared = prepare(student, calibrate, held_out, Path(scratch), steps, options.multilingual)
        if options.read_text:
            prepared = with_reader(prepared, options.samples)
        standard = Standard(
            prepared.compared,
            prepared.expected,
            options.allow_low_parity,
            options.simulated_inputs,
            progress,
        )
        if options.budget is not None:
            target = requests[0].target
            chosen, record = choose_precisions(prepared, standard, options.budget, target)
            precisions = {name: candidate.precision for name, candidate in chosen.items()}
            requests = [
                dataclasses.replace(request, precisions=precisions, chosen=chosen)
                for request in requests
            ]
            warned += missing_photos(record)
            report = ExportReport(precision=record)
        for request in requests:
            with replacing(request.out) as partial:
                bundle, warnings = build(prepared, request, standard, built, partial)
                bundle.save()
                if report.precision is not None:
                    report.save(partial)
                Bundle.load(partial)
            written = structs.replace(bundle, directory=request.out)
            exported.append(Exported(written, [*warned, *warnings], report))
    progress("done", 1, 1)
    return exported


def _of_files(
    files: Sequence[Path], request: BundleRequest, options: ExportOptions
) -> BundleRequest:
    """Return a request whose rungs are these LiteRT files, and what they compile to."""
    target = request.target
    if options.read_text or options.budget or request.precisions:
        raise TargetError(
            "A student in LiteRT files is exported as it is.",
            "Ask for no precision and no reader of text, or give the student in torch or ONNX.",
        )
    image, text = map(precision_of, files)
    ladder = [
        RungPlan(plan.runtime, image, text)
        for plan in target.ladder
        if LiteRT.name in (plan.runtime, RUNTIMES[plan.runtime].source)
    ]
    if not ladder:
        raise TargetError(
            f"{target.chip} runs no LiteRT files: its bundles have "
            f"{', '.join(dict.fromkeys(RUNTIMES[plan.runtime].label for plan in target.ladder))}.",
            "Export them for Dimensity, Tensor or cpu-litert, or give it in torch or ONNX.",
        )
    return dataclasses.replace(request, target=structs.replace(target, ladder=tuple(ladder)))


def check_place(student: Student, request: BundleRequest) -> None:
    """Raise ExportError if `out` holds something else, DiskError if the weights would not fit."""
    check_replaceable(request.out)
    bundle, scratch = least_room(student, request)
    check_writable(request.out, bundle)
    check_room(Path(tempfile.gettempdir()), scratch)


def least_room(student: Student, request: BundleRequest) -> tuple[int, int]:
    """Return how many bytes a bundle takes, and a tower as float ONNX. It is no more than is
    needed, so that nothing that fits is refused: a weight takes a byte, or four in a float rung."""
    weights = {
        name: sum(weight.numel() for weight in student.tower(name).parameters()) for name in TOWERS
    }
    rungs = sum(
        weights[name] * (4 if plan.precision == "fp32" else 1)
        for name, plans in keyed_plans(request.targets, request.precisions).items()
        for plan in plans.values()
    )
    table = student.token_table.numel() * student.text_spec.table_bits // 8
    return rungs + table, 4 * max(weights.values())


def missing_photos(record: PrecisionRecord) -> list[str]:
    """Return a warning if there are too few photos to tell the budget's drop of recall from 0."""
    if record.photos_to_tell <= record.data.photos:
        return []
    return [
        f"{record.data.photos} photos of split {record.data.split!r} are too few to detect a drop "
        f"of {record.max_recall_drop:g} points; {record.photos_to_tell} would be enough."
    ]


def calibration_samples(
    student: Student, options: ExportOptions
) -> tuple[Samples, Samples, list[str]]:
    count = options.samples
    calibrate, held_out = load_samples(student, options.calibration, count)
    if not options.calibrate_on:
        return calibrate, held_out, missing_samples(calibrate, count)
    texts = _TEXTS_PER_PHOTO * count
    captioned = captioned_samples(student, options.calibrate_on, photos=count, texts=texts)
    return captioned, held_out, []


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that replaces it on success and is removed on failure.
    DiskError if the disk is at fault."""
    whole = real_path(out)
    partial = whole.parent / f".{whole.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    new_parents = [folder for folder in whole.parents if not folder.exists()]
    try:
        partial.mkdir(parents=True)
        yield partial
        replace_folder(out, partial)
    except BaseException as error:
        of_disk = disk_error(out, error)  # before removing the partial bundle makes room
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # a folder that holds other bundles stays
            for folder in new_parents:
                folder.rmdir()
        if of_disk is not None:
            raise of_disk from error
        raise
