"""An app reads the text in its photos after it has embedded them, and never twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import open_index
from mcad_mobile.engine.photos.decode import open_photo
from mcad_mobile.engine.reading.reader import AT_LEAST, Reader
from tests.engine.reading.fake_reader import line, photo
from tests.support.phone import OWN, App, FakePhone
from tests.support.probe import Probe
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import with_reader

TEXTS = ["abcdefg", "bacdefg", "cabdefg"]


@pytest.fixture
def reading(tmp_path: Path) -> Bundle:
    return with_reader(make_tiny_bundle(tmp_path / "reading"))


def take(phone: FakePhone, name: str, picture: Image.Image) -> str:
    phone.take(name)
    picture.save(phone.folder / OWN / name)
    return phone.path(name)


def pages(phone: FakePhone, count: int = 3) -> list[str]:
    """Photos with a text each, and their paths."""
    return [
        take(phone, f"{at:03}.png", photo(900, 600, (100, 80 + at, line(TEXTS[at % 3]))))
        for at in range(count)
    ]


def found(app: App, words: str) -> list[str]:
    return sorted(app.ask("search", words=words, k=99, by="WORDS")["paths"])


def unread(app: App) -> int:
    return len([*open_index(app.bundle, app.index_directory).unread()])


def test_photos_are_found_by_their_text_after_a_run_and_are_read_once(probe, reading, phone):
    paths = pages(phone)
    plain = take(phone, "plain.png", photo(900, 600))
    app = App(probe, reading, phone)
    outcome = app.index()
    assert (outcome["added"], outcome["left"], outcome["unread"]) == (4, 0, 0)
    assert [found(app, text) for text in TEXTS] == [[path] for path in paths]
    answer = app.ask("search", words="abcdefg", k=1, by="WORDS")
    assert answer["matched"] == [["text: abcdefg"]]
    heard = [(state["read"], state["to_read"]) for state in app.ask("heard") if state["to_read"]]
    assert [*dict.fromkeys(heard)] == [(done, 4) for done in range(5)]
    index, reader = open_index(reading, app.index_directory), Reader.of(reading)
    for at, path in enumerate(paths):
        (expected,) = reader.read(
            open_photo(phone.folder / OWN / f"{at:03}.png", at_least=AT_LEAST)
        )
        words = index.words(path)
        assert words is not None and words.read
        assert [kept.text for kept in words.lines] == [expected.text]
        assert words.lines[0].box == pytest.approx(expected.box, abs=60)
    known = index.words(plain)
    assert known is not None and known.read and not known.lines
    again = app.index()
    assert (again["opened"], again["unread"]) == (0, 0)
    assert app.ask("state")["to_read"] == 0
    app.close()


def test_an_index_made_without_a_reader_is_read_and_what_does_not_decode_is_left(
    probe, tmp_path, phone
):
    paths = pages(phone)
    bundle = make_tiny_bundle(tmp_path / "late")
    app = App(probe, bundle, phone)
    assert app.index()["unread"] == 0
    assert not [*app.index_directory.glob("*.mcw")]
    app.close()
    with_reader(bundle)
    app = App(probe, bundle, phone)
    assert app.index(hangs=str(phone.folder / OWN / "001.png"))["unread"] == 0
    assert [found(app, text) for text in TEXTS] == [paths[:1], [], paths[2:]]
    assert app.index()["opened"] == 0
    edited = photo(900, 600, (100, 80, line("abcd")))
    take(phone, "001.png", edited)
    app.index()
    assert found(app, "abcd") == sorted(paths[:2])  # the start of a word, and a word
    app.close()


def test_a_stopped_run_keeps_what_it_read_and_the_next_one_goes_on(probe, reading, phone):
    paths = pages(phone)
    app = App(probe, reading, phone)
    left: list[int] = []
    finished = False
    while not finished:
        outcome = app.ask("index_while", asked=4 + len(left))
        left.append(outcome["unread"])
        assert unread(app) == app.ask("state")["to_read"] == outcome["unread"]
        finished = outcome["left"] == outcome["unread"] == 0
        assert len(left) < 40
    assert {1, 2} & {*left}
    assert sorted(path for text in TEXTS for path in found(app, text)) == sorted(paths)
    app.close()


@pytest.mark.long
def test_a_killed_run_keeps_what_it_committed(java_classes, reading, tmp_path, phone):
    paths = pages(phone, 100)
    (tmp_path / "scratch").mkdir()
    process = Probe(java_classes, tmp_path / "scratch")
    app = App(process, reading, phone)

    def kill_after_a_commit() -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if (app.index_directory / "manifest.json").exists():
                index = open_index(reading, app.index_directory)
                if index.photos == 100 and len([*index.unread()]) < 100:
                    break
            time.sleep(0.05)
        process.kill()

    killer = threading.Thread(target=kill_after_a_commit)
    killer.start()
    with pytest.raises((AssertionError, BrokenPipeError, ValueError)):
        app.index()
    killer.join()
    process.end()
    open_index(reading, app.index_directory).verify()
    left = unread(app)
    assert 0 < left < 100
    process = Probe(java_classes, tmp_path / "scratch")
    app = App(process, reading, phone)
    app.index()
    assert {state["to_read"] for state in app.ask("heard")} == {0, left}
    assert sorted(path for text in TEXTS for path in found(app, text)) == sorted(paths)
    process.close()
