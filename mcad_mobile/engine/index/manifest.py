"""The last commit on disk: manifest.json, the segments that it names, and the writer's lock."""

from __future__ import annotations

import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from itertools import pairwise
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType, structs

from mcad_mobile.base.documents import SHARDS, Record, Size, decode, folder_kind
from mcad_mobile.base.files import UnusualFileError, check_movable, read_regular
from mcad_mobile.base.locks import is_still, lock
from mcad_mobile.engine.index.codes import MAX_DIM
from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.segments import damaged, open_segment
from mcad_mobile.engine.index.tuning import CandidateCount, Prescan
from mcad_mobile.engine.words.words_file import WordsFile
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
# A tuning serves up to this many times its photos. Writers retune at eight times.
_MAX_GROWTH = 16


class SegmentEntry(Record, frozen=True):
    """A segment of the commit: its file, its deleted rows (ascending), its tuning, as in
    `LiveSegment`, and the file of its photos' words, which is left out if they have none."""

    file: str
    photos: Size
    header_crc32: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    # There may be 100,000 of them.
    deleted: list[Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]]
    candidates: CandidateCount
    prescan: Prescan | None
    cells: CandidateCount | None
    words: str | UnsetType = UNSET


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


Commit = tuple[Manifest, tuple[LiveSegment, ...]]


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
    """Read the manifest and map its segments; retry if a commit replaced them meanwhile. Unless
    `tuned`, accept a tuning that does not fit the photos."""
    with reading(directory):
        manifest = read_manifest(directory)
        while True:
            try:
                segments = tuple(open_segments(directory, manifest))
            except FileNotFoundError as error:
                newer = read_manifest(directory)
                if newer.generation == manifest.generation:
                    raise damaged(
                        Path(error.filename), "the manifest names it, and it is gone"
                    ) from None
                manifest = newer
                continue
            if tuned:
                check_tuning(directory, segments)
            return _without_rows(manifest), segments


def open_segments(directory: Path, manifest: Manifest) -> Iterator[LiveSegment]:
    """Map the segments that `manifest` names. FileNotFoundError if one is gone, PhotoIndexError if
    one is damaged or not the one that was committed."""
    for entry in manifest.segments:
        segment = open_segment(directory / entry.file)
        found = (segment.photos, len(segment.axis), segment.header_crc32)
        if found != (entry.photos, manifest.dim, entry.header_crc32):
            raise damaged(segment.file, "it is not the segment that the manifest names")
        deleted = np.array(entry.deleted, np.intp)
        words = None
        if entry.words is not UNSET:
            words = WordsFile(directory / entry.words, segment.photos, segment.header_crc32)
        yield LiveSegment(segment, deleted, entry.candidates, entry.prescan, entry.cells, words)


def _without_rows(manifest: Manifest) -> Manifest:
    """Drop the deleted rows, which take four times the memory of the segments' arrays."""
    entries = (structs.replace(entry, deleted=[]) for entry in manifest.segments)
    return structs.replace(manifest, segments=tuple(entries))


def repair_commit(directory: Path) -> int:
    """Commit without the segments and files of words that are damaged or gone; return how many
    photos were in these segments.
    PhotoIndexError, before any change, if a segment cannot be read: it may be whole."""
    read_manifest(directory)  # raises before a lock is made
    with locked(directory), reading(directory):
        manifest = read_manifest(directory)
        whole, lost = [], 0
        for entry in manifest.segments:
            for kept in (entry, structs.replace(entry, words=UNSET)):
                try:
                    (live,) = open_segments(directory, structs.replace(manifest, segments=(kept,)))
                    live.verify()
                except (PhotoIndexError, FileNotFoundError):
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


def check_tuning(directory: Path, segments: Sequence[LiveSegment]) -> None:
    """Raise PhotoIndexError for a tuning that does not fit its segment, or was measured on too few
    of the photos: our writers leave none, and searches would miss more than promised."""
    total = sum(live.photos for live in segments)
    for live in segments:
        segment = live.segment
        if live.prescan and live.prescan.bits >= max(len(segment.bit_weights), 1):
            raise damaged(
                segment.file,
                f"it does not have the {live.prescan.bits} bits that its prescan needs",
            )
        if (live.cells is None) != (len(segment.centroids) == 0):
            found = "has cells" if live.cells is None else "has no cells"
            raise damaged(segment.file, f"it {found}, unlike what the manifest says")
        if len(segment.bit_weights) and total > _MAX_GROWTH * segment.axis_photos:
            raise PhotoIndexError(
                f"The index {directory} holds {total} photos, and was tuned for "
                f"{segment.axis_photos}.",
                Remedy.TUNE_INDEX(index=directory),
            )


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
