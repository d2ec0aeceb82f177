"""Moments of videos in the Java engine: found once, and followed as photos are."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest

from mcad_mobile.engine.engine import SearchEngine, open_index
from mcad_mobile.engine.index.moments import file_and_moment, moment_path
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.engine.photos.video import read_stamp
from tests.support.phone import OWN, App, FakePhone


@pytest.fixture
def clip(app: App, phone: FakePhone) -> str:
    """An indexed video, of which the moment at 5 s fits "a dog" best, beside four photos."""
    phone.take(*(f"{number}.png" for number in range(4)))
    app.index()
    path = phone.take("clip.mp4")
    words = SearchEngine(app.bundle).embed_text("a dog")
    other = SearchEngine(app.bundle).embed_text("a cat")
    near = (words + other) / np.linalg.norm(words + other)
    file = phone.folder / OWN / "clip.mp4"
    stamp = stat_stamp(file.stat()), zlib.crc32(file.read_bytes())
    index = open_index(app.bundle, app.index_directory)
    with index.writer() as writer:
        rows = [moment_path(path, ms) for ms in (0, 5000, 12345)]
        stamps = np.array([stamp] * 3, np.uint32)
        writer.add(rows, np.array([other, words, near], np.float32), stamps=stamps)
    app.close()
    return path


def test_a_video_is_found_once_with_its_moments_best_first(app: App, clip: str) -> None:
    found = app.ask("search", words="a dog", k=3, same=0.97)
    assert len(found["paths"]) == 3
    assert found["paths"][0] == clip
    assert found["moments"][0] == [5000, 12345, 0]
    assert found["moments"][1:] == [None, None]
    assert found["scores"][0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("kind", "count"), [("PHOTO", 4), ("VIDEO", 1), ("ANY", 5)])
def test_a_search_is_restricted_to_photos_or_videos(
    app: App, clip: str, kind: str, count: int
) -> None:
    app.index()  # lists the video
    found = app.ask("search", words="a dog", k=9, kind=kind)
    assert len(found["paths"]) == count
    assert (clip in found["paths"]) == (kind != "PHOTO")


def test_an_unchanged_video_stays_and_one_that_moved_or_is_gone_takes_all_moments_along(
    app: App, phone: FakePhone, clip: str
) -> None:
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["deleted"]) == (0, 0, 0)
    assert moments(app) == [(clip, 0), (clip, 5000), (clip, 12345)]
    phone.renumber(version="2")
    moved = phone.path("clip.mp4")
    assert moved != clip
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["deleted"]) == (0, 5, 0)
    assert moments(app) == [(moved, 0), (moved, 5000), (moved, 12345)]
    phone.delete("clip.mp4")
    assert app.index()["deleted"] == 1
    assert moments(app) == []


def moments(app: App) -> list[tuple[str, int]]:
    """The rows of videos in the index, verified and read by Python."""
    index = open_index(app.bundle, app.index_directory)
    index.verify()
    any_query = np.eye(1, index.dim, dtype=np.float32)[0]
    rows = map(file_and_moment, index.search(any_query, 100).paths)
    return sorted((file, moment) for file, moment in rows if moment is not None)


def film(phone: FakePhone, name: str, ms: int, frames: list[str]) -> str:
    """Write a film of the fake phone, which shows a photo every ten seconds."""
    path = phone.take(name)
    file = phone.folder / OWN / name
    photos = [str(phone.folder / OWN / frame) for frame in frames]
    file.write_text(json.dumps({"ms": ms, "frames": photos, "sound": "." * 3_000_000}))
    return path


def test_a_run_adds_the_frames_of_a_video_that_differ_from_the_one_before(
    app: App, phone: FakePhone
) -> None:
    phone.take("a.png", "b.png")
    path = film(phone, "film.mp4", 40_000, ["a.png", "a.png", "b.png", "a.png", "b.png"])
    outcome = app.index()
    assert (outcome["added"], outcome["skipped"]) == (3, 0)
    assert moments(app) == [(path, 0), (path, 24_000), (path, 32_000)]
    index = open_index(app.bundle, app.index_directory)
    assert index.embedding(phone.path("a.png")) == pytest.approx(
        index.embedding(moment_path(path, 0)), abs=0.02
    )
    stamps = dict(index.membership().missing(""))
    assert stamps[path] == read_stamp(str(phone.folder / OWN / "film.mp4"))[1]
    film(phone, "film.mp4", 40_000, ["b.png"])
    assert app.index()["added"] == 1
    assert moments(app) == [(path, 0)]
    assert app.index()["added"] == 0


def test_a_long_video_has_at_most_32_moments_over_its_length(app: App, phone: FakePhone) -> None:
    phone.take("a.png", "b.png")
    path = film(phone, "film.mp4", 6_400_000, ["a.png", "b.png"] * 320)
    app.index()
    found = moments(app)
    assert len(found) <= 32
    assert found[0] == (path, 0)
    assert {ms % 200_000 for _, ms in found} == {0}


def test_a_video_that_cannot_be_decoded_is_skipped_and_the_others_are_indexed(
    app: App, phone: FakePhone
) -> None:
    phone.take("a.png", "broken.mp4")  # a photo, no film
    path = film(phone, "film.mp4", 1000, ["a.png"])
    film(phone, "lost.mp4", 40_000, ["a.png", "gone.png"])
    outcome = app.index()
    assert (outcome["added"], outcome["skipped"]) == (2, 2)
    assert moments(app) == [(path, 0)]
