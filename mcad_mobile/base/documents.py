"""Decodes untrusted UTF-8 JSON into frozen types. msgspec checks every field; its message names the
field's path and the type that belongs there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mcad_mobile.errors import Hint, McadError, Remedy, update_hint

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Size = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Word = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
# A file in the same folder as the document that names it.
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}\Z")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frozen part of a document; unknown fields are errors."""


class ReportedError(Record, frozen=True, omit_defaults=True):
    """An error on its way to another process: its message, and its hint or its remedy with the
    values that its words need."""

    message: str = msgspec.field(name="what")
    hint: str = ""
    remedy: str = ""
    values: dict[str, str] = msgspec.field(default_factory=dict)

    @staticmethod
    def of(error: McadError) -> ReportedError:
        return ReportedError(
            error.message,
            error.hint,
            error.remedy.name if error.remedy else "",
            {name: str(value) for name, value in error.values.items()},
        )

    def error(self, kind: type[McadError]) -> McadError:
        """The error as a `kind`, to be raised here. Another version's remedy is its sentence."""
        known = Remedy.__members__.get(self.remedy)
        return kind(self.message, known(**self.values) if known else self.hint)


class _Head(msgspec.Struct):
    schema: Any = None


def read_file(path: Path, error: type[McadError], hint: Hint) -> bytes:
    """Return a file's bytes, or raise `error` with the reason and `hint`."""
    try:
        return path.read_bytes()
    except OSError as failed:
        raise error(f"{path} cannot be read: {failed}.", hint) from failed


def read_text(path: Path, error: type[McadError], hint: Hint) -> str:
    """Return a UTF-8 file's text, or raise `error` with the reason and `hint`."""
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as failed:
        raise error(f"{path} cannot be read: {failed}.", hint) from failed


def decode(
    raw: bytes,
    kind: type[T],
    where: object,
    error: type[McadError],
    hint: Hint,
    *,
    schema: str = "",
    schema_hint: Hint = "",
) -> T:
    """Decode `raw` as a `kind`, or raise `error`, whose message starts with `where` and whose hint
    is `hint` (for a schema other than `schema`, `schema_hint` if given)."""
    try:
        if schema:
            _check_schema(raw, where, schema, error, schema_hint or hint)
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as wrong:
        raise error(f"{where} is invalid: {wrong}.", hint) from wrong
    except (msgspec.MsgspecError, ValueError, RecursionError) as broken:
        raise error(f"{where} cannot be read as JSON: {broken}.", hint) from broken


def convert(data: object, kind: type[T], where: object, error: type[McadError], hint: Hint) -> T:
    """Like `decode`, for parsed data: TOML, options."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as wrong:
        raise error(f"{where} is invalid: {wrong}.", hint) from wrong


def _check_schema(
    raw: bytes, where: object, schema: str, error: type[McadError], hint: Hint
) -> None:
    found = msgspec.json.decode(raw, type=_Head).schema
    if found == schema:
        return
    family, version = schema.split("/")
    newer = re.fullmatch(rf"{family}/(\d{{1,9}})", found) if isinstance(found, str) else None
    if newer and int(newer[1]) > int(version):
        raise error(
            f"{where} has schema {found!r}, of a newer mcad-mobile; this version reads {schema!r}.",
            update_hint(),
        )
    named = "names no schema" if found is None else f"has schema {found!r:.60}"
    raise error(f"{where} {named}; this version reads {schema!r}.", hint)


# The file that identifies each kind of folder.
_FOLDERS = {
    "bundle.json": "a bundle",
    "manifest.json": "a photo index",
    "model.safetensors": "a student",
}
# How the manifest.json of shards says what it is; that of an index has another schema.
SHARDS = b'"mcad-embed/'
_MOST_SEARCHED = 1 << 24


def folder_kind(path: Path) -> str:
    """Return "a bundle", "a photo index", "a folder of shards", "a student", "a file", or "" for
    anything else."""
    try:
        if path.is_file():
            return "a file"
        found = next((name for name in _FOLDERS if (path / name).is_file()), "")
        if found == "manifest.json":
            with (path / found).open("rb") as file:
                if SHARDS in file.read(_MOST_SEARCHED):
                    return "a folder of shards"
        return _FOLDERS.get(found, "")
    except OSError:  # reported by whoever opens the path
        return ""
