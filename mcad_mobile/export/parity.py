"""Parity: does a written tower give the float student's embeddings? And kernels: does this machine
compute what the tower's file describes? A user can accept low parity, but not wrong kernels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.engine.bundle import LEAST_PARITY, READER_SHAPES, Parity, Rung
from mcad_mobile.engine.towers import Inputs, normalize
from mcad_mobile.engine.towers.ladder import LEAST_AGREEMENT
from mcad_mobile.errors import ParityError, Remedy

WARN_BELOW = 0.99
_LEAST_OF_READER = 0.99  # between two letters, rounding decides which of them a step belongs to
_ROUNDING = 3  # two correct evaluations may differ by this many times the cost of rounding


@torch.no_grad()
def float_embeddings(tower: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
    """Return the float student's embeddings, [N, dim] of unit length."""
    arguments = [torch.from_numpy(value) for value in inputs.values()]
    return normalize(tower.eval()(*arguments).numpy())


def measure_parity(expected: NDArray[np.float32], embeddings: NDArray[np.float32]) -> Parity:
    """Return the cosines of row pairs; both [N, dim], `expected` of unit length."""
    cosines = (expected * normalize(embeddings)).sum(1)
    return Parity(len(cosines), float(np.mean(cosines)), float(np.min(cosines)))


def check_parity(tower: str, runtime: str, measured: Parity, *, allow_low: bool) -> list[str]:
    """Return a warning under 0.99 mean cosine; ParityError under 0.95 unless `allow_low`."""
    if measured.cosine_mean >= WARN_BELOW:
        return []
    message = (
        f"The {runtime} {tower} tower differs too much from the float student: cosine "
        f"{measured.cosine_mean:.4f} on average, {measured.cosine_min:.4f} at worst, over "
        f"{measured.inputs} real inputs"
    )
    if measured.is_low and not allow_low:
        raise ParityError(
            f"{message}; at least {LEAST_PARITY} is needed.",
            Remedy.ALLOW_LOW_PARITY,
        )
    return [f"{message}."]


def check_kernels(
    tower: str,
    rung: Rung,
    expected: NDArray[np.float32],
    reference: NDArray[np.float32],
    embeddings: NDArray[np.float32],
) -> None:
    """Raise ParityError if this machine's `embeddings` are not those of the `reference`."""
    # Correct evaluations of 8-bit activations differ where a value lies between two steps. Each is
    # off `expected` by the cost of rounding, as `reference` is, so averaged over many inputs they
    # differ from each other by twice that. Kernels that overflow cost ten times as much.
    kernels, quantization = _cosines(reference, embeddings), _cosines(expected, reference)
    enough = _LEAST_OF_READER if tower in READER_SHAPES else LEAST_AGREEMENT
    short = np.minimum(enough, 1 - _ROUNDING * (1 - quantization)) - kernels
    if (short <= 0).all():
        return
    worst = np.argmax(short)
    raise ParityError(
        f"On this processor, the runtime computes the {tower} tower ({rung.name}) wrongly: its "
        f"cosine to a reference evaluation is {kernels[worst]:.4f}. The reference's cosine "
        f"to the float student is {quantization[worst]:.4f}.",
        Remedy.EXPORT_ELSEWHERE,
    )


def _cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines: NDArray[np.float32] = (normalize(left) * normalize(right)).sum(1)
    return cosines
