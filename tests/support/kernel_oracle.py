"""A reference for the C code of the index, in numpy: slow, and obviously right.

`Oracle` has the methods of `mcad_mobile.engine.native.Kernel`, and takes the same structures.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index.codes import Query, record_size
from mcad_mobile.engine.index.deterministic import UNIT, units
from mcad_mobile.engine.native import FilterTask, RescoreTask, TuningLimits, address

# As in rescore.c: the growth of each round, and the unit of errors.
_MORE = 2
_UNIT = 2.0**-18

Array = npt.NDArray[Any]


class Oracle:
    """Gives the same results as a Kernel, bit for bit."""

    name = "numpy"

    def nearest(
        self,
        columns: Array,
        query: Array,
        spans: Sequence[range],
        wanted: int,
        allowed: Array | None = None,
    ) -> tuple[Array, Array]:
        rows = np.concatenate([np.empty(0, np.intp), *(np.array(span, np.intp) for span in spans)])
        if allowed is not None:
            rows = rows[np.unpackbits(allowed, bitorder="little")[rows] == 1]
        distances = np.zeros(len(rows), np.uint16)
        for column, sign, once, twice in zip(columns, *query, strict=True):
            differ = column[rows] ^ sign
            distances += np.bitwise_count(differ & once)
            distances += np.uint16(2) * np.bitwise_count(differ & twice)
        kept = np.sort(np.argsort(distances, kind="stable")[: max(wanted, 0)])
        return rows[kept], distances[kept]

    def probe_cells(self, task: FilterTask, order: Array, enough: int) -> int | None:
        held = 0
        for probed, cell in enumerate(order.tolist()):
            if held >= enough:
                return probed
            passing = self._filter_cell(task, cell)
            if passing is None:
                return None
            held += passing
        return len(order)

    @staticmethod
    def _filter_cell(task: FilterTask, cell: int) -> int | None:
        """Set the bits of a cell's passing photos and return their number; None if a place names no
        row."""
        start, stop = array_at(task.starts, np.uint32, cell + 2)[cell:].tolist()
        rows = array_at(task.rows, np.uint32, stop)[start:]
        first, end = start + int((rows < task.first).sum()), start + int((rows < task.end).sum())
        if task.end == task.photos:
            end = stop
        array_at(task.cell_starts, np.uint32, cell + 1)[cell] = first
        array_at(task.cell_ends, np.uint32, cell + 1)[cell] = end
        held = array_at(task.counts, np.int32, cell + 1)
        held[cell] = end - first
        if task.row_bits:
            rows = rows[first - start : end - start]
            if (rows >= task.photos).any():
                return None
            row_bits = array_at(task.row_bits, np.uint8, -(-task.photos // 8))
            place_bits = array_at(task.place_bits, np.uint8, -(-task.photos // 8))
            passes = np.unpackbits(row_bits, bitorder="little")[rows]
            places = first + np.flatnonzero(passes)
            np.bitwise_or.at(place_bits, places // 8, (1 << places % 8).astype(np.uint8))
            held[cell] = len(places)
        return int(held[cell])

    def filter_times(self, times: Array, rows: range, first: int, last: int, bits: Array) -> None:
        within = np.zeros(8 * len(bits), np.bool_)
        part = slice(rows.start, rows.stop)
        within[part] = (times[part] >= first) & (times[part] <= last)
        bits |= np.packbits(within, bitorder="little")

    def quantize(self, bit_weights: Array, query: Array) -> tuple[Array, float]:
        weights = bit_weights.astype(np.float64) @ units(query)
        sizes, typical = np.abs(weights), sqrt(np.square(weights).sum() / len(weights))
        levels, cosine = np.zeros(len(weights)), 0.0
        for tried in range(13 if typical else 0):
            by_step = np.minimum(np.rint(sizes / ((0.25 + 0.05 * tried) * typical)), 3)
            squares = max(float(np.square(by_step).sum()), 1.0)
            if by_step @ sizes / sqrt(squares) > cosine:
                levels, cosine = by_step, float(by_step @ sizes / sqrt(squares))
        bits = np.array([weights > 0, levels.astype(int) & 1, levels.astype(int) >> 1])
        words = np.packbits(bits, axis=1, bitorder="little").view("<u8")
        return words, float(levels @ sizes / max(np.square(levels).sum(), 1.0)) * UNIT

    def order_cells(self, query: Array, centroids: Array) -> Array:
        products = np.rint(query * np.float64(2048)).astype(np.int64) @ centroids.T.astype(np.int64)
        return np.argsort(-products, kind="stable")

    def rescore(self, tasks: Sequence[RescoreTask], k: int, limits: TuningLimits) -> int | None:
        segments = [_Segment(task, limits, k, len(tasks)) for task in tasks]
        while True:
            for number, segment in enumerate(segments):
                if not segment.score_wanted():
                    return number
            scores = np.concatenate([np.empty(0, np.float32), *(s.scores for s in segments)])
            beaten = float(np.sort(scores)[-k]) if len(scores) >= k else -np.inf
            wanted = [segment.wants_more(beaten) for segment in segments]
            if not any(wanted):
                return None


class _Segment:
    """A segment's candidates, nearest first; `scores` are those of the first ones."""

    def __init__(self, task: RescoreTask, limits: TuningLimits, k: int, segments: int) -> None:
        self._task, self._wanted = task, task.count
        most = limits.missed_of_many if task.count > task.stride / limits.many else limits.missed
        self._missed = most * k / segments
        self._cosines = array_at(task.cosines, np.float32, task.count)
        self._cosines[:] = np.nan
        self._order = np.arange(task.count)
        self._estimates = np.empty(0)
        self.scores = np.empty(0, np.float32)
        if task.distances:
            distances = array_at(task.distances, np.uint16, task.count)
            self._order = np.argsort(distances, kind="stable")
            self._estimates = distances[self._order].astype(np.float64) * (-2 * task.step)
            least = max(limits.at_least, limits.per_result * k, task.count // limits.part)
            self._wanted = min(task.count, least)

    def score_wanted(self) -> bool:
        """Score the wanted candidates; False if the file ends before a record."""
        task, chosen = self._task, self._order[len(self.scores) : self._wanted]
        rows = array_at(task.rows, np.uint32, task.count)[chosen].tolist()
        records = [os.pread(task.file, task.size, task.offset + row * task.size) for row in rows]
        if any(len(record) < task.size for record in records):
            return False
        if rows:
            self._cosines[chosen] = self._scored(rows, b"".join(records))
        self.scores = self._cosines[self._order[: self._wanted]]
        return True

    def _scored(self, rows: list[int], records: bytes) -> Array:
        """Return the cosines of rows from their records."""
        task = self._task
        raw = np.frombuffer(records, np.uint8).reshape(len(rows), task.size)
        columns = array_at(task.columns, np.uint64, task.words * task.stride)
        first = np.ascontiguousarray(columns.reshape(task.words, task.stride)[:, rows].T)
        signs = np.concatenate([first.view(np.uint8), raw[:, task.dim : -4]], axis=1)
        bits = np.unpackbits(signs, axis=1, bitorder="little")
        levels = (2.0 * raw[:, : task.dim] + 1) * np.where(bits, 1.0, -1.0)
        projection = np.ascontiguousarray(raw[:, -4:-2]).view("<i2")[:, 0]
        scales = np.ascontiguousarray(raw[:, -2:]).view("<u2")[:, 0] * 2.0**-24
        products = levels @ array_at(task.residual, np.float64, task.dim)
        return (products * scales + projection * task.projection_step).astype(np.float32)

    def wants_more(self, beaten: float) -> bool:
        """Whether more of the rest are expected to have a cosine above `beaten` than may be missed;
        if so, want as many more, within bounds."""
        scored = len(self.scores)
        if scored < self._task.count:
            mean, deviation = spread(self.scores - self._estimates[:scored])
            expected = above((beaten - mean - self._estimates[scored:]) / deviation)
            beyond = np.cumsum(expected[::-1])[::-1]
            missed = int(np.count_nonzero(beyond > self._missed))
            self._wanted = scored + min(_MORE * scored, missed)
        return self._wanted > scored


def spread(errors: Array) -> tuple[float, float]:
    """Return the mean and standard deviation (above 0), exact in any order of sums."""
    whole = units(errors, _UNIT)
    mean = float(whole.sum()) / len(whole)
    variance = float(np.square(whole).sum()) / len(whole) - mean * mean
    return mean * _UNIT, max(sqrt(max(variance, 0.0)), 1.0) * _UNIT


def above(deviations: Array) -> Array:
    """Return an upper bound of the probability that a normal error exceeds this many deviations:
    half of exp(-z^2 / 2), and 1 below 0."""
    bound = np.exp(np.square(deviations) * -0.5) * 0.5
    return np.where(deviations < 0, 1.0, bound)


def array_at(address: int | None, dtype: Any, count: int) -> Array:
    """Return the array of `count` numbers at an address."""
    size = count * np.dtype(dtype).itemsize
    if not size:
        return np.empty(0, dtype)
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)


def scores(kernel: Any, query: Query, records: Array) -> Array:
    """Return a kernel's cosines [B] float32 of whole records [B, R], from a file of them."""
    count, dim = len(records), len(query.residual)
    assert records.shape[1] == record_size(dim)
    residual = np.ascontiguousarray(query.residual)
    rows, cosines = np.arange(count, dtype=np.uint32), np.empty(count, np.float32)
    with tempfile.TemporaryFile() as file:
        file.write(records.tobytes())
        file.flush()
        task = RescoreTask(
            file=file.fileno(),
            size=records.shape[1],
            dim=dim,
            stride=count,
            residual=address(residual),
            projection_step=query.projection_step,
            rows=address(rows),
            count=count,
            cosines=address(cosines),
        )
        assert kernel.rescore([task], 1, TuningLimits()) is None
    return cosines


ORACLE = Oracle()
