"""The search for the smallest pair of towers that loses no more recall than a user allows: each
candidate with the other tower in float, then pairs from the smallest up, until one is enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from msgspec import structs

from mcad_mobile.base.files import megabytes
from mcad_mobile.base.progress import Progress
from mcad_mobile.engine.bundle import TOWERS, TowerName
from mcad_mobile.errors import ExportError, Remedy
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import Candidate, Sensitivity
from mcad_mobile.export.compare import Standard
from mcad_mobile.export.export_report import (
    PrecisionRecord,
    SingleTowerRecord,
    StepRecord,
    WeightRecord,
)
from mcad_mobile.export.parity import check_parity, measure_parity
from mcad_mobile.export.precision.recall_drop import Budget, Drop, EmbeddingCache, RecallMeter
from mcad_mobile.export.prepare import Prepared
from mcad_mobile.export.rungs import tower_plans
from mcad_mobile.targets import Target

Pair = tuple[Candidate, Candidate]  # image tower, text tower


def size(pair: Pair) -> int:
    """Return how many bytes of a bundle two towers take."""
    return sum(candidate.bytes for candidate in pair)


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


def choose_precisions(
    prepared: Prepared, standard: Standard, budget: Budget, target: Target, progress: Progress
) -> tuple[dict[TowerName, Candidate], PrecisionRecord]:
    """Search for the smallest first rungs for `target`; return their candidates, and a record."""
    cache = EmbeddingCache(budget.kept)
    meter = RecallMeter(
        prepared.student, budget.photos, budget.data, prepared.table, cache, progress
    )
    ranked, tried, left_out = {}, {}, ""
    for name, job in prepared.jobs.items():
        made_by = backend_of(tower_plans(name, target)[0].runtime)
        candidates, ranked[name] = made_by.candidates(job, target, meter.loses_least)
        # Even a tower that is far from its student tells a few photos apart.
        tried[name], sentence = acceptable(name, candidates, standard)
        left_out += sentence
    search = Search(tried, meter, budget.points)
    chosen = search.run()
    measured_by = backend_of(target.ladder[0].runtime).measured_by(target)
    record = search.record(chosen, ranked, measured_by)
    record = structs.replace(record, why=record.why + left_out)
    return {candidate.tower: candidate for candidate in chosen}, record


def acceptable(
    name: TowerName, candidates: Sequence[Candidate], standard: Standard
) -> tuple[list[Candidate], str]:
    """Return the candidates whose parity is high enough, and a sentence on the others. ParityError
    if there are none."""
    if standard.allow_low_parity:
        return list(candidates), ""
    low = {}
    for candidate in candidates:
        embeddings = candidate.load(candidate.path)(standard.inputs[name])
        measured = measure_parity(standard.expected[name], embeddings)
        if measured.is_low:
            low[candidate] = measured
    if len(low) == len(candidates):
        best = max(low, key=lambda candidate: low[candidate].cosine_mean)
        check_parity(name, best.label, low[best], allow_low=False)
    labels = [f"{candidate.label} ({found.cosine_mean:.3f})" for candidate, found in low.items()]
    left_out = f" Too far from float to be tried, by cosine: {name} {', '.join(labels)}."
    enough = [candidate for candidate in candidates if candidate not in low]
    return enough, left_out if low else ""
