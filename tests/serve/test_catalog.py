"""Photos by folder and by day, dates of cameras and files, and who holds a lock."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcad_mobile.base.locks import held_by_someone
from mcad_mobile.errors import QueryError
from mcad_mobile.serve.catalog import Catalog, camera_date, date_text, file_date, path_id
from mcad_mobile.serve.records import Filter

NAMES = st.text("ab", min_size=1, max_size=2)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12).map(
    lambda found: sorted({"/" + "/".join(["top", *parts]) + ".jpg" for parts in found})
)


def catalog(paths: list[str], taken: list[int] | None = None) -> Catalog:
    return Catalog(paths, np.array(taken or [0] * len(paths), np.int64))


@given(PATHS)
def test_a_folder_holds_what_lies_below_it(paths: list[str]) -> None:
    made = catalog(paths)
    parents = {str(parent) for path in paths for parent in Path(path).parents}
    for folder in made.folders.values():
        below = [n for n, path in enumerate(paths) if path.startswith(f"{folder.path}/")]
        assert sorted(folder.rows.tolist()) == below
        assert folder.path in parents
        kept = made.allowed(Filter(folder=path_id(folder.path)))
        assert kept is not None and np.flatnonzero(kept).tolist() == below
    if paths:
        first, *_ = made.folders.values()
        assert len(first.rows) == len(paths)
        assert first.depth == 0


def test_ids_are_of_paths_of_any_bytes() -> None:
    strange = os.fsdecode(b"/photos/caf\xe9.jpg")
    made = catalog(["/photos/caf\u00e9.jpg", strange])
    assert len(made.row_of) == 2
    assert made.row_of[path_id(strange)] == 1


def test_days_are_counted_whole() -> None:
    noon = [
        int(datetime.datetime(2024, 2, d, 12).replace(tzinfo=datetime.UTC).timestamp())
        for d in (28, 29)
    ]
    midnight = int(datetime.datetime(2024, 3, 1, tzinfo=datetime.UTC).timestamp())
    made = catalog(["/a", "/b", "/c", "/d"], [*noon, midnight, 0])
    leap = datetime.date(2024, 2, 29)

    def rows(**days: datetime.date) -> list[int]:
        kept = made.allowed(Filter(**days))
        assert kept is not None
        return np.flatnonzero(kept).tolist()

    assert rows(after=leap) == [1, 2]
    assert rows(before=leap) == [0, 1]
    assert rows(after=leap, before=leap) == [1]
    assert made.allowed(Filter()) is None
    with pytest.raises(QueryError, match="No day lies"):
        made.allowed(Filter(after=leap, before=datetime.date(2024, 2, 28)))


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2023:05:06 12:34:56", "2023-05-06"),
        ("2023-05-06T12:34:56+02:00", "2023-05-06"),
        ("0000:00:00 00:00:00", ""),
        ("2023:13:45 99:99:99", ""),
        ("", ""),
        ("soon", ""),
    ],
)
def test_a_camera_s_date_is_read_or_there_is_none(tmp_path: Path, date: str, day: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = date
    photo = tmp_path / "photo.jpg"
    Image.new("RGB", (8, 8)).save(photo, exif=exif)
    assert date_text(camera_date(str(photo))) == day


def test_a_file_without_a_camera_s_date_has_its_own(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(photo)
    os.utime(photo, (0, datetime.datetime(2021, 7, 4, 12).timestamp()))
    assert camera_date(str(photo)) == 0
    assert date_text(file_date(str(photo))) == "2021-07-04"
    assert file_date(str(tmp_path / "nothing")) == 0


def test_a_lock_is_seen_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.touch()
    assert not held_by_someone(file)
    hold = (
        "import sys; from mcad_mobile.base.locks import lock\n"
        "with open(sys.argv[1], 'ab') as file: lock(file); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(file)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert held_by_someone(file)
        process.communicate("\n", timeout=30)
    assert not held_by_someone(file)
    assert not held_by_someone(tmp_path / "nothing")
    assert not held_by_someone(file, table=tmp_path / "no table")
