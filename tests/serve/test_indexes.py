"""Photos by folder and by day, and who holds a lock."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcad_mobile.engine.index.writer import NO_TIME
from mcad_mobile.engine.photos.dates import moment
from mcad_mobile.errors import QueryError
from mcad_mobile.serve.indexes import Catalog, ServedIndex, day, path_id
from mcad_mobile.serve.records import Filter
from tests.support.index_embeddings import create

NAMES = st.text("ab", min_size=1, max_size=2)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12).map(
    lambda found: sorted({"/" + "/".join(parts) + ".jpg" for parts in found})
)


def test_a_folder_that_came_back_is_no_longer_said_to_be_gone(tmp_path: Path) -> None:
    create(tmp_path / "index").close()
    served = ServedIndex("one", tmp_path / "index")
    (tmp_path / "index").rename(tmp_path / "unmounted")
    served.follow()
    assert served.note == f"{tmp_path / 'index'} is gone; what it held is still served."
    (tmp_path / "unmounted").rename(tmp_path / "index")
    served.follow()
    assert served.note is None


def catalog(paths: list[str], taken: list[int] | None = None) -> Catalog:
    return Catalog(paths, np.array(taken or [NO_TIME] * len(paths), np.int64))


def rows(made: Catalog, wanted: Filter) -> list[int]:
    return np.flatnonzero(made.passing(made.row_filter(wanted))).tolist()


@given(PATHS)
def test_a_folder_holds_what_lies_below_it(paths: list[str]) -> None:
    made = catalog(paths)
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    for folder in made.folders.values():
        below = [
            n for n, path in enumerate(paths) if path.startswith(f"{folder.path.rstrip('/')}/")
        ]
        assert list(folder.rows) == below
        assert folder.path in parents
        assert rows(made, Filter(folder=path_id(folder.path))) == below
    if paths:
        first, *_ = made.folders.values()
        assert len(first.rows) == len(paths)
        for folder in made.folders.values():
            assert folder.depth == len(Path(folder.path).relative_to(first.path).parts)


def test_subfolders_follow_their_folder() -> None:
    """Whatever characters its neighbours' names go on with."""
    folders = ["/p/2023", "/p/2023/jan", "/p/2023 summer", "/p/2023-05"]
    made = catalog([f"{folder}/a.jpg" for folder in sorted(folders)])
    assert [folder.path for folder in made.folders.values()] == ["/p", *folders]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            ["/home/me/a.jpg", "more/b.jpg"],
            [("", 0, 2), ("/", 1, 1), ("/home", 2, 1), ("/home/me", 3, 1), ("more", 1, 1)],
        ),
        (
            ["s3://bucket/2025/a.jpg", "s3://bucket/2025/may/b.jpg"],
            [("s3://bucket/2025", 0, 2), ("s3://bucket/2025/may", 1, 1)],
        ),
        (
            ["https://here/a.jpg", "https://there/b.jpg"],
            [("https:", 0, 2), ("https://here", 1, 1), ("https://there", 1, 1)],
        ),
        (["1", "2"], [("", 0, 2)]),
    ],
)
def test_keys_of_shards_have_folders(
    tmp_path: Path, keys: list[str], expected: list[tuple[str, int, int]]
) -> None:
    """Keys may be relative or addresses."""
    with create(tmp_path / "index").writer() as writer:
        writer.add(keys, np.eye(64, dtype=np.float32)[: len(keys)])
    made = ServedIndex("one", tmp_path / "index").snapshot
    folders = made.catalog.folders
    assert [(each.path, each.depth, len(each.rows)) for each in folders.values()] == expected
    for folder in folders.values():
        passing = made.catalog.row_filter(Filter(folder=path_id(folder.path)))
        assert made.index.count(passing) == made.catalog.passing(passing).sum() == len(folder.rows)


def test_ids_are_of_paths_of_any_bytes() -> None:
    strange = os.fsdecode(b"/photos/caf\xe9.jpg")
    made = catalog(["/photos/caf\u00e9.jpg", strange])
    assert len(made.row_of) == 2
    assert made.row_of[path_id(strange)] == 1


@pytest.fixture(params=["UTC", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_days_are_counted_whole() -> None:
    times = ("2024-02-28T12:00", "2024-02-29T23:59", "2024-03-01")
    made = catalog(["/a", "/b", "/c", "/d"], [*map(moment, times), NO_TIME])
    assert made.days == ("2024-02-28", "2024-03-01")
    assert catalog(["/a"]).days == ("", "")
    leap = datetime.date(2024, 2, 29)
    assert rows(made, Filter(after=leap)) == [1, 2]
    assert rows(made, Filter(before=leap)) == [0, 1]
    assert rows(made, Filter(after=leap, before=leap)) == [1]
    assert rows(made, Filter()) == [0, 1, 2, 3]
    assert made.newest_first.tolist() == [2, 1, 0, 3]
    assert [day(int(minutes)) for minutes in made.taken] == [
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
        "",
    ]
    with pytest.raises(QueryError, match=r"last day .* before the first"):
        made.row_filter(Filter(after=leap, before=datetime.date(2024, 2, 28)))
