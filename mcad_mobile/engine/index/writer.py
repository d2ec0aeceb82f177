"""Changes to an index: collected first, then written in one commit that a crash can't tear."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import RawIOBase
from itertools import repeat
from pathlib import Path

import numpy as np
from msgspec import structs

from mcad_mobile.data.photo_formats import is_video
from mcad_mobile.engine.arrays import F32, Rows, Stamps, Times
from mcad_mobile.engine.index.codes import (
    NORM_TOLERANCE,
    error_feedback,
    mean_direction,
    prepare,
)
from mcad_mobile.engine.index.deterministic import blocks
from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.manifest import (
    Manifest,
    SegmentEntry,
    segment_name,
    words_name,
    write_manifest,
    writing,
)
from mcad_mobile.engine.index.merge import (
    Item,
    Merger,
    Source,
    Spool,
    assign_rows,
    read_embeddings,
    segment_items,
)
from mcad_mobile.engine.index.moments import (
    MARK,
    file_and_moment,
    first_row,
    is_moment,
    may_have_moments,
)
from mcad_mobile.engine.index.paths import MAX_LENGTH, path_to_bytes
from mcad_mobile.engine.index.segment_writer import write_segment
from mcad_mobile.engine.index.segments import NO_TIME
from mcad_mobile.engine.index.tuning import (
    Cells,
    Tuning,
    choose_tuning,
    feedback_step,
    plan_merge,
    sample_step,
    untuned,
)
from mcad_mobile.engine.native import TuningLimits
from mcad_mobile.engine.words.words_file import PhotoWords, write_words
from mcad_mobile.errors import PhotoIndexError

# Old path, new path, stamp.
Move = tuple[str, str, tuple[int, int]]


def validate_paths(paths: Sequence[str]) -> list[bytes]:
    raw = [path_to_bytes(path) for path in paths]
    for path in raw:
        if not 0 < len(path) <= MAX_LENGTH:
            fault = "an empty path" if not path else f"a path of {len(path)} bytes"
            raise PhotoIndexError(
                f"A photo has {fault}.", f"Give each photo a path of 1 to {MAX_LENGTH} bytes."
            )
    return raw


def prepare_embeddings(paths: Sequence[str], embeddings: F32, dim: int) -> F32:
    """Return embeddings [N, D] float32, scaled to length 1 and rotated. PhotoIndexError for another
    shape, or a length that is off by more than a quantized tower's rounding."""
    if embeddings.shape != (len(paths), dim):
        raise PhotoIndexError(
            f"{len(paths)} paths came with embeddings of shape {list(embeddings.shape)}; this "
            f"index takes [{len(paths)}, {dim}].",
            "Embed the photos with the bundle that the index was made with.",
        )
    rows, norms = prepare(embeddings)
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))
    if len(wrong):
        first = int(wrong[0])
        raise PhotoIndexError(
            f"The embedding of {paths[first]} has length {norms[first]}, not 1 "
            f"({len(wrong)} of {len(paths)} are like that).",
            "Give L2-normalized float32 embeddings without NaN or infinity.",
        )
    return rows


@dataclass(frozen=True)
class _Frame:
    """The axis that a segment's photos are coded around, and how the segment is searched."""

    axis: F32
    axis_photos: int
    tuning: Tuning


class IndexWriter:
    """Adds, moves and deletes photos; readers see none of it before the commit, at the end of the
    `PhotoIndex.writer` block. `spool` is an empty, unbuffered file for new embeddings."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        segments: Sequence[LiveSegment],
        spool: RawIOBase,
        limits: TuningLimits | None = None,
    ) -> None:
        self._directory = directory
        self._manifest = manifest
        self._segments = segments
        self._limits = limits or TuningLimits()
        self._spool = Spool(spool, manifest.dim)
        # Photos to write: number of the source (the spool comes after the segments) and row.
        self._pending: dict[bytes, tuple[int, int]] = {}
        self._new_stamps: dict[bytes, tuple[int, int]] = {}
        self._new_times: dict[bytes, int] = {}
        self._new_words: dict[bytes, PhotoWords] = {}
        self._deleted = [set(live.deleted.tolist()) for live in segments]
        self._filled_by = set(manifest.filled_by)
        self._changed = False
        self._merge_all = False
        self._new_frame = False

    def add(
        self,
        paths: Sequence[str],
        embeddings: F32,
        stamps: Stamps | None = None,
        times: Times | None = None,
    ) -> None:
        """Add photos, or replace those at the same paths; if a path comes twice, the last one
        counts.

        `embeddings` are [N, D] float32, L2-normalized; `stamps` [N, 2] uint32 the state of their
        files (zeros unless given); `times` [N] int32 the minutes since 1970 at which they were
        taken (NO_TIME unless given). PhotoIndexError: shapes don't match, a path is empty or longer
        than 65535 bytes, or an embedding is not of length 1 (within 0.01).
        """
        raw = validate_paths(paths)
        rows = prepare_embeddings(paths, embeddings, self._manifest.dim)
        if stamps is None:
            stamps = np.zeros((len(raw), 2), np.uint32)
        if times is None:
            times = np.full(len(raw), NO_TIME, np.int32)
        first = self._spool.count
        with writing(self._directory):
            self._spool.append(
                rows,
                stamps.astype(np.uint32).reshape(len(raw), 2),
                times.astype(np.int32).reshape(len(raw)),
            )
        self._take(raw)
        for row, path in enumerate(raw, start=first):
            self._pending[path] = (len(self._segments), row)
        self._changed = self._changed or bool(raw)

    def move(self, moves: Sequence[Move]) -> int:
        """Change paths and stamps of photos, all at once, and keep their embeddings; return how
        many were found. Moves are (old path, new path, stamp); both paths may be the same.

        So two photos can swap names in one call. A photo at a new path is replaced unless it moves
        away itself; if two move to one path, the last stays. Unknown old paths are skipped.
        PhotoIndexError if a new path is empty or longer than 65535 bytes.
        """
        moments = self._moments([old for old, _, _ in moves])
        moves = [
            (old + moment, new + moment, stamp)
            for old, new, stamp in moves
            for moment in moments[old]
        ]
        before = [path_to_bytes(old) for old, _, _ in moves]
        after = validate_paths([new for _, new, _ in moves])
        words = {new: self._new_words.get(old) for old, new in zip(before, after, strict=True)}
        found = self._take(before)
        placed = [
            (found.pop(old), new, stamp)
            for old, new, (_, _, stamp) in zip(before, after, moves, strict=True)
            if old in found
        ]
        self._take([new for _, new, _ in placed])
        for at, new, stamp in placed:
            self._pending[new] = at
            self._new_stamps[new] = stamp
            if (own := words[new]) is not None:
                self._new_words[new] = own
        return len(placed)

    def set_times(self, times: dict[str, int]) -> None:
        """Set the times of photos that this writer added or moved, in minutes since 1970."""
        for path, moments in self._moments([*times]).items():
            for moment in moments:
                if (raw := path_to_bytes(path + moment)) in self._pending:
                    self._new_times[raw] = times[path]

    def set_words(self, words: Mapping[str, PhotoWords]) -> None:
        """Set the words of photos, in place of those that they had; unknown photos are skipped. The
        words of their names come from their paths."""
        raw = {path_to_bytes(path): photo for path, photo in words.items()}
        known = {path for path in raw if path in self._pending}
        for live, deleted in zip(self._segments, self._deleted, strict=True):
            found = live.segment.paths.find([*raw])
            known |= {[*raw][position] for position, row in found if row not in deleted}
        self._new_words |= {path: raw[path] for path in known}
        self._changed = self._changed or bool(known)

    def delete(self, paths: Sequence[str]) -> int:
        """Delete photos, and whole videos, and return how many there were; unknown paths are
        skipped."""
        rows = {first_row(path) for path in paths}
        of_files = self._moments(paths).items()
        others = [path + moment for path, moments in of_files for moment in moments]
        found = self._take([path_to_bytes(row) for row in rows.union(others)])
        return sum(path_to_bytes(row) in found for row in rows)

    def _moments(self, files: Sequence[str]) -> dict[str, list[str]]:
        """Return what the rows of each file add to its path: that of a photo itself nothing."""
        pending = [row for row in self._pending if is_moment(row)]
        found: dict[str, list[str]] = {}
        for file in files:
            found[file] = [] if is_video(file) else [""]
            if not may_have_moments(file):
                continue
            start = path_to_bytes(file + MARK)
            rows = [row for row in pending if row.startswith(start)]
            for live in self._segments:
                among = live.segment.paths.below(start)
                rows += live.segment.paths.slice(among.start, among.stop)
            named = {os.fsdecode(row) for row in rows}
            found[file] += sorted(
                row[len(file) :] for row in named if file_and_moment(row)[0] == file
            )
        return found

    def record_filler(self, rung: str) -> None:
        """Record which tower embedded the added photos, and whose kernels ran it."""
        self._filled_by.add(rung)

    def merge_all(self) -> None:
        """Merge all into one segment without tombstones, at commit."""
        self._merge_all = True

    def rebuild(self) -> None:
        """Like merge_all, and compute the axis and the tuning anew from the current photos."""
        self._merge_all = self._new_frame = self._changed = True

    def commit(self) -> None:
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
        deleted, added = [len(rows) for rows in self._deleted], len(self._pending)
        axis_photos = 0 if self._new_frame else frame.axis_photos
        merged, new_axis = plan_merge(live, deleted, added, axis_photos, self._limits)
        if self._merge_all:
            merged = list(range(len(live)))
        generation = self._manifest.generation + 1
        entries = [
            self._kept_entry(i, entry, generation)
            for i, entry in enumerate(self._manifest.segments)
            if i not in merged
        ]
        photos = added + sum(live[i] for i in merged)
        if photos:
            pending: list[Item] = sorted((path, *at) for path, at in self._pending.items())
            written = self._written_rows(merged, pending)
            for i in {number for number, _ in written} - {len(self._segments)}:
                # Copying unchecked bytes would give damaged data a valid checksum.
                self._segments[i].verify()
            if new_axis:
                frame = self._new_frame_of(written, photos)
            merger = Merger(
                self._sources(),
                frame.axis,
                self._feedback(frame.axis, live, pending),
                self._new_stamps,
                self._new_times,
            )
            items = [*(segment_items(self._current(i), i) for i in merged), pending]
            name = segment_name(generation)
            entry = self._write_segment(name, photos, frame, written, merger, items)
            if self._new_words or any(live.words for live in self._segments):
                items = [*(segment_items(self._current(i), i) for i in merged), pending]
                entry = self._write_words(entry, generation, heapq.merge(*items))
            entries.append(entry)
        manifest = structs.replace(
            self._manifest,
            generation=generation,
            segments=tuple(entries),
            filled_by=tuple(sorted(self._filled_by)),
        )
        write_manifest(self._directory, manifest)

    def _write_segment(
        self,
        name: str,
        photos: int,
        frame: _Frame,
        written: Sequence[tuple[int, Rows]],
        merger: Merger,
        items: Sequence[Iterable[Item]],
    ) -> SegmentEntry:
        tuning, cells, sizes = frame.tuning, None, None
        if tuning.cells and photos >= self._limits.cells_from:
            cells = tuning.cells.candidates
            centroids = tuning.cells.centroids
            of_rows, sizes = assign_rows(merger.sources, written, frame.axis, centroids)
            merger = replace(merger, cells=of_rows)
        crc = write_segment(
            self._directory / name,
            axis=frame.axis,
            bit_weights=tuning.bit_weights,
            axis_photos=frame.axis_photos,
            photos=photos,
            batches=merger.batches(items),
            cells=sizes,
        )
        return SegmentEntry(name, photos, crc, [], tuning.candidates, tuning.prescan, cells)

    def _kept_entry(self, i: int, entry: SegmentEntry, generation: int) -> SegmentEntry:
        """Return the entry of a segment that stays, with its deleted rows, and a new file of words
        if some are new."""
        live = self._current(i)
        entry = structs.replace(entry, deleted=live.deleted.tolist())
        found = live.segment.paths.find([*self._new_words])
        if {row for _, row in found} <= self._deleted[i]:
            return entry
        if live.words is not None:
            live.words.verify()
        # Rows are those of the segment, so that deleted ones are written, too.
        rows = range(live.segment.photos)
        paths = live.segment.paths.slice(rows.start, rows.stop)
        return self._write_words(entry, generation, zip(paths, repeat(i), rows, strict=False))

    def _write_words(
        self, entry: SegmentEntry, generation: int, items: Iterable[Item]
    ) -> SegmentEntry:
        new: dict[int, tuple[bytes, PhotoWords]] = {}
        old = {
            number: (live.words, np.full(live.segment.photos, -1, np.int32))
            for number, live in enumerate(self._segments)
            if live.words is not None
        }
        for new_row, (path, number, row) in enumerate(items):
            if path in self._new_words:
                words = self._new_words[path]
            elif number not in old:
                words = PhotoWords()
            elif path in self._pending:  # it has another name
                words = old[number][0].photos_of([row])[0]
            else:
                old[number][1][row] = new_row
                continue
            new[new_row] = path_to_bytes(file_and_moment(os.fsdecode(path))[0]), words
        name = words_name(entry.file, generation)
        kept = [(words, rows) for words, rows in old.values() if rows.max() >= 0]
        write_words(self._directory / name, entry.header_crc32, entry.photos, new, kept)
        return structs.replace(entry, words=name)

    def _sources(self) -> list[Source]:
        return [*(live.segment for live in self._segments), self._spool]

    def _current(self, i: int) -> LiveSegment:
        """Return a segment without the rows that this writer has deleted."""
        deleted = np.array(sorted(self._deleted[i]), np.intp)
        return replace(self._segments[i], deleted=deleted, _filters={})

    def _frame_in_use(self, live: Sequence[int]) -> _Frame:
        """Return the frame of the largest segment, or an empty one for an index without photos."""
        if not any(live):
            dim = self._manifest.dim
            return _Frame(np.zeros(dim, np.float32), 0, untuned(dim))
        largest = self._segments[int(np.argmax(live))]
        segment = largest.segment
        cells = Cells(segment.centroids, largest.cells) if largest.cells else None
        tuning = Tuning(segment.bit_weights, largest.candidates, largest.prescan, cells)
        return _Frame(segment.axis, segment.axis_photos, tuning)

    def _new_frame_of(self, written: Sequence[tuple[int, Rows]], photos: int) -> _Frame:
        """Compute the axis, the direction of the mean of all photos, and choose a tuning on a
        sample: every n-th row of each source."""
        axis = mean_direction(self._embeddings(written), self._manifest.dim)
        step = sample_step(photos, self._manifest.dim)
        sample = [(number, rows[::step]) for number, rows in written]
        count = sum(len(rows) for _, rows in sample)
        tuning = choose_tuning(self._embeddings(sample), count, axis, photos, self._limits)
        return _Frame(axis, photos, tuning)

    def _embeddings(self, written: Sequence[tuple[int, Rows]]) -> Iterator[F32]:
        """Yield the rotated embeddings of rows of sources, block by block."""
        sources = self._sources()
        for number, rows in written:
            for block in blocks(len(rows)):
                yield read_embeddings(sources[number], rows[block])

    def _written_rows(
        self, merged: Sequence[int], pending: Sequence[Item]
    ) -> list[tuple[int, Rows]]:
        """Return the rows that a commit writes, ascending, by the number of their source."""
        of_source: dict[int, list[int]] = {}
        for _, number, row in pending:
            of_source.setdefault(number, []).append(row)
        for number in merged:
            of_source.setdefault(number, []).extend(self._current(number).live_rows().tolist())
        return [
            (number, np.sort(np.array(rows, np.intp)))
            for number, rows in sorted(of_source.items())
            if rows
        ]

    def _feedback(self, axis: F32, live: Sequence[int], pending: Sequence[Item]) -> F32 | None:
        """Return the feedback for rounding, from a sample of the largest segment or, if they are
        more, of the new photos; None if it is not worthwhile."""
        spool = len(self._segments)
        number = int(np.argmax([*live, len(pending)]))
        if number == spool:
            rows = np.sort(np.array([row for _, at, row in pending if at == spool], np.intp))
        else:
            rows = self._current(number).live_rows()
        step = feedback_step(len(rows), len(axis))
        return error_feedback(self._embeddings([(number, rows[::step])]), axis) if step else None

    def _take(self, raw: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
        """Remove the photos at these paths, committed or pending; return where each is."""
        found = {}
        for number, (live, deleted) in enumerate(zip(self._segments, self._deleted, strict=True)):
            for position, row in live.segment.paths.find(raw):
                if row not in deleted:
                    deleted.add(row)
                    found[raw[position]] = (number, row)
        for path in raw:
            self._new_stamps.pop(path, None)
            self._new_times.pop(path, None)
            self._new_words.pop(path, None)
            if path in self._pending:
                found[path] = self._pending.pop(path)
        self._changed = self._changed or bool(found)
        return found
