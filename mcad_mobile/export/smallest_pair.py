"""The search for the smallest pair of towers that loses no more recall than a user allows: each
candidate with the other tower in float, then pairs from the smallest up, until one is enough."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from msgspec import structs

from mcad_mobile.base.files import cache_directory, megabytes
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.engine.bundle import TOWERS, TowerName
from mcad_mobile.errors import ExportError, Remedy
from mcad_mobile.export.backends import backend_of
from mcad_mobile.export.backends.backend import Candidate, Sensitivity
from mcad_mobile.export.build import tower_plans
from mcad_mobile.export.compare import Standard
from mcad_mobile.export.export_report import (
    DataFacts,
    PrecisionRecord,
    SingleTowerRecord,
    StepRecord,
    WeightRecord,
)
from mcad_mobile.export.parity import check_parity, measure_parity
from mcad_mobile.export.prepare import Prepared
from mcad_mobile.export.recall_drop import Drop, RecallMeter
from mcad_mobile.targets import Target

Pair = tuple[Candidate, Candidate]  # image tower, text tower


@dataclass(frozen=True)
class Budget:
    """The largest drop of mean recall (mR), in `points`, on `photos`."""

    points: float
    photos: Sequence[CaptionedPhoto]
    data: DataFacts


def size(pair: Pair) -> int:
    """Return how many bytes of a bundle two towers take."""
    return sum(candidate.bytes for candidate in pair)


def smallest_pair(
    candidates: Mapping[TowerName, Sequence[Candidate]],
    ranked: Mapping[TowerName, Sequence[Sensitivity]],
    meter: RecallMeter,
    budget: Budget,
    measured_by: str,
) -> tuple[Pair, PrecisionRecord]:
    """Return the smallest pair whose drop, plus one standard error, is within the budget, and the
    record of the search; `measured_by` says how recall was measured. ExportError if every pair
    loses more."""
    for name in TOWERS:
        meter.embed(candidates[name])
    every = [candidate for name in TOWERS for candidate in candidates[name]]
    alone = {candidate: meter.drop({candidate.tower: candidate}) for candidate in every}

    def rank(pair: Pair) -> tuple[float, ...]:
        # By bytes of weights, since formats add different amounts, then by bits and loss.
        return (
            sum(candidate.weight_bytes for candidate in pair),
            sum(candidate.activation_bits for candidate in pair),
            sum(alone[candidate].points for candidate in pair),
        )

    drops: dict[Pair, Drop] = {}
    pairs = sorted(product(candidates["image"], candidates["text"]), key=rank)
    for number, pair in enumerate(pairs):
        meter.progress("recall of pairs of towers", number, len(pairs))
        drops[pair] = meter.drop(dict(zip(TOWERS, pair, strict=True)))
        if drops[pair].expected <= budget.points:
            break
    else:
        raise ExportError(
            f"No pair of precisions is expected to lose at most {budget.points:g} points of mR on "
            f"other photos: {_loses_least(drops)}.",
            Remedy.ALLOW_RECALL_DROP(
                points=f"{math.ceil(min(d.expected for d in drops.values()) * 100) / 100:g}",
                photos=budget.data.photos,
                split=budget.data.split,
            ),
        )
    float_recall = float(meter.float_retrieval.by_photo.mean())
    return pair, PrecisionRecord(
        data=budget.data,
        judged_by=measured_by,
        max_recall_drop=budget.points,
        float_mean_recall=round(float_recall, 3),
        weights=tuple(
            WeightRecord(
                candidate.tower, weight.layer, weight.numbers, weight.loss, _bits(candidate, weight)
            )
            for candidate in pair
            for weight in ranked.get(candidate.tower, ())
        ),
        alone=tuple(
            SingleTowerRecord(
                candidate.tower, candidate.label, candidate.bytes, lost.points, lost.margin
            )
            for candidate, lost in alone.items()
        ),
        steps=tuple(  # the smallest first
            StepRecord(
                **{candidate.tower: candidate.label for candidate in tried},
                bytes=size(tried),
                mean_recall=round(float_recall - lost.points, 3),
                drop=lost.points,
                margin=lost.margin,
                within=tried is pair,
            )
            for tried, lost in drops.items()
        ),
        photos_to_tell=drops[pair].photos_to_tell(budget.points),
        why=_why(pair, drops, budget.points),
    )


def _bits(candidate: Candidate, weight: Sensitivity) -> int:
    if candidate.precision == "fp32":
        return 32
    return 4 if weight.name in candidate.four_bit_weights else 8


def _why(chosen: Pair, drops: Mapping[Pair, Drop], points: float) -> str:
    *smaller, _ = drops  # the smallest first, until the chosen one
    why = (
        f"The image tower has {chosen[0].label}, the text tower {chosen[1].label}: "
        f"{megabytes(size(chosen))} MB, and mR falls by {_in_words(drops[chosen])} points of "
        f"{points:g}. "
    )
    if not smaller:
        return f"{why}There is nothing smaller."
    least = _loses_least({pair: drops[pair] for pair in smaller})
    return f"{why}Of {len(smaller)} smaller pairs none stays within that; {least}."


def _loses_least(drops: Mapping[Pair, Drop]) -> str:
    image, text = best = min(drops, key=lambda pair: drops[pair].expected)
    return f"image {image.label}, text {text.label} loses least, {_in_words(drops[best])}"


def _in_words(lost: Drop) -> str:
    return f"{lost.points:.2f} (on other photos about {lost.expected:.2f})"


def choose_precisions(
    prepared: Prepared, standard: Standard, budget: Budget, target: Target
) -> tuple[dict[TowerName, Candidate], PrecisionRecord]:
    """Search for the smallest first rungs for `target`; return their candidates, and a record."""
    student = prepared.student
    kept = f"{student.sha256[:16]}-{budget.data.sha256[:16]}"
    folder = cache_directory() / "precision" / kept
    meter = RecallMeter(student, budget.photos, prepared.table, folder, standard.progress)
    ranked, tried, left_out = {}, {}, ""
    for name in TOWERS:  # others keep the target's own precisions
        made_by = backend_of(tower_plans(name, target)[0].runtime)
        candidates, ranked[name] = made_by.candidates(prepared.jobs[name], target)
        # Even a tower that is far from its student tells a few photos apart.
        tried[name], sentence = acceptable(name, candidates, standard)
        left_out += sentence
    measured_by = backend_of(target.ladder[0].runtime).measured_by(target)
    chosen, record = smallest_pair(tried, ranked, meter, budget, measured_by)
    record = structs.replace(record, why=record.why + left_out)
    shutil.rmtree(folder, ignore_errors=True)
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
