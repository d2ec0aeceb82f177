"""One error tree. Each error says what went wrong, with which value, and what to do next: in a
sentence, or by a remedy that the face which shows the error puts into words."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class Remedy(Enum):
    """A next step for which each face has its own words: `cli/wording.py` gives commands and
    options, `serve/wording.py` what to press. The sentence here is for everybody else. Called with
    the values that the words need, a remedy becomes advice."""

    EXPORT_AGAIN = "Export the bundle again."
    EXPORT_BUNDLE = "Check the path, or export a bundle."
    EXPORT_WITH_READER = "Export the bundle again, with what reads text."
    EXPORT_STUDENT = "Export a bundle of it."
    GIVE_BUNDLE_OF_INDEX = "Give the bundle that the index was made with."
    GIVE_BUNDLE_OF_SHARDS = "Give the bundle that the shards were made with."
    GIVE_EXPORTED_FOLDER = "Give the folder that an export wrote."
    CHOOSE_BUNDLE_FOLDER = "Choose a new folder, or one that holds a bundle."
    GIVE_INDEX = "Give the folder of an index; an index lies beside its bundle."
    MAKE_INDEX = "Check the path, or index photos first."
    INDEX_WITH_BUNDLE = "Index photos with that bundle, or leave it out."
    INDEX_SHARDS = "These are shards: make an index of them."
    INDEX_FOLDER = "To take in new photos, index their folder."
    EMBED_ADDRESSES = "Photos at addresses are embedded into shards, and an index is made of those."
    CHOOSE_INDEX_FOLDER = "Choose a new folder for the index, or move that file to another one."
    MOVE_INDEX = "Choose another folder for the index; usually, it lies beside its bundle."
    TUNE_INDEX = "Tune the index again."
    REPAIR_INDEX = "Drop the damaged parts of the index. Then index those photos again."
    EMBED_AGAIN = (
        "Use the bundle that the index was built with, or embed its photos again into a new index."
    )
    DROP_GONE = (
        "Give a folder that holds photos, or ask for indexed photos whose files are gone to be "
        "dropped."
    )
    USE_LITERT = "Use its LiteRT rung: the .tflite that it was compiled from."
    USE_NEXT_RUNG = "Update that runtime, or let the next rung of the ladder run."
    USE_NO_GPU = (
        "Install onnxruntime-gpu in place of onnxruntime where there is a GPU, or use no GPU."
    )

    GIVE_TEXT_TOWER = "Give the folder of a text tower that was trained, or 'multilingual'."
    TRAIN_TEXT_TOWER = "Give the student that the text tower was trained for, or train another one."
    GIVE_STUDENT = (
        "Give a folder that was trained here, hf:FOLDER for one that transformers wrote, "
        "open_clip:NAME[:CHECKPOINT], or nothing for the default student."
    )
    GIVE_FILES = (
        "Give onnx:IMAGE.onnx,TEXT.onnx, onnx:BOTH.onnx or litert:IMAGE.tflite,TEXT.tflite, a "
        "tokenizer and a preprocess."
    )
    GIVE_PREPROCESS = "Give preprocess: 'clip', 'siglip', 'imagenet' or 'mobileclip'."
    GIVE_TOKENIZER = "Give tokenizer: the tokenizer.json of the text tower."
    ALLOW_LOW_PARITY = "Calibrate on photos like your users', or allow low parity."
    EXPORT_ELSEWHERE = (
        "Report this with the versions of your tools, and export on another machine: to allow low "
        "parity does not help here."
    )
    ALLOW_RECALL_DROP = (
        "Allow a drop of {points} points, give more photos than {photos} in split {split}, or "
        "calibrate on photos like your users'."
    )
    LIST_TARGETS = "all_targets() lists all."
    CHOOSE_PORT = "Choose another port from 1024 on, or 0 for any that is free."

    def __call__(self, **values: object) -> Advice:
        return Advice(self, values)


class Advice(NamedTuple):
    """A remedy, and the values that its words may name: paths, a student, a number."""

    remedy: Remedy
    values: dict[str, object]


Hint = str | Remedy | Advice


class _Values(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name.upper()


def fill(words: str, values: Mapping[str, object]) -> str:
    """Write `values`, quoted for a shell, into the braces of `words`. A value that is missing is
    named in capitals."""
    return words.format_map(_Values({name: shlex.quote(str(values[name])) for name in values}))


class McadError(Exception):
    """Base of every error that a user can meet.

    Attributes:
        message: what went wrong, with the offending value, as a sentence.
        hint: the next step to take, as a sentence for every face; "" if there is none.
        remedy: that step as data, if each face has its own words for it.
        values: what those words may name. Whoever shows the error may add what it knows.
    """

    def __init__(self, message: str, hint: Hint = "") -> None:
        self.message, self.hint = message, ""
        self.remedy: Remedy | None = None
        self.values: dict[str, object] = {}
        if isinstance(hint, str):
            self.hint = hint
        else:
            self.remedy, self.values = hint() if isinstance(hint, Remedy) else hint
            self.hint = fill(self.remedy.value, self.values)
        super().__init__(f"{message}\n  {self.hint}" if self.hint else message)


class MissingExtra(McadError):
    """A library of an optional extra is not installed."""


class PlatformError(McadError):
    """The operating system lacks a feature that is needed."""


class DiskError(McadError):
    """A path cannot be written: no permission, no space, or something else is there."""


class StudentError(McadError):
    """A student is missing, damaged, or of an unsupported kind."""


class TeacherError(McadError):
    """A teacher checkpoint is missing, damaged, or of an unsupported kind."""


class TargetError(McadError):
    """A chip is not in the table, or cannot run what was requested."""


class BundleError(McadError):
    """A bundle is missing, damaged, or of a schema that this version does not read."""


class PhotoError(McadError):
    """A photo cannot be read, or a folder holds none."""


class QueryError(McadError):
    """A query is empty or invalid."""


class PhotoIndexError(McadError):
    """An index is missing, damaged, or was built by another student."""


class KernelError(McadError):
    """The compiled search kernels are missing, or do not fit this version."""


class DataError(McadError):
    """A captioned-photo dataset or a calibration set is incomplete or malformed."""


class StoreError(McadError):
    """A store of photos or shards is unreachable, refuses, or has other content."""


class ShardError(McadError):
    """Shards are damaged, from another student, or not those requested."""


class ClusterError(McadError):
    """A Ray cluster is unreachable, full, or has failed."""


class TrainingError(McadError):
    """Training cannot start, continue or resume."""


class ExportError(McadError):
    """A tower could not be converted or compiled for its target."""


class ParityError(ExportError):
    """An exported tower's embeddings differ from the float student's."""


class RuntimeUnavailable(McadError):
    """A runtime that the bundle names is not installed or cannot run on this machine."""


class BuildError(McadError):
    """The Android app or runner cannot be built."""


class BenchError(McadError):
    """A measurement could not be taken."""


class MemoryUnavailable(BenchError):
    """This system does not report the memory of a process."""


class RunnerCrashed(BenchError):
    """A measured process ended unexpectedly, with exit code `code`; `step` is the last step that
    it announced ("" if none)."""

    def __init__(self, code: int, step: str, last_lines: str) -> None:
        self.code, self.step, self.last_line = code, step, last_lines.splitlines()[-1]
        during = f" during `{step}`" if step else ""
        super().__init__(
            f"The measured process ended with code {code}{during}; its last lines:\n{last_lines}",
            "Report this, with the lines above.",
        )


class AiHubError(McadError):
    """Qualcomm AI Hub is not configured, is unreachable, refuses, or one of our jobs failed."""


class AiHubRefused(AiHubError):
    """Qualcomm AI Hub rejected a model, a job for a phone, an option or a token."""


class DeviceLost(BenchError):
    """A device disconnected during a measurement."""


def short_message(error: Exception) -> str:
    """Return an error's first lines: torch lists every missing key."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:4])[:400]


def install_line(extras: str = "", *, again: bool = False) -> str:
    """Return the pip command that installs this package with `extras` from the same source: its
    checkout, the wheel or URL it was installed from, or its name."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    wanted = f"[{extras}]" if extras else ""
    command = "pip install --force-reinstall" if again else "pip install"
    if (checkout := _checkout()) is not None:
        folder = "" if checkout == Path.cwd() else f"{checkout}/"
        where = (folder.removesuffix("/") or ".") + wanted
        return f"{command} -c {shlex.quote(folder + 'constraints.txt')} -e {shlex.quote(where)}"
    try:
        # PEP 610: the source of a distribution, unless it is an index.
        stored = metadata.distribution("mcad-mobile").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        stored = None
    url = str(json.loads(stored or "{}").get("url", ""))
    source = f"mcad-mobile{wanted}" + (f" @ {url}" if url else "")
    if url.startswith("file:"):
        source = unquote(urlsplit(url).path) + wanted
    return f"{command} {shlex.quote(source)}"


def update_hint() -> str:
    """Return the hint to get a newer version; in a checkout, pip alone would not."""
    if (checkout := _checkout()) is None:
        return "Update mcad-mobile: pip install --upgrade mcad-mobile"
    return f"Update mcad-mobile: git pull in {checkout}, then {install_line()}"


def _checkout() -> Path | None:
    """Return the folder of the sources, if this package runs from them."""
    folder = Path(__file__).parents[1]
    return folder if (folder / "pyproject.toml").is_file() else None


def missing_extra(error: Exception, extra: str, module: str) -> MissingExtra:
    """Return the error for an extra's library that is missing or does not load."""
    if isinstance(error, ImportError):
        return MissingExtra(
            f"{module} could not be imported ({error}).", f"Install it with: {install_line(extra)}"
        )
    package = module.partition(".")[0]
    return MissingExtra(
        f"{module} is installed but does not load ({type(error).__name__}: {error}).",
        f"Install it again: pip uninstall {package}, then {install_line(extra)}",
    )


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise MissingExtra with the pip command that installs its `extra`."""
    try:
        return importlib.import_module(module)
    except Exception as error:  # a missing dependency, leftovers of another version: anything
        raise missing_extra(error, extra, module) from error
