"""A reader of indexes, from docs/index-format.md, and the search of them, in plain numpy: slow, and
obviously right."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import RowFilter, TuningLimits

PARTS = (
    *("axis", "bit_weights", "centroids", "starts", "rows"),
    *("columns", "records", "times", "stamps", "path_blocks", "paths"),
)
NO_TIME = -(2**31)
# Units of vectors of length 1, of residuals of queries, and of errors.
UNIT, _RESIDUAL, _ERROR = 2.0**-26, 2.0**-36, 2.0**-18

Array = npt.NDArray[Any]
F32 = np.float32


def rotate(rows: Array) -> Array:
    """Return H S2 H S1 x for rows [..., D], each transform rounded to float32."""
    dim, state, draws = rows.shape[-1], 1, []
    for _ in range(2 * dim):
        state = (state * 1664525 + 1013904223) % 2**32
        draws.append(-1.0 if state >= 2**31 else 1.0)
    turns = 2 * np.pi * (np.outer(np.arange(dim), np.arange(dim)) % dim) / dim
    hartley = (np.cos(turns) + np.sin(turns)) / np.sqrt(dim)
    once = ((rows * np.array(draws[:dim])) @ hartley).astype(F32)
    return ((once * np.array(draws[dim:])) @ hartley).astype(F32)


def dot(a: Array, b: Array) -> Array:
    """Return the exact dot products [...] of vectors [..., D] in steps of 2^-26."""
    steps = (np.rint(np.multiply(values, 1 / UNIT, dtype=np.float64)) for values in (a, b))
    return np.asarray(np.vecdot(*steps) * UNIT**2)


def split(rows: Array, axis: Array) -> tuple[Array, Array]:
    """Return projections [...] and residuals [..., D] float32 of rotated rows [..., D]."""
    projections = dot(rows, axis).astype(F32)
    return projections, rows - projections[..., None] * axis


@dataclass(frozen=True)
class Segment:
    """A segment file, compared with its checksums, and its `entry` in the manifest."""

    file: Path
    entry: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def raw(self) -> bytes:
        return self.file.read_bytes()

    @cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """Offset and length of each part."""
        magic, parts = self.raw[:8], struct.unpack_from("<I", self.raw, 12)[0]
        assert (magic, parts) == (b"MCADSEG1", len(PARTS))
        assert struct.unpack_from("<I", self.raw, 4092)[0] == zlib.crc32(self.raw[:4092])
        spans, end = {}, 4096
        for number, part in enumerate(PARTS):
            offset, length, crc, zero = struct.unpack_from("<QQII", self.raw, 40 + 24 * number)
            assert (offset, zero) == (-(-end // 4096) * 4096, 0)
            assert not any(self.raw[end:offset])
            end = offset + length
            assert zlib.crc32(self.raw[offset:end]) == crc
            spans[part] = (offset, length)
        assert end == len(self.raw)
        return spans

    def part(self, part: str, dtype: str) -> Array:
        offset, length = self.spans[part]
        return np.frombuffer(self.raw, dtype, length // np.dtype(dtype).itemsize, offset)

    @property
    def dim(self) -> int:
        return int(struct.unpack_from("<I", self.raw, 8)[0])

    @property
    def photos(self) -> int:
        return int(struct.unpack_from("<Q", self.raw, 16)[0])

    @property
    def axis_photos(self) -> int:
        return int(struct.unpack_from("<Q", self.raw, 24)[0])

    @property
    def axis(self) -> Array:
        return self.part("axis", "<f4")

    @property
    def bit_weights(self) -> Array:
        return self.part("bit_weights", "<f4").reshape(-1, self.dim)

    @property
    def centroids(self) -> Array:
        return self.part("centroids", "<i2").reshape(-1, self.dim)

    @property
    def starts(self) -> Array:
        return self.part("starts", "<u4")

    @property
    def times(self) -> Array:
        return self.part("times", "<i4")

    @property
    def stamps(self) -> Array:
        return self.part("stamps", "<u4").reshape(-1, 2)

    @cached_property
    def rows(self) -> Array:
        """The row of each place."""
        assert len(self.centroids) == struct.unpack_from("<I", self.raw, 36)[0]
        if not len(self.centroids):
            return np.arange(self.photos)
        rows = self.part("rows", "<u4").astype(int)
        assert (self.starts[0], self.starts[-1]) == (0, self.photos)
        assert np.array_equal(np.sort(rows), np.arange(self.photos))
        return rows

    @cached_property
    def cells(self) -> Array:
        """The cell of each row."""
        cells = np.empty(self.photos, int)
        cells[self.rows] = np.repeat(np.arange(len(self.centroids)), np.diff(self.starts))
        return cells

    @cached_property
    def columns(self) -> Array:
        return self.part("columns", "<u8").reshape(-1, self.photos)

    @cached_property
    def records(self) -> Array:
        """Whole records by place: D magnitudes, D / 8 bytes of signs, the projection, the scale."""
        stored = self.part("records", "u1").reshape(self.photos, -1)
        first = np.ascontiguousarray(self.columns.T).view(np.uint8)
        return np.concatenate([stored[:, : self.dim], first, stored[:, self.dim :]], axis=1)

    @cached_property
    def paths(self) -> list[bytes]:
        data, starts = self.part("paths", "u1").tobytes(), self.part("path_blocks", "<u8").tolist()
        paths, at = [], 0
        for row in range(self.photos):
            shared, length = struct.unpack_from("<BH", data, at)
            if row % 16 == 0:
                assert (starts[row // 16], shared) == (at, 0)
            before = paths[-1] if paths else b""
            paths.append(before[:shared] + data[at + 3 : at + 3 + length])
            at += 3 + length
        assert paths == sorted(set(paths)) and at == len(data)
        return paths

    @property
    def is_live(self) -> Array:
        live = np.ones(self.photos, bool)
        live[self.entry.get("deleted", [])] = False
        return live

    def passes(self, rows: RowFilter) -> Array:
        """Return for each row whether it is not deleted and passes a filter."""
        times, prefixes = self.times.astype(int), tuple(rows.folder_prefixes())
        known = times > NO_TIME if (rows.after, rows.before) != (None, None) else True
        after = times >= rows.after if rows.after is not None else True
        before = times < rows.before if rows.before is not None else True
        inside = [not prefixes or path.startswith(prefixes) for path in self.paths]
        return self.is_live & known & after & before & np.array(inside)

    def cosines(self, query: Array) -> Array:
        """Return the scores [N] float32 of all places with a rotated query."""
        return scores(self.records, *split_query(query, self.axis))

    def decoded(self) -> Array:
        """Return the rotated embeddings [N, D] that the records stand for, by row."""
        levels, projections, scales = parsed(self.records)
        by_place = projections[:, None] / 32767 * self.axis + scales[:, None] * levels
        by_row = np.empty_like(by_place)
        by_row[self.rows] = by_place
        return by_row


def split_query(query: Array, axis: Array) -> tuple[Array, float]:
    """Return the residual [D] of a rotated query, and what a step of a projection adds."""
    projection, residual = split(query, axis)
    steps = np.rint(residual.astype(np.float64) / _RESIDUAL)
    return steps * _RESIDUAL, float(projection) * float(F32(1 / 32767))


def parsed(records: Array) -> tuple[Array, Array, Array]:
    """Return w [N, D], projections [N] in steps, and scales [N] of whole records."""
    dim = (records.shape[1] - 4) * 8 // 9
    bits = np.unpackbits(records[:, dim:-4], axis=1, bitorder="little")
    levels = (2.0 * records[:, :dim] + 1) * np.where(bits, 1.0, -1.0)
    projections = np.ascontiguousarray(records[:, -4:-2]).view("<i2")[:, 0]
    return levels, projections, np.ascontiguousarray(records[:, -2:]).view("<u2")[:, 0] * 2.0**-24


def scores(records: Array, residual: Array, projection_step: float) -> Array:
    levels, projections, scales = parsed(records)
    return ((levels @ residual) * scales + projections * projection_step).astype(F32)


def read_index(directory: Path) -> list[Segment]:
    """Read the segments that a manifest names, which is checked against its checksum."""
    raw = (directory / "manifest.json").read_bytes()
    assert raw[:11] == b'{"crc32": "'
    assert raw[11:19] == f"{zlib.crc32(raw[:11] + b'0' * 8 + raw[19:]):08x}".encode()
    segments = [Segment(directory / e["file"], e) for e in json.loads(raw)["segments"]]
    for segment in segments:
        assert segment.entry["header_crc32"] == struct.unpack_from("<I", segment.raw, 4092)[0]
        assert segment.entry["photos"] == segment.photos
    return segments


def search(
    segments: Sequence[Segment],
    query: Array,
    k: int,
    rows: RowFilter | None = None,
    limits: TuningLimits | None = None,
) -> tuple[list[bytes], list[float]]:
    """Return the paths and cosines of the `k` nearest photos to a rotated query that pass a filter:
    of all, or, with limits, of those that two passes score."""
    chosen = [np.flatnonzero(s.passes(rows or RowFilter())[s.rows]) for s in segments]
    cosines = [s.cosines(query)[places] for s, places in zip(segments, chosen, strict=True)]
    if limits is not None:
        found = [
            candidates(s, query, k, places) for s, places in zip(segments, chosen, strict=True)
        ]
        chosen = [places[kept] for places, (kept, _, _) in zip(chosen, found, strict=True)]
        tasks = [
            Task(all_of[kept], distances, step, s.photos)
            for s, all_of, (kept, distances, step) in zip(segments, cosines, found, strict=True)
        ]
        scored = rescore(tasks, k, limits)
        chosen = [places[mask] for places, mask in zip(chosen, scored, strict=True)]
        cosines = [task.cosines[mask] for task, mask in zip(tasks, scored, strict=True)]
    hits = [
        (-cosine, number, place)
        for number, (places, of) in enumerate(zip(chosen, cosines, strict=True))
        for place, cosine in zip(places.tolist(), of.tolist(), strict=True)
    ]
    best = sorted(hits)[:k]
    return [segments[n].paths[segments[n].rows[p]] for _, n, p in best], [-c for c, _, _ in best]


def count(entry: dict[str, float], photos: int, k: int) -> int:
    """Return how many of `photos` are candidates, by three numbers of a manifest."""
    wanted = entry["factor"] * photos ** entry["exponent"] * k ** entry["growth"]
    return photos if photos <= k else min(photos, ceil(max(2 * k, wanted)))


def candidates(
    s: Segment, query: Array, k: int, places: Array
) -> tuple[Array, Array | None, float]:
    """Pass 1: return which of `places` are scored, their distances, and the step of distances."""
    wanted = count(s.entry["candidates"], len(places), k)
    if wanted >= len(places) or not len(s.columns):
        return np.arange(len(places)), None, 0.0
    words, step = quantize(s.bit_weights, query)
    kept = places_to_scan(s, query, k, places)
    if s.entry["prescan"]:
        first = s.entry["prescan"]["bits"] // 64
        passed_on = max(wanted, count(s.entry["prescan"]["candidates"], len(places), k))
        kept = kept[nearest(s.columns[:first, places[kept]], words[:, :first], passed_on)[0]]
    found, distances = nearest(s.columns[:, places[kept]], words, wanted)
    return kept[found], distances, step


def places_to_scan(s: Segment, query: Array, k: int, places: Array) -> Array:
    """Return which of `places` lie in the cells that are scanned."""
    if not s.entry["cells"]:
        return np.arange(len(places))
    enough = count(s.entry["cells"], len(places), k) if len(places) >= 2048 else len(places)
    of_places, order = s.cells[s.rows[places]], order_cells(query, s.centroids)
    held = np.bincount(of_places, minlength=len(order))[order].cumsum()
    return np.flatnonzero(np.isin(of_places, order[: int(held.searchsorted(enough)) + 1]))


def nearest(columns: Array, query: Array, wanted: int) -> tuple[Array, Array]:
    """Return the photos with the least weighted distances, ascending, and these distances."""
    distances = np.zeros(columns.shape[1], np.uint16)
    for column, sign, once, twice in zip(columns, *query, strict=True):
        differ = column ^ sign
        distances += np.bitwise_count(differ & once)
        distances += np.uint16(2) * np.bitwise_count(differ & twice)
    kept = np.sort(np.argsort(distances, kind="stable")[: max(wanted, 0)])
    return kept, distances[kept]


def quantize(bit_weights: Array, query: Array) -> tuple[Array, float]:
    """Return the words [3, S / 64] of a rotated query, and the step of distances."""
    weights = bit_weights.astype(np.float64) @ np.rint(query.astype(np.float64) / UNIT)
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


def order_cells(query: Array, centroids: Array) -> Array:
    products = np.rint(query * np.float64(2048)).astype(np.int64) @ centroids.T.astype(np.int64)
    return np.argsort(-products, kind="stable")


@dataclass(frozen=True)
class Task:
    """Candidates of a segment of so many photos: cosines, and distances if not all are scored."""

    cosines: Array
    distances: Array | None
    step: float
    photos: int


def rescore(tasks: Sequence[Task], k: int, limits: TuningLimits) -> list[Array]:
    """Pass 2: return which candidates are scored, nearest first until few of the best are among
    the rest."""
    orders, wanted = [], []
    for task in tasks:
        total = len(task.cosines)
        least = max(limits.at_least, limits.per_result * k, total // limits.part)
        is_scan = task.distances is not None
        orders.append(np.argsort(task.distances, kind="stable") if is_scan else np.arange(total))
        wanted.append(min(total, least) if is_scan else total)
    before: list[int] = []
    while wanted != before:
        pairs = zip(tasks, orders, wanted, strict=True)
        found = np.sort(np.concatenate([[], *(t.cosines[o[:n]] for t, o, n in pairs)]))
        beaten = float(found[-k]) if len(found) >= k else -np.inf
        before, groups = wanted, zip(tasks, orders, wanted, strict=True)
        wanted = [_more(t, o, n, beaten, k / len(tasks), limits) for t, o, n in groups]
    masks = [np.zeros(len(task.cosines), bool) for task in tasks]
    for mask, order, scored in zip(masks, orders, wanted, strict=True):
        mask[order[:scored]] = True
    return masks


def _more(
    task: Task, order: Array, scored: int, beaten: float, share: float, limits: TuningLimits
) -> int:
    if scored == len(order) or task.distances is None:
        return scored
    is_many = len(order) > task.photos / limits.many
    missed = (limits.missed_of_many if is_many else limits.missed) * share
    estimates = task.distances[order].astype(np.float64) * (-2 * task.step)
    mean, deviation = spread(task.cosines[order[:scored]] - estimates[:scored])
    expected = above((beaten - mean - estimates[scored:]) / deviation)
    rest = int(np.count_nonzero(np.cumsum(expected[::-1])[::-1] > missed))
    return scored + min(2 * scored, rest)


def spread(errors: Array) -> tuple[float, float]:
    """Return the mean and standard deviation (above 0), exact in any order of sums."""
    whole = np.rint(errors.astype(np.float64) / _ERROR)
    mean = float(whole.sum()) / len(whole)
    variance = float(np.square(whole).sum()) / len(whole) - mean * mean
    return mean * _ERROR, max(sqrt(max(variance, 0.0)), 1.0) * _ERROR


def above(deviations: Array) -> Array:
    """Return an upper bound of the probability that a normal error exceeds this many deviations:
    half of exp(-z^2 / 2), and 1 below 0."""
    bound = np.exp(np.square(deviations) * -0.5) * 0.5
    return np.where(deviations < 0, 1.0, bound)
