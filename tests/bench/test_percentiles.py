"""Percentiles of measured times."""

from __future__ import annotations

import numpy as np
import pytest

from mcad_mobile.bench.document import percentiles
from mcad_mobile.errors import BenchError


@pytest.mark.parametrize("count", [1, 2, 3, 10, 199, 200])
def test_percentiles_are_numpys(count: int) -> None:
    values = np.random.default_rng(count).exponential(size=count).tolist()
    found = percentiles(values)
    expected = np.percentile(values, [50, 90, 99])
    assert list(found) == ["p50", "p90", "p99"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)


def test_percentiles_of_nothing_are_an_error() -> None:
    with pytest.raises(BenchError, match=r"(?s)no measurements.*Report this"):
        percentiles([])
