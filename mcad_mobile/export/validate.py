"""Parity: do the written towers give the float student's embeddings?"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mcad_mobile.bundle import Parity
from mcad_mobile.errors import ParityError
from mcad_mobile.runtimes import Inputs, normalize

WARN_BELOW = 0.99
FAIL_BELOW = 0.95


@torch.no_grad()
def float_embeddings(tower: nn.Module, inputs: Inputs) -> NDArray[np.float32]:
    """Embeddings [N, dim] of unit length by the float student."""
    arguments = [torch.from_numpy(value) for value in inputs.values()]
    return normalize(tower.eval()(*arguments).numpy())


def parity(expected: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    """Cosines of row pairs; both [N, dim], `expected` of unit length."""
    cosines = (expected * normalize(found)).sum(1)
    return Parity(len(cosines), float(cosines.mean()), float(cosines.min()))


def judge(tower: str, runtime: str, found: Parity, *, allow_low: bool) -> str | None:
    """None, or a warning under 0.99 mean; ParityError under 0.95 unless `allow_low`."""
    if found.cosine_mean >= WARN_BELOW:
        return None
    message = (
        f"The {runtime} {tower} tower is off the float student: cosine {found.cosine_mean:.4f} on "
        f"average, {found.cosine_min:.4f} at worst, over {found.inputs} real inputs"
    )
    if found.cosine_mean < FAIL_BELOW and not allow_low:
        raise ParityError(
            f"{message}; at least {FAIL_BELOW} is needed.",
            "Calibrate on photos like your users' (--calibration DIR), "
            "or accept it with --allow-low-parity.",
        )
    return f"{message}."
