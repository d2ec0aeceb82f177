"""The photos of a segment that a search considers, by deletion, folder and time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Literal

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.arrays import F32, U8, Rows
from mcad_mobile.engine.index.codes import decode
from mcad_mobile.engine.index.moments import is_of_video
from mcad_mobile.engine.index.paths import path_to_bytes
from mcad_mobile.engine.index.segments import NO_TIME, Segment, damaged
from mcad_mobile.engine.index.tuning import CandidateCount, Prescan
from mcad_mobile.engine.native import FilterTask, Kernel, address
from mcad_mobile.engine.words.words_file import WordsFile

_KEPT_FILTERS = 8
# Bits fill whole words, as the kernels may read words.
_WORD = 64


Kind = Literal["photo", "video"]


@dataclass(frozen=True)
class RowFilter:
    """The photos that a search may find. Unknown times pass neither bound.

    Attributes:
        folders: photos in one of these folders or below, as the index writes paths; all without.
        after: photos taken at this minute since 1970 (UTC) or later; None for no bound.
        before: photos taken before this minute; None for no bound.
        place: the words of a place, folded: photos taken at one that has all of them.
        kind: "photo" or "video" alone; None for both.
    """

    folders: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None
    place: tuple[str, ...] = ()
    kind: Kind | None = None


ALL_ROWS = RowFilter()


class FilteredRows:
    """The photos of a segment that pass a filter: rows in `span` whose bit is set in `row_bits`
    [ceil(N / 64) * 8] uint8, least significant first; all of them if that is None.

    `allowed` has the same bits by place. With cells, a cell's bits are set when it is first probed;
    rows ascend within a cell, so there a span of rows is a span of places.
    """

    def __init__(self, segment: Segment, span: range, row_bits: U8 | None = None) -> None:
        self._segment, self._starts = segment, segment.starts
        self.span, self.row_bits = span, row_bits
        self.count = len(span)
        self.allowed = row_bits
        if row_bits is not None:
            self.count = int(np.bitwise_count(row_bits.view(np.uint64)).sum())
            self.allowed = np.zeros_like(row_bits) if len(self._starts) else row_bits
        # Per cell: the first place that may pass, the end of these places, and how many photos
        # pass; below 0 until the cell is probed.
        self._from, self._until = self._starts[:-1].copy(), self._starts[1:].copy()
        self._counts = (self._until - self._from).astype(np.int32)
        self._is_all = row_bits is None and len(span) == segment.photos
        if not self._is_all:
            self._counts[:] = -1
        self._probing = Lock()

    def places(self, kernel: Kernel) -> Rows:
        """Return the places of all photos that pass, ascending."""
        spans = [self.span]
        if len(self._starts):
            spans = self.probe(np.arange(len(self._counts)), self.count, kernel)
        if self.allowed is None:
            within = [np.arange(span.start, span.stop) for span in spans]
            return np.concatenate([np.empty(0, np.intp), *within])
        # numpy finds set bools eight at a time.
        return np.flatnonzero(np.unpackbits(self.allowed, bitorder="little").view(np.bool_))

    def probe(self, order: Rows, enough: int, kernel: Kernel) -> list[range]:
        """Return the places of the first cells in `order` that hold `enough` photos that pass, or
        of all; `allowed` is set there from now on."""
        if self._is_all:
            cells = int(self._counts[order].cumsum().searchsorted(enough)) + 1
        else:
            with self._probing:
                probed = kernel.probe_cells(self._task, order, enough)
            if probed is None:
                raise damaged(self._segment.file, "one of its places belongs to no row")
            cells = probed
        chosen = np.sort(order[:cells])
        chosen = chosen[self._from[chosen] < self._until[chosen]]
        # Neighbouring cells make one range.
        apart = self._from[chosen[1:]] != self._until[chosen[:-1]]
        firsts = self._from[chosen[np.concatenate([[True], apart])[: len(chosen)]]]
        ends = self._until[chosen[np.concatenate([apart, [True]])[: len(chosen)]]]
        return [range(a, b) for a, b in zip(firsts.tolist(), ends.tolist(), strict=True)]

    @cached_property
    def _task(self) -> FilterTask:
        row_bits, place_bits = self.row_bits, self.allowed
        return FilterTask(
            rows=self._segment.rows.ctypes.data,
            starts=self._starts.ctypes.data,
            row_bits=None if row_bits is None else address(row_bits),
            place_bits=None if place_bits is None else address(place_bits),
            cell_starts=address(self._from),
            cell_ends=address(self._until),
            counts=address(self._counts),
            photos=self._segment.photos,
            first=self.span.start,
            end=self.span.stop,
        )


@dataclass(frozen=True)
class LiveSegment:
    """A segment as of one commit: its deleted rows, ascending, and its tuning: how many photos pass
    2 may score, a prescan of fewer bits, and how many photos the scanned cells hold; its photos'
    words, if they have any."""

    segment: Segment
    deleted: Rows
    candidates: CandidateCount
    prescan: Prescan | None = None
    cells: CandidateCount | None = None
    words: WordsFile | None = None
    _filters: dict[RowFilter, FilteredRows] = field(default_factory=dict, repr=False, compare=False)

    @property
    def photos(self) -> int:
        """Rows that are not deleted."""
        return self.segment.photos - len(self.deleted)

    def verify(self) -> None:
        """Compare its files with their checksums. PhotoIndexError if one is damaged."""
        self.segment.verify()
        if self.words is not None:
            self.words.verify()

    def cosines(self, rows: Rows, query: F32) -> F32:
        """Return the cosines of rows with a rotated query."""
        if not len(rows):
            return np.empty(0, np.float32)
        found = decode(self.segment.records_of(rows), self.segment.axis) @ query
        return np.asarray(found, np.float32)

    def find(self, paths: Sequence[bytes]) -> tuple[Rows, Rows]:
        """Return the positions in `paths` of those that are found and not deleted, and their
        rows."""
        found = np.array(self.segment.paths.find(paths), np.intp).reshape(-1, 2)
        positions, rows = found[~np.isin(found[:, 1], self.deleted)].T
        return positions, rows

    def live_rows(self) -> Rows:
        return np.delete(np.arange(self.segment.photos), self.deleted)

    def filtered(self, rows: RowFilter, kernel: Kernel) -> FilteredRows:
        """Return the live rows that pass; the last few filters are cached."""
        known = self._filters.get(rows)
        if known is None:
            known = self._apply(rows, kernel)
            while len(self._filters) >= _KEPT_FILTERS:
                self._filters.pop(next(iter(self._filters)), None)
            self._filters[rows] = known
        return known

    def _apply(self, rows: RowFilter, kernel: Kernel) -> FilteredRows:
        ranges = [range(self.segment.photos)]
        if rows.folders:
            ends = [path_to_bytes(folder.rstrip(os.sep) + os.sep) for folder in rows.folders]
            ranges = [self.segment.paths.below(folder) for folder in ends]
        span = range(min(r.start for r in ranges), max(r.stop for r in ranges))
        timed = rows.after is not None or rows.before is not None
        if (
            len(ranges) == 1
            and not timed
            and not rows.place
            and not rows.kind
            and not len(self.deleted)
        ):
            return FilteredRows(self.segment, span)
        first, end = NO_TIME, -NO_TIME
        if timed:
            # NO_TIME is the least int32, and passes no bound.
            first = max(NO_TIME + 1, NO_TIME if rows.after is None else rows.after)
            end = min(end, end if rows.before is None else rows.before)
        bits = self._row_bits(ranges, first, end, kernel)
        for term in rows.place:
            bits &= _packed(self._are_at(term))
        if rows.kind:
            bits &= self._videos if rows.kind == "video" else ~self._videos
        return FilteredRows(self.segment, span, bits)

    def _are_at(self, term: str) -> U8:
        """Return for each photo whether its place has a word, [N]."""
        found = np.zeros(self.segment.photos, np.uint8)
        if self.words is not None:
            self.words.find([term], found, "place")
        return found

    @cached_property
    def _videos(self) -> U8:
        """A bit for each row that is a moment of a video, as `_row_bits` has them."""
        count = self.segment.photos
        paths = self.segment.paths.slice(0, count)
        return _packed(np.fromiter(map(is_of_video, paths), np.bool_, count))

    def _row_bits(self, ranges: list[range], first: int, end: int, kernel: Kernel) -> U8:
        """Return a bit for each live row in `ranges` whose time is from `first` to before `end`."""
        bits = _packed(np.zeros(self.segment.photos, np.bool_))
        for rows in ranges if first < end else []:
            kernel.filter_times(self.segment.times, rows, first, end - 1, bits)
        if len(self.deleted):
            kept = np.ones(self.segment.photos, np.bool_)
            kept[self.deleted] = False
            bits &= _packed(kept)
        return bits


def _packed(flags: npt.NDArray[np.bool_] | U8) -> U8:
    """Return a bit for each of N flags, least significant first, and zeros up to a whole word."""
    spare = -len(flags) % _WORD
    return np.packbits(np.pad(flags, (0, spare)), bitorder="little")
