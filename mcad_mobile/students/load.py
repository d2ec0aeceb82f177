"""A student by what the command line says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.errors import StudentError, require

if TYPE_CHECKING:
    from mcad_mobile.students.protocol import Student

DEFAULT_NAME = "mcad-s"


def load_student(spec: str | None = None) -> Student:
    """The student in the folder `spec` that `distill` wrote; `open_clip:NAME:CHECKPOINT`, a tag or
    a file of weights, or `open_clip:NAME` where one checkpoint is published; `hf:NAME_OR_FOLDER`;
    or, for None, the default student.

    StudentError if it is missing, unknown, damaged, or of a kind that a phone cannot run;
    MissingExtra without the libraries that it needs.
    """
    for module in ("torch", "safetensors"):
        require(module, "export")
    kind, _, rest = (spec or "").partition(":")
    if kind == "open_clip" and rest:
        from mcad_mobile.students.open_clip import load_open_clip

        return load_open_clip(rest)
    if kind == "hf" and rest:
        from mcad_mobile.students.transformers import load_transformers

        return load_transformers(rest)
    from mcad_mobile.students.mcad import McadStudent

    return McadStudent.load(default_directory() if spec is None else Path(spec))


def default_directory() -> Path:
    """Where the default student lies: inside an installed package, or in a source checkout."""
    package = Path(__file__).parents[1] / "models" / DEFAULT_NAME
    checkout = Path(__file__).parents[2] / "models" / DEFAULT_NAME
    for candidate in (package, checkout):
        if candidate.is_dir():
            return candidate
    raise StudentError(
        f"The default student {DEFAULT_NAME} is not here (looked in {package} and {checkout}).",
        "Install mcad-mobile again, or name a student: --student DIR.",
    )
