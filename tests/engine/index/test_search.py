"""What a search returns: the nearest photos, none that were deleted, whatever the sizes."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter, TuningLimits
from mcad_mobile.errors import PhotoIndexError
from tests.support import index_oracle, kernels
from tests.support.damaged_index import rewrite_manifest
from tests.support.index_embeddings import F32, names, photos_and_queries, unit
from tests.support.index_oracle import read_index
from tests.support.kernels import LEVELS
from tests.support.variants import first_of

Build = Callable[..., PhotoIndex]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(*batches: F32, prefix: str = "photo") -> PhotoIndex:
        index = PhotoIndex.create(
            tmp_path / "index", dim=batches[0].shape[1], student_sha256="ab" * 32, student="tiny"
        )
        for i, batch in enumerate(batches):
            with index.writer() as writer:
                writer.add(names(len(batch), f"{prefix}{i}"), batch)
        return index

    return make


def faiss() -> Any:
    """Import faiss, a development dependency: on CI its absence is a failure, not a skip."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("faiss", exc_type=ImportError)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SWIG's types warn on import
        return importlib.import_module("faiss")


def rows(paths: list[str]) -> list[int]:
    return [int(path[-10:-4]) for path in paths]


def candidates(index: PhotoIndex, k: int) -> int:
    segments = read_index(index._directory)
    return sum(index_oracle.count(s.entry["candidates"], s.is_live.sum(), k) for s in segments)


def recall(found: list[list[int]], true: np.ndarray) -> float:
    pairs = zip(found, true, strict=True)
    return float(np.mean([len(set(f) & set(t.tolist())) / len(t) for f, t in pairs]))


@pytest.mark.long
def test_two_passes_find_the_ten_nearest_of_exact_float_search(build: Build) -> None:
    photos, queries = photos_and_queries(20_000, 100, dim=256)
    index = build(photos)
    assert candidates(index, 10) < 20_000 / 10
    found = [rows(index.search(query).paths) for query in queries]
    true = np.argsort(-(queries @ photos.T), axis=1)[:, :10]
    assert recall(found, true) >= 0.99


@pytest.mark.long
def test_exact_search_agrees_with_faiss_flat(build: Build) -> None:
    photos, queries = photos_and_queries(3000, 50, dim=256)
    index = build(photos)
    flat = faiss().IndexFlatIP(256)
    flat.add(photos)
    true_scores, true = flat.search(queries, 10)
    hits = [index.search(query, exact=True) for query in queries]
    assert recall([rows(hit.paths) for hit in hits], true) >= 0.99
    assert np.abs(np.stack([hit.scores for hit in hits]) - true_scores).max() < 2e-3


@pytest.mark.long
@pytest.mark.parametrize(
    ("dim", "least"),
    first_of([(40, 0.95), (8, 0.8), (48, 0.95), (96, 0.95), (200, 0.95), (384, 0.95)]),
)
def test_widths_that_are_not_whole_words_are_scanned_too(
    build: Build, dim: int, least: float
) -> None:
    photos, queries = photos_and_queries(5000, 40, dim=dim)
    index = build(photos)
    assert dim < 64 or candidates(index, 10) < 5000
    found = [index.search(query).paths for query in queries]
    exact = [index.search(query, exact=True).paths for query in queries]
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert same >= least


@pytest.mark.parametrize("words", [1, 2, 3, 16, 64])
def test_the_kernels_find_what_a_sort_of_all_distances_finds(words: int) -> None:
    random = np.random.default_rng(words)
    columns = random.integers(0, 2**64, (words, 5000), dtype=np.uint64)
    query = random.integers(0, 2**64, (3, words), dtype=np.uint64)
    columns[:, 17], columns[:, 18] = ~query[0], query[0]
    differ = columns ^ query[0][:, None]
    distances = sum(
        weight * np.bitwise_count(differ & query[weight][:, None]).sum(axis=0, dtype=np.int64)
        for weight in (1, 2)
    )
    allowed = random.integers(0, 256, 625, dtype=np.uint8)
    rare = np.packbits(random.random(5000) < 0.03, bitorder="little")
    both = np.concatenate([rare[:300], allowed[300:]])
    several = [range(3, 40), range(41, 42), range(200, 4300), range(4990, 5000)]
    for spans in ([range(5000)], [range(13, 4321)], [range(70, 71)], several):
        for mask in (None, allowed, rare, both, np.zeros_like(rare)):
            among = np.concatenate([np.array(span) for span in spans])
            if mask is not None:
                among = among[np.unpackbits(mask, bitorder="little")[among] == 1]
            order = among[np.argsort(distances[among], kind="stable")]
            for wanted in (0, 1, 10, 500, 4999, 6000):
                for level in LEVELS:
                    found, at = kernels.nearest(columns, query, spans, wanted, mask, level)
                    assert found.tolist() == sorted(order[:wanted].tolist())
                    assert at.tolist() == distances[found].tolist()


def test_equal_distances_go_to_the_first_rows() -> None:
    columns = np.zeros((2, 9000), np.uint64)
    columns[0, 4000:] = 1
    query = np.array([[1, 0], [1, 1], [0, 0]], np.uint64)
    for level in LEVELS:
        found, _ = kernels.nearest(columns, query, [range(9000)], 100, None, level)
        assert found.tolist() == [*range(4000, 4100)]
        found, _ = kernels.nearest(columns, query, [range(9000)], 5100, None, level)
        assert found.tolist() == [*range(100), *range(4000, 9000)]


@pytest.mark.parametrize("near", [1, 128, 400], ids=["none", "few", "enough"])
def test_photos_that_a_scan_looks_at_first_may_be_nearer_than_others(near: int) -> None:
    """It guesses by the first 128 of every 2048 how far it has to look."""
    random = np.random.default_rng(near)
    columns = random.integers(0, 2**64, (3, 40_000), dtype=np.uint64)
    query = random.integers(0, 2**64, (3, 3), dtype=np.uint64)
    columns[:, (np.arange(40_000) - 13) % 2048 < near] = query[0][:, None]
    cells = [range(start, start + 390) for start in range(13, 39_000, 400)]
    for spans in ([range(13, 40_000)], cells):
        every = np.concatenate([np.array(span) for span in spans])
        nearest, _ = index_oracle.nearest(columns[:, every], query, 4000)
        for level in LEVELS:
            found, _ = kernels.nearest(columns, query, spans, 4000, None, level)
            assert found.tolist() == every[nearest].tolist()


SHORT_SCAN = {"bits": 64, "candidates": {"factor": 9.0, "exponent": 0.3, "growth": 1.0}}
CELLS = TuningLimits(cells_from=2000, cells_gain=0.0, photos_per_cell=16)


@pytest.mark.long
@pytest.mark.parametrize("prescan", [None, SHORT_SCAN], ids=["one scan", "two"])
@pytest.mark.parametrize("limits", [TuningLimits(), CELLS], ids=["all", "cells"])
@pytest.mark.parametrize("dim", first_of([136, 40, 64, 256, 520]))
def test_an_index_gives_what_numpy_gives_at_every_level(
    tmp_path: Path, dim: int, limits: TuningLimits, prescan: dict[str, Any] | None
) -> None:
    """Bit for bit: two segments, deleted photos, filters, one and many results."""
    photos, queries = photos_and_queries(5000, 6, dim=dim)
    times = np.arange(5000, dtype=np.int32)
    index = PhotoIndex.create(
        tmp_path, dim=dim, student_sha256="ab" * 32, student="tiny", limits=limits
    )
    for start, stop in ((0, 4000), (4000, 5000)):
        with index.writer() as writer:
            part = slice(start, stop)
            writer.add(names(5000)[part], photos[part], None, times[part])
    with index.writer() as writer:
        writer.delete(names(5000)[::11])
    segments = read_index(tmp_path)
    assert len(segments) == 2
    if prescan and len(segments[0].columns) > 1:
        rewrite_manifest(tmp_path, {"segments": [s.entry | {"prescan": prescan} for s in segments]})
        segments = read_index(tmp_path)
    filters = [
        RowFilter(),
        RowFilter(after=300, before=4300),
        RowFilter(after=4950),
        RowFilter(("no",)),
    ]
    opened = [PhotoIndex.open(tmp_path, TuningLimits(level=level)) for level in LEVELS]
    for query in queries:
        rotated = kernels.rotate(query)
        for rows in filters:
            for k, exact in ((10, False), (10, True), (1, False), (120, False)):
                scored = None if exact else TuningLimits()
                paths, scores = index_oracle.search(segments, rotated, k, rows, scored)
                for index in opened:
                    hits = index.search(query, k, rows=rows, exact=exact)
                    assert [path.encode() for path in hits.paths] == paths
                    assert hits.scores.tolist() == scores


def test_scores_are_cosines_best_first(build: Build) -> None:
    photos, queries = photos_and_queries(500, 1)
    hits = build(photos).search(queries[0], k=20)
    assert hits.scores.dtype == np.float32
    assert (np.diff(hits.scores) <= 0).all()
    true = photos[rows(hits.paths)] @ queries[0]
    assert np.abs(hits.scores - true).max() < 2e-3
    assert hits.scan_ms >= 0 and hits.rescore_ms > 0


def test_a_photo_is_its_own_nearest(build: Build) -> None:
    photos, _ = photos_and_queries(4000, 1)
    index = build(photos)
    assert [rows(index.search(photos[i], k=1).paths)[0] for i in range(0, 4000, 97)] == [
        *range(0, 4000, 97)
    ]


@pytest.mark.long
def test_deleted_photos_are_never_returned(build: Build) -> None:
    photos, queries = photos_and_queries(4000, 20, dim=256)
    index = build(photos)
    assert candidates(index, 30) < 3900
    best = [index.search(query, k=5).paths for query in queries]
    gone = {path for paths in best for path in paths}
    with index.writer() as writer:
        assert writer.delete(sorted(gone)) == len(gone)
    for exact in (False, True):
        for query in queries:
            hits = index.search(query, k=30, exact=exact)
            assert len(hits.paths) == 30
            assert gone.isdisjoint(hits.paths)


# Rows of 9,050 to delete. More than one in eight would have the segment written anew.
GONE = {
    "first": range(1000),
    "middle": range(4000, 5000),
    "last": range(9000, 9050),
    "parts of all": range(0, 9050, 9),
}


@pytest.mark.long
@pytest.mark.parametrize("part", first_of(GONE))
def test_a_scan_with_tombstones_finds_what_exact_search_finds(
    build: Build, tmp_path: Path, part: str
) -> None:
    photos, queries = photos_and_queries(9050, 30, dim=256)
    everything = names(9050, "photo0")
    gone = {everything[row] for row in GONE[part]}
    with build(photos).writer() as writer:
        assert writer.delete(sorted(gone)) == len(gone)
    index = PhotoIndex.open(tmp_path / "index")
    (segment,) = read_index(tmp_path / "index")
    assert len(segment.entry["deleted"]) == len(gone)
    assert candidates(index, 10) < segment.is_live.sum() / 4
    pairs = [(index.search(query), index.search(query, exact=True)) for query in queries]
    same = [len(set(hits.paths) & set(exact.paths)) / 10 for hits, exact in pairs]
    assert np.mean(same) >= 0.99
    for hits, exact in pairs:
        assert gone.isdisjoint(hits.paths)
        # A photo scores the same however it was chosen.
        scores = dict(zip(exact.paths, exact.scores.tolist(), strict=True))
        assert [scores.get(p, s) for p, s in zip(hits.paths, hits.scores, strict=True)] == (
            hits.scores.tolist()
        )


def test_results_come_from_all_segments(build: Build) -> None:
    photos, queries = photos_and_queries(7000, 30)
    index = build(photos[:5000], photos[5000:6500], photos[6500:])
    found = [index.search(query).paths for query in queries]
    names_of = names(5000, "photo0") + names(1500, "photo1") + names(500, "photo2")
    true = np.argsort(-(queries @ photos.T), axis=1)[:, :10]
    hit = [len(set(f) & {names_of[i] for i in t}) / 10 for f, t in zip(found, true, strict=True)]
    assert np.mean(hit) >= 0.98


@pytest.mark.long
def test_small_segments_of_a_large_index_are_searched(build: Build) -> None:
    photos, _ = photos_and_queries(6001, 1)
    index = build(photos[:6000], photos[6000:])
    assert index.search(photos[6000], k=1).paths == ["photo1/000000.jpg"]


def test_an_empty_index_has_no_hits(build: Build) -> None:
    index = build(np.empty((0, 64), np.float32))
    for exact in (False, True):
        hits = index.search(unit(np.ones(64)), exact=exact)
        assert hits.paths == []
        assert hits.scores.shape == (0,)


def test_an_index_whose_photos_are_all_deleted_has_no_hits(build: Build) -> None:
    photos, queries = photos_and_queries(300, 1)
    index = build(photos)
    with index.writer() as writer:
        writer.delete(index.paths())
    assert index.photos == 0
    assert index.search(queries[0]).paths == []


def test_more_results_than_photos_gives_every_photo_once(build: Build) -> None:
    photos, queries = photos_and_queries(30, 1)
    index = build(photos)
    with index.writer() as writer:
        writer.delete(["photo0/000003.jpg"])
    for k in (29, 1000, 2**61):
        hits = index.search(queries[0], k=k)
        assert sorted(hits.paths) == index.paths()
        assert len(hits.scores) == 29


@pytest.mark.slow
def test_many_results_are_as_good_as_few(build: Build) -> None:
    photos, queries = photos_and_queries(20_000, 10, dim=256)
    index = build(photos)
    assert candidates(index, 150) < 20_000
    for query in queries:
        hits = index.search(query, k=150)
        true = set(np.argsort(-(photos @ query))[:150].tolist())
        assert len(true & set(rows(hits.paths))) >= 0.97 * 150


@pytest.mark.long
def test_the_opposite_of_the_query_comes_last(build: Build) -> None:
    """256 differing bits overflow a byte: a count that wraps to 0 would put it first."""
    query = unit(np.where(np.arange(256) % 3 == 0, 1.0, -1.0))
    photos, _ = photos_and_queries(5000, 1, dim=256)
    index = build(np.concatenate([photos, -query[None], query[None]]))
    hits = index.search(query, k=5000)
    assert rows(hits.paths)[0] == 5001
    assert 5000 not in rows(index.search(query, k=50).paths)


@pytest.mark.long
def test_equal_photos_are_all_found(build: Build) -> None:
    photos, _ = photos_and_queries(4000, 1, dim=256)
    photos[1000:3000] = photos[1000]
    index = build(photos)
    for k in (30, 1500):  # by a scan, and by the bytes of all
        hits = index.search(photos[1000], k=k)
        assert set(rows(hits.paths)) <= set(range(1000, 3000))
        assert len(set(hits.paths)) == k


def test_photos_that_are_all_the_same_don_t_divide_by_zero(build: Build) -> None:
    photo = unit(np.eye(64)[:1] + 0.1)
    hits = build(np.repeat(photo, 3000, axis=0)).search(photo[0], k=3)
    assert np.allclose(hits.scores, 1, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.0, 0.0])
def test_a_query_that_is_not_a_unit_vector_is_refused(build: Build, bad: float) -> None:
    photos, queries = photos_and_queries(10, 1)
    with pytest.raises(PhotoIndexError, match="query has length"):
        build(photos).search(queries[0] * np.float32(bad))


def test_a_query_of_another_width_names_both(build: Build) -> None:
    photos, _ = photos_and_queries(10, 1)
    with pytest.raises(PhotoIndexError, match=r"\[32\].*\[64\]"):
        build(photos).search(unit(np.ones(32)))


def test_asking_for_no_results_is_refused(build: Build) -> None:
    photos, queries = photos_and_queries(10, 1)
    with pytest.raises(PhotoIndexError, match="0 results"):
        build(photos).search(queries[0], k=0)
