"""Pass 2 reads no more records than may hold a result."""

from __future__ import annotations

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
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each call reads."""
    counts: list[int] = []
    before = rescore.cosines

    def counted(segment: Any, query: Any, rows: Any, kernel: Any) -> Any:
        assert len(rows) == len(set(rows.tolist()))
        counts.append(len(rows))
        return before(segment, query, rows, kernel)

    monkeypatch.setattr(rescore, "cosines", counted)
    return counts


def queries() -> Any:
    return photos_and_queries(1, 60, dim=DIM)[1]


def test_fewer_records_are_read_and_the_same_photos_found(
    index: Store, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [index.search(query, K) for query in queries()]
    some = sum(read)
    read.clear()
    monkeypatch.setattr(rescore, "_most", lambda errors, rows: np.inf)
    every = [index.search(query, K) for query in queries()]
    allowed = sum(live.reach.candidates(live.live, K) for live in index._commit[1])
    assert sum(read) == allowed * len(queries())
    assert some < 0.85 * sum(read)
    kept = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(few, every, strict=True)]
    assert np.mean(kept) >= 0.998


def test_the_nearest_by_bits_alone_would_not_do(
    index: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the spread of errors lets in counts."""
    few = [index.search(query, K) for query in queries()]
    monkeypatch.setattr(rescore, "_most", lambda errors, rows: -np.inf)
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


def test_a_cosine_is_judged_alike_whatever_the_order_of_sums() -> None:
    errors = np.random.default_rng(1).normal(2.0, 0.03, 5000)
    most = rescore._most(errors, 20_000)
    assert most == rescore._most(errors[::-1], 20_000)
    largest = np.random.default_rng(2).normal(2.0, 0.03, (50, 20_000)).max(axis=1)
    assert np.mean(most > largest) > 0.75
    assert most < largest.max() + 0.03


def test_one_segment_is_measured_by_the_best_of_all(tmp_path: Path, read: list[int]) -> None:
    """A segment in which nothing is near costs the rows that are scored in any case."""
    photos, _ = photos_and_queries(30_000, 1, dim=DIM)
    index = PhotoIndex.create(tmp_path / "index", dim=DIM, student_sha256=SHA, student="tiny")
    with index.writer() as writer:
        writer.add(names(20_000, "near"), photos[:20_000])
    far = photos[20_000:] - 1.5 * photos.mean(axis=0)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    with index.writer() as writer:
        writer.add(names(9_000, "other"), far[:9_000])
    assert len(index._commit[1]) == 2
    for query in photos[:20]:
        read.clear()
        found = index.search(query, K)
        assert all(path.startswith("near") for path in found.paths)
        assert read[1] == rescore._SURE
        assert len(read) == 3 or read[3] == 0
