"""What a search for precisions chooses among: towers in one precision, or in a mix of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcad_mobile.engine.bundle import Precision, TowerName
from mcad_mobile.engine.towers import LoadedTower
from mcad_mobile.export.quantization.ranges import CalibrationMethod


@dataclass(frozen=True, eq=False)
class Candidate:
    """A tower that was written to `path` in one precision, and how to `load` it. Candidates are
    ranked by `weight_bytes`, then by `activation_bits`."""

    tower: TowerName
    precision: Precision
    label: str
    bytes: int
    weight_bytes: int
    path: Path
    load: Callable[[Path], LoadedTower]
    method: CalibrationMethod = "min-max"
    four_bit_weights: frozenset[str] = frozenset()
    activation_bits: int = 0


Pair = tuple[Candidate, Candidate]  # image tower, text tower


@dataclass(frozen=True)
class Sensitivity:
    """How much mean cosine to float a tower loses if the weight `name` has 4 bits."""

    name: str
    layer: str
    numbers: int
    loss: float


def size(pair: Pair) -> int:
    """Return how many bytes of a bundle two towers take."""
    return sum(candidate.bytes for candidate in pair)


def label(precision: str, method: CalibrationMethod) -> str:
    """Return a candidate's name in tables."""
    return precision if method == "min-max" else f"{precision}, ranges by {method}"
