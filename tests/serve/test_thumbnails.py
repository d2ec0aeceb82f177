"""Thumbnails: made ahead, kept for the next server, and never those of another state."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.errors import PhotoError, QueryError
from mcad_mobile.serve.indexes import path_id
from mcad_mobile.serve.photos import Thumbnails, Uploads, file_state
from mcad_mobile.serve.server import open_state, take_port
from tests.support.servers import TIMEOUT_S, Server, in_process, indexed, tiny

Start = Callable[..., Server]


@pytest.fixture
def few(tmp_path: Path, photos: Path) -> Bundle:
    """With an index of three photos of its own."""
    (tmp_path / "photos").mkdir()
    for name in ("coffee.png", "chelsea.png", "rocket.jpg"):
        shutil.copy(next(photos.rglob(name)), tmp_path / "photos")
    bundle = tiny(tmp_path, "bundle")
    indexed(bundle, tmp_path / "photos")
    return bundle


def thumbnail_of(server: Server, name: str) -> tuple[int, bytes]:
    hit = next(hit for hit in server.search()["hits"] if hit["name"] == name)
    path = f"/api/indexes/bundle.index/photos/{hit['id']}/thumbnail"
    status, _, body = server.request("GET", path)
    return status, body


def kept(cache: Path) -> list[Path]:
    return list((cache / "mcad-mobile" / "thumbnails").rglob("*.jpg"))


def test_a_server_that_nobody_asks_makes_them_ahead(
    few: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state = open_state([few], [tmp_path / "bundle.index"])

    async def requests(ask: Any) -> None:
        until = time.monotonic() + TIMEOUT_S
        while len(kept(tmp_path / "cache")) < 3:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)

    in_process(state, requests)


def test_a_photo_that_has_changed_gets_a_new_one(start: Start, few: Bundle, tmp_path: Path) -> None:
    server = start("-b", few.directory)
    hit = next(hit for hit in server.search()["hits"] if hit["name"] == "coffee.png")
    path = f"/api/indexes/bundle.index/photos/{hit['id']}/thumbnail"
    _, headers, before = server.request("GET", path)
    Image.new("RGB", (400, 400), "red").save(tmp_path / "photos" / "coffee.png")
    # Also for a browser that has the one of before.
    status, _, after = server.request("GET", path, if_none_match=headers["etag"])
    assert status == 200
    assert after != before
    assert Image.open(io.BytesIO(after)).getpixel((5, 5))[0] > 200


def test_the_last_uploads_are_kept_and_the_first_ones_dropped(photos: Path) -> None:
    content = next(photos.rglob("rocket.jpg")).read_bytes()
    uploads = Uploads(max_bytes=3 * len(content))
    names = []
    for _ in range(5):
        with uploads.spool() as file:
            file.write(content)
            names.append(uploads.take(file)[0])
        uploads.get(names[0])  # what is used counts as new
    assert uploads.get(names[0]).path.read_bytes() == content
    assert uploads.get(names[3]).path.exists()
    assert uploads.get(names[4]).size == len(content)
    for name in names[1:3]:
        with pytest.raises(QueryError, match="only the last"):
            uploads.get(name)
    assert len(list(uploads.get(names[0]).path.parent.iterdir())) == 3
    uploads.close()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_upload_is_a_photo_or_an_error(kind: str) -> None:
    """Bytes that are changed, cut out, or doubled, at random places."""
    picture = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert("RGB").save(picture, kind)
    whole = picture.getvalue()
    uploads = Uploads()
    places = st.integers(0, len(whole) - 1)
    changes = st.lists(st.tuples(places, places, st.binary(max_size=8)), min_size=1, max_size=4)

    @settings(derandomize=True, max_examples=150, deadline=None, database=None)
    @given(changes)
    def check(changes: list[tuple[int, int, bytes]]) -> None:
        content = whole
        for start, length, put_in in changes:
            content = content[:start] + put_in + content[start + length % 16 :]
        with uploads.spool() as file:
            file.write(content)
            try:
                name, photo = uploads.take(file)
            except PhotoError as error:
                assert "/" not in error.message  # no path of the server
            else:
                assert Image.open(io.BytesIO(uploads.get(name).thumbnail)).size <= (48, 32)
                assert photo.size == len(content)

    check()
    uploads.close()


def test_bundles_and_indexes_of_one_name_have_ids_of_their_own(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [tiny(tmp_path / place, "same") for place in ("a", "b", "c")]
    index = indexed(bundles[0], photos)
    monkeypatch.chdir(index)
    state = open_state(bundles, [Path()])
    assert list(state.indexes) == ["same.index"]
    assert list(state.bundles) == ["same", "same-2", "same-3"]
    assert [bundle.bundle.directory for bundle in state.bundles.values()] == [
        bundle.directory for bundle in bundles
    ]
    state.close()


def test_where_none_can_be_kept_they_are_given_all_the_same(
    start: Start, few: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("no folder")
    server = start("-b", few.directory, cache=tmp_path / "cache")
    status, body = thumbnail_of(server, "coffee.png")
    assert (status, Image.open(io.BytesIO(body)).format) == (200, "JPEG")


def test_a_cache_that_can_only_be_read_serves_old_thumbnails(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = str(next(photos.rglob("coffee.png")))
    made = Thumbnails().make(path, "state")
    for file in kept(tmp_path):
        os.utime(file, (0, 0))

    def refuse(file: Path) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert Thumbnails().find(path, "state") == made


def test_what_was_used_longest_ago_goes_first(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    held = Thumbnails()
    made = {}
    for days, name in enumerate(("coffee.png", "chelsea.png", "rocket.jpg", "coins.png")):
        path = str(next(photos.rglob(name)))
        tag = file_state(path) or ""
        before = set(kept(tmp_path))
        made[name] = path, tag, len(held.make(path, tag))
        (file,) = set(kept(tmp_path)) - before
        used = time.time() - days * 86_400 - (100 * 86_400 if name == "coins.png" else 0)
        os.utime(file, (used, used))

    def left() -> set[str]:
        return {name for name, (path, tag, _) in made.items() if held.has(path, tag)}

    held.prune()
    assert left() == {"coffee.png", "chelsea.png", "rocket.jpg"}
    path, tag, _ = made["rocket.jpg"]
    assert held.find(path, tag)  # which counts as used
    Thumbnails(kept_bytes=made["rocket.jpg"][2] + made["coffee.png"][2]).prune()
    assert left() == {"coffee.png", "rocket.jpg"}


@pytest.mark.parametrize("waits", [True, False])
def test_a_photo_that_nobody_waits_for_is_not_decoded(
    few: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    state = open_state([few], [tmp_path / "bundle.index"])
    photo = path_id(state.indexes["bundle.index"].snapshot.catalog.paths[0])
    path = f"/api/indexes/bundle.index/photos/{photo}/thumbnail"

    async def requests(ask: Any) -> None:
        assert (await ask("GET", path, left=not waits))[0] == (200 if waits else 499)

    in_process(state, requests)
    assert len(kept(tmp_path / "cache")) == waits


def test_a_server_takes_the_port_of_one_that_has_just_ended() -> None:
    """Its connections, which it closed first, keep the port for a minute."""
    before = take_port(0)
    with socket.create_connection(before.getsockname()) as client:
        connection, _ = before.accept()
        connection.close()
        assert client.recv(1) == b""
    port = before.getsockname()[1]
    before.close()
    after = take_port(port)
    assert after.getsockname() == ("127.0.0.1", port)
    after.close()


def test_an_answer_does_not_wait_for_its_head_to_be_acknowledged() -> None:
    """As Nagle's algorithm would have it, for up to 40 ms where acknowledgements are delayed."""

    async def options() -> list[int]:
        values: list[int] = []

        def met(reader: Any, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            values.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = take_port(0)
        async with await asyncio.start_server(met, sock=listening):
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await asyncio.wait_for(reader.read(), TIMEOUT_S)
            writer.close()
        return values

    assert all(asyncio.run(options()))
