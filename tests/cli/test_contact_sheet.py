"""What a search found, as a page."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.cli.search import contact_sheet, write_contact_sheet
from mcad_mobile.engine.engine import Found, Result
from mcad_mobile.errors import DiskError
from tests.support.tiny_bundle import make_tiny_bundle


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def found(*results: Result, **more) -> Found:
    more = {"truncated": False, **more}
    return Found("a <b>cat</b> & dog", list(results), {"total": 4.21}, **more)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """On its side: 600 wide and 900 high once EXIF is read."""
    path = tmp_path / "sunset & sea.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (900, 600), "orange").save(path, exif=exif)
    return path


def test_photos_that_cannot_be_shown_leave_the_others_alone(photo: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:600])
    (tmp_path / "folder.jpg").mkdir()
    Image.new("L", (1, 60_000)).save(tmp_path / "narrow.png")
    names = ["pipe.jpg", "loop.jpg", "cut.jpg", "folder.jpg", "narrow.png", "none.jpg"]
    results = [Result(str(tmp_path / name), 0.3) for name in names]
    page = Page(contact_sheet(found(*results, Result(str(photo), 0.2))))
    assert [image["alt"] for image in page.named("img")] == [photo.name]
    assert all(name in page.text for name in names)


def test_a_simulated_time_is_not_shown() -> None:
    assert "4.2" not in contact_sheet(found(simulated=True))


def test_photos_are_inside_the_page_upright_and_link_to_their_files(photo: Path) -> None:
    text = contact_sheet(found(Result(str(photo), 0.31)))
    page = Page(text)
    (image,) = page.named("img")
    content = base64.b64decode((image["src"] or "").removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (480, 720)
    assert image["alt"] == "sunset & sea.jpg"
    assert [link["href"] for link in page.named("a")] == [photo.as_uri()]
    assert "0.310" in page.text and "4.2 ms" in page.text


def test_nothing_in_the_page_is_loaded_and_all_text_is_escaped(photo: Path) -> None:
    text = contact_sheet(found(Result(str(photo), 0.31)))
    assert "<b>cat" not in text
    assert "a <b>cat</b> & dog" in Page(text).text
    tags = {tag for tag, _ in Page(text).tags}
    assert not tags & {"script", "link", "iframe"}
    assert re.findall(r"(?:src|url)\W+https?:", text) == []


def test_a_photo_that_is_gone_has_its_name_and_nothing_found_is_a_page_too() -> None:
    page = Page(contact_sheet(found(Result("gone.jpg", 0.1))))
    assert page.named("img") == []
    assert "gone.jpg cannot be read" in page.text
    assert "0 photos" in Page(contact_sheet(found())).text


def test_a_photo_at_an_address_has_its_name_and_links_to_no_file() -> None:
    page = Page(contact_sheet(found(Result("s3://bucket/a.jpg", 0.1))))
    assert page.named("a") == [{"title": "a.jpg"}]


def test_a_name_that_is_not_utf_8_is_shown_as_well_as_it_can_be(tmp_path: Path) -> None:
    name = os.fsdecode(b"/nowhere/caf\xe9.jpg")
    write_contact_sheet(contact_sheet(found(Result(name, 0.1))), tmp_path / "sheet.html")
    page = Page((tmp_path / "sheet.html").read_text("utf-8"))
    assert "caf\ufffd.jpg cannot be read" in page.text
    assert [link["href"] for link in page.named("a")] == ["file:///nowhere/caf%E9.jpg"]


def test_words_that_were_not_read_are_told() -> None:
    page = Page(contact_sheet(found(unknown=("собака", "🐶"))))
    assert "Not understood by the model: собака, 🐶." in page.text
    assert "longer than the model can read" not in page.text
    assert "longer than the model can read" in contact_sheet(found(truncated=True))


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"sheet\.html"):
        write_contact_sheet("", tmp_path / "missing" / "sheet.html")


@pytest.mark.parametrize(
    ("terminal", "opens", "asked"), [(True, True, True), (True, False, True), (False, True, False)]
)
def test_the_page_is_opened_at_a_terminal_and_else_told_of(
    photo: Path, terminal: bool, opens: bool, asked: bool
) -> None:
    bundle = make_tiny_bundle(photo.parent / "bundle").directory
    assert CliRunner().invoke(app, ["index", str(photo.parent), "-b", str(bundle)]).exit_code == 0
    browser, opened = photo.parent / "browser", photo.parent / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" >> {opened}\nexit {0 if opens else 1}\n')
    browser.chmod(0o755)
    ours, theirs = os.openpty()
    sheet = photo.parent / "bundle.search.html"
    words = ["search", "a dog", "-b", str(bundle)]
    assert CliRunner().invoke(app, words).exit_code == 0 and not sheet.exists()
    done = subprocess.run(
        [sys.executable, "-m", "mcad_mobile", *words, "--show"],
        stdout=theirs if terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "BROWSER": f"{browser} %s"},
        text=True,
        timeout=120,
        check=True,
    )
    os.close(theirs)
    if terminal:
        assert photo.name in os.read(ours, 10_000).decode()
    os.close(ours)
    assert photo.as_uri() in sheet.read_text("utf-8")
    assert (opened.read_text() if asked else "") == (f"{sheet.as_uri()}\n" if asked else "")
    assert opened.exists() == asked
    assert done.stderr == ("" if asked and opens else f"The page is {sheet}\n")
