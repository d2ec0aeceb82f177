"""One way in which a tower can be written, for a search among several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.bundle import TowerName
from mcad_mobile.quantize.ranges import CalibrationMethod
from mcad_mobile.runtimes import LoadedTower
from mcad_mobile.targets.target import Precision


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tower in one precision, which `told` says in words, with `bytes` of what a bundle holds of
    it, of which so many are `weights`. `path` was written, and recall is judged by what `load`
    makes of it. `four` are the weights in 4 bits; a `whole` recipe treats all weights alike.
    `activations`: their bits on an NPU, which decide between weights of one size. `simulated`: the
    same in its chip's simulator, if it has one. Activations of 8 bits have ranges by `method`."""

    tower: TowerName
    precision: Precision
    told: str
    bytes: int
    weights: int
    path: Path
    load: Callable[[Path], LoadedTower]
    four: frozenset[str] = frozenset()
    whole: bool = True
    simulated: Candidate | None = None
    activations: int = 0
    method: CalibrationMethod = "min-max"


Pair = tuple[Candidate, Candidate]  # of the image tower and of the text tower


def size(pair: Pair) -> int:
    return sum(one.bytes for one in pair)
