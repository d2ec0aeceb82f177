"""The rows that a commit writes: old ones from segments and new ones, by ascending path."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from itertools import islice, repeat

import numpy as np

from mcad_mobile.engine.arrays import F32, I16, U8, U16, Rows, Stamps, Times
from mcad_mobile.engine.index.codes import decode, encode, record_size
from mcad_mobile.engine.index.deterministic import blocks
from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.segment_writer import Batch, CellSizes
from mcad_mobile.engine.index.segments import NO_TIME, Segment
from mcad_mobile.engine.index.tuning import assign_cells

# A photo to write: its path, the number of its source, its row there.
Item = tuple[bytes, int, int]

_BATCH = 1024


class Spool:
    """A writer's new photos: rotated embeddings in a temporary file, stamps and times in memory.
    Their codes depend on the axis, which is known after the last photo."""

    def __init__(self, file: RawIOBase, dim: int) -> None:
        self.count = 0
        self._file = file
        self._dim = dim
        self._stamps: list[Stamps] = []
        self._times: list[Times] = []

    def append(self, rows: F32, stamps: Stamps, times: Times) -> None:
        self._file.seek(self.count * self._dim * 4)
        # Unbuffered, so that a full disk raises here, and not again when the file is closed.
        left = memoryview(rows.tobytes())
        while left:
            left = left[self._file.write(left) or 0 :]
        self._stamps.append(stamps)
        self._times.append(times)
        self.count += len(rows)

    def rows(self, rows: Rows) -> F32:
        """Read embeddings [B, D] float32 of rows, ascending and at least one."""
        file, size = self._file.fileno(), 4 * self._dim
        if rows[-1] - rows[0] == len(rows) - 1:
            data = os.pread(file, len(rows) * size, int(rows[0]) * size)
        else:
            data = b"".join(map(os.pread, repeat(file), repeat(size), (rows * size).tolist()))
        return np.frombuffer(data, np.float32).reshape(len(rows), self._dim)

    def stamps(self, rows: Rows) -> Stamps:
        if len(self._stamps) > 1:
            self._stamps = [np.concatenate(self._stamps)]
        return self._stamps[0][rows]

    @property
    def times(self) -> Times:
        if len(self._times) != 1:
            self._times = [np.concatenate([np.empty(0, np.int32), *self._times])]
        return self._times[0]


Source = Segment | Spool


def read_embeddings(source: Source, rows: Rows) -> F32:
    """Return the rotated embeddings [B, D] float32 of rows, ascending."""
    if isinstance(source, Spool):
        return source.rows(rows)
    return decode(source.records_of(rows), source.axis)


@dataclass(frozen=True)
class PhotoSample:
    """Photos, by the number of their source and their row there."""

    sources: Sequence[Source]
    number: Rows
    row: Rows
    dim: int

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, rows: slice | Rows) -> F32:
        number, row = self.number[rows], self.row[rows]
        embeddings = np.empty((len(row), self.dim), np.float32)
        for source in np.unique(number):
            here = number == source
            embeddings[here] = read_embeddings(self.sources[source], row[here])
        return embeddings


def assign_rows(
    sources: Sequence[Source],
    written: Sequence[tuple[int, Rows]],
    axis: F32,
    centroids: I16,
) -> tuple[list[U16], CellSizes]:
    """Find the cells of the `written` rows (ascending, by the number of their source), and how many
    photos are in each. Rows of a segment with the same cells keep theirs."""
    of_rows = [np.zeros(0, np.uint16) for _ in sources]
    sizes = np.zeros(len(centroids), np.intp)
    for number, rows in written:
        source = sources[number]
        if not len(of_rows[number]):
            of_rows[number] = np.zeros(len(source.times), np.uint16)
        known = None
        if isinstance(source, Segment) and np.array_equal(source.centroids, centroids):
            known = source
        for block in blocks(len(rows)):
            part = rows[block]
            if known:
                of_rows[number][part] = known.cells_of(part)
            else:
                embeddings = read_embeddings(source, part)
                of_rows[number][part] = assign_cells(embeddings, axis, centroids)
            sizes += np.bincount(of_rows[number][part], minlength=len(centroids))
    return of_rows, CellSizes(centroids, sizes)


def segment_items(live: LiveSegment, number: int, among: range | None = None) -> Iterator[Item]:
    """Yield the live rows of a segment, which is source `number`, by path: all, or those in
    `among`."""
    rows = range(live.segment.photos) if among is None else among
    paths = live.segment.paths.slice(rows.start, rows.stop)
    items = zip(paths, repeat(number, len(rows)), rows, strict=True)
    if not len(live.deleted):
        return items
    deleted = set(live.deleted.tolist())
    return (item for item in items if item[2] not in deleted)


@dataclass(frozen=True)
class Merger:
    """Merges rows of `sources` into batches around `axis`, rounded with `feedback`; `new_stamps`
    and `new_times` replace those of the source; `cells` holds each source's cells by row."""

    sources: Sequence[Source]
    axis: F32
    feedback: F32 | None
    new_stamps: dict[bytes, tuple[int, int]]
    new_times: dict[bytes, int]
    cells: Sequence[U16] | None = None

    def batches(self, streams: Sequence[Iterable[Item]]) -> Iterator[Batch]:
        """Merge streams of items, each by ascending path."""
        ordered = heapq.merge(*streams)
        while items := list(islice(ordered, _BATCH)):
            yield self._batch(items)

    def _batch(self, items: list[Item]) -> Batch:
        count = len(items)
        numbers = np.array([item[1] for item in items])
        rows = np.array([item[2] for item in items], np.intp)
        records = np.empty((count, record_size(len(self.axis))), np.uint8)
        stamps = np.empty((count, 2), np.uint32)
        times = np.full(count, NO_TIME, np.int32)
        cells = None if self.cells is None else np.empty(count, np.intp)
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            at = at[np.argsort(rows[at])]
            source = self.sources[number]
            records[at] = self._encode(source, rows[at])
            stamps[at] = source.stamps(rows[at])
            times[at] = source.times[rows[at]]
            if self.cells is not None and cells is not None:
                cells[at] = self.cells[number][rows[at]]
        paths = [item[0] for item in items]
        if self.new_stamps or self.new_times:
            for i, path in enumerate(paths):
                stamps[i] = self.new_stamps.get(path, stamps[i])
                times[i] = self.new_times.get(path, times[i])
        return Batch(records, stamps, times, paths, cells)

    def _encode(self, source: Source, rows: Rows) -> U8:
        """Encode rows, ascending; those of a segment with the same axis are copied."""
        if isinstance(source, Segment) and np.array_equal(source.axis, self.axis):
            return source.records_of(rows)
        return encode(read_embeddings(source, rows), self.axis, self.feedback)
