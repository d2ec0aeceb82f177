"""The search for the smallest pair of towers that loses no more recall than a user allows: each
candidate with the other tower in float, then pairs from the smallest up, until one is enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from mcad_mobile.base.files import megabytes
from mcad_mobile.engine.bundle import (
    TOWERS,
    PrecisionRecord,
    SingleTowerRecord,
    StepRecord,
    TowerName,
    WeightRecord,
)
from mcad_mobile.errors import ExportError, Remedy
from mcad_mobile.export.precision.candidates import Candidate, Pair, Sensitivity, size
from mcad_mobile.export.precision.recall_drop import Drop, RecallMeter


@dataclass
class Search:
    """Finds the smallest pair of `candidates` that loses at most `budget` points of mR, as measured
    by `meter`, plus one standard error."""

    candidates: Mapping[TowerName, Sequence[Candidate]]
    meter: RecallMeter
    budget: float
    _alone: dict[Candidate, Drop] = field(default_factory=dict)
    _drops: dict[Pair, Drop] = field(default_factory=dict)

    def run(self) -> Pair:
        """Return the pair. ExportError if every pair loses more."""
        for name in TOWERS:
            self.meter.embed(self.candidates[name])
        self._alone = {
            candidate: self._drop(candidate)
            for name in TOWERS
            for candidate in self.candidates[name]
        }
        pairs = sorted(product(self.candidates["image"], self.candidates["text"]), key=self._rank)
        for number, pair in enumerate(pairs):
            self.meter.progress("recall of pairs of towers", number, len(pairs))
            self._drops[pair] = self._drop(*pair)
            if self._within(pair):
                return pair
        least, points = self._loses_least(pairs)
        raise ExportError(
            f"No pair of precisions is expected to lose at most {self.budget:g} points of mR on "
            f"other photos: {least}.",
            Remedy.ALLOW_RECALL_DROP(
                points=f"{math.ceil(points * 100) / 100:g}",
                photos=self.meter.data.photos,
                split=self.meter.data.split,
            ),
        )

    def record(
        self, chosen: Pair, ranked: Mapping[TowerName, Sequence[Sensitivity]], measured_by: str
    ) -> PrecisionRecord:
        """Return the bundle's record of the search; `measured_by` says how recall was measured."""
        return PrecisionRecord(
            data=self.meter.data,
            judged_by=measured_by,
            max_recall_drop=self.budget,
            float_mean_recall=round(self._float_recall, 3),
            weights=tuple(
                WeightRecord(
                    candidate.tower,
                    weight.layer,
                    weight.numbers,
                    weight.loss,
                    _bits(candidate, weight),
                )
                for candidate in chosen
                for weight in ranked.get(candidate.tower, ())
            ),
            alone=tuple(
                SingleTowerRecord(
                    candidate.tower, candidate.label, candidate.bytes, lost.points, lost.margin
                )
                for candidate, lost in self._alone.items()
            ),
            steps=tuple(self._step(pair) for pair in self._drops),  # the smallest first
            photos_to_tell=self._drops[chosen].photos_to_tell(self.budget),
            why=self._why(chosen),
        )

    def _drop(self, *candidates: Candidate) -> Drop:
        """Return the drop of these towers, rounded as it is recorded."""
        lost = self.meter.drop({candidate.tower: candidate for candidate in candidates})
        return replace(lost, points=round(lost.points, 3), margin=round(lost.margin, 3))

    def _within(self, pair: Pair) -> bool:
        return self._drops[pair].expected <= self.budget

    def _rank(self, pair: Pair) -> tuple[float, ...]:
        """Order by bytes of weights, since formats add different amounts, then by bits and loss."""
        return (
            sum(candidate.weight_bytes for candidate in pair),
            sum(candidate.activation_bits for candidate in pair),
            sum(self._alone[candidate].points for candidate in pair),
        )

    @property
    def _float_recall(self) -> float:
        return float(self.meter.float_retrieval.by_photo.mean())

    def _step(self, pair: Pair) -> StepRecord:
        lost = self._drops[pair]
        return StepRecord(
            **{candidate.tower: candidate.label for candidate in pair},
            bytes=size(pair),
            mean_recall=round(self._float_recall - lost.points, 3),
            drop=lost.points,
            margin=lost.margin,
            within=self._within(pair),
        )

    def _loses_least(self, pairs: Sequence[Pair]) -> tuple[str, float]:
        best = min(pairs, key=lambda pair: self._drops[pair].expected)
        names, lost = f"image {best[0].label}, text {best[1].label}", self._drops[best]
        return f"{names} loses least, {_in_words(lost)}", lost.expected

    def _why(self, chosen: Pair) -> str:
        *smaller, _ = self._drops  # the smallest first, until the chosen one
        why = (
            f"The image tower has {chosen[0].label}, the text tower {chosen[1].label}: "
            f"{megabytes(size(chosen))} MB, and mR falls by {_in_words(self._drops[chosen])} "
            f"points of {self.budget:g}. "
        )
        if not smaller:
            return f"{why}There is nothing smaller."
        least, _ = self._loses_least(smaller)
        return f"{why}Of {len(smaller)} smaller pairs none stays within that; {least}."


def _in_words(lost: Drop) -> str:
    return f"{lost.points:.2f} (on other photos about {lost.expected:.2f})"


def _bits(candidate: Candidate, weight: Sensitivity) -> int:
    if candidate.precision == "fp32":
        return 32
    return 4 if weight.name in candidate.four_bit_weights else 8
