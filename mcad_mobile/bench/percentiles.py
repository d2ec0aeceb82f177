"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcad_mobile.errors import BenchError

_PERCENTILES = (50, 90, 99)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """{"p50", "p90", "p99"} of `values` in their own unit. BenchError if there are none."""
    if not values:
        raise BenchError(
            "There are no measurements to take percentiles of.",
            "Report this, with the command and the device.",
        )
    names = (f"p{percent}" for percent in _PERCENTILES)
    return dict(zip(names, np.percentile(values, _PERCENTILES).tolist(), strict=True))
