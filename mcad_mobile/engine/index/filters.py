"""Which photos of a segment a search looks at: those not deleted, of a folder, of a time."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index.codes import U8
from mcad_mobile.engine.index.paths import path_to_bytes
from mcad_mobile.engine.index.segments import NO_TIME, Segment, damaged
from mcad_mobile.engine.index.tuning import First, Reach
from mcad_mobile.engine.native import Kernel, PassingTask, address

Rows = npt.NDArray[np.intp]
_KEPT = 8
# Bits come in whole words, which the kernels may read.
_WORD = 64


@dataclass(frozen=True)
class RowFilter:
    """Photos in one of `folders` or below (any where there are none), taken from minute `after` on
    and before minute `before` since 1970 (UTC). A photo whose time is not known is of no time."""

    folders: tuple[str, ...] = ()
    after: int | None = None
    before: int | None = None


class Passing:
    """The photos of a segment whose rows are in `span` and, of these, have a bit in `of_rows`
    [ceil(N / 64) * 8] uint8, least significant first, set there only; None: all.

    Where places are rows, `allowed` says the same by place. With cells that is found out of a cell
    when somebody looks into it: a search looks into some, and has no time for all. In a cell rows
    ascend, so that a span of rows is one of places, too.
    """

    def __init__(self, segment: Segment, span: range, of_rows: U8 | None = None) -> None:
        self._segment, self._starts = segment, segment.starts
        self.span, self._of_rows = span, of_rows
        self.count = len(span)
        self.allowed = of_rows
        if of_rows is not None:
            self.count = int(np.bitwise_count(of_rows.view(np.uint64)).sum())
            self.allowed = np.zeros_like(of_rows) if len(self._starts) else of_rows
        # Of each cell from which place to before which they are, and how many; below 0 where nobody
        # has looked.
        self._from, self._until = self._starts[:-1].copy(), self._starts[1:].copy()
        self._held = (self._until - self._from).astype(np.int32)
        self._is_all = of_rows is None and len(span) == segment.photos
        if not self._is_all:
            self._held[:] = -1
        self._looking = Lock()

    def places(self, kernel: Kernel) -> Rows:
        """Return all of them, ascending."""
        spans = [self.span]
        if len(self._starts):
            spans = self.look_into(np.arange(len(self._held)), self.count, kernel)
        if self.allowed is None:
            within = [np.arange(span.start, span.stop) for span in spans]
            return np.concatenate([np.empty(0, np.intp), *within])
        # As bools: of these it finds the set ones eight at a time.
        return np.flatnonzero(np.unpackbits(self.allowed, bitorder="little").view(np.bool_))

    def look_into(self, order: Rows, enough: int, kernel: Kernel) -> list[range]:
        """Return where they are in the first cells of an order that hold `enough` of them together,
        or in all; there `allowed` is known from then on."""
        if self._is_all:
            cells = int(self._held[order].cumsum().searchsorted(enough)) + 1
        else:
            with self._looking:
                looked_into = kernel.hold(self._task, order, enough)
            if looked_into is None:
                raise damaged(self._segment.file, "a place of it is of no row")
            cells = looked_into
        chosen = np.sort(order[:cells])
        chosen = chosen[self._from[chosen] < self._until[chosen]]
        # What lies side by side is one range.
        apart = self._from[chosen[1:]] != self._until[chosen[:-1]]
        firsts = self._from[chosen[np.concatenate([[True], apart])[: len(chosen)]]]
        ends = self._until[chosen[np.concatenate([apart, [True]])[: len(chosen)]]]
        return [range(a, b) for a, b in zip(firsts.tolist(), ends.tolist(), strict=True)]

    @cached_property
    def _task(self) -> PassingTask:
        of_rows, of_places = self._of_rows, self.allowed
        return PassingTask(
            rows=self._segment.rows.ctypes.data,
            starts=self._starts.ctypes.data,
            of_rows=None if of_rows is None else address(of_rows),
            of_places=None if of_places is None else address(of_places),
            known_from=address(self._from),
            known_until=address(self._until),
            held=address(self._held),
            photos=self._segment.photos,
            first=self.span.start,
            end=self.span.stop,
        )


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

    def passing(self, wanted: RowFilter, kernel: Kernel) -> Passing:
        """Return the live rows that pass; the last few filters are remembered."""
        known = self._known.get(wanted)
        if known is None:
            known = self._look(wanted, kernel)
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)), None)
            self._known[wanted] = known
        return known

    def _look(self, wanted: RowFilter, kernel: Kernel) -> Passing:
        ranges = [range(self.segment.photos)]
        if wanted.folders:
            ends = [path_to_bytes(folder.rstrip(os.sep) + os.sep) for folder in wanted.folders]
            ranges = [self.segment.paths.below(folder) for folder in ends]
        span = range(min(r.start for r in ranges), max(r.stop for r in ranges))
        timed = wanted.after is not None or wanted.before is not None
        if len(ranges) == 1 and not timed and not len(self.deleted):
            return Passing(self.segment, span)
        return Passing(self.segment, span, self._bits(ranges, wanted, kernel))

    def _bits(self, ranges: list[range], wanted: RowFilter, kernel: Kernel) -> U8:
        """Return a bit for each row in `ranges` that is live and of a time that is wanted."""
        first, end = NO_TIME, -NO_TIME
        if wanted.after is not None or wanted.before is not None:
            # NO_TIME is before all others, and of none.
            first = max(NO_TIME + 1, NO_TIME if wanted.after is None else wanted.after)
            end = min(end, end if wanted.before is None else wanted.before)
        size = -(-self.segment.photos // _WORD) * _WORD
        bits, taken = np.zeros(size // 8, np.uint8), self.segment.taken
        for rows in ranges if first < end else []:
            kernel.between(taken, rows, first, end - 1, bits)
        if len(self.deleted):
            kept = np.ones(size, np.bool_)
            kept[self.deleted] = False
            bits &= np.packbits(kept, bitorder="little")
        return bits
