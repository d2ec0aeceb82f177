"""Any changes in any order: the index equals a plain dictionary, and damage is never more than an
error."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.index.writer import NO_TIME
from tests.engine.index.index_model import (
    DIM,
    Change,
    Model,
    applied,
    apply,
    assert_equal,
    embedding,
)
from tests.support.index_embeddings import stamps_of
from tests.support.index_oracle import read_index
from tests.support.paths import ROOT

pytestmark = pytest.mark.long


# Few names, so that changes meet: one of them another's prefix, one not UTF-8.
PATHS = ("a", "a/b.jpg", "a/bc.jpg", "ä.jpg", "\udcff.jpg", "z" * 300 + "1", "z" * 300 + "2", "\n")
CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(["add", "add", "delete", "move", "rotate", "chain", "compact"]),
        st.lists(st.sampled_from(PATHS), min_size=1, max_size=6).map(tuple),
        st.integers(0, 5),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_any_changes_in_any_order_equal_a_dictionary(changes: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "index"
        index = PhotoIndex.create(directory, dim=DIM, student_sha256="ab" * 32, student="tiny")
        model: Model = {}
        for change in changes:
            apply(index, change)
            model = applied(model, change)
        assert_equal(index, model)
        reopened = PhotoIndex.open(directory)
        assert_equal(reopened, model)
        query = embedding("query", 0)
        hits = reopened.search(query, k=100)
        assert sorted(hits.paths) == sorted(model)
        compacted = PhotoIndex.open(directory)
        compacted.compact()
        assert_equal(compacted, model)
        again = compacted.search(query, k=100)
        # Photos with the same embedding may change places.
        assert np.allclose(again.scores, hits.scores, atol=1e-6)
        scores = dict(zip(hits.paths, hits.scores, strict=True))
        assert dict(zip(again.paths, again.scores, strict=True)) == pytest.approx(scores, abs=1e-6)


def written(directory: Path, *commits: list[str]) -> PhotoIndex:
    """An index of photos whose stamps and times are made of their paths."""
    index = PhotoIndex.create(directory, dim=DIM, student_sha256="ab" * 32, student="tiny")
    for paths in commits:
        with index.writer() as writer:
            writer.add(
                paths,
                np.array([embedding(path, 0) for path in paths]).reshape(-1, DIM),
                np.array([stamp_of(path) for path in paths], np.uint32).reshape(-1, 2),
                np.array([time_of(path) for path in paths], np.int32),
            )
    return index


def stamp_of(path: str) -> tuple[int, int]:
    raw = os.fsencode(path)
    return zlib.crc32(raw), zlib.crc32(raw[::-1])


def time_of(path: str) -> int:
    """One in eight of no known time."""
    number = zlib.crc32(os.fsencode(path), 7)
    return NO_TIME if number % 8 == 0 else number % 2001 - 1000


# A long beginning that some share, and names that only bytes tell apart.
ANY_PATH = st.binary(min_size=1, max_size=40).map(
    lambda raw: os.fsdecode(b"shared/" * (len(raw) % 60) + raw)
)


@settings(max_examples=60, deadline=None)
@given(st.sets(ANY_PATH, max_size=80))
def test_what_is_written_is_read(paths: set[str]) -> None:
    ordered = sorted(paths, key=os.fsencode)
    with tempfile.TemporaryDirectory() as folder:
        index = written(Path(folder) / "index", list(paths))
        assert index.paths() == ordered
        assert index.dates() == {path: time_of(path) for path in ordered}
        assert stamps_of(index) == {path: stamp_of(path) for path in ordered}
        asked = ordered[::3] + [f"{path}x" for path in ordered[::5]] + ["z" * 500]
        found = index.membership().find(asked)
        assert [photo and photo.stamp for photo in found] == [
            stamp_of(path) if path in paths else None for path in asked
        ]
        below = index.membership().missing("shared/")
        assert [path for path, _ in below] == [p for p in ordered if p.startswith("shared/")]
        for path in ordered[::7]:
            held = index.embedding(path)
            assert held is not None and held @ embedding(path, 0) > 0.999
        for segment in read_index(Path(folder) / "index"):
            assert [os.fsdecode(path) for path in segment.paths] == ordered


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(range(100)),
    st.integers(0, 100),
    st.lists(st.integers(0, 100), max_size=5),
    st.sets(st.integers(0, 100), max_size=20),
)
def test_commits_in_any_groups_give_the_same(
    numbers: list[int], count: int, cuts: list[int], gone: set[int]
) -> None:
    paths, bounds = [f"{number:03}.jpg" for number in numbers[:count]], [0, *sorted(cuts), 100]
    groups = [paths[start:stop] for start, stop in pairwise(bounds)]
    query = embedding("query", 0)
    with tempfile.TemporaryDirectory() as folder:
        found, segments = [], []
        for name, commits in (("one", [paths]), ("many", groups)):
            index = written(Path(folder) / name, *commits)
            with index.writer() as writer:
                writer.delete([f"{number:03}.jpg" for number in gone])
            for _ in range(2):
                hits = index.search(query, 100)
                found.append((hits.paths, hits.scores.tolist(), index.dates(), stamps_of(index)))
                index.compact()
            segments.append([segment.raw for segment in read_index(Path(folder) / name)])
        assert found[1:] == found[:1] * 3
        assert segments[0] == segments[1]


ROWS = [
    f"{folder}/{number}{suffix}"
    for folder in ("a", "a/b", "a b", "c")
    for number in range(8)
    for suffix in (".jpg", ".mp4#t=0.000", ".jpg#t=1.500")
]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> PhotoIndex:
    """Three segments, with deleted rows."""
    directory = tmp_path_factory.mktemp("gallery") / "index"
    index = written(directory, ROWS[:60], ROWS[60:80], ROWS[80:])
    with index.writer() as writer:
        writer.delete([ROWS[3], ROWS[70], ROWS[90]])
    return index


BOUNDS = st.one_of(st.none(), st.integers(-1100, 1100))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "a/", "a/b", "a b", "c", "d"]), max_size=3).map(tuple),
    BOUNDS,
    BOUNDS,
    st.sampled_from([None, "photo", "video"]),
)
def test_a_filter_finds_what_filtering_afterwards_leaves(
    gallery: PhotoIndex, folders: tuple[str, ...], after: int | None, before: int | None, kind: Any
) -> None:
    def passes(path: str) -> bool:
        time = time_of(path)
        return (
            (not folders or any(path.startswith(f"{f.rstrip('/')}/") for f in folders))
            and (after is None or NO_TIME < time >= after)
            and (before is None or NO_TIME < time < before)
            and (kind is None or (kind == "video") == (".mp4" in path))
        )

    query, rows = embedding("query", 0), RowFilter(folders, after, before, kind=kind)
    every = gallery.search(query, 200, exact=True)
    pairs = zip(every.paths, every.scores.tolist(), strict=True)
    expected = [(path, score) for path, score in pairs if passes(path)]
    for exact in (False, True):
        hits = gallery.search(query, 200, rows=rows, exact=exact)
        assert [*zip(hits.paths, hits.scores.tolist(), strict=True)] == expected
    assert gallery.count(rows) == len(expected)


def test_no_change_of_bytes_makes_a_reader_crash_hang_or_read_outside(tmp_path: Path) -> None:
    golden = ROOT / "tests" / "golden/index"
    mutations = ROOT / "tests/engine/index/mutations.py"
    done = subprocess.run(
        [sys.executable, str(mutations), str(golden), str(tmp_path / "work"), "1", "1200"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    opened, used = map(int, done.stdout.split())
    # Enough mutants get past the header for the parts behind it to be what is tested.
    assert opened > 200
    assert used > opened
