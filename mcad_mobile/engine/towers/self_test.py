"""The self-test: does a tower give here what its file says?

A rung's `expected` is what its file puts out for the golden inputs, fixed at export. A processor
whose kernels are right gives the same: ONNX Runtime's and XNNPACK's 8-bit arithmetic are equal to
the last bit on all x86 and Arm processors that were tried (test_kernels.py). What quantization
cost is in `expected` already, so the bar is one for all bundles.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcad_mobile.engine.bundle import Bundle, Rung, TowerName
from mcad_mobile.engine.towers.protocol import Inputs, normalize

LEAST_AGREEMENT = 0.999


def golden_inputs(bundle: Bundle, name: TowerName) -> Inputs:
    """A tower's self-test: real inputs by name, batch first."""
    records = bundle.tower(name).golden.inputs
    return {key: np.load(bundle.path(record)) for key, record in records.items()}


def agreement(bundle: Bundle, rung: Rung, embeddings: object) -> float:
    """The worst cosine of `embeddings` [N, dim] of the golden inputs to what the rung's file says;
    NaN for what is not an embedding of each."""
    expected: NDArray[np.float32] = normalize(np.load(bundle.path(rung.expected)))
    try:
        found: NDArray[np.float32] = np.asarray(embeddings, np.float32)
    except (TypeError, ValueError):  # of different lengths
        return float("nan")
    if found.shape != expected.shape:
        return float("nan")
    return float(np.min((expected * normalize(found)).sum(1)))


def disagreement(worst: float) -> str | None:
    """None for a worst cosine that is high enough, else why it is not, as a sentence goes on."""
    if worst >= LEAST_AGREEMENT:
        return None
    if np.isnan(worst):
        return "what it puts out for the golden inputs is not an embedding of each"
    return (
        f"its embeddings of the golden inputs are wrong here: cosine {worst:.4f} to what its file "
        f"says, where {LEAST_AGREEMENT} is the least"
    )
