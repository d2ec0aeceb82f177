"""Cells: photos that are alike lie side by side, and a search looks into some of them."""

from __future__ import annotations

import ctypes
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter, TuningLimits
from tests.support.index_embeddings import (
    F32,
    cells_from,
    create,
    names,
    photos_and_queries,
    stamps_of,
    unit,
)
from tests.support.index_oracle import Segment, count, order_cells, read_index, rotate, split
from tests.support.kernels import LEVELS, LIBRARY, Filter, address, decode

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


def scanned(segment: Segment, query: F32, rows: RowFilter) -> int:
    """Return how many places a scan looks at."""
    passing = segment.passes(rows)
    if count(segment.entry["candidates"], passing.sum(), 10) >= passing.sum():
        return 0  # all are scored
    enough = count(segment.entry["cells"], passing.sum(), 10) if passing.sum() >= 2048 else PHOTOS
    order = order_cells(rotate(query), segment.centroids)
    held = np.bincount(segment.cells[passing], minlength=len(order))[order].cumsum()
    chosen = order[: int(held.searchsorted(enough)) + 1]
    inside = np.flatnonzero(segment.passes(RowFilter(rows.folders)))
    between = (segment.rows >= inside[0]) & (segment.rows <= inside[-1])
    return int((between & np.isin(segment.cells[segment.rows], chosen)).sum())


def test_each_photo_is_in_the_cell_whose_centroid_is_nearest(
    gallery: tuple[Path, F32, F32],
) -> None:
    (segment,) = read_index(gallery[0])
    assert len(segment.centroids) == 256
    residuals = split(decode(segment.records, segment.axis), segment.axis)[1]
    centroids = segment.centroids / np.float64(2048)
    distances = (
        np.square(residuals).sum(axis=1)[:, None]
        - 2 * residuals.astype(np.float64) @ centroids.T
        + np.square(centroids).sum(axis=1)
    )
    own = distances[np.arange(PHOTOS), segment.cells[segment.rows]]
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
    (segment,) = read_index(gallery[0])
    assert 0 < max(scanned(segment, query, RowFilter()) for query in queries[:20]) < 0.7 * PHOTOS


FILTERS = {
    "all": (RowFilter(), 0.7),
    "a folder": (RowFilter(("a",)), 0.45),
    "two folders": (RowFilter(("a", "b")), 0.9),
    "a fifth": (RowFilter(after=5000, before=9000), 1.0),
    "a tenth": (RowFilter(("b",), before=12_000), 0.5),
    "ten photos": (RowFilter(after=19_990), 0.0),
    "none": (RowFilter(("c",)), 0.0),
}


@pytest.mark.parametrize("bits", [None, 0.5, 0.01], ids=["all", "half", "few"])
@pytest.mark.parametrize("span", [(0, 3000), (1, 2999), (7, 8), (9, 9)])
def test_cells_are_filtered_alike_at_every_level(bits: float | None, span: tuple[int, int]) -> None:
    """The first cells in an order until they hold enough, and of them what passes."""
    random = np.random.default_rng(7)
    starts = np.array([0, 5, 5, 900, 1500, 2993, 3000], np.uint32)
    rows = random.permutation(3000).astype(np.uint32)
    for first, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        rows[first:end].sort()
    passes = random.random(3008) < (2 if bits is None else bits)
    passes[3000:] = False
    row_bits = np.packbits(passes, bitorder="little").view(np.uint32)
    expected = passes[rows] & (rows >= span[0]) & (rows < span[1])
    order = np.array([4, 1, 0, 5, 3, 2])
    cells = np.repeat(np.arange(6), np.diff(starts))
    held = np.bincount(cells[expected], minlength=6)
    for enough in (1, 40, 5000):
        before = np.concatenate([[0], held[order].cumsum()[:-1]])
        probed = int((before < enough).sum())
        for level in LEVELS:
            found = np.zeros(376, np.uint8)
            ranges, counts = np.zeros((2, 6), np.uint32), np.full(6, -1, np.int32)
            task = Filter(
                rows=address(rows),
                starts=address(starts),
                row_bits=None if bits is None else address(row_bits),
                place_bits=address(found),
                cell_starts=address(ranges[0]),
                cell_ends=address(ranges[1]),
                counts=address(counts),
                photos=3000,
                first=span[0],
                end=span[1],
            )
            order_at = address(order)
            assert (
                LIBRARY.mcad_probe_cells(ctypes.byref(task), order_at, 6, enough, level) == probed
            )
            for cell in order[:probed].tolist():
                assert counts[cell] == held[cell]
                places = np.arange(*ranges[:, cell].tolist())
                if bits is not None:
                    places = places[np.unpackbits(found, bitorder="little")[places] == 1]
                assert places.tolist() == np.flatnonzero(expected & (cells == cell)).tolist()


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("filters", [1, 24], ids=["the same filter", "more filters than are kept"])
def test_eight_threads_find_what_one_finds(
    gallery: tuple[Path, F32, F32], tmp_path: Path, filters: int
) -> None:
    """They look into cells whose bits share bytes, of an index with deleted photos."""
    directory = shutil.copytree(gallery[0], tmp_path / "index")
    with PhotoIndex.open(directory).writer() as writer:
        writer.delete([*names(PHOTOS // 2, "a")[::13], *names(PHOTOS // 2, "b")[::17]])
    chosen = [RowFilter(before=12_000 + 100 * number) for number in range(filters)]
    asked = [(query, rows) for rows in chosen for query in gallery[2][:6]]

    def ask(index: PhotoIndex, at: int) -> object:
        query, rows = asked[at]
        hits = index.search(query, rows=rows, exact=at % 5 == 4)
        found = index.count(rows), index.embedding(hits.paths[0]).tolist()
        return hits.paths, hits.scores.tolist(), index.cosines(query, hits.paths).tolist(), found

    with PhotoIndex.open(directory) as index:
        alone = [ask(index, at) for at in range(len(asked))]
    for _ in range(10):
        with PhotoIndex.open(directory) as index, ThreadPoolExecutor(8) as pool:
            # Each thread begins elsewhere.
            orders = np.concatenate([np.roll(np.arange(len(asked)), 5 * n) for n in range(8)])
            found = [*pool.map(partial(ask, index), orders.tolist())]
        assert found == [alone[at] for at in orders]


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
    (segment,) = read_index(gallery[0])
    assert index.count(rows) == segment.passes(rows).sum()
    assert held >= 0.99 * wanted
    assert len({*found} - {*index.search(query, PHOTOS, rows=rows, exact=True).paths}) == 0
    assert max(scanned(segment, query, rows) for query in gallery[2][:20]) <= most * PHOTOS


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
    first, second = read_index(tmp_path)
    assert len(first.centroids) > 0 == len(second.centroids)
    was_in = dict(zip(first.paths, first.cells.tolist(), strict=True))
    index.compact()
    (merged,) = read_index(tmp_path)
    assert merged.entry["cells"] and len(merged.centroids) > 0
    # The photos that have neither gone nor moved: nobody changes cells by a merge.
    is_in = dict(zip(merged.paths, merged.cells.tolist(), strict=True))
    assert all(is_in[path.encode()] == was_in[path.encode()] for path in paths[9:8000])
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
    assert [len(segment.centroids) for segment in read_index(tmp_path)] == [0]


def test_a_segment_without_cells_spends_no_bytes_on_them(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(2000, 1)
    cells, files = {}, {}
    for name, least in (("with", 1000), ("without", 5000)):
        with create(tmp_path / name, limits=cells_from(least)).writer() as writer:
            writer.add(names(2000), photos)
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        (file,) = (tmp_path / name).glob("*.mcs")
        (segment,) = read_index(tmp_path / name)
        cells[name] = [segment.spans[part][1] for part in ("centroids", "starts", "rows")]
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
    (segment,) = read_index(tmp_path)
    assert segment.entry["cells"] is None
