"""Pass 2 reads no more records than may hold a result."""

from __future__ import annotations

import os
from math import erfc, sqrt
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from tests.support import kernels
from tests.support.index_embeddings import F32, create, names, photos_and_queries
from tests.support.index_oracle import (
    Segment,
    Task,
    above,
    candidates,
    count,
    read_index,
    rescore,
    split_query,
    spread,
)
from tests.support.kernels import LEVELS, Candidates, address, rotate
from tests.support.variants import first_of

pytestmark = pytest.mark.long


PHOTOS, DIM, K = 40_000, 128, 10
BUDGET = TuningLimits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of different sizes."""
    photos, _ = photos_and_queries(PHOTOS, 1, dim=DIM)
    folder = tmp_path_factory.mktemp("rescore") / "index"
    index = create(folder, DIM)
    for start, stop in ((0, 30_000), (30_000, PHOTOS)):
        with index.writer() as writer:
            writer.add(names(PHOTOS)[start:stop], photos[start:stop])
    return folder


@pytest.fixture(scope="module")
def segments(folder: Path) -> list[Segment]:
    return read_index(folder)


@pytest.fixture
def index(folder: Path) -> PhotoIndex:
    return PhotoIndex.open(folder)


def with_budget(folder: Path, **budget: float) -> PhotoIndex:
    return PhotoIndex.open(folder, TuningLimits(**budget))


def queries() -> F32:
    return photos_and_queries(1, 60, dim=DIM)[1]


Chosen = tuple[np.ndarray, np.ndarray | None, float]


def chosen_by(segments: list[Segment], query: F32, k: int = K) -> list[Chosen]:
    """The candidates of a search of all photos: places, distances, step."""
    return [candidates(s, rotate(query), k, np.arange(s.photos)) for s in segments]


def scored(
    segments: list[Segment], query: F32, chosen: list[Chosen], k: int, limits: TuningLimits
) -> list[int]:
    """Return how many candidates of each segment are scored, as numpy finds and each level does."""
    rotated, tasks, asked, kept = rotate(query), [], [], []
    for segment, (places, distances, step) in zip(segments, chosen, strict=True):
        residual, projection_step = split_query(rotated, segment.axis)
        rows, cosines = places.astype(np.uint32), np.empty(len(places), np.float32)
        columns, file = segment.columns.copy(), os.open(segment.file, os.O_RDONLY)
        kept.append((residual, rows, columns, distances, cosines, file))
        tasks.append(Task(segment.cosines(rotated)[places], distances, step, segment.photos))
        asked.append(
            Candidates(
                file=file,
                offset=segment.spans["records"][0],
                size=segment.spans["records"][1] // segment.photos,
                dim=DIM,
                words=len(columns),
                stride=segment.photos,
                columns=address(columns),
                residual=address(residual),
                projection_step=projection_step,
                rows=address(rows),
                distances=None if distances is None else address(distances),
                count=len(places),
                step=step,
                cosines=address(cosines),
            )
        )
    expected = rescore(tasks, k, limits)
    for level in LEVELS:
        kernels.rescore(asked, k, limits, level)
        for (*_, cosines, _), mask, task in zip(kept, expected, tasks, strict=True):
            assert np.array_equal(~np.isnan(cosines), mask)
            assert np.array_equal(cosines[mask], task.cosines[mask])
    for *_, file in kept:
        os.close(file)
    return [int(mask.sum()) for mask in expected]


def test_fewer_records_are_read_and_the_same_photos_found(
    index: PhotoIndex, folder: Path, segments: list[Segment]
) -> None:
    few = [index.search(query, K) for query in queries()]
    thorough = with_budget(folder, missed=-1)
    every = [thorough.search(query, K) for query in queries()]
    allowed = [count(s.entry["candidates"], s.photos, K) for s in segments]
    read = 0
    for query in queries()[:12]:
        chosen = chosen_by(segments, query)
        assert scored(segments, query, chosen, K, TuningLimits(missed=-1)) == allowed
        read += sum(scored(segments, query, chosen, K, BUDGET))
    assert read < 0.85 * sum(allowed) * 12
    same = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(few, every, strict=True)]
    assert np.mean(same) >= 0.998
    # Candidates that the spread of errors lets in count: the nearest by bits alone would not do.
    hasty = with_budget(folder, missed=np.inf, part=PHOTOS)
    bare = [hasty.search(query, K) for query in queries()]
    same = [len(set(a.paths) & set(b.paths)) / K for a, b in zip(bare, few, strict=True)]
    assert np.mean(same) < 0.99


def test_more_results_than_are_scored_first_are_found(index: PhotoIndex) -> None:
    query = queries()[0]
    found = index.search(query, 1000)
    exact = index.search(query, 1000, exact=True)
    assert len(set(found.paths)) == 1000
    assert len(set(found.paths) & set(exact.paths)) >= 980
    assert (np.diff(found.scores) <= 0).all()


@pytest.mark.parametrize("k", first_of([10, 1, 300]))
def test_every_level_scores_what_numpy_scores(segments: list[Segment], k: int) -> None:
    shares = []
    for query in queries()[:15]:
        near = chosen_by(segments, query, k)
        all_of = (near[1][0], None, 0.0)
        for chosen in (near, [near[0], all_of], near[:1]):
            found = scored(segments[: len(chosen)], query, chosen, k, BUDGET)
            shares.append(found[0] / len(near[0][0]))
    assert min(shares) < max(shares)
    assert k > 100 or np.mean(shares) < 0.85


def test_segments_share_what_a_search_may_miss(segments: list[Segment]) -> None:
    # Distances tell nothing, so each of the rest counts.
    hundred = (np.arange(100), np.arange(100, dtype=np.uint16), 1e-9)
    counts = {}
    for missed, of_many in ((20.0, 0.0), (0.0, 20.0), (0.0, 0.0)):
        many = 250  # 100 are more than one in 250 of 10,000, and not of 30,000
        limits = TuningLimits(at_least=20, missed=missed, missed_of_many=of_many, many=many)
        counts[missed] = scored(segments, queries()[0], [hundred] * 2, 4, limits)
        counts[missed, of_many] = counts[missed]
    assert counts[0.0, 0.0] == [100, 100]
    assert counts[20.0, 0.0][0] < 100 == counts[20.0, 0.0][1]
    assert counts[0.0, 20.0][1] < 100 == counts[0.0, 20.0][0]


def test_copies_of_one_photo_which_err_alike_are_all_scored(tmp_path: Path) -> None:
    """No error is taken for none: any of them may be the best."""
    photo = photos_and_queries(1, 1, dim=DIM)[0]
    with create(tmp_path / "index", DIM).writer() as writer:
        writer.add(names(2000), np.repeat(photo, 2000, axis=0))
    segments = read_index(tmp_path / "index")
    for distance in range(40, 50):
        copies = (np.arange(2000), np.full(2000, distance, np.uint16), 1e-3)
        assert scored(segments, photo[0], [copies], K, BUDGET) == [2000]


def test_where_bits_tell_little_less_is_left_out(tmp_path: Path) -> None:
    """Photos and queries that are even on the sphere: more than one of eight is a candidate."""
    even = np.random.default_rng(3).normal(size=(6_100, DIM)).astype(np.float32)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    index = create(tmp_path / "index", DIM)
    with index.writer() as writer:
        writer.add(names(6000), even[:6000])
    segments = read_index(tmp_path / "index")
    assert count(segments[0].entry["candidates"], 6000, K) > 6000 / 8
    read = []
    for missed in (BUDGET.missed_of_many, BUDGET.missed):
        limits = TuningLimits(missed_of_many=missed)
        chosen = [(query, chosen_by(segments, query)) for query in even[6000:6020]]
        read.append(sum(scored(segments, query, of, K, limits)[0] for query, of in chosen))
    assert read[0] > 1.1 * read[1]
    pairs = [(index.search(q, K), index.search(q, K, exact=True)) for q in even[6000:]]
    assert np.mean([len({*a.paths} & {*b.paths}) / K for a, b in pairs]) >= 0.995


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
    index = create(tmp_path / "index", DIM)
    with index.writer() as writer:
        writer.add(names(20_000, "near"), photos[:20_000])
    far = photos[20_000:] - 1.5 * photos.mean(axis=0)
    far /= np.linalg.norm(far, axis=1, keepdims=True)
    with index.writer() as writer:
        writer.add(names(9_000, "other"), far[:9_000])
    segments = read_index(tmp_path / "index")
    wanted = count(segments[1].entry["candidates"], 9_000, K)
    sure = max(BUDGET.at_least, wanted // BUDGET.part)
    assert wanted > 2 * sure
    for query in photos[:20]:
        assert all(path.startswith("near") for path in index.search(query, K).paths)
        assert scored(segments, query, chosen_by(segments, query), K, BUDGET)[1] == sure
