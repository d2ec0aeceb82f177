"""What an app that has the library asks for: searches and runs that it need not wait for and may
cancel, and a search over its own photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support.phone import App, FakePhone
from tests.support.probe import EngineError

NAMES = [f"{number}.png" for number in range(5)]


def test_a_search_is_not_waited_for_and_one_that_is_cancelled_never_runs(app, phone):
    phone.take(*NAMES)
    app.index()
    photo = phone.folder / "external_primary" / NAMES[0]
    later = app.ask("search_later", photo=photo, words="a photo", k=3)
    assert later["waits"] and later["cancelled"]
    assert later["searched"] == 1  # of two
    assert later["found"] == app.ask("search", words="a photo", k=3)


def test_a_search_that_fails_later_says_why(app, phone):
    phone.take(*NAMES)
    app.index()
    photo = phone.folder / "external_primary" / NAMES[0]
    assert "McadException" in app.ask("search_later", photo=photo, words=" ", k=3)


def test_a_run_that_is_cancelled_ends_after_the_photo_at_hand_and_keeps_it(app, phone):
    phone.take(*NAMES)
    assert app.ask("index_later") == {"left": True, "photos": 1}
    assert app.index()["added"] == len(NAMES) - 1


@pytest.fixture
def own(probe, bundle, phone: FakePhone, tmp_path: Path) -> Iterator[App]:
    """An app that indexes a folder of its own."""
    phone.change(access=False)
    app = App(probe, bundle, phone, folder=tmp_path / "own")
    yield app
    app.close()


def paint(path: Path, colour: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), colour).save(path)


def test_an_app_searches_its_own_photos_without_access_to_the_phone_s(own, tmp_path):
    paint(tmp_path / "own" / "red.png", "red")
    paint(tmp_path / "own" / "trips" / "2026" / "blue.JPG", "blue")
    (tmp_path / "own" / "notes.txt").write_text("no photo")
    (tmp_path / "own" / "album.png").mkdir()
    outcome = own.index()
    assert (outcome["added"], outcome["skipped"]) == (2, 0)
    assert own.indexed() == ["red.png", "trips/2026/blue.JPG"]
    assert {*own.ask("search", words="a photo", k=5)["paths"]} == {*own.indexed()}
    assert own.ask("folders") == {"": 1, "trips/2026": 1}
    within = own.ask("search", words="a photo", k=5, folders=["trips/2026"])
    assert within["paths"] == ["trips/2026/blue.JPG"]
    (tmp_path / "own" / "red.png").unlink()
    assert own.ask("search", words="a photo", k=5)["paths"] == ["trips/2026/blue.JPG"]
    assert own.index()["deleted"] == 1


def test_an_app_s_own_photos_are_of_all_kinds_that_a_phone_can_decode(own, tmp_path):
    (tmp_path / "own").mkdir()
    for kind in ("jpg", "jpeg", "png", "webp", "heic", "heif", "avif", "gif", "mp4", "txt"):
        (tmp_path / "own" / f"photo.{kind}").touch()
    assert own.ask("count")["total"] == 7


def test_a_folder_that_is_not_there_drops_no_photo(own, tmp_path):
    paint(tmp_path / "own" / "red.png", "red")
    own.index()
    (tmp_path / "own").rename(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="is not a folder"):
        own.index()
    (tmp_path / "elsewhere").rename(tmp_path / "own")
    assert own.index()["added"] == 0
    assert own.indexed() == ["red.png"]
