"""The smallest towers that find as much as a user asks for.

Each tower has candidates. Each of them is measured beside the other tower in float, which tells
what it costs alone; then pairs are measured from the smallest up, until one stays within the
budget. What counts is the recall of both, of the files that were written. Embeddings are computed
once a file, so that a pair costs one product of matrices. Pairs of whole recipes are measured in
any case: no pair of these that stays within the budget is smaller than what is chosen. The same
student and data give the same choice: nothing is drawn.
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
from mcad_mobile.export.precision.recall import Drop, RecallJudge
from mcad_mobile.export.precision.recipes import Sensitivity
from mcad_mobile.export.rungs import Candidate, Pair, size


@dataclass
class Search:
    """For the smallest pair of `candidates` that loses at most `budget` points of mR."""

    candidates: Mapping[TowerName, Sequence[Candidate]]
    judge: RecallJudge
    budget: float
    _alone: dict[Candidate, Drop] = field(default_factory=dict)
    _drops: dict[Pair, Drop] = field(default_factory=dict)

    def run(self) -> Pair:
        for name in TOWERS:
            self.judge.embed(self.candidates[name])
        self._alone = {
            one: self.judge.drop({name: one}) for name in TOWERS for one in self.candidates[name]
        }
        pairs = sorted(product(self.candidates["image"], self.candidates["text"]), key=self._rank)
        chosen: Pair | None = None
        for number, pair in enumerate(pairs):
            if chosen is None or _whole(pair):
                self.judge.progress("recall of pairs of towers", number, len(pairs))
                self._drops[pair] = self.judge.drop(dict(zip(TOWERS, pair, strict=True)))
                if chosen is None and self._within(pair):
                    chosen = pair
        if chosen is None:
            best = min(pairs, key=lambda pair: self._drops[pair].points)
            raise ExportError(
                f"No pair of precisions loses {self.budget:g} points of mR or less: image "
                f"{best[0].told}, text {best[1].told} loses least, {self._drops[best].points:.2f}.",
                f"Give --max-recall-drop {math.ceil(self._drops[best].points * 100) / 100:g}, or "
                "calibrate on photos like your users' (--calibration DIR).",
            )
        return chosen

    def record(
        self, chosen: Pair, ranked: Mapping[TowerName, Sequence[Sensitivity]], judged_by: str
    ) -> PrecisionRecord:
        """What was tried, `judged_by` what that says, and why the choice fell as it did."""
        measured = list(self._drops)  # the smallest first
        return PrecisionRecord(
            data=self.judge.data,
            judged_by=judged_by,
            max_recall_drop=self.budget,
            float_mean_recall=round(self._exact, 3),
            weights=tuple(
                WeightRecord(one.tower, weight.layer, weight.numbers, weight.loss, bits)
                for one in chosen
                for weight in ranked.get(one.tower, ())
                for bits in [32 if one.precision == "fp32" else 4 if weight.name in one.four else 8]
            ),
            alone=tuple(
                AloneRecord(
                    one.tower, one.told, one.bytes, _points(lost.points), _points(lost.margin)
                )
                for one, lost in self._alone.items()
            ),
            steps=tuple(self._step(pair) for pair in measured),
            photos_to_tell=self._drops[chosen].photos_to_tell(self.budget),
            why=self._why(chosen, measured),
        )

    def _within(self, pair: Pair) -> bool:
        return _points(self._drops[pair].points) <= self.budget  # as it is told

    def _rank(self, pair: Pair) -> tuple[float, ...]:
        """By weights, since a format adds a little more here than there; of equal ones, what has
        fewer bits in activations, then what costs less alone."""
        lost = sum(self._alone[one].points for one in pair)
        return sum(one.weights for one in pair), sum(one.activations for one in pair), lost

    @property
    def _exact(self) -> float:
        return float(self.judge.exact_by_photo.mean())

    def _step(self, pair: Pair) -> StepRecord:
        lost = self._drops[pair]
        return StepRecord(
            **{one.tower: one.told for one in pair},
            bytes=size(pair),
            mean_recall=_points(self._exact - lost.points),
            drop=_points(lost.points),
            margin=_points(lost.margin),
            within=self._within(pair),
        )

    def _why(self, chosen: Pair, measured: Sequence[Pair]) -> str:
        sentences = [
            f"The image tower has {chosen[0].told}, the text tower {chosen[1].told}: "
            f"{megabytes(size(chosen))} MB, and mR falls by {self._drops[chosen].points:.2f} points"
            f" of {self.budget:g}."
        ]
        smaller = measured[: measured.index(chosen)]
        if not smaller:
            return f"{sentences[0]} There is nothing smaller."
        best = min(smaller, key=lambda pair: self._drops[pair].points)
        sentences.append(
            f"Of {len(smaller)} smaller pairs none stays within that; image {best[0].told}, text "
            f"{best[1].told} loses least, {self._drops[best].points:.2f}."
        )
        whole = [pair for pair in measured if self._within(pair) and _whole(pair)]
        if whole and whole[0] != chosen:
            sentences.append(
                f"The smallest without mixed weights, image {whole[0][0].told}, text "
                f"{whole[0][1].told}, has {megabytes(size(whole[0]))} MB."
            )
        return " ".join(sentences)


def _whole(pair: Pair) -> bool:
    return all(one.whole for one in pair)


def _points(value: float) -> float:
    return round(value, 3)
