"""Changes to an index: gathered in a temporary file, then one commit that a crash can't tear."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index.codes import F32, NORM_TOLERANCE, decode, encode
from mcad_mobile.index.format import (
    Batch,
    path_to_bytes,
    verify_segment,
    write_segment,
)
from mcad_mobile.index.manifest import (
    Manifest,
    SegmentEntry,
    is_disposable,
    segment_name,
    write_manifest,
)
from mcad_mobile.index.search import LiveSegment

LOCK_NAME = "lock"

_BATCH = 1024
# Below this many photos an average says little, and all of them are scored by their bytes anyway.
_AXIS_FROM = 256
_AXIS_GROWTH = 8


@dataclass(frozen=True)
class Plan:
    """What a commit merges into its new segment, and whether it takes the axis anew."""

    absorbed: tuple[int, ...]
    new_axis: bool


def plan_merge(live: Sequence[int], deleted: Sequence[int], added: int, axis_photos: int) -> Plan:
    """Decide which segments, of `live` and `deleted` rows each, join the `added` new photos.

    All do when the index has grown eightfold since its axis was taken, over `axis_photos`. Else
    those that are more dead than alive, and every segment not over twice as large as what has
    joined before it. Sizes thus at least double from one segment to the next: an index of N
    photos has at most log2 N of them, and a photo is copied about as often.
    """
    total = sum(live) + added
    if total >= _AXIS_FROM and total >= _AXIS_GROWTH * axis_photos:
        return Plan(tuple(range(len(live))), new_axis=True)
    absorbed = {i for i, alive in enumerate(live) if deleted[i] > alive}
    size = added + sum(live[i] for i in absorbed)
    for i in sorted(range(len(live)), key=lambda i: live[i]):
        if i not in absorbed and live[i] <= 2 * size:
            absorbed.add(i)
            size += live[i]
    return Plan(tuple(sorted(absorbed)), new_axis=False)


class IndexWriter:
    """Adds and deletes photos; nothing is visible to a reader before `commit`.

    `spool` is an empty binary file for embeddings: they wait there, not in memory, because the
    axis, and so their codes, is known only when the last of them is there.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        segments: Sequence[LiveSegment],
        spool: IO[bytes],
    ) -> None:
        self._directory = directory
        self._manifest = manifest
        self._segments = segments
        self._spool = spool
        self._spooled = 0
        self._pending: dict[bytes, int] = {}
        self._deleted = [set(map(int, live.deleted)) for live in segments]
        self._changed = False
        self._merge_all = False

    def add(self, paths: Sequence[str], embeddings: npt.NDArray[np.float32]) -> None:
        """Add photos with embeddings [N, D] float32, L2-normalized; a path that exists is replaced.

        Of a path given twice the last embedding counts. PhotoIndexError when the shapes don't
        match, a path is empty, or an embedding is not finite or not of length 1 (within 0.01).
        """
        raw = [path_to_bytes(path) for path in paths]
        rows = _checked(paths, embeddings, self._manifest.dim)
        try:
            self._spool.seek(self._spooled * self._manifest.dim * 4)
            self._spool.write(rows.tobytes())
        except OSError as error:
            raise _unwritable(self._directory, error) from error
        self._bury(raw)
        for row, path in enumerate(raw, start=self._spooled):
            # Taken out first, so that the dictionary keeps the order of the rows.
            self._pending.pop(path, None)
            self._pending[path] = row
        self._spooled += len(raw)
        self._changed = self._changed or bool(raw)

    def delete(self, paths: Sequence[str]) -> int:
        """Delete photos and return how many there were; unknown paths are passed over."""
        raw = list({path_to_bytes(path): None for path in paths})
        count = self._bury(raw)
        count += sum(self._pending.pop(path, None) is not None for path in raw)
        self._changed = self._changed or count > 0
        return count

    def merge_all(self) -> None:
        """Have the commit leave one segment without tombstones."""
        self._merge_all = True

    def commit(self) -> None:
        """Write one segment and the manifest that names it; without changes, do nothing."""
        tidy = len(self._segments) <= 1 and not any(self._deleted)
        if not self._changed and (tidy or not self._merge_all):
            return
        try:
            self._commit()
        except OSError as error:
            raise _unwritable(self._directory, error) from error

    def _commit(self) -> None:
        live = [
            s.segment.photos - len(d) for s, d in zip(self._segments, self._deleted, strict=True)
        ]
        axis, axis_photos = self._axis_in_use(live)
        plan = plan_merge(live, [len(d) for d in self._deleted], len(self._pending), axis_photos)
        absorbed = tuple(range(len(live))) if self._merge_all else plan.absorbed
        entries = [
            replace(entry, deleted=tuple(sorted(dead)))
            for i, (entry, dead) in enumerate(
                zip(self._manifest.segments, self._deleted, strict=True)
            )
            if i not in absorbed
        ]
        generation = self._manifest.generation + 1
        photos = len(self._pending) + sum(live[i] for i in absorbed)
        if photos:
            for i in absorbed:
                # Copying unread bytes would give damage a checksum that says it is fine.
                verify_segment(self._segments[i].segment)
            if plan.new_axis:
                axis, axis_photos = self._new_axis(absorbed), photos
            name = segment_name(generation)
            crc = write_segment(
                self._directory / name,
                axis=axis,
                axis_photos=axis_photos,
                photos=photos,
                batches=self._batches(absorbed, axis),
            )
            entries.append(SegmentEntry(name, photos, crc))
        write_manifest(
            self._directory,
            replace(self._manifest, generation=generation, segments=tuple(entries)),
        )

    def _axis_in_use(self, live: Sequence[int]) -> tuple[F32, int]:
        """Return the axis of the largest segment, or zeros for an index that has none."""
        if not any(live):
            return np.zeros(self._manifest.dim, np.float32), 0
        segment = self._segments[int(np.argmax(live))].segment
        return segment.axis, segment.axis_photos

    def _new_axis(self, absorbed: Sequence[int]) -> F32:
        """Return the direction of the mean of all photos, or zeros when they cancel out."""
        total = np.zeros(self._manifest.dim, np.float64)
        for i in absorbed:
            segment = self._segments[i].segment
            for rows in self._live_rows(i):
                embeddings = decode(segment.encoded_rows(rows), segment.axis)
                total += embeddings.sum(axis=0, dtype=np.float64)
        for embeddings, _ in self._spooled_batches():
            total += embeddings.sum(axis=0, dtype=np.float64)
        length = np.linalg.norm(total)
        return (total / length if length > 0 else total).astype(np.float32)

    def _batches(self, absorbed: Sequence[int], axis: F32) -> Iterator[Batch]:
        for i in absorbed:
            segment = self._segments[i].segment
            same = np.array_equal(segment.axis, axis)
            for rows in self._live_rows(i):
                encoded = segment.encoded_rows(rows)
                if not same:
                    encoded = encode(decode(encoded, segment.axis), axis)
                yield Batch(encoded, [segment.path_at(int(row)) for row in rows])
        for embeddings, paths in self._spooled_batches():
            yield Batch(encode(embeddings, axis), paths)

    def _live_rows(self, i: int) -> Iterator[npt.NDArray[np.intp]]:
        dead = np.array(sorted(self._deleted[i]), np.intp)
        rows = LiveSegment(self._segments[i].segment, dead).live_rows()
        for start in range(0, len(rows), _BATCH):
            yield rows[start : start + _BATCH]

    def _spooled_batches(self) -> Iterator[tuple[F32, list[bytes]]]:
        paths = list(self._pending)
        rows = np.fromiter(self._pending.values(), np.intp, len(paths))
        width = self._manifest.dim * 4
        for start in range(0, self._spooled, _BATCH):
            stop = min(start + _BATCH, self._spooled)
            first, last = np.searchsorted(rows, (start, stop))
            if first == last:
                continue
            self._spool.seek(start * width)
            data = self._spool.read((stop - start) * width)
            embeddings = np.frombuffer(data, np.float32).reshape(-1, self._manifest.dim)
            yield embeddings[rows[first:last] - start], paths[first:last]

    def _bury(self, raw: Sequence[bytes]) -> int:
        """Mark the committed photos of these paths deleted; return how many were not yet."""
        count = 0
        for live, dead in zip(self._segments, self._deleted, strict=True):
            rows = {row for _, row in live.segment.find(raw)} - dead
            dead |= rows
            count += len(rows)
        return count


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's writer lock; PhotoIndexError when another writer has it."""
    try:
        lock = (directory / LOCK_NAME).open("ab")
    except OSError as error:
        raise _unwritable(directory, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PhotoIndexError(
                f"Another writer is at work on the index {directory}.",
                "Wait until it is done, then run this again. Searching is possible meanwhile.",
            ) from None
        yield


def remove_strays(directory: Path, manifest: Manifest) -> None:
    """Delete segments and temporary files that `manifest`, the last commit, does not name."""
    named = {entry.file for entry in manifest.segments}
    for file in directory.iterdir():
        if is_disposable(file.name) and file.name not in named:
            file.unlink(missing_ok=True)


def _checked(paths: Sequence[str], embeddings: npt.NDArray[np.float32], dim: int) -> F32:
    if embeddings.shape != (len(paths), dim):
        raise PhotoIndexError(
            f"{len(paths)} paths came with embeddings of shape {list(embeddings.shape)}; this "
            f"index takes [{len(paths)}, {dim}].",
            "Embed the photos with the bundle that the index was made with.",
        )
    if "" in paths:
        raise PhotoIndexError("A photo has an empty path.", "Give each photo its path.")
    rows = np.ascontiguousarray(embeddings, np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        first = int(wrong[0])
        raise PhotoIndexError(
            f"The embedding of {paths[first]} has length {norms[first]}, not 1 "
            f"({len(wrong)} of {len(paths)} are like that).",
            "Give L2-normalized float32 embeddings without NaN or infinity.",
        )
    return rows


def _unwritable(directory: Path, error: OSError) -> PhotoIndexError:
    return PhotoIndexError(
        f"The index {directory} could not be written: {error}.",
        "Check free space and permissions, then run it again; no photo that was indexed is lost.",
    )
