"""Pass 2 reads no more records than may hold a result."""

from __future__ import annotations

from math import erfc, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, TuningLimits, search
from mcad_mobile.engine.index.codes import rotate, split_query
from mcad_mobile.engine.index.filters import RowFilter
from mcad_mobile.engine.native import load_kernel
from tests.support.index_embeddings import (
    F32,
    ORACLE,
    SHA,
    kernels,
    levels,
    names,
    photos_and_queries,
)
from tests.support.kernel_oracle import above, spread
from tests.support.variants import first_of

pytestmark = pytest.mark.long


PHOTOS, DIM, K = 40_000, 128, 10
BUDGET = TuningLimits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of different sizes."""
    photos, _ = photos_and_queries(PHOTOS, 1, dim=DIM)
    folder = tmp_path_factory.mktemp("rescore") / "index"
    index = PhotoIndex.create(folder, dim=DIM, student_sha256=SHA, student="tiny")
    for start, stop in ((0, 30_000), (30_000, PHOTOS)):
        with index.writer() as writer:
            writer.add(names(PHOTOS)[start:stop], photos[start:stop])
    return folder


@pytest.fixture
def index(folder: Path) -> PhotoIndex:
    return PhotoIndex.open(folder)


def with_budget(folder: Path, **budget: float) -> PhotoIndex:
    return PhotoIndex.open(folder, TuningLimits(**budget))


def scored(index: PhotoIndex, query: F32, limits: TuningLimits = BUDGET) -> list[int]:
    """Return how many photos of each segment a search scores."""
    kernel, rotated, live = load_kernel(), rotate(query), index.segments
    segments = [entry.segment for entry in live]
    split = [split_query(rotated, segment.axis) for segment in segments]
    nearest = [
        search.scan(entry, entry.filtered(RowFilter(), kernel), rotated, K, kernel)
        for entry in live
    ]
    found = search.rescore(segments, split, nearest, K, kernel, limits)
    for places, scores in found:
        assert (np.diff(places) > 0).all()
        assert len(places) == len(scores)
    return [len(places) for places, _ in found]


def queries() -> Any:
    return photos_and_queries(1, 60, dim=DIM)[1]


def test_fewer_records_are_read_and_the_same_photos_found(index: PhotoIndex, folder: Path) -> None:
    few = [index.search(query, K) for query in queries()]
    thorough = with_budget(folder, missed=-1)
    every = [thorough.search(query, K) for query in queries()]
    allowed = [live.candidates.of(live.photos, K) for live in index.segments]
    for query in queries()[:3]:
        assert scored(index, query, TuningLimits(missed=-1)) == allowed
    assert sum(sum(scored(index, query)) for query in queries()) < 0.85 * sum(allowed) * 60
    kept = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(few, every, strict=True)]
    assert np.mean(kept) >= 0.998


def test_the_nearest_by_bits_alone_would_not_do(index: PhotoIndex, folder: Path) -> None:
    """Candidates that the spread of errors lets in count."""
    few = [index.search(query, K) for query in queries()]
    hasty = with_budget(folder, missed=np.inf, part=PHOTOS)
    bare = [hasty.search(query, K) for query in queries()]
    kept = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(bare, few, strict=True)]
    assert np.mean(kept) < 0.99


def test_more_results_than_are_scored_first_are_found(index: PhotoIndex) -> None:
    query = queries()[0]
    found = index.search(query, 1000)
    exact = index.search(query, 1000, exact=True)
    assert len(set(found.paths)) == 1000
    assert len(set(found.paths) & set(exact.paths)) >= 980
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("k", first_of([10, 1, 300]))
def test_every_kernel_scores_the_same(folder: Path, k: int) -> None:
    live = PhotoIndex.open(folder).segments
    segments = [entry.segment for entry in live]
    shares = []
    for query in queries():
        rotated = rotate(query)
        split = [split_query(rotated, segment.axis) for segment in segments]
        nearest = [
            search.scan(entry, entry.filtered(RowFilter(), ORACLE), rotated, k, ORACLE)
            for entry in live
        ]
        scored_all = search.Candidates(nearest[1].places)
        for candidates in (nearest, [nearest[0], scored_all], nearest[:1]):
            count = len(candidates)
            pairs = (segments[:count], split[:count], candidates, k)
            plain = search.rescore(*pairs, ORACLE, BUDGET)
            for compiled in levels():
                found = search.rescore(*pairs, compiled, BUDGET)
                for (places, scores), (expected, cosines) in zip(found, plain, strict=True):
                    assert np.array_equal(places, expected)
                    assert np.array_equal(scores, cosines)
            shares.append(len(plain[0][0]) / len(nearest[0].places))
    assert min(shares) < max(shares)
    assert k > 100 or np.mean(shares) < 0.85


def test_copies_of_one_photo_which_err_alike_are_all_scored(tmp_path: Path) -> None:
    """No error is taken for none: any of them may be the best."""
    photo = photos_and_queries(1, 1, dim=DIM)[0]
    index = PhotoIndex.create(tmp_path / "index", dim=DIM, student_sha256=SHA, student="tiny")
    with index.writer() as writer:
        writer.add(names(2000), np.repeat(photo, 2000, axis=0))
    segment = index.segments[0].segment
    query = split_query(rotate(photo[0]), segment.axis)
    for distance in range(40, 50):
        distances = np.full(2000, distance, np.uint16)
        copies = search.Candidates(np.arange(2000), distances, 1e-3)
        for compiled in kernels():
            found = search.rescore([segment], [query], [copies], K, compiled, BUDGET)
            assert len(found[0][0]) == 2000


def test_where_bits_tell_little_less_is_left_out(tmp_path: Path) -> None:
    """Photos and queries that are even on the sphere: more than one of eight is a candidate."""
    even = np.random.default_rng(3).normal(size=(6_100, DIM)).astype(np.float32)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    index = PhotoIndex.create(tmp_path / "index", dim=DIM, student_sha256=SHA, student="tiny")
    with index.writer() as writer:
        writer.add(names(6000), even[:6000])
    (live,) = index.segments
    assert live.candidates.of(live.photos, K) > 6000 / 8
    kept = []
    for missed in (BUDGET.missed_of_many, BUDGET.missed):
        opened = with_budget(tmp_path / "index", missed_of_many=missed)
        found = [set(opened.search(query, K).paths) for query in even[6000:]]
        limits = TuningLimits(missed_of_many=missed)
        kept.append((sum(sum(scored(opened, query, limits)) for query in even[6000:]), found))
    assert kept[0][0] > 1.1 * kept[1][0]
    exact = [set(index.search(query, K, exact=True).paths) for query in even[6000:]]
    assert np.mean([len(a & b) / K for a, b in zip(kept[0][1], exact, strict=True)]) >= 0.995


def test_errors_are_judged_alike_whatever_the_order_of_sums() -> None:
    errors = np.random.default_rng(1).normal(2.0, 0.03, 5000)
    mean, deviation = spread(errors)
    assert (mean, deviation) == spread(errors[::-1])
    assert mean == pytest.approx(errors.mean(), abs=1e-6)
    assert deviation == pytest.approx(errors.std(), abs=1e-6)
    assert spread(np.full(9, 0.5))[1] > 0


def test_a_large_error_is_no_less_probable_than_it_is_thought() -> None:
    deviations = np.linspace(-3, 6, 91)
    tail = np.array([erfc(z / sqrt(2)) / 2 for z in deviations])
    bound = above(deviations)
    assert (tail <= bound).all()
    assert (bound[deviations >= 0] <= 8 * tail[deviations >= 0]).all()


@pytest.mark.slow
def test_one_segment_is_measured_by_the_best_of_all(tmp_path: Path) -> None:
    """A segment in which nothing is near costs the rows that are scored in any case."""
    photos, _ = photos_and_queries(30_000, 1, dim=DIM)
    index = PhotoIndex.create(tmp_path / "index", dim=DIM, student_sha256=SHA, student="tiny")
    with index.writer() as writer:
        writer.add(names(20_000, "near"), photos[:20_000])
    far = photos[20_000:] - 1.5 * photos.mean(axis=0)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    with index.writer() as writer:
        writer.add(names(9_000, "other"), far[:9_000])
    smaller = index.segments[1]
    assert smaller.segment.photos == 9_000
    candidates = smaller.candidates.of(smaller.photos, K)
    sure = max(BUDGET.at_least, candidates // BUDGET.part)
    assert candidates > 2 * sure
    for query in photos[:20]:
        found = index.search(query, K)
        assert all(path.startswith("near") for path in found.paths)
        assert scored(index, query)[1] == sure
