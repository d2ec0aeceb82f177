"""Pass 2 reads no more records than may hold a result."""

from __future__ import annotations

from math import erfc, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index_embeddings import SHA, names, photos_and_queries

from mcad_mobile.index import PhotoIndex, rescore
from mcad_mobile.index.store import PhotoIndex as Store

PHOTOS, DIM, K = 40_000, 128, 10


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two segments of different sizes."""
    photos, _ = photos_and_queries(PHOTOS, 1, dim=DIM)
    index = PhotoIndex.create(
        tmp_path_factory.mktemp("rescore") / "index",
        dim=DIM,
        student_sha256=SHA,
        student="tiny",
    )
    for start, stop in ((0, 30_000), (30_000, PHOTOS)):
        with index.writer() as writer:
            writer.add(names(PHOTOS)[start:stop], photos[start:stop])
    return index


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Of which segment each call reads records, and how many."""
    counts: list[tuple[Any, int]] = []
    before = rescore.cosines

    def counted(segment: Any, query: Any, rows: Any, kernel: Any) -> Any:
        assert (np.diff(rows) > 0).all()
        counts.append((segment, len(rows)))
        return before(segment, query, rows, kernel)

    monkeypatch.setattr(rescore, "cosines", counted)
    return counts


def records(read: list[tuple[Any, int]]) -> int:
    return sum(count for _, count in read)


def queries() -> Any:
    return photos_and_queries(1, 60, dim=DIM)[1]


def test_fewer_records_are_read_and_the_same_photos_found(
    index: Store, read: list[tuple[Any, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [index.search(query, K) for query in queries()]
    some = records(read)
    read.clear()
    monkeypatch.setattr(rescore, "_MISSED", -1)
    every = [index.search(query, K) for query in queries()]
    allowed = sum(live.reach.candidates(live.live, K) for live in index._commit[1])
    assert records(read) == allowed * len(queries())
    assert some < 0.85 * records(read)
    kept = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(few, every, strict=True)]
    assert np.mean(kept) >= 0.998


def test_the_nearest_by_bits_alone_would_not_do(
    index: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the spread of errors lets in counts."""
    few = [index.search(query, K) for query in queries()]
    monkeypatch.setattr(rescore, "_MISSED", np.inf)
    monkeypatch.setattr(rescore, "_SURE_PART", PHOTOS)
    bare = [index.search(query, K) for query in queries()]
    kept = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(bare, few, strict=True)]
    assert np.mean(kept) < 0.99


def test_more_results_than_are_scored_first_are_found(index: Store) -> None:
    query = queries()[0]
    found = index.search(query, 1000)
    exact = index.search(query, 1000, exact=True)
    assert len(set(found.paths)) == 1000
    assert len(set(found.paths) & set(exact.paths)) >= 980
    assert (np.diff(found.scores) <= 0).all()


def test_no_record_is_read_for_nothing(index: Store, read: list[tuple[Any, int]]) -> None:
    for query in queries():
        index.search(query, K)
    assert min(count for _, count in read) > 0


def test_errors_are_judged_alike_whatever_the_order_of_sums() -> None:
    errors = np.random.default_rng(1).normal(2.0, 0.03, 5000)
    mean, deviation = rescore._spread(errors)
    assert (mean, deviation) == rescore._spread(errors[::-1])
    assert mean == pytest.approx(errors.mean(), abs=1e-6)
    assert deviation == pytest.approx(errors.std(), abs=1e-6)
    assert rescore._spread(np.full(9, 0.5))[1] > 0


def test_a_large_error_is_no_less_probable_than_it_is_thought() -> None:
    deviations = np.linspace(-3, 6, 91)
    tail = np.array([erfc(z / sqrt(2)) / 2 for z in deviations])
    bound = rescore._above(deviations)
    assert (tail <= bound).all()
    assert (bound[deviations >= 0] <= 8 * tail[deviations >= 0]).all()


def test_one_segment_is_measured_by_the_best_of_all(
    tmp_path: Path, read: list[tuple[Any, int]]
) -> None:
    """A segment in which nothing is near costs the rows that are scored in any case."""
    photos, _ = photos_and_queries(30_000, 1, dim=DIM)
    index = PhotoIndex.create(tmp_path / "index", dim=DIM, student_sha256=SHA, student="tiny")
    with index.writer() as writer:
        writer.add(names(20_000, "near"), photos[:20_000])
    far = photos[20_000:] - 1.5 * photos.mean(axis=0)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    with index.writer() as writer:
        writer.add(names(9_000, "other"), far[:9_000])
    _, smaller = sorted(index._commit[1], key=lambda live: -live.live)
    candidates = smaller.reach.candidates(smaller.live, K)
    sure = max(rescore._SURE, candidates // rescore._SURE_PART)
    assert candidates > 2 * sure
    for query in photos[:20]:
        read.clear()
        found = index.search(query, K)
        assert all(path.startswith("near") for path in found.paths)
        others = [count for segment, count in read if segment.photos == 9_000]
        assert others == [sure]
