"""The last commit on disk: how it is read, and who may replace it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import RawIOBase
from pathlib import Path

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.format import damaged
from mcad_mobile.index.manifest import Manifest, is_disposable, read_manifest
from mcad_mobile.index.passing import LiveSegment
from mcad_mobile.index.segment import open_segment
from mcad_mobile.locks import lock

Commit = tuple[Manifest, tuple[LiveSegment, ...]]

LOCK_NAME = "lock"
# Writers measure settings anew when the photos have grown eightfold.
_MOST_GROWTH = 16


def load_commit(directory: Path) -> Commit:
    """Read the manifest and map its segments, again if a commit replaced them in between."""
    try:
        manifest = read_manifest(directory)
        while True:
            try:
                return manifest, _fitting(directory, tuple(open_segments(directory, manifest)))
            except FileNotFoundError as error:
                newer = read_manifest(directory)
                if newer.generation == manifest.generation:
                    raise damaged(
                        Path(error.filename), "the manifest names it, and it is gone"
                    ) from None
                manifest = newer
    except OSError as error:
        raise PhotoIndexError(
            f"The index {directory} could not be read: {error}.",
            "Check permissions and the limit of open files, then run it again.",
        ) from error


def open_segments(directory: Path, manifest: Manifest) -> Iterator[LiveSegment]:
    """Map the segments that `manifest` names. FileNotFoundError when one is gone, PhotoIndexError
    when one is damaged or another than was committed."""
    for entry in manifest.segments:
        segment = open_segment(directory / entry.file)
        found = (segment.photos, len(segment.axis), segment.header_crc32)
        if found != (entry.photos, manifest.dim, entry.header_crc32):
            raise damaged(segment.file, "it is not the segment that the manifest names")
        yield LiveSegment(segment, entry.deleted, entry.reach, entry.first, entry.cells)


def to_rebuild(directory: Path) -> Commit:
    """Read a commit whose settings may not fit its photos. PhotoIndexError: missing, damaged or of
    another format."""
    manifest = read_manifest(directory)
    try:
        return manifest, tuple(open_segments(directory, manifest))
    except OSError as error:
        gone = Path(error.filename or directory)
        raise damaged(gone, f"the manifest names it, and {error}") from None


def _fitting(directory: Path, segments: tuple[LiveSegment, ...]) -> tuple[LiveSegment, ...]:
    """Refuse settings that were measured on a small part of what is there: no writer of ours leaves
    those, and no search would be as good as it says."""
    total = sum(live.live for live in segments)
    for live in segments:
        if live.first and live.first.bits >= max(len(live.segment.lens), 1):
            raise damaged(live.segment.file, f"it has not the {live.first.bits} bits to scan first")
        if (live.cells is None) != (len(live.segment.centroids) == 0):
            what = "has cells" if live.cells is None else "has no cells"
            raise damaged(live.segment.file, f"it {what}, unlike what the manifest says")
        if len(live.segment.lens) and total > _MOST_GROWTH * live.segment.axis_photos:
            raise PhotoIndexError(
                f"The index {directory} holds {total} photos, and is searched as one of "
                f"{live.segment.axis_photos} was.",
                f"Measure it anew: mcad-mobile index --rebuild --bundle BUNDLE --index {directory}",
            )
    return segments


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
    with writing(directory):
        file = (directory / LOCK_NAME).open("ab")
    with file:
        with writing(directory):
            free = lock(file, wait=False)
        if not free:
            raise PhotoIndexError(
                f"Another writer is at work on the index {directory}.",
                "Wait until it is done, then run this again. Searching is possible meanwhile.",
            )
        yield


@contextmanager
def spool_file(directory: Path) -> Iterator[RawIOBase]:
    """Open an unnamed file beside the index, which a writer keeps what it adds in."""
    with ExitStack() as files:
        with writing(directory):
            spool = files.enter_context(tempfile.TemporaryFile(dir=directory, buffering=0))
        yield spool


def remove_strays(directory: Path, manifest: Manifest) -> None:
    """Delete segments and temporary files that `manifest`, the last commit, does not name."""
    named = {entry.file for entry in manifest.segments}
    with writing(directory):
        for file in directory.iterdir():
            if is_disposable(file.name) and file.name not in named:
                file.unlink(missing_ok=True)
