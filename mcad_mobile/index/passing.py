"""Which photos of a segment a search looks at: those not deleted, of a folder, of a time."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mcad_mobile.index.codes import U8
from mcad_mobile.index.format import NO_TIME
from mcad_mobile.index.paths import path_to_bytes
from mcad_mobile.index.reach import First, Reach
from mcad_mobile.index.segment import Segment

Rows = npt.NDArray[np.intp]
_KEPT = 8


@dataclass(frozen=True)
class RowFilter:
    """Photos in one of `folders` or below (any where there are none), taken from minute `after` on
    and before minute `before` since 1970 (UTC). A photo whose time is not known is of no time."""

    folders: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None


@dataclass(frozen=True)
class Passing:
    """Of places in `span`, those whose bit is set in `allowed` [ceil(N / 8)] uint8, least
    significant first, none of them outside; None: all of the span. Cells, if there are any, are at
    `starts` [C + 1]."""

    span: range
    allowed: U8 | None
    starts: npt.NDArray[np.uint32]

    @cached_property
    def places(self) -> Rows:
        """All of them, ascending."""
        if self.allowed is None:
            return np.arange(self.span.start, self.span.stop)
        # As bools: of these it finds the set ones eight at a time.
        return np.flatnonzero(np.unpackbits(self.allowed, bitorder="little").view(np.bool_))

    @cached_property
    def count(self) -> int:
        if self.allowed is None:
            return len(self.span)
        return int(np.bitwise_count(self.allowed).sum(dtype=np.intp))

    @cached_property
    def in_cells(self) -> Rows:
        """How many of them are in each cell [C]."""
        ends: Rows = self.starts.astype(np.intp)
        if self.allowed is not None:
            byte, bit = np.divmod(ends, 8)
            before = np.append(0, np.bitwise_count(self.allowed).cumsum(dtype=np.intp))[byte]
            inside = np.append(self.allowed, np.uint8(0))[byte] & ((1 << bit) - 1)
            ends = before + np.bitwise_count(inside)
        return ends[1:] - ends[:-1]


@dataclass(frozen=True)
class LiveSegment:
    """A segment as of one commit: `deleted` are its tombstones, ascending row numbers; `reach` says
    how many of its photos a search scores, `first` how many it looks at before, `cells` how many
    are in the cells that it looks into."""

    segment: Segment
    deleted: Rows
    reach: Reach
    first: First | None = None
    cells: Reach | None = None
    _known: dict[RowFilter, Passing] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def lens(self) -> npt.NDArray[np.float64]:
        """That of the segment, as it is multiplied."""
        return self.segment.lens.astype(np.float64)

    @property
    def live(self) -> int:
        return self.segment.photos - len(self.deleted)

    def live_rows(self) -> Rows:
        """Return the rows that are not deleted, ascending."""
        return np.delete(np.arange(self.segment.photos), self.deleted)

    def passing(self, wanted: RowFilter) -> Passing:
        """Return the live rows that pass; the last few filters are remembered."""
        known = self._known.get(wanted)
        if known is None:
            known = self._look(wanted)
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)), None)
            self._known[wanted] = known
        return known

    def _look(self, wanted: RowFilter) -> Passing:
        photos = self.segment.photos
        ranges = [range(photos)]
        if wanted.folders:
            ends = [path_to_bytes(folder.rstrip(os.sep) + os.sep) for folder in wanted.folders]
            ranges = [self.segment.paths.below(folder) for folder in ends]
        span = range(min(r.start for r in ranges), max(r.stop for r in ranges))
        timed = wanted.after is not None or wanted.before is not None
        in_cells = self.cells is not None
        side_by_side = len(span) == photos or not in_cells
        if len(ranges) == 1 and not timed and not len(self.deleted) and side_by_side:
            return Passing(span, None, self.segment.starts)
        kept = np.zeros(photos, np.bool_)
        for some in ranges:
            kept[some.start : some.stop] = True
        if timed:
            inside = slice(span.start, span.stop)
            taken = self.segment.taken[inside]
            # NO_TIME is before all others.
            first = NO_TIME + 1
            kept[inside] &= taken >= (first if wanted.after is None else max(wanted.after, first))
            if wanted.before is not None:
                kept[inside] &= taken < wanted.before
        kept[self.deleted] = False
        if in_cells:
            span, kept = range(photos), self.segment.by_place(kept)
        return Passing(span, np.packbits(kept, bitorder="little"), self.segment.starts)
