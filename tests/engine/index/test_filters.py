"""Searches of a folder, of a time: only photos that pass, and the nearest of those."""

from __future__ import annotations

import weakref
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.index.core import OpenFilter
from mcad_mobile.engine.index.writer import NO_TIME
from mcad_mobile.engine.photos.dates import moment
from mcad_mobile.errors import QueryError
from tests.support.index_embeddings import F32, create, filled, names, photos_and_queries
from tests.support.index_oracle import read_index
from tests.support.kernels import LEVELS, LIBRARY, address

pytestmark = pytest.mark.long


DAY = 24 * 60


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, F32, F32, list[str]]:
    """12,000 photos in three folders, photo n taken on day n / 10; of every 100th nobody knows."""
    directory = tmp_path_factory.mktemp("gallery")
    photos, queries = photos_and_queries(12_000, 40, dim=128)
    paths = names(7000, "/home/ü") + names(4990, "/home/ü b") + names(10, "/home/ü/few")
    taken = np.arange(12_000, dtype=np.int32) // 10 * DAY
    taken[::100] = NO_TIME
    with create(directory, 128).writer() as writer:
        writer.add(paths, photos, None, taken)
    return directory, photos, queries, paths


def passing(paths: list[str], rows: RowFilter) -> list[int]:
    found = []
    for row, path in enumerate(paths):
        taken = row // 10 * DAY if row % 100 else None
        inside = not rows.folders or any(path.startswith(f"{f}/") for f in rows.folders)
        late = rows.after is None or (taken is not None and taken >= rows.after)
        early = rows.before is None or (taken is not None and taken < rows.before)
        if inside and late and early:
            found.append(row)
    return found


def test_a_filter_is_made_of_folders_and_dates_as_a_user_writes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    made = PhotoIndex.filter("~/a", Path("b/../c"), after="2024-05-01", before="2024-05-02T18:30")
    folders = (str(tmp_path / "a"), str(tmp_path / "c"))
    assert made == RowFilter(folders, moment("2024-05-01"), moment("2024-05-02T18:30"))
    assert PhotoIndex.filter() == RowFilter()
    with pytest.raises(QueryError, match="for one day, the day after it"):
        PhotoIndex.filter(after="2024-05-01", before="2024-05-01")


FILTERS = {
    "a folder": RowFilter(("/home/ü",)),
    "a folder whose name goes on": RowFilter(("/home/ü b",)),
    "two folders": RowFilter(("/home/ü/few", "/home/ü b")),
    "nearly all": RowFilter(after=10 * DAY),
    "half": RowFilter(before=600 * DAY),
    "a twentieth": RowFilter(after=400 * DAY, before=460 * DAY),
    "one in a thousand": RowFilter(after=700 * DAY, before=701 * DAY + 1),
    "a time of a folder": RowFilter(("/home/ü",), after=100 * DAY, before=500 * DAY),
    "less than asked for": RowFilter(("/home/ü/few",)),
    "none": RowFilter(after=5000 * DAY),
    "no such folder": RowFilter(("/home/ü/beach",)),
}


@pytest.mark.parametrize("which", FILTERS)
def test_the_nearest_of_those_that_pass_are_found(
    gallery: tuple[Path, F32, F32, list[str]], which: str
) -> None:
    directory, photos, queries, paths = gallery
    rows = FILTERS[which]
    passed = passing(paths, rows)
    index = PhotoIndex.open(directory)
    assert index.count(rows) == len(passed)
    hits, kept = 0, min(10, len(passed))
    for query in queries:
        true = {paths[passed[at]] for at in np.argsort(-(photos[passed] @ query))[:10]}
        found = index.search(query, rows=rows).paths
        assert len(found) == len(set(found)) == kept
        assert set(found) <= {paths[row] for row in passed}
        exact = index.search(query, rows=rows, exact=True).paths
        assert len(true & set(exact)) >= kept - 1
        hits += len(true & set(found))
    assert hits >= 0.99 * kept * len(queries)


def test_deleted_photos_pass_no_filter(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(3000, 10)
    index = create(tmp_path)
    taken = np.full(3000, 5, np.int32)
    with index.writer() as writer:
        writer.add(names(3000), photos, None, taken)
    gone = index.search(queries[0], 5).paths
    with index.writer() as writer:
        writer.delete(gone)
    rows = RowFilter(("photo",), after=5, before=6)
    assert index.count(rows) == 2995
    assert not set(gone) & set(index.search(queries[0], 50, rows=rows).paths)


def test_times_outlive_merges_moves_and_new_embeddings(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(600, 1)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(300), photos[:300], None, np.arange(300, dtype=np.int32))
    with index.writer() as writer:
        writer.move([("photo/000007.jpg", "other/7.jpg", (1, 2))])
        writer.move([("photo/000008.jpg", "other/8.jpg", (1, 2))])
        writer.set_times({"other/8.jpg": -17, "nobody.jpg": 3})
        writer.add(["photo/000009.jpg"], photos[300:301], None, np.array([900], np.int32))
        writer.add(["photo/000010.jpg"], photos[301:302])
    index.compact()
    times = index.dates()
    assert times["other/7.jpg"] == 7
    assert times["other/8.jpg"] == -17
    assert times["photo/000009.jpg"] == 900
    assert times["photo/000010.jpg"] == NO_TIME
    assert times["photo/000011.jpg"] == 11
    assert index.count(RowFilter(before=0)) == 1


LATEST = 2**31 - 1


@pytest.mark.parametrize(
    ("after", "before"),
    [(3, 9), (-5, None), (None, 0), (NO_TIME, 2**40), (9, 3), (LATEST, None), (2**40, None)],
)
def test_times_pass_as_they_are_compared_one_by_one(
    tmp_path: Path, after: int | None, before: int | None
) -> None:
    random = np.random.default_rng(0)
    taken = random.integers(-12, 12, 500).astype(np.int32)
    taken[::7], taken[3], taken[4] = NO_TIME, LATEST, NO_TIME + 1
    paths = names(60, "a") + names(303, "b") + names(137, "c")
    with create(tmp_path).writer() as writer:
        writer.add(paths, photos_and_queries(500, 1)[0], None, taken)
    with PhotoIndex.open(tmp_path).writer() as writer:
        writer.delete(paths[100:103])
    (segment,), index = read_index(tmp_path), PhotoIndex.open(tmp_path)
    for folders in ((), ("b",), ("a", "c"), ("c", "d")):
        rows = RowFilter(folders, after, before)
        expected = [
            row
            for row, (path, time) in enumerate(zip(paths, taken.tolist(), strict=True))
            if (not folders or path[0] in folders)
            and time > NO_TIME
            and (after is None or time >= after)
            and (before is None or time < before)
            and row not in range(100, 103)
        ]
        assert np.flatnonzero(segment.passes(rows)).tolist() == expected
        assert index.count(rows) == len(expected)
        assert index.passing_paths(rows) == [paths[row] for row in expected]


def test_times_pass_at_every_level_wherever_a_range_starts_and_ends() -> None:
    times = np.random.default_rng(0).integers(-12, 12, 500).astype(np.int32)
    times[::7], times[3] = NO_TIME, LATEST
    bounds = [(-5, LATEST), (-5, 3), (NO_TIME + 1, LATEST), (NO_TIME + 1, 3)]
    for start, stop, (first, last) in product((0, 3, 16), (17, 470, 500), bounds):
        within = (times >= first) & (times <= last) & (np.arange(500) >= start)
        within[stop:] = False
        for level in LEVELS:
            bits = np.zeros(64, np.uint8)
            more = last - first
            LIBRARY.mcad_filter_times(
                *(address(times), start, stop, first & 2**32 - 1, more, address(bits), level)
            )
            assert np.array_equal(np.unpackbits(bits, bitorder="little")[:500], within)


def test_a_photo_whose_time_is_not_known_is_of_no_time_however_early(gallery):
    directory, _, _, _ = gallery
    index = PhotoIndex.open(directory)
    assert index.count(RowFilter(after=NO_TIME)) == index.count(RowFilter(after=0)) == 11_880


def test_filters_that_follow_each_other_count_what_passes_each(tmp_path: Path) -> None:
    with create(tmp_path).writer() as writer:
        paths = [*names(30, "a"), *names(30, "b")]
        writer.add(paths, photos_and_queries(60, 1)[0], None, np.arange(60, dtype=np.int32))
    index = PhotoIndex.open(tmp_path)
    for folders, of_folders in ((), range(60)), (("a",), range(30)), (("b/",), range(30, 60)):
        for after, before in product((None, 10, 40), (None, 20, 50)):
            passing = range(0 if after is None else after, 60 if before is None else before)
            expected = len({*of_folders} & {*passing})
            assert index.count(RowFilter(folders, after, before)) == expected


def test_the_last_eight_filters_are_kept_and_no_more(tmp_path: Path) -> None:
    """Each holds a bit for every photo."""
    core = filled(tmp_path)._core

    def used(after: int) -> weakref.ref[OpenFilter]:
        with core.filtered(RowFilter(after=after)) as passing:
            return weakref.ref(passing)

    first, *kept = [used(after) for after in range(9)]
    assert first() is None
    for after, passing in enumerate(kept, start=1):
        assert used(after)() is passing() is not None


def test_no_two_searches_at_once_have_the_same_filter(tmp_path: Path) -> None:
    core, rows = filled(tmp_path)._core, RowFilter(after=0)
    with core.filtered(rows) as first, core.filtered(rows) as second:
        assert first is not second
    with core.filtered(rows) as third, core.filtered(rows) as fourth:
        assert {third, fourth} == {first, second}
