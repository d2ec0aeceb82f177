"""Failures while serving: they are reported, and the server goes on."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.base.files import replace_folder
from mcad_mobile.base.machine import process_memory
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, open_index
from mcad_mobile.engine.index import PhotoIndex
from tests.support.processes import run_command
from tests.support.servers import Server, indexed, tiny
from tests.support.tiny_bundle import make_tiny_bundle

Start = Callable[..., Server]
_INDEXES = ("deleted", "damaged", "swapped")


@pytest.fixture
def bundle(tmp_path: Path, photos: Path) -> Bundle:
    """With an index of copies of the photos, which a test may do with as it likes."""
    shutil.copytree(photos, tmp_path / "photos")
    bundle = tiny(tmp_path, "bundle")
    indexed(bundle, tmp_path / "photos")
    return bundle


class House:
    """A server with several bundles of one student, several indexes of the same photos, and the
    photos: each test breaks another of these."""

    def __init__(self, folder: Path, photos: Path) -> None:
        shutil.copytree(photos, folder / "photos")
        first = tiny(folder, "first")
        index = indexed(first, folder / "photos")
        for name in _INDEXES:
            shutil.copytree(index, folder / name)
        names = ("replaced", "another", "elsewhere")
        self.bundles = {"first": first, **{name: tiny(folder, name) for name in names}}
        elsewhere = self.bundles["elsewhere"]
        rung = replace(elsewhere.text.rungs[0], runtime="neuropilot", precision="w8a16")
        text = replace(elsewhere.text, rungs=(rung, *elsewhere.text.rungs))
        replace(elsewhere, text=text).save()
        options = [f"--bundle={bundle.directory}" for bundle in self.bundles.values()]
        options += [f"--index={path}" for path in (index, *map(folder.joinpath, _INDEXES))]
        self.folder = folder
        self.server = Server(*options, cache=folder / "cache")

    def hit(self, name: str) -> Any:
        """A photo by its file's name."""
        return next(hit for hit in self.server.search(limit=1000)["hits"] if hit["name"] == name)

    def found(self, **side: str) -> list[tuple[str, float]]:
        hits = self.server.search("a dog on the beach", **side)["hits"]
        return [(hit["id"], hit["score"]) for hit in hits]

    def status(self, kind: str, name: str, status: Any = None) -> Any:
        """What is status of a bundle or an index."""
        status = self.server.get("/api/status") if status is None else status
        return next(info for info in status[kind] if info["id"] == name)

    def note(self, kind: str, name: str) -> str:
        """Once there is one."""
        status = self.server.wait(lambda s: self.status(kind, name, s)["note"])
        return str(self.status(kind, name, status)["note"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), photos)
    yield made
    code, errors = made.server.stop()
    assert code == 130, errors
    assert "Traceback" not in errors


def refused(*arguments: object) -> str:
    done = run_command("serve", *arguments)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def thumbnail(server: Server, hit: Any) -> int:
    return server.request("GET", f"/api/indexes/first.index/photos/{hit['id']}/thumbnail")[0]


def test_a_port_in_use_is_an_error(served: Server, bundle: Bundle) -> None:
    errors = refused("-b", bundle.directory, "--port", served.port)
    assert f"Port {served.port} of 127.0.0.1 is in use" in errors
    assert "--port 0" in errors


def test_a_bundle_without_an_index_is_an_error_with_a_hint(tmp_path: Path) -> None:
    lonely = tiny(tmp_path, "lonely")
    errors = refused("-b", lonely.directory, "--port", 0)
    assert "no photo index" in errors and "mcad-mobile index" in errors
    assert not (tmp_path / "lonely.index").exists()


def test_an_index_of_another_student_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    PhotoIndex.create(tmp_path / "other", dim=64, student="other", student_sha256="1" * 64)
    errors = refused("-b", bundle.directory, "--index", tmp_path / "other", "--port", 0)
    assert "No index that is served" in errors and "tiny" in errors


@pytest.mark.slow
def test_photos_that_come_and_go_are_followed(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    """`index` runs beside the server, which changes over to each commit."""
    server = start("-b", bundle.directory)
    before = server.get("/api/status")["indexes"][0]
    (tmp_path / "photos" / "here" / "camera.png").unlink()
    run_command("index", tmp_path / "photos", "-b", bundle.directory, check=True)
    after = server.wait(lambda s: s["indexes"][0]["generation"] > before["generation"])
    assert after["indexes"][0]["photos"] == before["photos"] - 1
    assert "camera.png" not in [hit["name"] for hit in server.search("a", limit=1000)["hits"]]


def test_a_photo_whose_file_is_gone_is_found_and_cannot_be_shown(house: House) -> None:
    hit = house.hit("coffee.png")
    assert thumbnail(house.server, hit) == 200
    (house.folder / "photos" / "here" / "coffee.png").unlink()
    assert thumbnail(house.server, hit) == 404
    hits = house.server.search("a", limit=1000)["hits"]
    assert "coffee.png" in [hit["name"] for hit in hits]
    assert house.server.search({"photo": hit["id"]})["hits"]


def test_a_photo_that_became_a_link_to_another_file_gives_no_file(house: House) -> None:
    hit = house.hit("chelsea.png")
    (photo,) = (house.folder / "photos").rglob("chelsea.png")
    photo.unlink()
    photo.symlink_to("/etc/passwd")
    assert thumbnail(house.server, hit) == 404


def test_an_index_that_is_deleted_is_served_on(house: House) -> None:
    before = house.found(index="deleted")
    shutil.rmtree(house.folder / "deleted")
    assert "is gone" in house.note("indexes", "deleted")
    assert house.found(index="deleted") == before


def test_an_index_that_is_damaged_is_not_changed_over_to(house: House) -> None:
    before = house.found(index="damaged")
    manifest = house.folder / "damaged" / "manifest.json"
    whole = manifest.read_bytes()
    manifest.with_suffix(".new").write_bytes(whole[: len(whole) // 2])
    manifest.with_suffix(".new").replace(manifest)
    assert "An older state is served" in house.note("indexes", "damaged")
    assert house.found(index="damaged") == before
    manifest.write_bytes(whole)
    house.server.wait(lambda s: house.status("indexes", "damaged", s)["note"] is None)


def test_a_bundle_that_is_replaced_is_changed_over_to(house: House, tmp_path: Path) -> None:
    """By one of the same student, with other towers: results become those of the new one."""
    before = house.found(bundle="replaced")
    other = tiny(tmp_path, "replaced", seed=12)
    bundle = house.bundles["replaced"]
    photo_index = open_index(bundle, house.folder / "first.index")
    expected = [
        r.score for r in SearchEngine(other).search(photo_index, "a dog on the beach").results
    ]
    replace_folder(bundle.directory, other.directory)
    house.server.wait(lambda _: house.found(bundle="replaced") != before)
    scores = [score for _, score in house.found(bundle="replaced")[:10]]
    assert scores == pytest.approx(expected, abs=1e-6)
    assert house.status("bundles", "replaced")["note"] is None


def test_a_query_of_ten_thousand_characters_is_answered(served: Server) -> None:
    for text in (
        "a dog on the beach " * 530,
        "x" * 10_000,
        "\u732b" * 10_000,
        "\U0001f415" * 10_000,
    ):
        answer = served.search(text[:10_000])
        assert answer["hits"]
        assert answer["truncated"] or len(set(text)) == 1  # which may be one unknown word
    answer = served.post("/api/search", {"parts": [{"text": "a" * 20_001}]}, status=422)
    assert len(answer["error"]) < 500


def test_two_hundred_at_once_are_all_answered_in_bounded_memory(served: Server) -> None:
    words = ["dog", "cat", "car", "sea", "snow"]
    expected = {word: served.search(word)["hits"] for word in words}
    hits = served.search(limit=1000)["hits"]
    before = process_memory(served.process.pid).pss
    gate = threading.Barrier(200)

    def ask(number: int) -> bool:
        gate.wait(60)
        if number % 4 == 3:
            hit = hits[number % len(hits)]
            path = f"/api/indexes/first.index/photos/{hit['id']}/view"
            return served.request("GET", path)[0] == 200
        word = words[number % len(words)]
        return bool(served.search(word)["hits"] == expected[word])

    with ThreadPoolExecutor(200) as pool:
        answered = list(pool.map(ask, range(200)))
    assert answered == [True] * 200
    assert process_memory(served.process.pid).pss - before < 100


@pytest.mark.slow
def test_two_hundred_uploads_at_once_are_all_taken(
    start: Start, bundle: Bundle, photos: Path
) -> None:
    server = start("-b", bundle.directory)
    photo = next(photos.rglob("coffee.png"))
    server.upload(photo)
    before = process_memory(server.process.pid).pss
    with ThreadPoolExecutor(200) as pool:
        names = list(pool.map(lambda _: server.upload(photo), range(200)))
    assert len(set(names)) == 200
    assert process_memory(server.process.pid).pss - before < 100


def test_the_memory_of_large_uploads_is_given_back(start: Start, bundle: Bundle) -> None:
    server = start("-b", bundle.directory)
    before = process_memory(server.process.pid).pss
    for mode in ("RGB", "RGBA"):
        photo = io.BytesIO()
        Image.new(mode, (6000, 4000), "red").save(photo, "PNG", compress_level=1)
        assert server.request("POST", "/api/uploads", photo.getvalue())[0] == 201
    assert process_memory(server.process.pid).pss - before < 50  # 200 MB are decoded


def test_indexing_is_watched_and_what_comes_is_found(
    start: Start, tmp_path: Path, photos: Path
) -> None:
    """From no index at all, with a file that is no photo."""
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    fresh = tiny(tmp_path, "fresh")
    server = start("-b", fresh.directory, "--photos", tmp_path / "photos")
    status = server.wait(lambda s: s["job"] and s["job"]["state"] != "running")
    assert status["job"]["state"] == "done"
    assert status["job"]["done"] == status["job"]["total"]
    assert "broken.jpg" in status["job"]["skipped"][0]
    there = len(list((tmp_path / "photos").rglob("*.*"))) - 1
    server.wait(lambda s: s["indexes"][0]["photos"] == there)
    assert server.search("a dog")["total"] == there
    (tmp_path / "photos" / "here" / "camera.png").unlink()
    server.post("/api/indexing", {}, status=202)
    server.wait(lambda s: s["job"]["state"] == "done" and "1 gone" in s["job"]["message"])
    server.wait(lambda s: s["indexes"][0]["photos"] == there - 1)


def test_photos_are_indexed_by_the_first_bundle_beside_an_index_of_another_student(
    start: Start, tmp_path: Path, photos: Path
) -> None:
    fresh, other = tiny(tmp_path, "fresh"), make_tiny_bundle(tmp_path / "other", 32)
    indexed(other, photos)
    server = start("-b", fresh.directory, "-b", other.directory, "--photos", photos)
    assert server.started["indexes"] == ["fresh.index", "other.index"]
    server.wait(lambda s: s["job"] and s["job"]["state"] == "done")
    server.wait(lambda s: s["indexes"][0]["photos"] == s["indexes"][1]["photos"])


def test_indexing_that_is_stopped_keeps_what_it_has(
    start: Start, tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "photos").mkdir()
    photo = next(photos.rglob("rocket.jpg"))
    for number in range(600):
        os.link(photo, tmp_path / "photos" / f"{number}.jpg")
    fresh = tiny(tmp_path, "fresh")
    server = start("-b", fresh.directory, "--photos", tmp_path / "photos")
    server.wait(lambda s: s["job"] and s["job"]["done"] > 5)
    status, _, _ = server.request("DELETE", "/api/indexing")
    assert status == 200
    status = server.wait(lambda s: s["job"]["state"] != "running")
    assert status["job"]["state"] == "stopped"
    kept = server.wait(lambda s: s["indexes"][0]["photos"] > 5)["indexes"][0]["photos"]
    assert kept < 600


def test_indexing_needs_a_folder_from_the_command_line(served: Server) -> None:
    answer = served.post("/api/indexing", {}, status=422)
    assert "--photos" in answer["hint"]


def test_another_writer_is_reported(start: Start, bundle: Bundle, tmp_path: Path) -> None:
    server = start("-b", bundle.directory, "--photos", tmp_path / "photos")
    server.wait(lambda s: s["job"] and s["job"]["state"] == "done")
    assert not server.get("/api/status")["indexes"][0]["being_written"]
    with open_index(bundle, bundle.directory.with_name("bundle.index")).exclusive():
        server.wait(lambda s: s["indexes"][0]["being_written"])
        server.post("/api/indexing", {}, status=202)
        status = server.wait(lambda s: s["job"]["state"] == "failed")
        assert "Another writer" in status["job"]["message"]
    assert server.search("a dog")["hits"]


def unfinished(server: Server, request: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), 60)
    connection.sendall(request.format(port=server.port).encode())
    return connection


HALF_A_HEAD = "GET / HTTP/1.1\r\nHost: 127.0.0.1"
HALF_A_BODY = (
    "POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n\r\n\xff"
)
HALF_A_QUERY = (
    "POST /api/search HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    "Content-Length: 1000\r\n\r\n["
)


def test_requests_that_never_end_are_given_up_and_hold_nobody_up(
    served: Server, photos: Path
) -> None:
    started = time.monotonic()
    heads = [unfinished(served, HALF_A_HEAD) for _ in range(3)]
    bodies = [unfinished(served, HALF_A_BODY) for _ in range(2)]
    bodies.append(unfinished(served, HALF_A_QUERY))
    served.upload(next(photos.rglob("coins.png")))
    assert served.search("a dog")["hits"]
    assert time.monotonic() - started < 5
    heads[0].sendall(b":{port}\r\n")  # some more of it, and still no end
    assert [head.recv(100) for head in heads] == [b""] * 3
    assert [body.recv(100)[:12] for body in bodies] == [b"HTTP/1.1 408"] * 3
    assert time.monotonic() - started < 30
    for connection in (*heads, *bodies):
        connection.close()


def test_a_server_that_is_terminated_ends_within_five_seconds(
    start: Start, bundle: Bundle, tmp_path: Path, photos: Path
) -> None:
    """With requests that do not end, photos on their way, and an index that is being written."""
    (tmp_path / "many").mkdir()
    for number in range(3000):
        os.link(next(photos.rglob("rocket.jpg")), tmp_path / "many" / f"{number}.jpg")
    server = start("-b", bundle.directory, "--photos", tmp_path / "many")
    server.wait(lambda s: s["job"] and s["job"]["done"] > 5)
    held = [unfinished(server, text) for text in (HALF_A_HEAD, HALF_A_BODY)]
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    _, errors = server.process.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert "Traceback" not in errors
    assert PhotoIndex.open(bundle.directory.with_name("bundle.index")).photos
    for connection in held:
        connection.close()


def test_a_pipe_in_the_place_of_a_photo_is_not_waited_for(
    start: Start, bundle: Bundle, tmp_path: Path
) -> None:
    server = start("-b", bundle.directory)
    hits = server.search(limit=1000)["hits"]
    for hit in hits[:4]:
        file = Path(hit["folder"]) / hit["name"]
        file.unlink()
        os.mkfifo(file)
    started = time.monotonic()
    for number, hit in enumerate(hits[:6]):
        for kind in ("thumbnail", "view"):
            path = f"/api/indexes/bundle.index/photos/{hit['id']}/{kind}"
            assert server.request("GET", path)[0] == (404 if number < 4 else 200)
    assert time.monotonic() - started < 10


def test_the_first_photos_can_be_found_long_before_the_last(
    start: Start, tmp_path: Path, photos: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(900):
        os.link(next(photos.rglob("rocket.jpg")), tmp_path / "photos" / f"{number}.jpg")
    server = start("-b", tiny(tmp_path, "fresh").directory, "--photos", tmp_path / "photos")
    status = server.wait(lambda s: s["indexes"][0]["photos"])
    assert status["job"]["state"] == "running"
    assert status["job"]["done"] < 300
    assert server.search("a dog")["hits"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_server_ends_and_leaves_nothing(
    start: Start, bundle: Bundle, photos: Path, tmp_path: Path, monkeypatch: Any, sent: int
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    server = start("-b", bundle.directory)
    server.upload(next(photos.rglob("coins.png")))
    assert list((tmp_path / "temporary").glob("mcad-*"))
    server.process.send_signal(sent)
    _, errors = server.process.communicate(timeout=60)
    assert server.process.returncode in (130, -sent, 128 + sent)
    assert "Traceback" not in errors
    assert not list((tmp_path / "temporary").glob("mcad-*"))


def test_a_rung_that_does_not_run_here_is_an_error(house: House) -> None:
    offered = house.status("bundles", "elsewhere")["rungs"]
    assert [rung["best"] for rung in offered] == [False, True]
    assert "NPU" in offered[0]["why"]
    asked = {"bundle": "elsewhere", "rung": "neuropilot w8a16"}
    answer = house.server.post("/api/search", asked, status=409)
    assert "runs only there" in answer["error"]


def test_a_bundle_of_another_student_does_not_take_the_place(house: House) -> None:
    before = house.found(bundle="another")
    bundle = house.bundles["another"]
    replace(bundle, student=replace(bundle.student, name="other", image_sha256="1" * 64)).save()
    assert "another student, other" in house.note("bundles", "another")
    assert house.status("bundles", "another")["student"] == bundle.student.name
    assert house.found(bundle="another") == before


def test_an_index_of_another_student_does_not_take_the_place(house: House, tmp_path: Path) -> None:
    before = house.found(index="swapped")
    PhotoIndex.create(tmp_path / "other", dim=64, student="other", student_sha256="1" * 64)
    replace_folder(house.folder / "swapped", tmp_path / "other")
    assert "built by student other" in house.note("indexes", "swapped")
    assert house.found(index="swapped") == before
