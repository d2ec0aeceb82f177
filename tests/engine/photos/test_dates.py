"""When a photo was taken, and what a person may write for a day."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from mcad_mobile.engine.photos.dates import minutes_taken, moment
from mcad_mobile.errors import QueryError


@pytest.fixture
def lisbon(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Europe/Lisbon")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def photo(path: Path, written: str | None, offset: str | None = None, kind: str = "JPEG") -> int:
    exif = Image.Exif()
    inside: dict[int, str] = {}
    if written is not None:
        inside[0x9003] = written
    if offset is not None:
        inside[0x9011] = offset
    exif[0x8769] = inside
    Image.new("RGB", (8, 8)).save(path, kind, exif=exif)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return minutes_taken(path.read_bytes(), path.stat())


def minutes(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) // 60


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PNG", "HEIF"])
def test_a_photo_was_taken_when_its_camera_says(tmp_path: Path, lisbon: None, kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    file = tmp_path / "a"
    summer = "2024:07:01 12:30:59"
    assert photo(file, summer, "+05:30", kind) == minutes(2024, 7, 1, 7, 0)
    assert photo(file, summer, "-03:00", kind) == minutes(2024, 7, 1, 15, 30)
    assert photo(file, summer, None, kind) == minutes(2024, 7, 1, 11, 30)
    assert photo(file, "2024:01:01 12:30:59", None, kind) == minutes(2024, 1, 1, 12, 30)
    assert photo(file, "1950:01:02 00:00:59", "+00:00", kind) == minutes(1950, 1, 2)
    assert photo(file, "2024-07-01T12:30:59", "+00:00", kind) == minutes(2024, 7, 1, 12, 30)


def test_exif_behind_the_pixels_of_a_png_counts_too(tmp_path: Path, lisbon: None) -> None:
    file = tmp_path / "a.png"
    taken = photo(file, "2024:07:01 12:30:59", "+05:30", "PNG")
    raw = file.read_bytes()
    start = raw.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(raw[start : start + 4])
    assert raw.index(b"IDAT") > end
    moved = raw[:start] + raw[end:-12] + raw[start:end] + raw[-12:]
    assert minutes_taken(moved, file.stat()) == taken == minutes(2024, 7, 1, 7, 0)


@pytest.mark.parametrize(
    "written", [None, "", "0000:00:00 00:00:00", "2024:13:01 00:00:00", "last summer", "    "]
)
def test_without_a_time_of_the_camera_that_of_the_file_counts(
    tmp_path: Path, written: str | None
) -> None:
    assert photo(tmp_path / "a.jpg", written) == 1_000_000_000 // 60


def test_what_is_no_photo_has_the_time_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "broken-\udce9.jpg"
    file.write_bytes(b"\xff\xd8\xff\xe1 and then nothing")
    os.utime(file, (-120, -61))
    assert minutes_taken(file.read_bytes(), file.stat()) == -2
    os.utime(file, (0, 2**40))
    assert minutes_taken(file.read_bytes(), file.stat()) <= 2**31 - 1
    for seconds, expected in ((1e15, 2**31 - 1), (-1e15, 1 - 2**31)):  # of a damaged file system
        assert minutes_taken(b"", SimpleNamespace(st_mtime=seconds)) == expected  # type: ignore


def test_a_day_begins_at_midnight_here(lisbon: None) -> None:
    assert moment("2024-07-01") == minutes(2024, 6, 30, 23)
    assert moment("2024-01-01") == minutes(2024, 1, 1)
    assert moment("2024-07-01T18:30") == minutes(2024, 7, 1, 17, 30)
    assert moment("2024-07-01T18:30+02:00") == minutes(2024, 7, 1, 16, 30)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_the_first_and_the_last_day_of_the_calendar_are_days(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert moment("0001-01-01") == minutes(1, 1, 1)
        assert abs(moment("9999-12-31T23:59") - minutes(9999, 12, 31, 23, 59)) < 24 * 60
        assert moment("9999-12-31T23:59-05:00") == minutes(9999, 12, 31, 23, 59) + 5 * 60
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2024-13-01", "01.05.2024", "2024", "0000-01-01", "10000-01-01"],
)
def test_what_is_no_day_is_an_error_that_shows_one(text: str) -> None:
    with pytest.raises(QueryError, match="2024-05-01"):
        moment(text)
