"""The one mutable file of an index, manifest.json: which segments make up the last commit."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import MAX_DIM
from mcad_mobile.index.reach import First, Reach
from mcad_mobile.typed import Record, Size, decode, what_is

SCHEMA = "mcad-index/1"
NAME = "manifest.json"
TEMPORARY = "manifest.json.tmp"

_SEGMENT_NAME = re.compile(r"segment-[0-9]{8,}\.mcs")
# The checksum covers the file with its own eight digits as zeros; they are always bytes 11 to 18.
_CRC_AT = slice(len('{"crc32": "'), len('{"crc32": "') + 8)
_DAMAGED = (
    "It is damaged: restore it from a backup, or delete the index directory and index the photos "
    "again."
)
_OTHER_SCHEMA = "Use the program that wrote it, or delete the directory and index the photos again."

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class SegmentEntry:
    """A segment of the commit, the rows of it that were deleted (ascending), and how far a search
    of it looks."""

    file: str
    photos: int
    header_crc32: int
    deleted: Rows
    reach: Reach
    first: First | None = None
    cells: Reach | None = None


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


class _ReachOnDisk(Record, frozen=True):
    factor: Annotated[float, Meta(ge=0, le=1e6)]
    exponent: Annotated[float, Meta(ge=0, le=1)]
    growth: Annotated[float, Meta(ge=0, le=1)]


class _FirstOnDisk(Record, frozen=True):
    bits: Annotated[int, Meta(ge=64, le=MAX_DIM, multiple_of=64)]
    reach: _ReachOnDisk


class _EntryOnDisk(Record, frozen=True):
    file: str
    photos: Size
    header_crc32: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    # There may be 100,000 of them.
    deleted: list[Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]]
    reach: _ReachOnDisk
    first: _FirstOnDisk | None
    cells: _ReachOnDisk | None


class _OnDisk(Record, frozen=True):
    crc32: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]
    schema: str
    generation: Annotated[int, Meta(ge=1, le=2**53)]
    dim: Annotated[int, Meta(ge=8, le=MAX_DIM, multiple_of=8)]
    student: str
    student_sha256: str
    segments: tuple[_EntryOnDisk, ...]
    filled_by: tuple[str, ...]


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
        kind = what_is(directory)
        raise PhotoIndexError(
            f"{directory} is no photo index: it is {kind}."
            if kind
            else f"There is no photo index at {directory} (no {NAME} in it).",
            "Make one with: mcad-mobile index PHOTOS --bundle BUNDLE",
        ) from None
    # The schema first: another one may have another checksum.
    read = decode(
        raw,
        _OnDisk,
        f"The manifest {file}",
        PhotoIndexError,
        _DAMAGED,
        schema=SCHEMA,
        schema_hint=_OTHER_SCHEMA,
    )
    blank = raw[: _CRC_AT.start] + b"0" * 8 + raw[_CRC_AT.stop :]
    crc = f"{zlib.crc32(blank):08x}"
    if raw[_CRC_AT] != crc.encode():
        raise _damaged(file, f"it has CRC-32 {crc}, and says {read.crc32!r}")
    manifest = Manifest(
        generation=read.generation,
        dim=read.dim,
        student=read.student,
        student_sha256=read.student_sha256,
        segments=tuple(
            SegmentEntry(
                entry.file,
                entry.photos,
                entry.header_crc32,
                np.array(entry.deleted, np.intp),
                _reach(entry.reach),
                First(entry.first.bits, _reach(entry.first.reach)) if entry.first else None,
                _reach(entry.cells) if entry.cells else None,
            )
            for entry in read.segments
        ),
        filled_by=read.filled_by,
    )
    _check(manifest, file)
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Make `manifest` the last commit: write, fsync, fsync of the directory, rename, and again."""
    import json  # who only searches does not write

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


def _reach(found: _ReachOnDisk) -> Reach:
    return Reach(found.factor, found.exponent, found.growth)


def _check(manifest: Manifest, file: Path) -> None:
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
    return PhotoIndexError(f"The manifest {file} is damaged: {detail}.", _DAMAGED)
