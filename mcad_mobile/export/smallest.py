"""The smallest towers that find as much as a user asks for: 4 bits where they cost least.

A weight's cost is what 4 bits for it alone take off its tower's cosine to float, on samples: a
proxy, which ranks. Weights of both towers are put into one order, cheapest byte first, and recall
decides how many of them are taken, measured by the files that are written. Where 8 bits alone cost
too much, a tower stays float. The same student and data give the same choice: nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from mcad_mobile.bundle import TOWERS, TowerName
from mcad_mobile.bundle_precision import PrecisionRecord, StepRecord, WeightRecord
from mcad_mobile.enough_data import Drop
from mcad_mobile.export.recall_judge import RecallJudge
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.quantize.four_bits import layers, with_weights
from mcad_mobile.runtimes import Inputs, normalize
from mcad_mobile.runtimes.onnx import OnnxTower
from mcad_mobile.runtimes.saturation import saturates
from mcad_mobile.targets.target import Precision

_RANKED_ON = 16  # samples of each tower
Weight = tuple[TowerName, str]


@dataclass(frozen=True)
class Pair:
    """Both towers' precisions: the weights that have 4 bits, and the towers that stay float."""

    four: frozenset[Weight] = frozenset()
    floats: frozenset[TowerName] = frozenset()

    def of(self, tower: TowerName) -> frozenset[str]:
        return frozenset(name for owner, name in self.four if owner == tower)

    def precision(self, tower: TowerName) -> Precision:
        if tower in self.floats:
            return "fp32"
        return "mixed" if self.of(tower) else "int8"


@dataclass
class Search:
    """For the smallest pair of towers that loses at most `budget` points of mR. `jobs` are the
    towers as they are to be quantized; `step` hears what is done next."""

    jobs: Mapping[TowerName, TowerJob]
    judge: RecallJudge
    budget: float
    step: Callable[[str], None]
    _steps: dict[Pair, StepRecord] = field(default_factory=dict)
    _drops: dict[Pair, Drop] = field(default_factory=dict)

    def run(self) -> tuple[Pair, PrecisionRecord]:
        losses = self._losses()
        order = sorted(losses, key=lambda weight: (losses[weight] / self._numbers(weight), weight))
        worse = max(TOWERS, key=lambda name: self._loss_of_eight(name))
        pairs = [
            Pair(floats=frozenset(TOWERS)),
            Pair(floats=frozenset({worse})),
            *(Pair(four=frozenset(order[:count])) for count in range(len(order) + 1)),
        ]
        chosen = pairs[largest_within(len(pairs), lambda number: self._within(pairs[number]))]
        if chosen not in self._steps:  # both towers float, which nobody asked about
            self._within(chosen)
        return chosen, self._record(chosen, losses, order)

    def _losses(self) -> dict[Weight, float]:
        found: dict[Weight, float] = {}
        for tower, job in self.jobs.items():
            model = onnx.load(job.cpu_onnx)
            samples = {key: value[:_RANKED_ON] for key, value in job.samples.items()}
            exact = _run(model, job.work / "ranked.onnx", samples)
            for number, (name, weight) in enumerate(job.four_bits.items()):
                self.step(f"{tower} tower: weight {number + 1} of {len(job.four_bits)} in 4 bits")
                narrow = with_weights(model, {name: weight})
                cosines = (exact * _run(narrow, job.work / "ranked.onnx", samples)).sum(1)
                found[tower, name] = 1 - float(cosines.mean())
        return found

    def _loss_of_eight(self, tower: TowerName) -> float:
        job = self.jobs[tower]
        found = normalize(OnnxTower(job.int8_onnx[0], exact=saturates())(job.judged))
        return 1 - float((job.exact * found).sum(1).mean())

    def _within(self, pair: Pair) -> bool:
        paths = {name: self._path(pair, name) for name in TOWERS}
        told = {name: self._told(pair, name) for name in TOWERS}
        self.step(f"recall of image {told['image']}, text {told['text']}")
        lost = self.judge.drop(paths)
        size = sum(
            (path or self.jobs[name].cpu_onnx).stat().st_size for name, path in paths.items()
        )
        within = lost.points <= self.budget
        self._drops[pair] = lost
        self._steps[pair] = StepRecord(
            **told,
            bytes=size,
            mean_recall=round(float(self.judge.exact_by_photo.mean()) - lost.points, 3),
            drop=round(lost.points, 3),
            margin=round(lost.margin, 3),
            within=within,
        )
        return within

    def _path(self, pair: Pair, tower: TowerName) -> Path | None:
        if tower in pair.floats:
            return None
        return self.jobs[tower].mixed_onnx(pair.of(tower))

    def _told(self, pair: Pair, tower: TowerName) -> str:
        if pair.precision(tower) != "mixed":
            return pair.precision(tower)
        return f"{len(pair.of(tower))} of {len(self.jobs[tower].four_bits)} weights in 4 bits"

    def _numbers(self, weight: Weight) -> int:
        tower, name = weight
        return int(self.jobs[tower].four_bits[name].numbers.size)

    def _record(
        self, chosen: Pair, losses: Mapping[Weight, float], order: Sequence[Weight]
    ) -> PrecisionRecord:
        bits = {
            weight: 32 if weight[0] in chosen.floats else 4 if weight in chosen.four else 8
            for weight in order
        }
        named = {
            (tower, name): layer
            for tower, job in self.jobs.items()
            for name, layer in layers(onnx.load(job.cpu_onnx)).items()
        }
        return PrecisionRecord(
            data=self.judge.data,
            max_recall_drop=self.budget,
            float_mean_recall=round(float(self.judge.exact_by_photo.mean()), 3),
            weights=tuple(
                WeightRecord(
                    tower=tower,
                    name=named[tower, name],
                    numbers=self._numbers((tower, name)),
                    loss=losses[tower, name],
                    bits=bits[tower, name],
                )
                for tower, name in order
            ),
            steps=tuple(self._steps.values()),
            photos_to_tell=self._drops[chosen].photos_to_tell(self.budget),
            why=self._why(chosen, len(order)),
        )

    def _why(self, chosen: Pair, count: int) -> str:
        told = {name: self._told(chosen, name) for name in TOWERS}
        step = self._steps[chosen]
        sentence = (
            f"The image tower has {told['image']}, the text tower {told['text']}: mR falls by "
            f"{step.drop:.2f} points of {self.budget:g}"
        )
        over = [one for one in self._steps.values() if not one.within]
        if not over:
            return f"{sentence}, and there is nothing smaller."
        smaller = max(over, key=lambda one: one.bytes)
        return (
            f"{sentence}. The next smaller pair that was measured, image {smaller.image}, text "
            f"{smaller.text}, loses {smaller.drop:.2f}."
        )


def largest_within(count: int, within: Callable[[int], bool]) -> int:
    """The largest of 0 to count - 1 that is within, taking 0 for granted: the last is asked first,
    then halves. Recall wavers by less than its data can tell, so that another one may be within,
    too; the one that is given was asked."""
    low, high = 0, count - 1
    if within(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(middle) else (low, middle)
    return low


def _run(model: onnx.ModelProto, path: Path, inputs: Inputs) -> NDArray[np.float32]:
    onnx.save(model, path)
    return normalize(OnnxTower(path)(inputs))
