"""Changes to an index: gathered first, then one commit that a crash can't tear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import codes
from mcad_mobile.engine.index.codes import F32, NORM_TOLERANCE, error_feedback, rotate, split
from mcad_mobile.engine.index.filters import LiveSegment, Rows
from mcad_mobile.engine.index.manifest import (
    Manifest,
    SegmentEntry,
    segment_name,
    write_manifest,
    writing,
)
from mcad_mobile.engine.index.merge import (
    Item,
    Sampled,
    Spool,
    cells_of_rows,
    embeddings_of,
    merged,
    plan_merge,
    segment_items,
)
from mcad_mobile.engine.index.paths import MAX_LENGTH, path_to_bytes
from mcad_mobile.engine.index.segment_writer import write_segment
from mcad_mobile.engine.index.segments import NO_TIME, Segment, Stamps, Taken
from mcad_mobile.engine.index.tuning import (
    LEAST,
    Cells,
    Settings,
    choose,
    no_settings,
    sample_size,
    worth_cells,
)
from mcad_mobile.errors import PhotoIndexError

# What a writer is given: paths and embeddings that an index can hold.


def checked_paths(paths: Sequence[str]) -> list[bytes]:
    """Return the bytes of paths. PhotoIndexError: one is empty or too long."""
    raw = [path_to_bytes(path) for path in paths]
    for path in raw:
        if not 0 < len(path) <= MAX_LENGTH:
            what = "an empty path" if not path else f"a path of {len(path)} bytes"
            raise PhotoIndexError(
                f"A photo has {what}.", f"Give each photo a path of 1 to {MAX_LENGTH} bytes."
            )
    return raw


def checked_rows(paths: Sequence[str], embeddings: npt.NDArray[np.float32], dim: int) -> F32:
    """Return embeddings [N, D] float32, each of length exactly 1. PhotoIndexError: they are not of
    this shape, or one is not of about that length."""
    if embeddings.shape != (len(paths), dim):
        raise PhotoIndexError(
            f"{len(paths)} paths came with embeddings of shape {list(embeddings.shape)}; this "
            f"index takes [{len(paths)}, {dim}].",
            "Embed the photos with the bundle that the index was made with.",
        )
    rows = np.asarray(embeddings, np.float32)
    norms = codes.lengths(rows).astype(np.float32)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        first = int(wrong[0])
        raise PhotoIndexError(
            f"The embedding of {paths[first]} has length {norms[first]}, not 1 "
            f"({len(wrong)} of {len(paths)} are like that).",
            "Give L2-normalized float32 embeddings without NaN or infinity.",
        )
    scaled: F32 = rows / norms[:, None]
    return scaled


# Old path, new path, stamp.
Move = tuple[str, str, tuple[int, int]]

# Photos that a covariance is taken from, and the width up to which it is worth its time.
_FEEDBACK_FROM = 256
_FEEDBACK_SAMPLE = 4096
_FEEDBACK_DIM = 1024


@dataclass(frozen=True)
class _Frame:
    """What the photos of a segment are coded around, and how they are scanned."""

    axis: F32
    axis_photos: int
    settings: Settings


class IndexWriter:
    """Adds, moves and deletes photos; nothing is visible to a reader before the commit, when the
    block of `PhotoIndex.writer` ends.

    `spool` is an empty, unbuffered file, where new embeddings wait.
    """

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        segments: Sequence[LiveSegment],
        spool: RawIOBase,
    ) -> None:
        self._directory = directory
        self._manifest = manifest
        self._segments = segments
        self._spool = Spool(spool, manifest.dim)
        # Photos to write: number of the source (the spool comes after the segments) and row.
        self._pending: dict[bytes, tuple[int, int]] = {}
        self._restamped: dict[bytes, tuple[int, int]] = {}
        self._retaken: dict[bytes, int] = {}
        self._deleted = [set(live.deleted.tolist()) for live in segments]
        self._filled_by = set(manifest.filled_by)
        self._changed = False
        self._merge_all = False
        self._new_frame = False

    def add(
        self,
        paths: Sequence[str],
        embeddings: npt.NDArray[np.float32],
        stamps: Stamps | None = None,
        taken: Taken | None = None,
    ) -> None:
        """Add photos with embeddings [N, D] float32, L2-normalized; a path that exists is replaced.

        `stamps` [N, 2] uint32 say what the files were when they were embedded (folder.py); zeros
        unless given. `taken` [N] int32 says when they were taken, minutes since 1970 (UTC); NO_TIME
        unless given. Of a path given twice the last embedding counts. PhotoIndexError when the
        shapes don't match, a path is empty or longer than 65535 bytes, or an embedding is not
        finite or not of length 1 (within 0.01).
        """
        raw = checked_paths(paths)
        rows = checked_rows(paths, embeddings, self._manifest.dim)
        if stamps is None:
            stamps = np.zeros((len(raw), 2), np.uint32)
        if taken is None:
            taken = np.full(len(raw), NO_TIME, np.int32)
        first = self._spool.count
        with writing(self._directory):
            self._spool.append(
                rotate(rows),
                stamps.astype(np.uint32).reshape(len(raw), 2),
                taken.astype(np.int32).reshape(len(raw)),
            )
        self._take(raw)
        for row, path in enumerate(raw, start=first):
            self._pending[path] = (len(self._segments), row)
        self._changed = self._changed or bool(raw)

    def move(self, moves: Sequence[Move]) -> int:
        """Give photos other paths and stamps, all at once, and keep their embeddings; return how
        many there were. Moves are (old path, new path, stamp); both paths may be the same.

        Two photos thus swap names in one call. What is at a new path and not moved away itself is
        replaced; of a path moved to twice the last photo stays. Unknown old paths are passed over.
        PhotoIndexError when a new path is empty or longer than 65535 bytes.
        """
        before = [path_to_bytes(old) for old, _, _ in moves]
        after = checked_paths([new for _, new, _ in moves])
        taken = self._take(before)
        placed = [
            (taken.pop(old), new, stamp)
            for old, new, (_, _, stamp) in zip(before, after, moves, strict=True)
            if old in taken
        ]
        self._take([new for _, new, _ in placed])
        for at, new, stamp in placed:
            self._pending[new] = at
            self._restamped[new] = stamp
        return len(placed)

    def retake(self, times: dict[str, int]) -> None:
        """Give photos that this writer has added or moved other times, in minutes since 1970."""
        for path, minutes in times.items():
            if (raw := path_to_bytes(path)) in self._pending:
                self._retaken[raw] = minutes

    def delete(self, paths: Sequence[str]) -> int:
        """Delete photos and return how many there were; unknown paths are passed over."""
        return len(self._take([path_to_bytes(path) for path in paths]))

    def filled_by(self, arithmetic: str) -> None:
        """Note what has embedded the photos that are added; the commit keeps it."""
        self._filled_by.add(arithmetic)

    def merge_all(self) -> None:
        """Have the commit leave one segment without tombstones."""
        self._merge_all = True

    def rebuild(self) -> None:
        """The same, with settings measured anew and around the photos as they are now."""
        self._merge_all = self._new_frame = self._changed = True

    def _commit(self) -> None:
        """Write one segment and the manifest that names it; without changes, do nothing."""
        tidy = len(self._segments) <= 1 and not any(self._deleted)
        if not self._changed and (tidy or not self._merge_all):
            return
        with writing(self._directory):
            self._write_commit()

    def _write_commit(self) -> None:
        live = [
            s.segment.photos - len(d) for s, d in zip(self._segments, self._deleted, strict=True)
        ]
        frame = self._frame_in_use(live)
        plan = plan_merge(
            live, [len(d) for d in self._deleted], len(self._pending), frame.axis_photos
        )
        absorbed = tuple(range(len(live))) if self._merge_all else plan.absorbed
        entries = [
            replace(entry, deleted=self._current(i).deleted)
            for i, entry in enumerate(self._manifest.segments)
            if i not in absorbed
        ]
        generation = self._manifest.generation + 1
        photos = len(self._pending) + sum(live[i] for i in absorbed)
        if photos:
            pending: list[Item] = sorted((path, *at) for path, at in self._pending.items())
            for i in {*absorbed, *(item[1] for item in pending)} - {len(self._segments)}:
                # Copying unread bytes would give damage a checksum that says it is fine.
                self._segments[i].segment.verify()
            if plan.new_axis or (self._new_frame and photos >= LEAST):
                frame = self._frame_of(absorbed, pending, photos)
            settings = frame.settings
            placed = None
            if settings.cells and worth_cells(photos):
                wanted = self._wanted(absorbed, pending)
                placed = cells_of_rows(
                    self._sources(), wanted, frame.axis, settings.cells.centroids
                )
            name = segment_name(generation)
            crc = write_segment(
                self._directory / name,
                axis=frame.axis,
                lens=settings.lens,
                axis_photos=frame.axis_photos,
                photos=photos,
                batches=merged(
                    self._sources(),
                    [*(segment_items(self._current(i), i) for i in absorbed), pending],
                    self._restamped,
                    self._retaken,
                    frame.axis,
                    self._feedback(frame.axis, live, pending),
                    placed.of if placed else None,
                ),
                cells=placed.sizes if placed else None,
            )
            entry = SegmentEntry(
                name, photos, crc, np.empty(0, np.intp), settings.reach, settings.first
            )
            if placed and settings.cells:
                entry = replace(entry, cells=settings.cells.reach)
            entries.append(entry)
        write_manifest(
            self._directory,
            replace(
                self._manifest,
                generation=generation,
                segments=tuple(entries),
                filled_by=tuple(sorted(self._filled_by)),
            ),
        )

    def _sources(self) -> list[Segment | Spool]:
        return [*(live.segment for live in self._segments), self._spool]

    def _current(self, i: int) -> LiveSegment:
        """Return a segment with what this writer has deleted of it."""
        return replace(
            self._segments[i], deleted=np.array(sorted(self._deleted[i]), np.intp), _known={}
        )

    def _frame_in_use(self, live: Sequence[int]) -> _Frame:
        """Return the frame of the largest segment, or an empty one for an index that has none."""
        if not any(live):
            dim = self._manifest.dim
            return _Frame(np.zeros(dim, np.float32), 0, no_settings(dim))
        largest = self._segments[int(np.argmax(live))]
        segment = largest.segment
        cells = Cells(segment.centroids, largest.cells) if largest.cells else None
        settings = Settings(segment.lens, largest.reach, largest.first, cells)
        return _Frame(segment.axis, segment.axis_photos, settings)

    def _frame_of(self, absorbed: Sequence[int], pending: Sequence[Item], photos: int) -> _Frame:
        """Take the axis, the direction of the mean of all photos or zeros when they cancel out, and
        choose settings with a sample of them."""
        dim = self._manifest.dim
        wanted = self._wanted(absorbed, pending)
        axis = self._axis_of(wanted)
        step = -(-photos // sample_size(dim))
        places = [(np.full(len(rows[::step]), i), rows[::step]) for i, rows in wanted]
        number, row = np.concatenate(places, axis=1)
        sample = Sampled(self._sources(), number, row, dim)
        return _Frame(axis, photos, choose(sample, axis, photos))

    def _wanted(self, absorbed: Sequence[int], pending: Sequence[Item]) -> list[tuple[int, Rows]]:
        """Return what a commit writes: numbers of sources and rows, ascending; one twice where
        some of its rows have moved."""
        wanted = [(i, self._current(i).live_rows()) for i in absorbed]
        for i in {item[1] for item in pending}:
            wanted.append((i, np.sort(np.array([row for _, s, row in pending if s == i], np.intp))))
        return wanted

    def _axis_of(self, wanted: Sequence[tuple[int, Rows]]) -> F32:
        total = np.zeros(self._manifest.dim, np.float64)
        sources = self._sources()
        for i, rows in wanted:
            for some in codes.blocks(len(rows)):
                total += embeddings_of(sources[i], rows[some]).sum(axis=0, dtype=np.float64)
        length = np.sqrt(np.square(total).sum())
        return (total / length if length > 0 else total).astype(np.float32)

    def _feedback(self, axis: F32, live: Sequence[int], pending: Sequence[Item]) -> F32 | None:
        """Return the feedback for rounding, from the largest segment or from the new photos where
        they are more. None for few photos, or for so many dimensions that it would take long."""
        spool = len(self._segments)
        number = int(np.argmax([*live, len(pending)]))
        if number == spool:
            rows = np.array([row for _, source, row in pending if source == spool], np.intp)
        else:
            rows = self._current(number).live_rows()
        if len(rows) < _FEEDBACK_FROM or len(axis) > _FEEDBACK_DIM:
            return None
        rows = np.sort(rows[:: -(-len(rows) // _FEEDBACK_SAMPLE)])
        source, rests = self._sources()[number], np.empty((len(rows), len(axis)), np.float32)
        for some in codes.blocks(len(rows)):
            rests[some] = split(embeddings_of(source, rows[some]), axis)[1]
        return error_feedback(rests)

    def _take(self, raw: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Take out the photos of these paths, committed or pending; return where each is."""
        taken = {}
        for number, (live, dead) in enumerate(zip(self._segments, self._deleted, strict=True)):
            for position, row in live.segment.paths.find(raw):
                if row not in dead:
                    dead.add(row)
                    taken[raw[position]] = (number, row)
        for path in raw:
            self._restamped.pop(path, None)
            self._retaken.pop(path, None)
            if path in self._pending:
                taken[path] = self._pending.pop(path)
        self._changed = self._changed or bool(taken)
        return taken
