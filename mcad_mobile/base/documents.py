"""Decodes untrusted UTF-8 JSON into frozen types. msgspec checks every field; an error names the
field's path, its value and the type that belongs there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mcad_mobile.errors import Hint, McadError, update_hint

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


class _Head(msgspec.Struct):
    schema: Any = None


# msgspec's type names in plain words
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
# A step of a path as msgspec writes it: `.name`, `[3]`, or `[...]` for a key that it leaves out.
_STEP = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")
_LONGEST = 60  # characters of a value in a message


def read_file(path: Path, error: type[McadError], hint: Hint) -> bytes:
    """Return a file's bytes, or raise `error` with the reason and `hint`."""
    try:
        return path.read_bytes()
    except OSError as failed:
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
        raise error(f"{where} {_describe(str(wrong), raw, kind)}.", hint) from wrong
    except (msgspec.MsgspecError, ValueError, RecursionError) as broken:
        raise error(f"{where} cannot be read as JSON: {broken}.", hint) from broken


def convert(data: object, kind: type[T], where: object, error: type[McadError], hint: Hint) -> T:
    """Like `decode`, for parsed data: TOML, options."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as wrong:
        raise error(f"{where} {_describe(str(wrong), data, kind)}.", hint) from wrong


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
    named = "names no schema" if found is None else f"has schema {_short(found)}"
    raise error(f"{where} {named}; this version reads {schema!r}.", hint)


def _describe(message: str, document: object, kind: Any) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.a[0].b`" into the end of a sentence that
    includes the value at fault."""
    problem, _, tail = message.partition(" - at `")
    place = tail.removeprefix("key in `").rstrip("`").removeprefix("$")
    value = "something"
    try:
        if isinstance(document, bytes):
            document = msgspec.json.decode(document)
        found, place = _found(document, place, kind, message)
        value = _short(found)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError):
        pass  # the text after the first error may not be JSON
    place = place.removeprefix(".")
    if named := re.fullmatch(r"Object (missing required|contains unknown) field `(.*)`", problem):
        field = f"{place}.{named[2]}" if place else named[2]
        missing = named[1] == "missing required"
        return f"lacks {field}" if missing else f"has {field}, which this version does not know"
    there = f"has {value} in {place}" if place else f"holds {value}"
    if problem.startswith("Invalid enum value"):
        return f"{there}, which this version does not know"
    if "out of range" in problem or tail.startswith("key in"):
        return f"{there}: {problem}"
    if not problem.startswith("Expected "):  # raised by a type's __post_init__
        return f"cannot be right{f' in {place}' if place else ''}: {problem}"
    wanted = problem.removeprefix("Expected ").partition(", got ")[0]
    wanted = re.sub(r"`([^`]+)`", lambda kinds: _in_words(kinds[1]), wanted)
    return f"{there}, where {wanted} belongs"


def _in_words(kinds: str) -> str:
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | "))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _found(document: Any, place: str, kind: Any, message: str) -> tuple[Any, str]:
    """Return the value at a path, and the path with the keys that msgspec left out."""
    value, path = document, ""
    for name, number in _STEP.findall(place):
        if number == "...":
            name = _key_at_fault(document, value, kind, message)
        value = value[name if name else int(number)]
        path += f".{name}" if name else f"[{number}]"
    return value, path


def _key_at_fault(document: Any, holder: dict[str, Any], kind: Any, message: str) -> str:
    """Find the key that causes `message`, by trying each key alone."""
    members = dict(holder)
    try:
        for key, member in members.items():
            holder.clear()
            holder[key] = member
            try:
                msgspec.convert(document, kind)
            except msgspec.ValidationError as error:
                if str(error) == message:
                    return key
    finally:
        holder.clear()
        holder.update(members)
    raise LookupError(message)


# The file that identifies each kind of folder.
_FOLDERS = {
    "bundle.json": "a bundle",
    "manifest.json": "a photo index",
    "model.safetensors": "a student",
}


# How the manifest.json of shards says what it is; that of an index has another schema.
SHARDS = b'"mcad-embed/'


def folder_kind(path: Path) -> str:
    """Return "a bundle", "a photo index", "a folder of shards", "a student", "a file", or "" for
    anything else."""
    try:
        if path.is_file():
            return "a file"
        found = next((name for name in _FOLDERS if (path / name).is_file()), "")
        if found == "manifest.json" and SHARDS in (path / found).read_bytes():
            return "a folder of shards"
        return _FOLDERS.get(found, "")
    except OSError:  # reported by whoever opens the path
        return ""
