"""Where a bundle is to be written: looked at before the work of a minute is begun."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcad_mobile.bundle import MANIFEST, TOWERS, TowerName
from mcad_mobile.disk import check_room, check_writable
from mcad_mobile.errors import ExportError
from mcad_mobile.export.rungs import plans_here
from mcad_mobile.students.protocol import Student
from mcad_mobile.targets import Target
from mcad_mobile.targets.target import Precision


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
