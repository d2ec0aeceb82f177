"""The search for the smallest pair of towers that loses no more recall than a user allows.

Each recipe of a tower is measured beside the other tower in float; then pairs are measured from the
smallest up, until one stays within the budget. Embeddings are computed once a file, so a pair costs
one product of matrices. Pairs of uniform recipes are measured in any case: no such pair that stays
within the budget is smaller than the choice. The search is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from mcad_mobile.base.files import megabytes
from mcad_mobile.engine.bundle import (
    TOWERS,
    AloneRecord,
    PrecisionRecord,
    StepRecord,
    TowerName,
    WeightRecord,
)
from mcad_mobile.errors import ExportError
from mcad_mobile.export.precision.recall import Drop, RecallMeter
from mcad_mobile.export.precision.recipes import Pair, Recipe, Sensitivity, size


@dataclass
class Search:
    """Finds the smallest pair of `recipes` that loses at most `budget` points of mR by `meter`."""

    recipes: Mapping[TowerName, Sequence[Recipe]]
    meter: RecallMeter
    budget: float
    _alone: dict[Recipe, Drop] = field(default_factory=dict)
    _drops: dict[Pair, Drop] = field(default_factory=dict)

    def run(self) -> Pair:
        """Return the pair. ExportError if every pair loses more."""
        for name in TOWERS:
            self.meter.embed(self.recipes[name])
        self._alone = {
            recipe: self.meter.drop({name: recipe})
            for name in TOWERS
            for recipe in self.recipes[name]
        }
        pairs = sorted(product(self.recipes["image"], self.recipes["text"]), key=self._rank)
        chosen: Pair | None = None
        for number, pair in enumerate(pairs):
            if chosen is None or _uniform(pair):
                self.meter.progress("recall of pairs of towers", number, len(pairs))
                self._drops[pair] = self.meter.drop(dict(zip(TOWERS, pair, strict=True)))
                if chosen is None and self._within(pair):
                    chosen = pair
        if chosen is None:
            best = min(pairs, key=lambda pair: self._drops[pair].points)
            raise ExportError(
                f"No pair of precisions loses {self.budget:g} points of mR or less: image "
                f"{best[0].label}, text {best[1].label} loses least, "
                f"{self._drops[best].points:.2f}.",
                f"Give --max-recall-drop {math.ceil(self._drops[best].points * 100) / 100:g}, or "
                "calibrate on photos like your users' (--calibration DIR).",
            )
        return chosen

    def record(
        self, chosen: Pair, ranked: Mapping[TowerName, Sequence[Sensitivity]], measured_by: str
    ) -> PrecisionRecord:
        """Return what a bundle records of the search: what was tried, `measured_by` what, and why
        the pair was chosen."""
        measured = list(self._drops)  # the smallest first
        return PrecisionRecord(
            data=self.meter.data,
            judged_by=measured_by,
            max_recall_drop=self.budget,
            float_mean_recall=round(self._float_recall, 3),
            weights=tuple(
                WeightRecord(
                    recipe.tower, weight.layer, weight.numbers, weight.loss, _bits(recipe, weight)
                )
                for recipe in chosen
                for weight in ranked.get(recipe.tower, ())
            ),
            alone=tuple(
                AloneRecord(
                    recipe.tower,
                    recipe.label,
                    recipe.bytes,
                    round(lost.points, 3),
                    round(lost.margin, 3),
                )
                for recipe, lost in self._alone.items()
            ),
            steps=tuple(self._step(pair) for pair in measured),
            photos_to_tell=self._drops[chosen].photos_to_tell(self.budget),
            why=self._why(chosen, measured),
        )

    def _within(self, pair: Pair) -> bool:
        return round(self._drops[pair].points, 3) <= self.budget  # the drop that is recorded

    def _rank(self, pair: Pair) -> tuple[float, ...]:
        """Order pairs by the bytes of weights, since formats add unlike amounts; pairs of one size
        by the bits of activations, then by what they cost alone."""
        return (
            sum(recipe.weight_bytes for recipe in pair),
            sum(recipe.activation_bits for recipe in pair),
            sum(self._alone[recipe].points for recipe in pair),
        )

    @property
    def _float_recall(self) -> float:
        by_photo = self.meter.float_retrieval.by_photo
        assert by_photo is not None
        return float(by_photo.mean())

    def _step(self, pair: Pair) -> StepRecord:
        lost = self._drops[pair]
        return StepRecord(
            **{recipe.tower: recipe.label for recipe in pair},
            bytes=size(pair),
            mean_recall=round(self._float_recall - lost.points, 3),
            drop=round(lost.points, 3),
            margin=round(lost.margin, 3),
            within=self._within(pair),
        )

    def _why(self, chosen: Pair, measured: Sequence[Pair]) -> str:
        sentences = [
            f"The image tower has {chosen[0].label}, the text tower {chosen[1].label}: "
            f"{megabytes(size(chosen))} MB, and mR falls by {self._drops[chosen].points:.2f} points"
            f" of {self.budget:g}."
        ]
        smaller = measured[: measured.index(chosen)]
        if not smaller:
            return f"{sentences[0]} There is nothing smaller."
        best = min(smaller, key=lambda pair: self._drops[pair].points)
        sentences.append(
            f"Of {len(smaller)} smaller pairs none stays within that; image {best[0].label}, text "
            f"{best[1].label} loses least, {self._drops[best].points:.2f}."
        )
        uniform = [pair for pair in measured if self._within(pair) and _uniform(pair)]
        if uniform and uniform[0] != chosen:
            sentences.append(
                f"The smallest without mixed weights, image {uniform[0][0].label}, text "
                f"{uniform[0][1].label}, has {megabytes(size(uniform[0]))} MB."
            )
        return " ".join(sentences)


def _uniform(pair: Pair) -> bool:
    return all(recipe.uniform for recipe in pair)


def _bits(recipe: Recipe, weight: Sensitivity) -> int:
    if recipe.precision == "fp32":
        return 32
    return 4 if weight.name in recipe.four_bit_weights else 8
