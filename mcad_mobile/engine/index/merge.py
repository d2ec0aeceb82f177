"""What a commit writes: rows of several segments and new ones, by ascending path."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from itertools import islice, repeat

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import codes
from mcad_mobile.engine.index.cells import cells_of
from mcad_mobile.engine.index.codes import F32, Encoded, decode, encode, split
from mcad_mobile.engine.index.filters import LiveSegment
from mcad_mobile.engine.index.segment_writer import Batch, CellSizes
from mcad_mobile.engine.index.segments import NO_TIME, Segment, Stamps, Taken

Rows = npt.NDArray[np.intp]
# A photo to write: its path, the number of its source, its row there.
Item = tuple[bytes, int, int]

_BATCH = 1024
# Below this many photos an average says little, and all of them are scored by their bytes anyway.
_AXIS_FROM = 256
_AXIS_GROWTH = 8
# A segment with more than one row in eight deleted is written anew: its tombstones are read on
# every opening, and its rows on every scan.
_MOST_DELETED = 1 / 8


@dataclass(frozen=True)
class Plan:
    """What a commit merges into its new segment, and whether it takes the axis anew."""

    absorbed: tuple[int, ...]
    new_axis: bool


def plan_merge(live: Sequence[int], deleted: Sequence[int], added: int, axis_photos: int) -> Plan:
    """Decide which segments, of `live` and `deleted` rows each, join the `added` new photos.

    All do when the index has grown eightfold since its axis was taken, over `axis_photos`. Else
    those with too many deleted rows, and every segment not over twice as large as what has
    joined before it. Sizes thus at least double from one segment to the next: an index of N
    photos has at most log2 N of them, and a photo is copied about as often.
    """
    total = sum(live) + added
    if total >= _AXIS_FROM and total >= _AXIS_GROWTH * axis_photos:
        return Plan(tuple(range(len(live))), new_axis=True)
    absorbed = {
        i for i, alive in enumerate(live) if deleted[i] > _MOST_DELETED * (alive + deleted[i])
    }
    size = added + sum(live[i] for i in absorbed)
    for i in sorted(range(len(live)), key=lambda i: live[i]):
        if i not in absorbed and live[i] <= 2 * size:
            absorbed.add(i)
            size += live[i]
    return Plan(tuple(sorted(absorbed)), new_axis=False)


class Spool:
    """New photos of a writer: rotated embeddings in a temporary file, stamps in memory.

    They wait there because the axis, and so their codes, is known only when the last is there.
    """

    def __init__(self, file: RawIOBase, dim: int) -> None:
        self.count = 0
        self._file = file
        self._dim = dim
        self._stamps: list[Stamps] = []
        self._taken: list[Taken] = []

    def append(self, rows: F32, stamps: Stamps, taken: Taken) -> None:
        """Add rows [B, D] float32, stamps [B, 2] uint32 and taken [B] int32."""
        self._file.seek(self.count * self._dim * 4)
        # Unbuffered, so that a full disk is noticed here, and not again when the file is closed.
        left = memoryview(rows.tobytes())
        while left:
            left = left[self._file.write(left) or 0 :]
        self._stamps.append(stamps)
        self._taken.append(taken)
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
        """Return stamps [B, 2] uint32."""
        if len(self._stamps) > 1:
            self._stamps = [np.concatenate(self._stamps)]
        return self._stamps[0][rows]

    @property
    def taken(self) -> Taken:
        """All [N] int32."""
        if len(self._taken) != 1:
            self._taken = [np.concatenate([np.empty(0, np.int32), *self._taken])]
        return self._taken[0]


def embeddings_of(source: Segment | Spool, rows: Rows) -> F32:
    """Return the rotated embeddings [B, D] float32 of rows, ascending."""
    if isinstance(source, Spool):
        return source.rows(rows)
    return decode(source.encoded_rows(rows), source.axis)


@dataclass(frozen=True)
class Sampled:
    """Photos that settings are measured on, by the number of their source and their row in it."""

    sources: list[Segment | Spool]
    number: Rows
    row: Rows
    dim: int

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, some: slice) -> F32:
        number, row = self.number[some], self.row[some]
        found = np.empty((len(row), self.dim), np.float32)
        for source in np.unique(number):
            here = number == source
            found[here] = embeddings_of(self.sources[source], row[here])
        return found


def encoded_by(source: Segment | Spool, rows: Rows, axis: F32, feedback: F32 | None) -> Encoded:
    """Encode rows, ascending, around `axis`; those of a segment that has that axis are copied."""
    if isinstance(source, Segment) and np.array_equal(source.axis, axis):
        return source.encoded_rows(rows)
    return encode(embeddings_of(source, rows), axis, feedback)


@dataclass(frozen=True)
class PlacedRows:
    """The cells of the rows of each source, and how many a commit puts into each cell."""

    of: list[npt.NDArray[np.uint16]]
    sizes: CellSizes


def cells_of_rows(
    sources: Sequence[Segment | Spool],
    wanted: Sequence[tuple[int, Rows]],
    axis: F32,
    centroids: npt.NDArray[np.int16],
) -> PlacedRows:
    """Find the cells of the `wanted` rows, by the number of their source, ascending. Those that
    have these cells already stay where they are."""
    of = [np.zeros(0, np.uint16) for _ in sources]
    sizes = np.zeros(len(centroids), np.intp)
    for number, rows in wanted:
        source = sources[number]
        if not len(of[number]):
            of[number] = np.zeros(len(source.taken), np.uint16)
        known = None
        if isinstance(source, Segment) and np.array_equal(source.centroids, centroids):
            known = source
        for part in codes.blocks(len(rows)):
            some = rows[part]
            if known:
                cells = known.cells_of(some)
            else:
                cells = cells_of(split(embeddings_of(source, some), axis)[1], centroids)
            of[number][some] = cells
            sizes += np.bincount(cells, minlength=len(centroids))
    return PlacedRows(of, CellSizes(centroids, sizes))


def segment_items(live: LiveSegment, number: int, among: range | None = None) -> Iterator[Item]:
    """Yield the live rows of a segment that is source `number`, all or those `among` a range, by
    ascending path."""
    rows = range(live.segment.photos) if among is None else among
    paths = live.segment.paths.slice(rows.start, rows.stop)
    items = zip(paths, repeat(number, len(rows)), rows, strict=True)
    if not len(live.deleted):
        return items
    dead = set(live.deleted.tolist())
    return (item for item in items if item[2] not in dead)


def merged(
    sources: Sequence[Segment | Spool],
    streams: Sequence[Iterable[Item]],
    restamped: dict[bytes, tuple[int, int]],
    retaken: dict[bytes, int],
    axis: F32,
    feedback: F32 | None,
    cells: Sequence[npt.NDArray[np.uint16]] | None = None,
) -> Iterator[Batch]:
    """Merge streams of items, each by ascending path, into batches around `axis`, rounded with
    `feedback`. `restamped` and `retaken` are the paths whose stamps and times are not those of
    their source; `cells` are of each source those of its rows.
    """
    ordered = heapq.merge(*streams)
    while items := list(islice(ordered, _BATCH)):
        count = len(items)
        chosen = np.array([item[1] for item in items])
        rows = np.array([item[2] for item in items], np.intp)
        encoded = Encoded(
            codes=np.empty((count, len(axis) // 8), np.uint8),
            along=np.empty(count, np.int16),
            scales=np.empty(count, np.uint16),
            magnitudes=np.empty((count, len(axis)), np.uint8),
        )
        stamps = np.empty((count, 2), np.uint32)
        taken = np.full(count, NO_TIME, np.int32)
        in_cells = None if cells is None else np.empty(count, np.intp)
        for number in np.unique(chosen).tolist():
            at = np.flatnonzero(chosen == number)
            at = at[np.argsort(rows[at])]
            source = sources[number]
            part = encoded_by(source, rows[at], axis, feedback)
            encoded.codes[at], encoded.along[at] = part.codes, part.along
            encoded.scales[at], encoded.magnitudes[at] = part.scales, part.magnitudes
            stamps[at] = source.stamps(rows[at])
            taken[at] = source.taken[rows[at]]
            if cells is not None and in_cells is not None:
                in_cells[at] = cells[number][rows[at]]
        paths = [item[0] for item in items]
        if restamped or retaken:
            for i, path in enumerate(paths):
                stamps[i] = restamped.get(path, stamps[i])
                taken[i] = retaken.get(path, taken[i])
        yield Batch(encoded, stamps, taken, paths, in_cells)
