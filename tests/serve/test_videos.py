"""Videos on the page: found once, shown at the best moment, and played from there."""

from __future__ import annotations

import http.client
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from mcad_mobile.engine.engine import SearchEngine, create_index
from tests.support.browser import Open, violations
from tests.support.servers import Server, tiny
from tests.support.videos import make_video

RED, GREEN, BLUE = (220, 20, 20), (20, 180, 20), (20, 20, 220)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    place = tmp_path_factory.mktemp("films")
    folder = place / "films"
    folder.mkdir()
    noise = np.random.default_rng(5).integers(0, 256, (720, 1280, 3)) // 8
    scenes = [np.asarray(noise + colour, np.uint8) for colour in ((180, 0, 0), (0, 0, 180))]
    size = 1280, 720
    make_video(folder / "film.webm", scenes, codec="libvpx", size=size, bit_rate=40_000_000)
    make_video(folder / "clip.mp4", [RED, BLUE], seconds=40)
    make_video(folder / "old.mkv", [GREEN], codec="mpeg4")
    Image.new("RGB", (64, 48), GREEN).save(folder / "photo.png")
    Image.new("RGB", (64, 48), GREEN).save(folder / "plain.jpg")
    behind = make_video(place / "behind.mp4", [GREEN, BLUE]).read_bytes()
    (folder / "live.jpg").write_bytes((folder / "plain.jpg").read_bytes() + behind)
    bundle = tiny(place, "bundle")
    files = sorted(folder.iterdir())
    SearchEngine(bundle).index_photos(create_index(bundle, place / "bundle.index"), files)
    server = Server("-b", bundle.directory, cache=place / "cache")
    yield server, folder
    paused = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    paused.request("GET", f"{address(server, 'film.webm')}/video")
    with paused.getresponse():
        code, errors = server.stop()
    paused.close()
    assert (code, errors.count("\n")) == (130, 1), errors


def address(server: Server, name: str) -> str:
    (hit,) = (hit for hit in server.search()["hits"] if hit["name"] == name)
    assert hit["video"] == (not name.endswith(("png", "jpg")))
    return f"/api/indexes/bundle.index/photos/{hit['id']}"


def pixel(server: Server, picture: str) -> tuple[int, ...]:
    status, _, content = server.request("GET", picture)
    assert status == 200
    return Image.open(io.BytesIO(content)).getpixel((5, 5))


def test_a_video_is_found_once_and_shown_at_its_best_moment(
    films: tuple[Server, Path], tmp_path: Path
) -> None:
    server, _ = films
    Image.new("RGB", (64, 48), BLUE).save(tmp_path / "blue.png")
    hits = server.search({"upload": server.upload(tmp_path / "blue.png")})["hits"]
    (hit,) = (hit for hit in hits if hit["name"].startswith("clip.mp4"))
    assert (hit["name"], 40_000 <= hit["at_ms"] < 80_000) == ("clip.mp4 at 0:40", True)
    photo = address(server, "clip.mp4")
    for picture in (f"{photo}/thumbnail?at={hit['at_ms']}", f"{photo}/view?at={hit['at_ms']}"):
        red, _, blue_there = pixel(server, picture)
        assert blue_there > 150 > red
    for picture in (f"{photo}/thumbnail", f"{photo}/thumbnail?at=x"):
        red, _, blue_there = pixel(server, picture)
        assert red > 150 > blue_there


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        (None, 200, 0, None),
        ("bytes=0-", 206, 0, None),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=100-999999999999", 206, 100, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=-999999999999", 206, 0, None),
        ("bytes=0-0,5-9", 200, 0, None),
        ("bytes=x-9", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=\u00b2-", 200, 0, None),
        ("items=0-9", 200, 0, None),
        ("bytes=999999999999-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-5", 416, 0, 0),
    ],
)
def test_the_range_that_is_asked_for_is_sent(
    films: tuple[Server, Path], asked: str | None, status: int, start: int, end: int | None
) -> None:
    server, folder = films
    content = (folder / "film.webm").read_bytes()
    assert len(content) > 1 << 20  # several chunks
    path = f"{address(server, 'film.webm')}/video"
    headers = {"range": asked} if asked else {}
    found, answered, body = server.request("GET", path, **headers)
    expected = content[start:end]
    assert (found, body == expected) == (status, True)
    assert answered["content-type"] == "video/webm"
    assert answered["content-length"] == str(len(expected))
    at = len(content) + start if start < 0 else start
    where = {206: f"{at}-{at + len(expected) - 1}", 416: "*"}.get(status)
    assert answered.get("content-range") == (where and f"bytes {where}/{len(content)}")
    found, again, body = server.request("HEAD", path, **headers)
    assert (found, body, again) == (status, b"", answered | {"date": again["date"]})


def test_a_range_of_another_state_of_the_file_is_not_mixed_in(films: tuple[Server, Path]) -> None:
    server, _ = films
    path = f"{address(server, 'film.webm')}/video"
    _, headers, _ = server.request("HEAD", path)
    for tag, status in ((headers["etag"], 206), ('"other"', 200)):
        assert server.request("GET", path, range="bytes=0-9", if_range=tag)[0] == status


@pytest.mark.parametrize(
    ("name", "kind"), [("clip.mp4", "video/mp4"), ("old.mkv", "video/x-matroska")]
)
def test_a_container_has_its_own_type(films: tuple[Server, Path], name: str, kind: str) -> None:
    server, _ = films
    status, headers, _ = server.request("HEAD", f"{address(server, name)}/video")
    assert (status, headers["content-type"]) == (200, kind)


def test_of_a_motion_photo_the_video_alone_is_sent(
    films: tuple[Server, Path], tmp_path: Path
) -> None:
    server, folder = films
    path = address(server, "live.jpg")
    photo = (folder / "plain.jpg").stat().st_size
    behind = (folder / "live.jpg").read_bytes()[photo:]
    status, headers, body = server.request("GET", f"{path}/video")
    assert (status, headers["content-type"], body == behind) == (200, "video/mp4", True)
    status, headers, body = server.request("GET", f"{path}/video", range="bytes=4-7")
    assert (status, body) == (206, b"ftyp")
    assert headers["content-range"] == f"bytes 4-7/{len(behind)}"
    assert server.request("GET", f"{address(server, 'plain.jpg')}/video")[0] == 404
    Image.new("RGB", (64, 48), BLUE).save(tmp_path / "blue.png")
    hits = server.search({"upload": server.upload(tmp_path / "blue.png")})["hits"]
    (hit,) = (hit for hit in hits if hit["name"].startswith("live.jpg"))
    assert (hit["name"], hit["video"], hit["at_ms"]) == ("live.jpg at 0:02", True, 2000)
    assert pixel(server, f"{path}/view?at=2000")[2] > 150 > pixel(server, f"{path}/view")[2]


def test_videos_of_the_index_alone_are_sent(films: tuple[Server, Path]) -> None:
    server, folder = films
    (folder / "other.mp4").write_bytes(b"not indexed")
    photo, clip = address(server, "photo.png"), address(server, "clip.mp4")
    names = ("00000000000000000000", "%2e%2e%2fother.mp4", "..%2fother.mp4", "")
    for path in (photo, *(f"{clip.rpartition('/')[0]}/{name}" for name in names)):
        status, _, body = server.request("GET", f"{path}/video")
        assert (status, b"not indexed" in body) == (404, False)
    assert server.request("GET", f"{clip}/video", host="evil.example")[0] == 421
    assert server.request("GET", f"{clip}/video", sec_fetch_site="cross-site")[0] == 403
    assert server.request("POST", f"{clip}/video")[0] == 405


@pytest.mark.parametrize("become", ["gone", "a pipe", "a folder", "a link to a device"])
def test_what_is_no_file_any_more_is_not_waited_for(
    films: tuple[Server, Path], become: str
) -> None:
    server, folder = films
    file, path = folder / "old.mkv", f"{address(server, 'old.mkv')}/video"
    kept = file.rename(folder / "kept")
    make: dict[str, Callable[[], object]] = {
        "a pipe": lambda: os.mkfifo(file),
        "a folder": file.mkdir,
        "a link to a device": lambda: file.symlink_to("/dev/zero"),
    }
    make.get(become, lambda: None)()
    try:
        assert server.request("GET", path)[0] == 404
    finally:
        subprocess.run(["rm", "-rf", file], check=True, timeout=60)
        kept.rename(file)


def test_a_player_that_stops_reading_holds_nothing_up(films: tuple[Server, Path]) -> None:
    server, folder = films
    size = (folder / "film.webm").stat().st_size
    path = f"{address(server, 'film.webm')}/video"
    paused = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(8)]
    for connection in paused:
        connection.request("GET", path)
    assert len(server.request("GET", path)[2]) == size
    descriptors = Path(f"/proc/{server.process.pid}/fd")

    def opened() -> int:
        return sum("film.webm" in str(entry.readlink()) for entry in descriptors.iterdir())

    for connection in paused:
        connection.close()
    server.wait(lambda status: not opened())


def test_a_click_plays_it_from_the_moment(
    open_page: Open, films: tuple[Server, Path], tmp_path: Path
) -> None:
    server, _ = films
    page = open_page(server, bypass_csp=True)
    length = page.locator("li", has_text="film.webm").locator(".length")
    expect(length).to_have_text("0:04")
    expect(page.locator("li", has_text="photo.png").locator(".length")).to_be_hidden()
    Image.new("RGB", (64, 48), BLUE).save(tmp_path / "blue.png")
    page.locator("#file").set_input_files(tmp_path / "blue.png")
    tile = page.locator("li", has_text="film.webm at 0:02")
    expect(tile.locator(".length")).to_have_text("0:04")
    tile.locator(".photo").click()
    film = page.locator("#film")
    expect(film).to_be_visible()
    assert film.get_attribute("poster") == page.locator("#large").get_attribute("src")
    assert "/view?at=2" in str(film.get_attribute("poster"))
    assert film.evaluate("film => [film.paused, film.readyState]") == [True, 0]
    assert violations(page) == []
    film.click()
    page.wait_for_function(
        "() => { const film = document.querySelector('#film'); return film.currentTime > 2.2 }"
    )
    assert film.evaluate("film => film.error") is None
    drawn = film.evaluate(
        """film => {
            const canvas = document.createElement("canvas");
            canvas.getContext("2d").drawImage(film, 0, 0, 8, 8);
            return [...canvas.getContext("2d").getImageData(4, 4, 1, 1).data];
        }"""
    )
    assert drawn[2] > 150 > drawn[0]
    page.locator("#close").click()
    expect(page.locator("#viewer")).to_be_hidden()
    page.wait_for_function("() => !document.querySelector('#film').hasAttribute('src')")


def test_a_video_that_the_browser_cannot_play_is_shown(
    open_page: Open, films: tuple[Server, Path]
) -> None:
    server, _ = films
    page = open_page(server)
    page.locator("li", has_text="old.mkv").locator(".photo").click()
    page.locator("#film").evaluate("film => film.play().catch(() => {})")
    expect(page.locator("#alert")).to_contain_text("cannot play")
    expect(page.locator("#film")).to_be_hidden()
    expect(page.locator("#large")).to_be_visible()
