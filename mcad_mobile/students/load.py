"""Load students by their name on the command line."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mcad_mobile.errors import Remedy, StudentError, require
from mcad_mobile.students.hub import check_open_clip_name, find_folder

if TYPE_CHECKING:
    from mcad_mobile.students.student import Student

DEFAULT_NAME = "mcad-s"
OPEN_NAME = "mcad-o"  # the student whose weights anyone may ship
MULTILINGUAL = "multilingual"  # the name of the default student's second text tower
_MULTILINGUAL_NAME = "mcad-m"
FILES = ("onnx", "litert")  # kinds of towers in files
KINDS = ("open_clip", "hf", *FILES)  # prefixes of a student, unless it is a folder


def load_student(
    spec: str | None = None,
    dim: int | None = None,
    *,
    tokenizer: str | Path | None = None,
    preprocess: str | None = None,
) -> Student:
    """Load a student.

    Args:
        spec: the folder of a student written by `distill` or a library;
            `open_clip:NAME:CHECKPOINT`, where CHECKPOINT is a published tag or a weights file;
            `open_clip:NAME` if only one checkpoint is published; `hf:NAME_OR_FOLDER`;
            `package.module:function`, which returns a `student`; `onnx:IMAGE.onnx,TEXT.onnx`, or
            `onnx:BOTH.onnx`; `litert:IMAGE.tflite,TEXT.tflite`, for chips whose towers LiteRT
            runs; "mcad-o" for the student whose weights anyone may ship; None for the
            default student.
        dim: number of leading embedding dimensions to keep; None for all. Only students trained
            by `distill` can be cut, to widths that they were trained for.
        tokenizer: for towers in files: a tokenizer.json, if none lies beside the text tower.
        preprocess: for towers in files: how photos are resized and normalized, "clip", "siglip",
            "imagenet" or "mobileclip".

    Returns:
        Both towers in eval mode on the CPU, rewritten for export, with tokenizer and preprocess.

    Raises:
        StudentError: the student is missing, unknown, damaged, of a kind that phones cannot run,
            or cannot be cut to `dim`.
        MissingExtra: a library that the student needs is not installed.
    """
    kind, rest = check_spec(spec)
    if kind not in FILES and (tokenizer is not None or preprocess is not None):
        raise StudentError(
            f"{spec or DEFAULT_NAME} has its own tokenizer and preprocess.", "Leave out both."
        )
    for module in ("torch", "safetensors"):
        require(module, "export")
    student: Student
    if kind == "open_clip":
        from mcad_mobile.students.open_clip import load_open_clip

        student = load_open_clip(rest)
    elif kind == "hf":
        from mcad_mobile.students.transformers import load_transformers

        student = load_transformers(rest)
    elif kind in FILES:
        from mcad_mobile.students.litert_pair import load_litert
        from mcad_mobile.students.onnx_pair import load_pair

        files = [Path(file) for file in rest.split(",")]
        load = load_pair if kind == "onnx" else load_litert
        student = load(files, None if tokenizer is None else Path(tokenizer), preprocess)
    elif kind == "python":
        from mcad_mobile.students.own import call

        student = call(rest)
    else:
        from mcad_mobile.students.mcad import McadStudent

        student = McadStudent.load(Path(rest))
    return student if dim is None or dim == student.dim else student.cut(dim)


def load_with_text(text: str, spec: str | None = None, dim: int | None = None) -> Student:
    """Load a student with another text tower.

    Args:
        text: the folder of a text tower that was trained for another student, or "multilingual"
            for the default student's second text tower.
        spec: the student whose image tower `text` belongs to, as in load_student.
        dim: as in load_student.

    Returns:
        A student with the image tower of `spec`.

    Raises:
        StudentError: as in load_student, or `text` is no folder, or was trained for another image
            tower.
        MissingExtra: a library that the student needs is not installed.
    """
    folder = default_directory(_MULTILINGUAL_NAME) if text == MULTILINGUAL else Path(text)
    if not folder.is_dir():
        raise StudentError(
            f"No text tower at {folder}: there is no such folder.",
            Remedy.GIVE_TEXT_TOWER,
        )
    if check_spec(spec)[0] in FILES:
        raise StudentError(f"{spec} keeps its own text tower.", Remedy.TRAIN_TEXT_TOWER)
    student, base = load_student(str(folder), dim), load_student(spec, dim)
    if student.image_sha256 != base.image_sha256:
        raise StudentError(
            f"The text tower of {student.name} was trained for another image tower than that of "
            f"{base.name}.",
            Remedy.TRAIN_TEXT_TOWER,
        )
    return student


def check_spec(spec: str | None) -> tuple[str, str]:
    """Return `parse_spec(spec)`, without importing torch. StudentError if nothing is there."""
    kind, rest = parse_spec(spec)
    if kind == "open_clip":
        check_open_clip_name(rest)
    elif kind == "hf":
        if find_spec("transformers") is None:
            require("transformers", "students")
        find_folder(rest, ["config.json"])
    elif kind in ("python", *FILES):
        require("transformers", "students")
        missing = [file for file in rest.split(",") if kind in FILES and not Path(file).is_file()]
        if missing:
            raise StudentError(f"There is no file {missing[0]}.", Remedy.GIVE_FILES)
    elif Path(rest).is_file():
        raise StudentError(*_not_a_folder(Path(rest)))
    elif not Path(rest).is_dir():
        raise StudentError(
            f"No student at {rest}: there is no such folder.",
            Remedy.GIVE_STUDENT,
        )
    return kind, rest


def _not_a_folder(file: Path) -> tuple[str, str | Remedy]:
    """Say what a file is that was given as a student, and what to do with it."""
    if file.suffix in (".pt", ".pth", ".bin", ".ckpt", ".safetensors"):
        return (
            f"{file} holds weights, and does not say of which model.",
            f"For a model of open_clip, name it: open_clip:NAME:{file}. For one that transformers "
            "wrote, give its folder: hf:FOLDER.",
        )
    if file.suffix in (".onnx", ".tflite"):
        return f"{file} is a file, and a student has two towers.", Remedy.GIVE_FILES
    return f"No student at {file}: it is a file.", "Give the folder of a student."


def parse_spec(spec: str | None) -> tuple[str, str]:
    """Return the kind of student that `spec` names, and the argument of that kind's loader."""
    kind, _, rest = (spec or "").partition(":")
    if rest and kind in KINDS:
        return kind, rest
    folder = Path(spec or "")
    if spec is None or (spec == OPEN_NAME and not folder.exists()):
        folder = default_directory(spec or DEFAULT_NAME)
    if rest.isidentifier() and not folder.exists() and _is_module(kind):
        return "python", f"{kind}:{rest}"
    if rest and re.fullmatch(r"[\w.-]{2,}", kind) and not folder.exists():
        near = difflib.get_close_matches(kind, KINDS, 1, 0.4)
        raise StudentError(
            f"{spec!r} is not a student: there is neither a kind {kind!r} nor such a folder.",
            (f"Nearest: {near[0]}. " if near else "") + "Write open_clip:NAME[:CHECKPOINT], "
            "hf:NAME_OR_FOLDER, my_package.my_module:make_student, onnx:IMAGE.onnx,TEXT.onnx, "
            "litert:IMAGE.tflite,TEXT.tflite, or the folder of a student.",
        )
    if (folder / "open_clip_config.json").is_file():
        return "open_clip", f"local-dir:{folder}"
    head = _Head()
    # A file that cannot be read is reported when the student is loaded.
    with suppress(msgspec.MsgspecError, OSError, ValueError):
        head = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Head)
    return ("hf" if head.model_type else "mcad"), str(folder)


def _is_module(name: str) -> bool:
    """Say whether Python can import this module, or its package, from here."""
    package = name.partition(".")[0]
    here = Path(f"{package}.py").is_file() or Path(package).is_dir()
    return package.isidentifier() and (here or find_spec(package) is not None)


class _Head(msgspec.Struct, frozen=True):
    """The fields that tell our configurations from those of transformers."""

    schema: str = ""
    model_type: str = ""


def default_directory(name: str = DEFAULT_NAME) -> Path:
    """Return the folder of a student that ships with the package or a source checkout."""
    package = Path(__file__).parents[1] / "models" / name
    checkout = Path(__file__).parents[2] / "models" / name
    for candidate in (package, checkout):
        if candidate.is_dir():
            return candidate
    raise StudentError(
        f"The student {name} is not here (looked in {package} and {checkout}).",
        "Install mcad-mobile again, or name a student.",
    )
