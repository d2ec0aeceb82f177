"""A student by what the command line says."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mcad_mobile.errors import StudentError, require

if TYPE_CHECKING:
    from mcad_mobile.students.protocol import Student

DEFAULT_NAME = "mcad-s"
KINDS = ("open_clip", "hf", "towers")  # what `--student` begins with, if it is no folder


def load_student(spec: str | None = None, dim: int | None = None) -> Student:
    """`loaded(spec)`, cut to the first `dim` numbers of its embeddings where a width is given.
    StudentError as there, and for a student that cannot be cut so."""
    student = loaded(spec)
    if dim is None or dim == student.dim:
        return student
    cut = getattr(student, "cut", None)
    if cut is None:
        raise StudentError(
            f"{student.name} has {student.dim} dimensions, and was not made to be cut to {dim}.",
            "Leave --dim out, or give a student that `mcad-mobile distill` trained.",
        )
    narrow: Student = cut(dim)
    return narrow


def loaded(spec: str | None = None) -> Student:
    """The student in the folder `spec`, which `distill` or a library wrote;
    `open_clip:NAME:CHECKPOINT`, a tag or a file of weights, or `open_clip:NAME` where one
    checkpoint is published; `hf:NAME_OR_FOLDER`; or, for None, the default student.

    StudentError if it is missing, unknown, damaged, or of a kind that a phone cannot run;
    MissingExtra without the libraries that it needs.
    """
    for module in ("torch", "safetensors"):
        require(module, "export")
    kind, rest = parse_spec(spec)
    if kind == "open_clip":
        from mcad_mobile.students.open_clip import load_open_clip

        return load_open_clip(rest)
    if kind == "hf":
        from mcad_mobile.students.transformers import load_transformers

        return load_transformers(rest)
    if kind == "towers" and Path(rest).is_dir():
        from mcad_mobile.students.timm_transformers import load_towers

        return load_towers(Path(rest))
    if kind == "towers":
        raise StudentError(
            f"towers:{rest} has never been trained: its towers share no space.",
            f"Train it: mcad-mobile distill --student towers:{rest}; then give its folder.",
        )
    from mcad_mobile.students.mcad import McadStudent

    return McadStudent.load(Path(rest))


def parse_spec(spec: str | None) -> tuple[str, str]:
    """Which file of this package reads `spec`: open_clip, hf, towers or mcad; and what that makes
    its student from."""
    kind, _, rest = (spec or "").partition(":")
    if rest and kind in KINDS:
        return kind, rest
    folder = default_directory() if spec is None else Path(spec)
    if rest and re.fullmatch(r"[\w-]{2,}", kind) and not folder.exists():
        near = difflib.get_close_matches(kind, KINDS, 1, 0.4)
        raise StudentError(
            f"{spec!r} is no student: there is neither a kind {kind!r} nor such a folder.",
            (f"Nearest: {near[0]}. " if near else "") + "Write open_clip:NAME[:CHECKPOINT], "
            "hf:NAME_OR_FOLDER, or the folder of a student.",
        )
    if (folder / "open_clip_config.json").is_file():
        return "open_clip", f"local-dir:{folder}"
    head = _head(folder / "config.json")
    if head.schema.startswith("mcad-towers/"):
        return "towers", str(folder)
    return ("hf" if head.model_type and not head.schema else "mcad"), str(folder)


class _Head(msgspec.Struct, frozen=True):
    """What tells a configuration of ours from one of transformers."""

    schema: str = ""
    model_type: str = ""


def _head(path: Path) -> _Head:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Head)
    except (OSError, ValueError):  # told by whoever reads it in earnest
        return _Head()


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
