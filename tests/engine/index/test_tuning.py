"""What C chooses for an index is what numpy chooses, and how many photos each step looks at."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

from mcad_mobile.engine.index import TuningLimits
from mcad_mobile.engine.index.core import Count
from mcad_mobile.engine.index.manifest import CandidateCount
from tests.support.index_embeddings import F32, photos_and_queries, unit
from tests.support.kernels import LEVELS, LIBRARY, Tuning, plan_merge, tune
from tests.support.tuning_oracle import SampleTuning, number


def tuned(
    rows: F32, photos: int, limits: TuningLimits | None = None, level: int = LEVELS[-1]
) -> Tuning:
    return tune(rows, axis_of(rows), photos, limits, level)


def counted(count: CandidateCount, photos: int, k: int) -> int:
    given = Count(count.factor, count.exponent, count.growth)
    return int(LIBRARY.mcad_count(ctypes.byref(given), photos, k))


def axis_of(rows: F32) -> F32:
    return unit(rows.sum(axis=0, dtype=np.float64))


def assert_same(found: Tuning, expected: Tuning) -> None:
    assert np.array_equal(found.bit_weights, expected.bit_weights)
    assert (found.candidates, found.prescan) == (expected.candidates, expected.prescan)
    assert (found.cells is None) == (expected.cells is None)
    if found.cells and expected.cells:
        assert np.array_equal(found.cells.centroids, expected.cells.centroids)
        assert found.cells.candidates == expected.cells.candidates


def even(count: int, dim: int) -> F32:
    return unit(np.random.default_rng(3).standard_normal((count, dim)))


@dataclass(frozen=True)
class Case:
    rows: F32
    is_even: bool = False
    per_cell: int = 20


CASES = {
    # Neither a whole number of steps nor of words of the generator.
    "a cone": Case(photos_and_queries(2500, 1, dim=136)[0]),
    "evenly": Case(even(1500, 128), is_even=True),
    # A sample in which the exponent is measured, and photos that are fitted are one in two.
    "thousands": Case(photos_and_queries(4500, 1, dim=64)[0], per_cell=100),
    "the fewest": Case(photos_and_queries(256, 1, dim=256)[0], per_cell=16),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_c_tunes_as_numpy_does_at_every_level_and_break_even(case: Case) -> None:
    oracle = SampleTuning(case.rows, axis_of(case.rows))
    assert (oracle.evenness > 0.4) == case.is_even
    limits = TuningLimits(cells_from=10_000, photos_per_cell=case.per_cell)
    choose = oracle.chooser(limits)
    photos = np.unique(np.geomspace(1000, 10**7, 600).astype(int)).tolist()
    expected = [choose(count) for count in photos]
    kinds = [(len(t.bit_weights), t.prescan, t.cells is None) for t in expected]
    changes = [i for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1]]
    assert changes
    for i in {0, *changes, *(i - 1 for i in changes)}:
        assert_same(tuned(case.rows, photos[i], limits), expected[i])
    for level in LEVELS:
        assert_same(tuned(case.rows, 10**6, limits, level), choose(10**6))


def test_a_shorter_scan_may_cost_five_percent_more() -> None:
    rows = photos_and_queries(256, 1, dim=1024)[0]
    # By numpy: 4.5 to 5 % more for the first, and 5 to 5.5 % for the second.
    assert [len(tuned(rows, photos).bit_weights) for photos in (4707, 4483)] == [768, 1024]


def test_cells_must_be_worth_it_and_have_fifty_photos() -> None:
    rows = photos_and_queries(1000, 1)[0]
    cells = {
        gain: tuned(rows, 10**5, TuningLimits(cells_gain=gain, photos_per_cell=20)).cells
        for gain in (0.0, 1e6)
    }
    assert cells[0.0] and cells[1e6] is None
    for count, found in ((799, False), (800, True)):
        tuning = tuned(rows[:count], 10**5, TuningLimits(cells_gain=0.0))
        assert (tuning.cells is not None) == found


def test_fewer_than_256_photos_and_64_dimensions_are_not_tuned() -> None:
    rows = photos_and_queries(256, 1)[0]
    assert len(tuned(rows, 256).bit_weights) == 64
    assert len(tuned(rows[:255], 255).bit_weights) == 0
    assert len(tuned(even(300, 56), 300).bit_weights) == 0


def test_photos_that_are_all_the_same_are_tuned() -> None:
    rows = np.repeat(photos_and_queries(1, 1)[0], 500, axis=0)
    assert counted(tuned(rows, 500).candidates, 500, 10) == 500


@pytest.mark.parametrize(
    ("factor", "exponent", "photos", "k", "expected"),
    [
        (1.0, 1.0, 5, 10, 5),
        (0.0, 0.5, 100, 10, 20),  # twice as many as are asked for
        (0.0, 0.5, 11, 10, 11),
        (0.2999, 0.5, 10_000, 10, 300),
        (0.3001, 0.5, 10_000, 10, 301),
        (9.0, 1.0, 10_000, 10, 10_000),
    ],
)
def test_candidates_are_as_many_as_was_measured_and_as_there_are(
    factor: float, exponent: float, photos: int, k: int, expected: int
) -> None:
    assert counted(CandidateCount(factor, exponent, 1.0), photos, k) == expected


def test_counts_are_those_of_the_formula() -> None:
    random = np.random.default_rng(0)
    for _ in range(2000):
        count = CandidateCount(*np.round(random.random(3) * [3, 1, 1], 3).tolist())
        photos, k = int(random.integers(1, 10**7)), int(random.integers(1, 1000))
        assert abs(counted(count, photos, k) - number(count, photos, k)) <= 1


def test_cells_hold_all_photos_where_they_were_not_measured() -> None:
    count = ctypes.byref(Count(1.0, 0.5, 1.0))
    found = [LIBRARY.mcad_count_in_cells(count, photos, 10) for photos in (2047, 2048)]
    assert found == [2047, 453]


def test_limits_that_are_not_named_are_as_usual() -> None:
    usual, changed = TuningLimits(), TuningLimits(cells_from=5)
    assert (usual.axis_growth, usual.cells_from, usual.at_least) == (8, 1 << 16, 128)
    assert (changed.axis_growth, changed.cells_from) == (8, 5)


def test_an_axis_is_computed_at_256_photos_and_eight_times_as_many() -> None:
    assert [plan_merge([255], [0], added, 0)[1] for added in (0, 1)] == [False, True]
    assert [plan_merge([2000], [0], added, 256)[1] for added in (47, 48)] == [False, True]


def test_merges_take_small_and_half_dead_segments_only() -> None:
    assert plan_merge([10_000, 400, 40], [0, 0, 0], 30, 10_000)[0] == [2]
    assert plan_merge([10_000, 140, 40], [0, 0, 0], 30, 10_000)[0] == [1, 2]
    assert plan_merge([10_000, 400, 40], [0, 401, 0], 0, 10_000)[0] == [1, 2]
    assert plan_merge([10_000, 400], [0, 0], 0, 10_000)[0] == []
    assert plan_merge([10_000, 200], [0, 0], 100, 10_000)[0] == [1]
    assert plan_merge([10_000, 201], [0, 0], 100, 10_000)[0] == []
    # What joined counts for the next: 100, 200, 600, but not 1801.
    assert plan_merge([10_000, 1801, 600, 200], [0] * 4, 100, 10_000)[0] == [2, 3]
    assert plan_merge([10_000, 1800, 600, 200], [0] * 4, 100, 10_000)[0] == [1, 2, 3]
    # One row in eight deleted may stay, one more may not.
    assert plan_merge([875, 10_000], [125, 0], 0, 10_000)[0] == []
    assert plan_merge([874, 10_000], [126, 0], 0, 10_000)[0] == [0]
    # The axis is taken anew at eight times its photos, and of 256 at least.
    assert plan_merge([1000], [0], 1399, 300) == ([0], False)
    assert plan_merge([1000], [0], 1400, 300) == ([0], True)
    assert not plan_merge([200], [0], 55, 1)[1]
    assert plan_merge([200], [0], 56, 1)[1]
