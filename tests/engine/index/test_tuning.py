"""Tuning are measured on a sample some rows at a time: as on all at once, in little memory."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest

from mcad_mobile.engine.index.bit_weights import estimates, fit_bit_weights, moments
from mcad_mobile.engine.index.cells import assign_cells, fit_centroids, order_cells
from mcad_mobile.engine.index.codes import error_feedback, split
from mcad_mobile.engine.index.tuning import (
    CandidateCount,
    RescoreBudget,
    SampleQueries,
    TuningLimits,
    choose_tuning,
    evenness,
)
from tests.support.index_embeddings import photos_and_queries, unit
from tests.support.tuning_oracle import Oracle

DIM, PHOTOS = 128, 2500  # neither a whole number of blocks, nor one


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    """In a cone, and spread over few directions, none of them a coordinate."""
    random = np.random.default_rng(5)
    directions = random.standard_normal((16, DIM))
    rows = random.standard_normal((PHOTOS, 16)) @ directions + random.standard_normal(DIM) * 3
    rows += 0.5 * random.standard_normal(rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def axis(sample: np.ndarray) -> np.ndarray:
    mean = sample.mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def bits(sample: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return (split(sample, axis)[1] > 0).astype(np.uint8)


def test_moments_are_those_of_all_photos_at_once(sample, bits):
    gram, cross = moments(sample, bits)
    signs = bits * 2.0 - 1
    assert np.array_equal(gram, signs.T @ signs / PHOTOS)
    assert np.allclose(cross, signs.T @ (sample - sample.mean(axis=0)) / PHOTOS, atol=1e-5)


def test_estimates_of_all_photos_are_those_of_each(sample, bits):
    bit_weights = fit_bit_weights(moments(sample, bits), 64)
    found = estimates(bit_weights, bits[:, :64], sample[:3])
    for photo in (0, 1023, 1024, PHOTOS - 1):
        alone = estimates(bit_weights, bits[[photo], :64], sample[:3])
        assert np.array_equal(found[:, photo], alone[:, 0])


def test_rounding_errors_go_by_all_photos(sample, axis):
    rests = split(sample, axis)[1]
    shares = error_feedback(rests)
    assert np.array_equal(shares, error_feedback(np.roll(rests, 700, axis=0)))
    assert not np.array_equal(shares, error_feedback(rests[:2048]))


def true_scores(sample: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return queries.astype(np.float64) @ sample.astype(np.float64).T


@pytest.mark.parametrize("dim", [128, 512])
def test_evenness_is_the_share_of_dimensions_that_matter(dim):
    random = np.random.default_rng(2)
    for share in (1.0, 0.5, 0.125):
        rows = random.standard_normal((192, dim)).astype(np.float32)
        rows[:, int(share * dim) :] = 0
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        assert evenness(rows) == pytest.approx(share, rel=0.1)


def cosines_with_own(sample: np.ndarray) -> np.ndarray:
    """Of queries that were turned, in the photos' rests."""
    axis = np.eye(DIM, dtype=np.float32)[0]
    sample = sample - (sample @ axis)[:, None] * axis
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    queries = SampleQueries(sample, axis).queries
    own, turned = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    return (own * turned).sum(axis=1)


def test_queries_are_turned_further_where_photos_lie_evenly(sample):
    few = cosines_with_own(sample)
    even = cosines_with_own(
        np.random.default_rng(3).standard_normal((PHOTOS, DIM)).astype(np.float32)
    )
    assert np.median(few) == pytest.approx(np.cos(np.radians(45)), abs=0.05)
    assert np.median(even) == pytest.approx(np.cos(np.radians(76)), abs=0.05)


def test_a_search_by_true_scores_looks_at_no_more_than_it_finds(sample, axis):
    sample_queries = SampleQueries(sample, axis)
    exact = sample_queries.fit_to_estimates(partial(true_scores, sample))
    # Ten photos for ten results, 0.02 * 2500 ^ 0.5 * 10, and about eight times as many for 80.
    assert (exact.factor, exact.exponent) == (0.02, 0.5) and exact.of(PHOTOS, 10) == 20
    assert exact.growth == pytest.approx(1, abs=0.02)
    upside_down = sample_queries.fit_to_estimates(lambda queries: -true_scores(sample, queries))
    assert upside_down.of(PHOTOS, 10) >= PHOTOS - 10


def test_a_search_that_misses_one_photo_far_down_has_to_look_as_far(sample, axis):
    sample_queries = SampleQueries(sample, axis)

    def late(queries: np.ndarray) -> np.ndarray:
        scores = true_scores(sample, queries)
        best = np.argsort(scores, axis=1)[:, -2]  # the last is the query itself, of half of them
        np.put_along_axis(scores, best[:, None], -1, axis=1)
        return scores

    assert sample_queries.fit_to_estimates(late).of(PHOTOS, 10) >= PHOTOS - 10


@pytest.mark.parametrize(
    ("lies_evenly", "enough", "too_many"), [(False, 10, 12), (True, 3, 5)], ids=["cone", "evenly"]
)
def test_a_share_of_the_best_photos_may_be_missed(
    sample: np.ndarray, lies_evenly: bool, enough: int, too_many: int
) -> None:
    """Three of a thousand, or one where photos lie evenly; 358 queries have 3,580 best."""
    if lies_evenly:
        sample = unit(np.random.default_rng(3).standard_normal(sample.shape))
    axis = unit(sample.mean(axis=0))
    sample_queries = SampleQueries(sample, axis)

    def missing(missed: int) -> int:
        left = missed

        def late(queries: np.ndarray) -> np.ndarray:
            nonlocal left
            scores = true_scores(sample, queries)
            for row in scores[:left]:
                row[np.argsort(row)[-2]] = -1
            left -= min(left, len(scores))
            return scores

        return sample_queries.fit_to_estimates(late).of(PHOTOS, 10)

    assert missing(enough) == 20
    assert missing(too_many) > PHOTOS / 2


def test_how_candidates_grow_is_measured_on_a_sample_of_thousands() -> None:
    """The best come behind 147 photos, and behind 42 of one in eight."""
    sample = photos_and_queries(4096, 1)[0]
    first = [*range(0, 8 * 42, 8), *range(1, 8 * 105, 8)]
    sample_queries = SampleQueries(sample, unit(sample.sum(axis=0)))

    def late(queries: np.ndarray) -> np.ndarray:
        scores = true_scores(sample, queries)
        scores[:, first] = 2
        return scores

    count = sample_queries.fit_to_estimates(late)
    assert count.exponent == pytest.approx(np.log(157 / 52) / np.log(8) + 0.05, abs=0.01)
    assert count.growth == 0.5
    exact = sample_queries.fit_to_estimates(partial(true_scores, sample))
    assert (exact.exponent, exact.growth) == (0.45, pytest.approx(1, abs=0.02))


@pytest.mark.slow
def test_choosing_takes_little_more_memory_than_the_sample_has(sample, axis):
    many = np.concatenate([sample] * 6)
    tracemalloc.start()
    try:
        choose_tuning(many, axis, 6 * PHOTOS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < many.size + (16 << 20)  # a byte of bits a number, and blocks


def test_a_query_does_not_find_the_photo_that_it_was_made_from(sample, axis):
    """Whatever the estimate says of that photo, in each block of queries."""
    sample_queries = SampleQueries(sample, axis)
    step = -(-PHOTOS // 192)
    own = np.concatenate([np.arange(0, PHOTOS, step)] * 2)
    asked = iter(range(0, len(own), 32))

    def blind(queries: np.ndarray) -> np.ndarray:
        scores = true_scores(sample, queries)
        start = next(asked)
        scores[np.arange(len(queries)), own[start : start + 32]] = -1
        return scores

    assert sample_queries.fit_to_estimates(blind).of(PHOTOS, 10) == 20


@pytest.mark.parametrize(
    ("factor", "exponent", "photos", "k", "expected"),
    [
        (1.0, 1.0, 5, 10, 5),
        (0.0, 0.5, 100, 10, 20),  # twice as many as are asked for
        (0.0, 0.5, 11, 10, 11),
        (0.3, 0.5, 10_000, 10, 300),
        (0.3001, 0.5, 10_000, 10, 301),
        (9.0, 1.0, 10_000, 10, 10_000),
    ],
)
def test_candidates_are_as_many_as_was_measured_and_as_there_are(
    factor: float, exponent: float, photos: int, k: int, expected: int
) -> None:
    assert CandidateCount(factor, exponent, 1.0).of(photos, k) == expected


def test_cells_hold_all_photos_where_they_were_not_measured() -> None:
    count = CandidateCount(1.0, 0.5, 1.0)
    assert (count.in_cells(2047, 10), count.in_cells(2048, 10)) == (2047, 453)


def test_as_many_candidates_are_scored_as_show_how_large_errors_are() -> None:
    budget = RescoreBudget()
    counts = [(50, 10), (500, 10), (500, 100), (10_000, 10)]
    assert [budget.minimum(*count) for count in counts] == [50, 128, 400, 1250]
    assert (budget.may_miss(1000, 8000), budget.may_miss(1001, 8000)) == (1 / 64, 1 / 512)


def test_fewer_than_256_photos_are_not_tuned(sample, axis):
    assert len(choose_tuning(sample[:256], axis, 256).bit_weights) == DIM
    assert len(choose_tuning(sample[:255], axis, 255).bit_weights) == 0


def test_searches_look_at_twice_the_candidates_that_were_measured(sample, axis, bits):
    """Words may be harder to place than photos are."""
    few = sample[:600]
    tuning = choose_tuning(few, axis, PHOTOS)
    scanned = bits[:600, : len(tuning.bit_weights)]
    measured = SampleQueries(few, axis).fit_to_estimates(
        partial(estimates, tuning.bit_weights, scanned)
    )
    assert tuning.candidates == measured.times(2)
    assert tuning.candidates.factor == pytest.approx(2 * measured.factor, abs=0.001)


def test_a_prescan_and_cells_have_half_as_much_again(sample, axis):
    few = sample[:600]
    queries, residuals = SampleQueries(few, axis), split(few, axis)[1]
    signs = (residuals > 0).astype(np.uint8)
    cells = choose_tuning(
        few, axis, 5_000_000, TuningLimits(cells_from=1, cells_gain=0.0, photos_per_cell=20)
    ).cells
    order = order_cells(queries.queries, cells.centroids.astype(np.float32))
    held = queries.fit_to_cells(order, assign_cells(residuals, cells.centroids))
    assert cells.candidates == held.times(1.5)
    prescan = choose_tuning(few, axis, 5_000_000, TuningLimits(cells_from=10**9)).prescan
    assert prescan.bits == 64
    weights = fit_bit_weights(moments(few, signs), 64)
    measured = queries.fit_to_estimates(partial(estimates, weights, signs[:, :64]))
    assert prescan.candidates == measured.times(1.5)


@pytest.mark.long
def test_the_cheapest_search_is_chosen_on_both_sides_of_each_break_even() -> None:
    few = photos_and_queries(300, 1, dim=256)[0]
    axis = unit(few.sum(axis=0))
    queries, residuals = SampleQueries(few, axis), split(few, axis)[1]
    signs = (residuals > 0).astype(np.uint8)
    fitted = moments(few, signs)
    counts = {
        bits: queries.fit_to_estimates(
            partial(estimates, fit_bit_weights(fitted, bits), signs[:, :bits])
        )
        for bits in (64, 128, 192, 256)
    }
    centroids = fit_centroids(residuals, 15)
    order = order_cells(queries.queries, centroids.astype(np.float32))
    held = queries.fit_to_cells(order, assign_cells(residuals, centroids)).times(1.5)
    with_cells = Oracle(256, counts, len(centroids), held)
    for oracle, limits in (
        (Oracle(256, counts), TuningLimits(cells_from=10**12)),
        (with_cells, TuningLimits(cells_from=1, photos_per_cell=15)),
    ):
        changes = oracle.changes(1000, 10**6)
        assert changes
        for change in changes:
            for photos in (int(change * 0.999), int(change * 1.001)):
                found = choose_tuning(few, axis, photos, limits)
                prescan = found.prescan.bits if found.prescan else None
                chosen = (len(found.bit_weights), prescan, found.cells is not None)
                assert chosen == oracle.choice(photos), photos
