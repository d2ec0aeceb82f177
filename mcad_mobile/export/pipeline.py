"""Student and targets -> bundles: export, quantize, compile, reload, compare, write."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mcad_mobile.bundle import MANIFEST, Bundle
from mcad_mobile.errors import ExportError
from mcad_mobile.evaluate import Embedded
from mcad_mobile.export.aihub import CloudCompiler
from mcad_mobile.export.workshop import Workshop, rung_keys
from mcad_mobile.quantize.calibrate import load_samples
from mcad_mobile.students.protocol import Student
from mcad_mobile.targets import Target

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Order:
    """A bundle for `target`, written to `out`. With `cloud`, its QNN rungs are compiled in Qualcomm
    AI Hub and compared on its phone."""

    target: Target
    out: Path
    cloud: CloudCompiler | None = None


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
    captioned: Embedded | None = None,
    progress: Progress = lambda step, done, total: None,
) -> list[Exported]:
    """Write a bundle of `student` for each of `orders`; what several of them hold is made once.

    Calibrates on `samples` inputs a tower, then reloads every tower from its file and compares
    it with the float student on 16 other inputs, the same whatever `samples` is. Nothing stands
    at an `out` unless all of its bundle went well, and a bundle that stood there before stays
    until then; bundles that were done before one that fails stay. `captioned` is what the student
    makes of captioned photos: a no-match margin is measured on it where the student brings none.
    ExportError or ParityError otherwise; DataError where there are no photos to calibrate on.
    """
    for order in orders:
        _check_out(order.out)
    calibrate, held_out = load_samples(student, calibration, samples)
    rungs = {key for order in orders for key in rung_keys(order.target)}
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
            captioned=captioned,
        )
        for order in orders:
            exported.append(_write(workshop, order, step))
    progress("done", total, total)
    return exported


def _write(workshop: Workshop, order: Order, step: Callable[[str], None]) -> Exported:
    out = order.out
    partial = out.parent / f".{out.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        bundle, warnings = workshop.make(order.target, partial, order.cloud, step)
        bundle.save()
        Bundle.load(partial)
        _replace(out, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return Exported(replace(bundle, directory=out), warnings)


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
