"""What is found in a folder, and the stamps that tell a file's states apart (index-format.md)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from mcad_mobile.engine.photos.dates import minutes_taken
from mcad_mobile.engine.photos.decode import read_photo
from mcad_mobile.engine.photos.folder import (
    Leftovers,
    Skipped,
    has_photos,
    is_gone,
    stat_or_none,
    stat_stamp,
    walk,
)


def found(folder: Path) -> tuple[list[str], list[Skipped]]:
    skipped: list[Skipped] = []
    return sorted(path for path, _ in walk(folder, skipped)), skipped


def test_photos_are_found_by_their_suffix_in_any_case_and_below_folders(tmp_path):
    for name in ("a.jpg", "B.JPEG", "sub/c.Png", "sub/deeper/d.webp", "e.heic", "f.HEIF"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for name in ("notes.txt", "jpg", "g.jpg.part", "sub/movie.mp4"):
        (tmp_path / name).write_bytes(b"")
    paths, skipped = found(tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in paths] == [
        "B.JPEG",
        "a.jpg",
        "e.heic",
        "f.HEIF",
        "sub/c.Png",
        "sub/deeper/d.webp",
    ]
    assert skipped == []


def test_links_to_photos_are_photos_and_links_to_folders_are_not_followed(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"a")
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (tmp_path / "photos" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos")
    assert found(tmp_path / "photos") == ([str(tmp_path / "photos" / "link.jpg")], [])


def test_what_is_named_like_a_photo_and_is_no_file_is_skipped_with_the_reason(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "whole.jpg").write_bytes(b"")
    paths, skipped = found(tmp_path)
    assert paths == [str(tmp_path / "whole.jpg")]
    assert {Path(item.path).name for item in skipped} == {"pipe.jpg", "broken.png"}
    assert all(item.why.startswith("cannot be read: ") for item in skipped)


def test_a_folder_has_photos_if_one_lies_anywhere_below(tmp_path):
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    assert not has_photos(tmp_path)
    assert not has_photos(tmp_path / "nowhere")
    photo = tmp_path / "sub" / "deeper" / "a.jpg"
    photo.write_bytes(b"")
    assert has_photos(tmp_path)
    assert not has_photos(photo)


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 1])
def test_stamps_are_the_checksums_that_the_format_says(tmp_path, size):
    path = tmp_path / "a.jpg"
    data = bytes(i * 7 % 251 for i in range(size))
    path.write_bytes(data)
    os.utime(path, ns=(0, 1_700_000_000_123_999_999))
    milliseconds = (1_700_000_000_123).to_bytes(8, "little", signed=True)
    expected = zlib.crc32(size.to_bytes(8, "little") + milliseconds)
    assert stat_stamp(path.stat()) == expected == stat_or_none(path)
    assert read_photo(str(path)).stamp() == (expected, zlib.crc32(data))
    assert [stamp for _, stamp in walk(tmp_path, [])] == [expected]


@pytest.mark.parametrize("seconds", [-(2**63), -(2**60), -1, 2**60, 2**63 - 1])
def test_a_file_of_any_time_has_a_stamp_and_a_date(seconds):
    def at(seconds: int) -> os.stat_result:
        nanoseconds = {"st_mtime": float(seconds), "st_mtime_ns": seconds * 10**9}
        return os.stat_result((0,) * 10, {"st_atime": 0.0, "st_ctime": 0.0, **nanoseconds})

    milliseconds = (seconds * 1000 % 2**64).to_bytes(8, "little")
    assert stat_stamp(at(seconds)) == zlib.crc32(bytes(8) + milliseconds)
    assert stat_stamp(at(seconds)) != stat_stamp(at(seconds - 1))
    assert abs(minutes_taken(b"", at(seconds))) < 2**31


@pytest.mark.parametrize("key", ["s3://bucket/a.jpg", "000001", "train-0.tar/a.jpg"])
def test_nothing_is_known_of_keys_that_are_no_paths_here(key):
    assert not is_gone(key)


def test_a_file_is_gone_only_if_it_is_known_to_be(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"")
    assert not is_gone(str(path))
    assert is_gone(str(tmp_path / "b.jpg")) and is_gone(str(path / "c.jpg"))
    assert stat_or_none(tmp_path / "b.jpg") is None
    assert stat_or_none(tmp_path / "a\0b.jpg") is None
    assert not is_gone("a\0b.jpg")

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "stat", refuse)
    assert not is_gone(str(path))


def test_a_link_that_leads_to_itself_is_told_as_what_it_is_named_like(tmp_path):
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    left_out: Leftovers = {}
    skipped: list[Skipped] = []
    assert list(walk(tmp_path, skipped, left_out)) == []
    assert [Path(item.path).name for item in skipped] == ["round.jpg"]
    assert left_out == {}
