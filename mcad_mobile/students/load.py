"""Find and load a student."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcad_mobile.errors import StudentError, require

if TYPE_CHECKING:
    from mcad_mobile.students.mcad import Student

DEFAULT_NAME = "mcad-s"


def load_student(spec: str | None = None) -> Student:
    """The student in directory `spec`, or the default one. StudentError if it is missing, foreign
    or damaged; MissingExtra without torch."""
    for module in ("torch", "safetensors"):
        require(module, "export")
    from mcad_mobile.students.mcad import Student

    return Student.load(default_directory() if spec is None else Path(spec))


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
