"""A reference for native/tune.c, in numpy: slow, and obviously right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, log
from typing import Any

import numpy as np
import numpy.typing as npt

from mcad_mobile.engine.index import TuningLimits
from mcad_mobile.engine.index.manifest import CandidateCount, Prescan
from tests.support.index_oracle import dot, order_cells, quantize, split
from tests.support.kernels import Cells, Tuning

Array = npt.NDArray[Any]
K, LARGE_K, STEP = 10, 80, 8
MEASURED = ((1, K), (STEP, K), (1, LARGE_K))


def lengths(rows: Array) -> Array:
    return np.asarray(np.sqrt(dot(rows, rows)))


def shrink(rows: Array) -> Array:
    return np.clip(np.rint(rows * np.float64(2**15)), -(2**15), 2**15 - 1).astype(np.int64)


def bits_of_splitmix(words: int) -> Array:
    state, mask, drawn = 0, 2**64 - 1, []
    for _ in range(words):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        drawn.append(z ^ z >> 31)
    return np.unpackbits(np.array(drawn, "<u8").view(np.uint8), bitorder="little")


class SampleTuning:
    """What is measured on rows [M, D] float32."""

    def __init__(self, rows: Array, axis: Array) -> None:
        self.axis, (self.count, self.dim) = axis, rows.shape
        self.sample = shrink(rows)
        self.rows = (self.sample / 2**15).astype(np.float32)
        self.residuals = split(self.rows, axis)[1]
        self.source = np.arange(0, self.count, -(-self.count // 192))
        self._make_queries()
        self.source = np.concatenate([self.source, self.source])
        scores = shrink(self.queries) @ self.sample.T
        scores[np.arange(len(scores)), self.source] = -(2**40)
        self.best = [
            np.arange(self.count)[::step][
                np.argsort(-scores[:, ::step], axis=1, kind="stable")[:, :k]
            ]
            for step, k in MEASURED
        ]

    def _make_queries(self) -> None:
        own, residuals = self.rows[self.source], self.residuals[self.source]
        sizes = lengths(residuals)[:, None]
        directions = shrink((residuals / sizes).astype(np.float32)) / 2**15
        squares = np.square(directions @ directions.T)
        np.fill_diagonal(squares, 0)
        count = len(own)
        self.evenness = count * (count - 1) / (self.dim * squares.sum())
        even = self.evenness > 0.4
        self.recall = 0.999 if even else 0.997
        step = (sizes * (4 if even else 1) / np.sqrt(self.dim)).astype(np.float32)
        words = -(-self.dim // 64)
        signs = bits_of_splitmix(count * words).reshape(count, -1)[:, : self.dim]
        turned = own + np.where(signs, step, -step)
        turned = (turned / lengths(turned)[:, None]).astype(np.float32)
        self.queries = np.concatenate([own, turned])

    def bit_weights(self, scan_bits: int) -> Array:
        fitted = slice(0, None, -(-self.count // 4096))
        signs = np.where(self.residuals[fitted, :scan_bits] > 0, 1.0, -1.0)
        rows = self.rows[fitted].astype(np.float64)
        gram = signs.T @ signs / len(rows) + 0.02 * np.eye(scan_bits)
        weights = np.linalg.solve(gram, signs.T @ (rows - rows.mean(axis=0)) / len(rows))
        return (np.rint(weights * 2**16) / 2**16).astype(np.float32)

    def candidates(self, bit_weights: Array) -> CandidateCount:
        """Rank photos by their distance, as a scan does."""
        bits = len(bit_weights)
        packed = np.packbits(self.residuals[:, :bits] > 0, axis=1, bitorder="little")
        columns = np.ascontiguousarray(packed.view("<u8").T)
        ranks: list[list[Array]] = [[], [], []]
        for number, query in enumerate(self.queries):
            words, _ = quantize(bit_weights, query)
            distances = np.zeros(self.count, np.int64)
            for column, sign, once, twice in zip(columns, *words, strict=True):
                distances += np.bitwise_count((column ^ sign) & once)
                distances += 2 * np.bitwise_count((column ^ sign) & twice).astype(np.int64)
            distances[self.source[number]] = 2**40
            for found, best, (step, _) in zip(ranks, self.best, MEASURED, strict=True):
                others = np.sort(distances[::step])
                found.append(others.searchsorted(distances[best[number]], "right"))
        return self._fit([np.concatenate(found) for found in ranks])

    def cells(self, count: int) -> Cells:
        steps = np.rint(self.residuals * np.float64(2048)).astype(np.int64)
        centroids = steps[:: self.count // count][:count].copy()

        def nearest() -> Array:
            halves = np.square(centroids).sum(axis=1) // 2
            return np.argmax(steps @ centroids.T - halves, axis=1)

        for _ in range(8):
            of_photos = nearest()
            for cell in np.unique(of_photos):
                centroids[cell] = np.rint(steps[of_photos == cell].mean(axis=0))
        of_photos = nearest()
        ranks: list[list[Array]] = [[], [], []]
        for number, query in enumerate(self.queries):
            order = order_cells(query, centroids)
            for found, best, (step, _) in zip(ranks, self.best, MEASURED, strict=True):
                sizes = np.bincount(of_photos[::step], minlength=count)
                up_to = np.empty(count, np.int64)
                up_to[order] = sizes[order].cumsum()
                found.append(up_to[of_photos[best[number]]])
        held = self._fit([np.concatenate(found) for found in ranks])
        return Cells(centroids.astype(np.int16), times(held, 1.5))

    def _fit(self, ranks: list[Array]) -> CandidateCount:
        shares = (self.recall, 0.9, 0.95, 0.98)
        needed = [[np.sort(r)[ceil(share * len(r)) - 1] for share in shares] for r in ranks]
        (whole, *typical), (_, *of_part), (_, *of_many) = needed

        def slope(small: Any, large: Any, times: float) -> float:
            steps = [log(b / a) for a, b in zip(small, large, strict=True)]
            return float(np.mean(steps)) / log(times)

        exponent = 0.5
        if self.count >= 4096:
            exponent = round(min(max(slope(of_part, typical, STEP) + 0.05, 0.45), 1.0), 3)
        growth = round(min(max(slope(typical, of_many, LARGE_K / K), 0.5), 1.0), 3)
        return CandidateCount(
            round(float(whole / (self.count**exponent * K**growth)), 3), exponent, growth
        )

    def chooser(self, limits: TuningLimits) -> Callable[[int], Tuning]:
        """Return a function that chooses a tuning for so many photos."""
        most = min(self.dim, 1024) // 64 * 64
        sizes = sorted({64 * max(most * quarters // 256, 1) for quarters in (1, 2, 3, 4)})
        weights = {bits: self.bit_weights(bits) for bits in sizes}
        counts = {bits: self.candidates(weights[bits]) for bits in sizes}
        cell_count = min(self.count // limits.photos_per_cell, 256)
        cells = self.cells(cell_count) if cell_count >= 16 else None

        def choose(photos: int) -> Tuning:
            with_cells = [None, cells] if cells and photos >= limits.cells_from else [None]
            costs = []
            for bits, tried in product(sizes, with_cells):
                prescans = [Prescan(few, times(counts[few], 1.5)) for few in sizes if few < bits]
                for prescan in (None, *prescans):
                    gain = limits.cells_gain if tried else 1.0
                    cost = gain * self._cost(photos, bits, counts[bits], prescan, tried)
                    costs.append((cost, bits, prescan, tried))
            least = min(cost for cost, *_ in costs)
            cheap = [entry for entry in costs if entry[0] <= 1.05 * least]
            _, bits, prescan, tried = min(cheap, key=lambda entry: (entry[1], entry[0]))
            return Tuning(weights[bits], times(counts[bits], 2), prescan, tried)

        return choose

    def _cost(
        self,
        photos: int,
        bits: int,
        count: CandidateCount,
        prescan: Prescan | None,
        cells: Cells | None,
    ) -> float:
        cost = number(count, photos, K) * (1500 + 0.6 * self.dim)
        scanned, scanned_bits = photos, bits
        if cells:
            scanned = number(cells.candidates, photos, K)
            cost += 150_000 + 0.1 * cells.centroids.size
        if prescan:
            scanned_bits = prescan.bits
            words = (bits - scanned_bits) // 64
            cost += number(prescan.candidates, photos, K) * (40 + 60 * words)
        return cost + scanned * scanned_bits / 8 * 0.1


def times(count: CandidateCount, factor: float) -> CandidateCount:
    return CandidateCount(round(factor * count.factor, 3), count.exponent, count.growth)


def number(count: CandidateCount, photos: int, k: int) -> int:
    """Return how many of `photos` are candidates."""
    wanted = max(count.factor * photos**count.exponent * k**count.growth, 2 * k)
    return photos if photos <= k else min(photos, ceil(wanted))
