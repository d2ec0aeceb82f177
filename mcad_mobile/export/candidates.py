"""The candidates of a search for precisions: whole recipes, and mixes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mcad_mobile.export.candidate import Candidate
from mcad_mobile.export.sensitivity import Sensitivity
from mcad_mobile.export.tower_job import TowerJob
from mcad_mobile.runtimes.onnx import OnnxTower
from mcad_mobile.runtimes.saturation import saturates

Progress = Callable[[str, int, int], None]
# Of what 4 bits can save. Finer steps differ by less recall than a thousand photos can tell.
_SHARES = 6


def cpu_candidates(
    job: TowerJob, ranked: Sequence[Sensitivity], progress: Progress
) -> list[Candidate]:
    """Float, 8 bits, and more and more of the weights `ranked` in 4 bits, up to all of them."""
    counts = mixes([weight.numbers for weight in ranked])
    found = [Candidate(job.name, "fp32", "fp32", _bytes(job.cpu_onnx), job.cpu_onnx, OnnxTower)]
    for number, count in enumerate(counts):
        progress(f"{job.name} tower: writing it", number, len(counts))
        four = frozenset(weight.name for weight in ranked[:count])
        path = job.mixed_onnx(four)
        found.append(
            Candidate(
                job.name,
                "mixed" if four else "int8",
                f"{count} of {len(ranked)} weights in 4 bits" if four else "int8",
                _bytes(path),
                path,
                lambda file: OnnxTower(file, exact=saturates()),
                four,
                mixed=0 < count < len(ranked),
            )
        )
    return found


def mixes(numbers: Sequence[int]) -> list[int]:
    """How many of the first weights, of so many numbers each, are taken: none, all, and as many as
    make up each sixth of all numbers, or less than it."""
    ends = np.cumsum(numbers)
    shares = np.arange(_SHARES + 1) / _SHARES
    return sorted({int(np.searchsorted(ends, share * sum(numbers), "right")) for share in shares})


def _bytes(path: Path) -> int:
    return path.stat().st_size
