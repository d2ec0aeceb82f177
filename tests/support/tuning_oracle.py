"""The cheapest way to search an index, by what each step costs: both engines should choose it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from mcad_mobile.engine.index.tuning import CandidateCount

K = 10
# In ns: a scanned byte; a scored photo and each of its dimensions; a photo that a prescan passes on
# and each word more that is read of it; choosing cells, and each number of their centroids.
BYTE, PHOTO, PHOTO_BYTE = 0.1, 1500, 0.6
PRESCANNED, WORD = 40, 60
CELLS, CENTROID = 150_000, 0.1

Choice = tuple[int, int | None, bool]


@dataclass(frozen=True)
class Oracle:
    """`counts`: the candidates that a scan of so many bits needs. `held`: the photos that the
    scanned ones of `cells` cells must hold."""

    dim: int
    counts: dict[int, CandidateCount]
    cells: int = 0
    held: CandidateCount | None = None

    def choice(self, photos: int) -> Choice:
        """Return bits to scan, bits to scan before, and whether in cells: the fewest bits that cost
        at most a twentieth more than the cheapest."""
        costs = dict(self._costs(photos))
        least = min(costs.values())
        cheap = [choice for choice in costs if costs[choice] <= 1.05 * least]
        return min(cheap, key=lambda choice: (choice[0], costs[choice]))

    def changes(self, low: int, high: int) -> list[int]:
        """Return the numbers of photos from which another choice is the cheapest."""
        found = []
        while self.choice(low) != self.choice(high):
            before, end = self.choice(low), low
            while self.choice(end) == before:
                end += end // 8
            steps = range(low, end + 1)
            low = steps[bisect_left(steps, True, key=lambda n: self.choice(n) != before)]
            found.append(low)
        return found

    def _costs(self, photos: int) -> Iterator[tuple[Choice, float]]:
        for bits, count in self.counts.items():
            score = count.of(photos, K) * (PHOTO + PHOTO_BYTE * self.dim)
            for first in [bits, *(fewer for fewer in self.counts if fewer < bits)]:
                again = 0.0
                if first < bits:
                    passed = self.counts[first].times(1.5).of(photos, K)
                    again = passed * (PRESCANNED + WORD * (bits - first) / 64)
                prescan = first if first < bits else None
                yield (bits, prescan, False), score + again + photos * first / 8 * BYTE
                if self.held:
                    order = CELLS + CENTROID * self.cells * self.dim
                    held = self.held.of(photos, K)
                    yield (bits, prescan, True), score + again + order + held * first / 8 * BYTE
