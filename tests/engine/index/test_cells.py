"""Cells: photos that are alike lie side by side, and a search looks into some of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter, TuningLimits
from mcad_mobile.engine.index.codes import decode, rotate
from mcad_mobile.engine.index.filters import ALL_ROWS, FilteredRows
from mcad_mobile.engine.index.paths import path_to_bytes
from mcad_mobile.engine.index.search import places_to_scan
from mcad_mobile.engine.index.segments import Segment, open_segment
from mcad_mobile.engine.native import load_kernel
from tests.support.index_embeddings import (
    F32,
    ORACLE,
    cells_from,
    create,
    kernels,
    levels,
    names,
    photos_and_queries,
    searching_by,
    stamps_of,
    unit,
)
from tests.support.tuning_oracle import split

pytestmark = pytest.mark.long


DIM, PHOTOS = 128, 20_000


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, F32, F32]:
    """20,000 photos in two folders, photo n taken in minute n; queries as far away as words are."""
    directory = tmp_path_factory.mktemp("gallery")
    photos, queries = photos_and_queries(PHOTOS, 60, dim=DIM)
    with create(directory, DIM, cells_from(PHOTOS)).writer() as writer:
        stamps = np.arange(2 * PHOTOS, dtype=np.uint32).reshape(-1, 2)
        taken = np.arange(PHOTOS, dtype=np.int32)
        paths = [*names(PHOTOS // 2, "a"), *names(PHOTOS // 2, "b")]
        writer.add(paths, photos, stamps, taken)
    return directory, photos, queries


def scanned(index: PhotoIndex, query: F32, rows: RowFilter = ALL_ROWS) -> int:
    """Return how many places a scan looks at."""
    (live,), kernel = index.segments, load_kernel()
    filtered = live.filtered(rows, kernel)
    if live.candidates.of(filtered.count, 10) >= filtered.count:
        return 0  # all are scored
    return sum(map(len, places_to_scan(live, filtered, rotate(query), 10, kernel)))


def segment_of(directory: Path, number: int = 0) -> Segment:
    return PhotoIndex.open(directory).segments[number].segment


def test_each_photo_is_in_the_cell_whose_centroid_is_nearest(
    gallery: tuple[Path, F32, F32],
) -> None:
    segment = segment_of(gallery[0])
    segment.verify()
    assert len(segment.centroids) == 256
    places = np.arange(PHOTOS)
    records = segment.records_of(segment.rows_at(places))
    residuals = split(decode(records, segment.axis), segment.axis)[1]
    centroids = segment.centroids / np.float64(2048)
    distances = (
        np.square(residuals).sum(axis=1)[:, None]
        - 2 * residuals.astype(np.float64) @ centroids.T
        + np.square(centroids).sum(axis=1)
    )
    cell = np.searchsorted(segment.starts, places, side="right") - 1
    own = distances[places, cell]
    # As stored, a photo is not quite what it was when its cell was looked up.
    assert (own - distances.min(axis=1)).max() < 2e-3
    assert (own == distances.min(axis=1)).mean() > 0.97


def test_a_search_looks_into_some_cells_and_finds_what_all_would_give(
    gallery: tuple[Path, F32, F32],
) -> None:
    index, queries = PhotoIndex.open(gallery[0]), gallery[2]
    held = 0
    for query in queries:
        exact = index.search(query, 10, exact=True)
        found = index.search(query, 10)
        held += len({*exact.paths} & {*found.paths})
        scores = dict(zip(exact.paths, exact.scores, strict=True))
        assert all(scores.get(p, s) == s for p, s in zip(found.paths, found.scores, strict=True))
    assert held >= 0.99 * 10 * len(queries)
    assert 0 < max(scanned(index, query) for query in queries) < 0.7 * PHOTOS


FILTERS = {
    "all": (RowFilter(), 0.7),
    "a folder": (RowFilter(("a",)), 0.45),
    "two folders": (RowFilter(("a", "b")), 0.9),
    "a fifth": (RowFilter(after=5000, before=9000), 1.0),
    "a tenth": (RowFilter(("b",), before=12_000), 0.5),
    "ten photos": (RowFilter(after=19_990), 0.0),
    "none": (RowFilter(("c",)), 0.0),
}


@pytest.mark.parametrize("which", FILTERS)
def test_all_kernels_look_into_the_same_cells(gallery: tuple[Path, F32, F32], which: str) -> None:
    rows, _ = FILTERS[which]
    (live,) = PhotoIndex.open(gallery[0]).segments
    orders = [ORACLE.order_cells(rotate(q), live.segment.centroids) for q in gallery[2][:10]]
    index, asked = (
        PhotoIndex.open(gallery[0]),
        [(q, k) for q in gallery[2][:10] for k in (1, 10, 99)],
    )
    with searching_by(ORACLE):
        expected = [index.search(query, k, rows=rows) for query, k in asked]
    allowed = np.zeros(PHOTOS, np.bool_)
    allowed[live.filtered(rows, ORACLE).places(ORACLE)] = True
    for compiled in kernels():
        (live,) = PhotoIndex.open(gallery[0]).segments  # it has probed no cells yet
        filtered = live.filtered(rows, compiled)
        for order in orders:
            for enough in (1, 700, filtered.count // 2 + 1):
                spans = filtered.probe(order, enough, compiled)
                assert all(len(span) > 0 for span in spans)
                assert all(a.stop < b.start for a, b in pairwise(spans))
                within = np.concatenate([[0], *(np.arange(r.start, r.stop) for r in spans)])
                within = within[1:].astype(np.intp)
                kept = within
                if filtered.allowed is not None:
                    bits = np.unpackbits(filtered.allowed, bitorder="little")
                    kept = within[bits[within] == 1]
                # The first cells in the order until they hold enough, and of them what passes.
                cells = live.segment.starts.searchsorted(np.flatnonzero(allowed), "right") - 1
                held = np.bincount(cells, minlength=len(order))[order].cumsum()
                chosen = order[: int(held.searchsorted(enough)) + 1]
                assert kept.tolist() == np.flatnonzero(allowed)[np.isin(cells, chosen)].tolist()
    for compiled in levels():
        index = PhotoIndex.open(gallery[0])  # it has probed no cells yet
        with searching_by(compiled):
            found = [index.search(query, k, rows=rows) for query, k in asked]
        for a, b in zip(found, expected, strict=True):
            assert a.paths == b.paths
            assert a.scores.tolist() == b.scores.tolist()


@pytest.mark.parametrize("span", [range(1, PHOTOS), range(PHOTOS - 1), range(7, 8), range(9, 9)])
def test_a_range_of_rows_is_one_of_places_in_each_cell(
    gallery: tuple[Path, F32, F32], span: range
) -> None:
    segment = segment_of(gallery[0])
    for compiled in kernels():
        places = FilteredRows(segment, span).places(compiled)
        assert sorted(segment.rows_at(places).tolist()) == [*span]


def test_searches_at_once_with_a_new_filter_find_what_one_alone_finds(
    gallery: tuple[Path, F32, F32],
) -> None:
    """They look into cells whose bits share bytes."""
    rows, queries = RowFilter(before=12_000), gallery[2][:8]
    index = PhotoIndex.open(gallery[0])
    alone = [index.search(query, rows=rows).paths for query in queries]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            index = PhotoIndex.open(gallery[0])  # it has probed no cells yet
            found = pool.map(partial(index.search, rows=rows), queries)
            assert [hits.paths for hits in found] == alone


@pytest.mark.parametrize(("rows", "most"), FILTERS.values(), ids=FILTERS)
def test_photos_are_counted_that_pass(
    gallery: tuple[Path, F32, F32], rows: RowFilter, most: float
) -> None:
    index, held, wanted = PhotoIndex.open(gallery[0]), 0, 0
    for query in gallery[2]:
        exact = index.search(query, 10, rows=rows, exact=True).paths
        found = index.search(query, 10, rows=rows).paths
        assert len(found) == len(exact)
        held, wanted = held + len({*exact} & {*found}), wanted + len(exact)
    assert held >= 0.99 * wanted
    assert len({*found} - {*index.search(query, PHOTOS, rows=rows, exact=True).paths}) == 0
    assert max(scanned(index, query, rows) for query in gallery[2]) <= most * PHOTOS


def test_rows_keep_what_belongs_to_them(gallery: tuple[Path, F32, F32]) -> None:
    directory, photos, _ = gallery
    index = PhotoIndex.open(directory)
    stamps = stamps_of(index)
    for row in range(0, PHOTOS // 2, 997):
        path = f"a/{row:06d}.jpg"
        found = index.embedding(path)
        assert found is not None
        assert found @ photos[row] > 0.999
        assert stamps[path] == (2 * row, 2 * row + 1)
    assert index.paths() == sorted(stamps)


def test_cells_live_through_changes_and_merges(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(9000, 20, dim=DIM)
    paths = names(9000)
    index = create(tmp_path, DIM, cells_from(4000))
    with index.writer() as writer:
        writer.add(paths[:8000], photos[:8000])
    with index.writer() as writer:
        writer.add(paths[8000:], photos[8000:])
        writer.delete(paths[:7])
        writer.move([(paths[8], "moved.jpg", (1, 2))])
    before = [index.search(query, 10, exact=True) for query in queries]
    was_in = index.segments[0].segment.cells_of(np.arange(9, 8000))
    assert [len(live.segment.centroids) > 0 for live in index.segments] == [True, False]
    index.compact()
    (live,) = index.segments
    assert live.cells and len(live.segment.centroids) > 0
    # The photos that have neither gone nor moved: nobody changes cells by a merge.
    found = live.segment.paths.find([path_to_bytes(path) for path in paths[9:8000]])
    assert np.array_equal(live.segment.cells_of(np.array([row for _, row in found])), was_in)
    index.verify()
    for query, was in zip(queries, before, strict=True):
        found = index.search(query, 10, exact=True)
        assert (found.paths, found.scores.tolist()) == (was.paths, was.scores.tolist())
    assert stamps_of(index)["moved.jpg"] == (1, 2)
    assert index.near_duplicates(0.9999) == []
    # Small once more, and without cells then.
    with index.writer() as writer:
        writer.delete(paths[100:8000])
    index.compact()
    assert [len(live.segment.centroids) for live in index.segments] == [0]


def test_a_segment_without_cells_spends_no_bytes_on_them(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(2000, 1)
    cells, files = {}, {}
    for name, least in (("with", 1000), ("without", 5000)):
        with create(tmp_path / name, limits=cells_from(least)).writer() as writer:
            writer.add(names(2000), photos)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        (file,) = (tmp_path / name).glob("*.mcs")
        parts = open_segment(file).parts
        cells[name] = [parts[part].length for part in ("centroids", "starts", "rows")]
        files[name] = file.stat().st_size
        assert file.read_bytes()[:8] == b"MCADSEG1"
        assert (manifest["segments"][0]["cells"] is None) == (name == "without")
    assert cells == {"with": [40 * 64 * 2, 41 * 4, 2000 * 4], "without": [0, 0, 0]}
    # Each of the three begins a page.
    assert files["with"] - files["without"] == (2 + 1 + 2) * 4096


def test_where_all_directions_matter_alike_there_are_no_cells(tmp_path: Path) -> None:
    white = unit(np.random.default_rng(0).normal(size=(6000, 64)))
    index = create(tmp_path, limits=TuningLimits(cells_from=1000))
    with index.writer() as writer:
        writer.add(names(6000), white)
    (live,) = index.segments
    assert live.cells is None
