"""The one mutable file of an index, manifest.json: which segments make up the last commit."""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import MAX_DIM

SCHEMA = "mcad-index/2"
NAME = "manifest.json"
TEMPORARY = "manifest.json.tmp"

_SEGMENT_NAME = re.compile(r"segment-[0-9]{8,}\.mcs")
# The checksum covers the file with its own eight digits as zeros; they are always bytes 11 to 18.
_CRC_AT = slice(len('{"crc32": "'), len('{"crc32": "') + 8)
_REBUILD = "Delete the index directory and index the photos again."


Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SegmentEntry:
    """A segment of the commit, and the rows of it that were deleted (ascending)."""

    file: str
    photos: int
    header_crc32: int
    deleted: Rows


@dataclass(frozen=True)
class Manifest:
    """One commit: `generation` grows by one with each. `filled_by` names what has embedded its
    photos, a rung and whose arithmetic ran it ("onnx int8 by CPU"), sorted."""

    generation: int
    dim: int
    student: str
    student_sha256: str
    segments: tuple[SegmentEntry, ...] = ()
    filled_by: tuple[str, ...] = ()


def segment_name(generation: int) -> str:
    """Name the segment that a commit writes; a commit writes one at most."""
    return f"segment-{generation:08d}.mcs"


def is_disposable(name: str) -> bool:
    """Say whether a file of this name may be deleted when no commit names it."""
    return name == TEMPORARY or _SEGMENT_NAME.fullmatch(name) is not None


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest; PhotoIndexError when missing, damaged or of another schema."""
    file = directory / NAME
    try:
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise PhotoIndexError(
            f"There is no photo index at {directory} (no {NAME} in it).",
            "Make one with: mcad-mobile index PHOTOS --bundle BUNDLE",
        ) from None
    try:
        document = json.loads(raw)
        schema = document["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(file, f"it is not the JSON that was written ({error!r})") from error
    if schema != SCHEMA:
        raise PhotoIndexError(
            f"The index at {directory} has schema {schema!r}; this version reads {SCHEMA!r}.",
            f"Use the mcad-mobile that wrote it, or start over: {_REBUILD}",
        )
    blank = raw[: _CRC_AT.start] + b"0" * 8 + raw[_CRC_AT.stop :]
    crc = f"{zlib.crc32(blank):08x}"
    if raw[_CRC_AT] != crc.encode():
        raise _damaged(file, f"it has CRC-32 {crc}, and says {document.get('crc32')!r}")
    try:
        manifest = _parse(document)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(file, f"a field is missing or of another kind ({error!r})") from error
    _check(manifest, file)
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Make `manifest` the last commit: write, fsync, fsync of the directory, rename, and again."""
    document = {"crc32": "0" * 8, "schema": SCHEMA, **asdict(manifest)}
    blank = (json.dumps(document, default=np.ndarray.tolist) + "\n").encode()
    crc = f"{zlib.crc32(blank):08x}".encode()
    temporary = directory / TEMPORARY
    with temporary.open("wb") as out:
        out.write(blank[: _CRC_AT.start] + crc + blank[_CRC_AT.stop :])
        out.flush()
        os.fsync(out.fileno())
    # The names of what the manifest names must not be flushed after the rename.
    sync_directory(directory)
    temporary.replace(directory / NAME)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory`: without it a rename may not outlive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(document: dict[str, Any]) -> Manifest:
    return Manifest(
        generation=int(document["generation"]),
        dim=int(document["dim"]),
        student=str(document["student"]),
        student_sha256=str(document["student_sha256"]),
        segments=tuple(
            SegmentEntry(
                file=str(entry["file"]),
                photos=int(entry["photos"]),
                header_crc32=int(entry["header_crc32"]),
                deleted=_rows(entry["deleted"]),
            )
            for entry in document["segments"]
        ),
        # Indexes from before it was noted lack it.
        filled_by=tuple(str(name) for name in document.get("filled_by", [])),
    )


def _rows(numbers: list[int]) -> Rows:
    # There may be 100,000 of them: one by one they would take longer than all else of opening.
    rows = np.array(numbers) if numbers != [] else np.empty(0, np.intp)
    if rows.dtype != np.intp or rows.ndim != 1:
        raise ValueError(f"deleted rows of type {rows.dtype}, shape {list(rows.shape)}")
    return rows


def _check(manifest: Manifest, file: Path) -> None:
    if manifest.dim % 8 or not 8 <= manifest.dim <= MAX_DIM:
        raise _damaged(file, f"it says {manifest.dim} dimensions")
    for entry in manifest.segments:
        # Only a plain name of ours, so that no manifest can make us map a file elsewhere.
        if not _SEGMENT_NAME.fullmatch(entry.file):
            raise _damaged(file, f"{entry.file!r} is not the name of a segment in the directory")
        rows = entry.deleted
        if len(rows) and not (rows[0] >= 0 and rows[-1] < entry.photos and _ascend(rows)):
            raise _damaged(file, f"the deleted rows of {entry.file} don't ascend within its photos")


def _ascend(rows: Rows) -> bool:
    return bool((rows[1:] > rows[:-1]).all())


def _damaged(file: Path, detail: str) -> PhotoIndexError:
    return PhotoIndexError(
        f"The manifest {file} is damaged: {detail}.", f"Restore it from a backup. {_REBUILD}"
    )
