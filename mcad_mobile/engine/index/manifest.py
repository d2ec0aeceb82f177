"""The last commit on disk: manifest.json, the segments that it names, and the writer's lock."""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from itertools import pairwise
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType, structs

from mcad_mobile.base.documents import SHARDS, Record, decode, folder_kind
from mcad_mobile.base.files import UnusualFileError, check_movable, read_regular
from mcad_mobile.base.locks import is_still, lock
from mcad_mobile.engine.index.core import Count, Entry, OpenIndex
from mcad_mobile.engine.index.faults import damaged
from mcad_mobile.engine.native import address
from mcad_mobile.errors import PhotoIndexError, Remedy

SCHEMA = "mcad-index/1"
MANIFEST = "manifest.json"
TEMPORARY = "manifest.json.tmp"
LOCK_NAME = "lock"

_SEGMENT_NAME = re.compile(r"segment-[0-9]{8,}\.mcs")
_WORDS_NAME = re.compile(r"words-[0-9]{8,}-[0-9]{8,}\.mcw")
# The checksum covers the file with its own eight digits as zeros; they are always bytes 11 to 18.
_CRC_AT = slice(len('{"crc32": "'), len('{"crc32": "') + 8)
_DAMAGED = (
    "It is damaged: restore it from a backup, or delete the index directory and index the photos "
    "again."
)
_OTHER_SCHEMA = "Use the program that wrote it, or delete the directory and index the photos again."
# Twelve bytes for each of 20 million deleted photos; writers merge a segment long before.
_MOST_MANIFEST_BYTES = 1 << 28
MAX_DIM = 4096


class CandidateCount(Record, frozen=True):
    """Of n photos, `factor` * n ^ `exponent` * k ^ `growth` are candidates for k results."""

    factor: Annotated[float, Meta(ge=0, le=1e6)]
    exponent: Annotated[float, Meta(ge=0, le=1)]
    growth: Annotated[float, Meta(ge=0, le=1)]

    @classmethod
    def of_core(cls, count: Count) -> CandidateCount:
        return cls(count.factor, count.exponent, count.growth)


class Prescan(Record, frozen=True):
    """A scan of the first `bits` alone, and how many candidates it passes on to the scan."""

    bits: Annotated[int, Meta(ge=64, le=MAX_DIM, multiple_of=64)]
    candidates: CandidateCount


class SegmentEntry(Record, frozen=True):
    """A segment of the commit: its file, its deleted rows (ascending), how many photos pass 2 may
    score, a prescan of fewer bits and how many photos the scanned cells hold, and the file of its
    photos' words, which is left out if they have none."""

    file: str
    photos: Annotated[int, Meta(ge=0, le=2**32 - 2)]
    header_crc32: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    # There may be 100,000 of them.
    deleted: list[Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]]
    candidates: CandidateCount
    prescan: Prescan | None
    cells: CandidateCount | None
    words: str | UnsetType = UNSET

    def for_core(self) -> Entry:
        deleted = np.array(self.deleted, np.uint32)
        entry = Entry(
            header_crc32=self.header_crc32,
            has_cells=self.cells is not None,
            photos=self.photos,
            deleted_count=len(deleted),
            prescan_bits=self.prescan.bits if self.prescan else 0,
            deleted=address(deleted),
            candidates=Count(*structs.astuple(self.candidates)),
            prescan=Count(*structs.astuple(self.prescan.candidates)) if self.prescan else Count(),
            cells=Count(*structs.astuple(self.cells)) if self.cells else Count(),
        )
        entry.kept = deleted  # which the core copies when it opens the index
        return entry

    @classmethod
    def of_core(cls, file: str, entry: Entry) -> SegmentEntry:
        """Return the entry of a segment that the core wrote."""
        prescan, count = entry.prescan_bits, CandidateCount.of_core
        return cls(
            file,
            entry.photos,
            entry.header_crc32,
            [],
            count(entry.candidates),
            Prescan(prescan, count(entry.prescan)) if prescan else None,
            count(entry.cells) if entry.has_cells else None,
        )


class Manifest(Record, frozen=True):
    """One commit: `generation` grows by one with each. `filled_by` lists the towers that embedded
    its photos ("onnx int8 by CPU"), sorted."""

    crc32: Annotated[str, Meta(pattern=r"^[0-9a-f]{8}\Z")]
    schema: str
    generation: Annotated[int, Meta(ge=1, le=2**53)]
    dim: Annotated[int, Meta(ge=8, le=MAX_DIM, multiple_of=8)]
    student: str
    student_sha256: str
    segments: tuple[SegmentEntry, ...]
    filled_by: tuple[str, ...]


Commit = tuple[Manifest, OpenIndex]


def segment_name(generation: int) -> str:
    return f"segment-{generation:08d}.mcs"


def words_name(segment: str, generation: int) -> str:
    return f"words-{segment[8:-4]}-{generation:08d}.mcw"


def is_disposable(name: str) -> bool:
    kinds = (_SEGMENT_NAME, _WORDS_NAME)
    return name == TEMPORARY or any(kind.fullmatch(name) for kind in kinds)


def check_replaceable(directory: Path) -> None:
    """Raise PhotoIndexError if replacing `directory` would remove what is no part of an index,
    DiskError if it cannot be replaced."""
    check_movable(directory)
    with reading(directory):
        entries = sorted(directory.iterdir()) if directory.exists() else []
    for path in entries:
        if path.name not in (MANIFEST, LOCK_NAME) and not is_disposable(path.name):
            raise PhotoIndexError(
                f"{path} is no part of an index, and would be deleted with the folder.",
                Remedy.CHOOSE_INDEX_FOLDER,
            )


def read_manifest(directory: Path) -> Manifest:
    """Read and check the manifest; PhotoIndexError when missing, damaged or of another schema."""
    file = directory / MANIFEST
    try:
        raw = read_regular(file, _MOST_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        kind = folder_kind(directory)
        raise PhotoIndexError(
            f"{directory} is not a photo index: it is {kind}."
            if kind
            else f"There is no photo index at {directory} (no {MANIFEST} in it).",
            Remedy.GIVE_INDEX if kind else Remedy.MAKE_INDEX(index=directory),
        ) from None
    except UnusualFileError as error:
        raise _damaged(file, str(error)) from None
    # The schema first: another one may have another checksum.
    manifest = decode(
        raw,
        Manifest,
        f"The manifest {file}",
        PhotoIndexError,
        _DAMAGED,
        schema=SCHEMA,
        schema_hint=Remedy.INDEX_SHARDS(shards=directory) if SHARDS in raw else _OTHER_SCHEMA,
    )
    blank = raw[: _CRC_AT.start] + b"0" * 8 + raw[_CRC_AT.stop :]
    crc = f"{zlib.crc32(blank):08x}"
    if raw[_CRC_AT] != crc.encode():
        raise _damaged(file, f"it has CRC-32 {crc}, not {manifest.crc32!r} as it says")
    _check(manifest, file)
    return manifest


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Make `manifest` the last commit: write, fsync, fsync the directory, rename, fsync again."""
    encoded = msgspec.json.encode(structs.replace(manifest, crc32="0" * 8))
    blank = msgspec.json.format(encoded, indent=0) + b"\n"
    crc = f"{zlib.crc32(blank):08x}".encode()
    temporary = directory / TEMPORARY
    with _opened_to_write(temporary) as out:
        out.truncate()
        out.write(blank[: _CRC_AT.start] + crc + blank[_CRC_AT.stop :])
        out.flush()
        os.fsync(out.fileno())
    # The names of segments must be on disk before the manifest that names them.
    sync_directory(directory)
    temporary.replace(directory / MANIFEST)
    sync_directory(directory)


def _opened_to_write(path: Path) -> BinaryIO:
    """Open a file, made if there is none; follow no link, and wait for no pipe."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def sync_directory(directory: Path) -> None:
    """Flush the names in `directory`: otherwise a rename may not survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(manifest: Manifest, file: Path) -> None:
    if len({entry.file for entry in manifest.segments}) < len(manifest.segments):
        raise _damaged(file, "it names a segment twice")
    for entry in manifest.segments:
        # Only our own plain names, so that no manifest makes us map a file elsewhere.
        if not _SEGMENT_NAME.fullmatch(entry.file):
            raise _damaged(file, f"{entry.file!r} is not the name of a segment in the directory")
        if entry.words is not UNSET and not _WORDS_NAME.fullmatch(entry.words):
            raise _damaged(file, f"{entry.words!r} is not the name of a file of words")
        rows = entry.deleted
        ascend = all(before < row for before, row in pairwise(rows))
        if len(rows) and not (rows[0] >= 0 and rows[-1] < entry.photos and ascend):
            raise _damaged(file, f"the deleted rows of {entry.file} don't ascend within its photos")


def _damaged(file: Path, detail: str) -> PhotoIndexError:
    return PhotoIndexError(f"The manifest {file} is damaged: {detail}.", _DAMAGED)


def load_commit(directory: Path, *, tuned: bool = True) -> Commit:
    """Read the manifest and open its segments; retry if a commit replaced them meanwhile. Unless
    `tuned`, accept a tuning that does not fit the photos."""
    with reading(directory):
        manifest = read_manifest(directory)
        while True:
            try:
                return _without_rows(manifest), open_files(directory, manifest, tuned=tuned)
            except FileNotFoundError as error:
                newer = read_manifest(directory)
                if newer.generation == manifest.generation:
                    raise damaged(
                        Path(error.filename), "the manifest names it, and it is gone"
                    ) from None
                manifest = newer


def open_files(directory: Path, manifest: Manifest, *, tuned: bool) -> OpenIndex:
    """Open the segments that `manifest` names. FileNotFoundError if one is gone, PhotoIndexError if
    one is damaged or not the one that was committed."""
    return OpenIndex(
        directory,
        [entry.for_core() for entry in manifest.segments],
        [
            (entry.file, None if entry.words is UNSET else entry.words)
            for entry in manifest.segments
        ],
        manifest.dim,
        is_tuned=tuned,
    )


def _without_rows(manifest: Manifest) -> Manifest:
    """Drop the deleted rows, which take four times the memory of the segments' arrays."""
    entries = (structs.replace(entry, deleted=[]) for entry in manifest.segments)
    return structs.replace(manifest, segments=tuple(entries))


def repair_commit(directory: Path) -> int:
    """Commit without the segments and files of words that are damaged or gone; return how many
    photos were in these segments.
    PhotoIndexError, before any change, if a segment cannot be read: it may be whole."""
    with reading(directory):
        read_manifest(directory)  # raises before a lock is made
    with locked(directory), reading(directory):
        manifest = read_manifest(directory)
        whole, lost = [], 0
        for entry in manifest.segments:
            for kept in (entry, structs.replace(entry, words=UNSET)):
                try:
                    alone = structs.replace(manifest, segments=(kept,))
                    open_files(directory, alone, tuned=False).verify()
                except FileNotFoundError:
                    continue
                except PhotoIndexError as error:
                    if error.remedy != Remedy.REPAIR_INDEX:
                        raise
                    continue
                whole.append(kept)
                break
            else:
                lost += entry.photos - len(entry.deleted)
        if whole != [*manifest.segments]:
            generation = manifest.generation + 1
            manifest = structs.replace(manifest, generation=generation, segments=tuple(whole))
            with writing(directory):
                write_manifest(directory, manifest)
            remove_strays(directory, manifest)
    return lost


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Turn the errors of files that are there and cannot be read into PhotoIndexError."""
    try:
        yield
    except OSError as error:
        raise PhotoIndexError(
            f"The index {directory} could not be read: {error}.",
            "Check permissions and the limit of open files, then run it again.",
        ) from error


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Turn the errors of a disk that refuses to write into PhotoIndexError."""
    try:
        yield
    except OSError as error:
        raise PhotoIndexError(
            f"The index {directory} could not be written: {error}.",
            "Check free space, permissions and the limit of open files, then run it again; no "
            "photo that was indexed is lost.",
        ) from error


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's writer lock; PhotoIndexError when another writer has it."""
    path = directory / LOCK_NAME
    while True:
        with writing(directory):
            file = _opened_to_write(path)
        with file:
            with writing(directory):
                free, current = lock(file, wait=False), is_still(path, file)
            if not current:
                continue  # another index took its place meanwhile
            if not free:
                raise PhotoIndexError(
                    f"Another writer is at work on the index {directory}.",
                    "Wait until it is done, then run this again. Searching is possible meanwhile.",
                )
            yield
            return


def create(file: Path) -> int:
    """Create a file that only its owner may read, and return its descriptor."""
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


@contextmanager
def spool_file(directory: Path) -> Iterator[RawIOBase]:
    """Open an unnamed file beside the index, for the embeddings that a writer adds."""
    with ExitStack() as files:
        with writing(directory):
            spool = files.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
        yield spool


def remove_strays(directory: Path, manifest: Manifest) -> None:
    """Delete segments and temporary files that `manifest`, the last commit, does not name."""
    named = {name for entry in manifest.segments for name in (entry.file, entry.words)}
    with writing(directory):
        for file in directory.iterdir():
            if is_disposable(file.name) and file.name not in named:
                file.unlink(missing_ok=True)
