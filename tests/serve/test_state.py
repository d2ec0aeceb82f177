"""What the server's state says and asks for, without a server."""

from __future__ import annotations

import asyncio
import datetime
import functools
import io
import os
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.base import VERSION
from mcad_mobile.base.machine import allowed_cores
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index, default_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import MemoryUnavailable, PhotoError, PhotoIndexError, QueryError, Remedy
from mcad_mobile.serve import bundles as served_bundles
from mcad_mobile.serve import operations, records
from mcad_mobile.serve import state as serving
from mcad_mobile.serve.indexes import Snapshot, path_id
from mcad_mobile.serve.server import create_app, open_state
from mcad_mobile.serve.state import State
from tests.support.servers import in_process
from tests.support.tiny_bundle import make_tiny_bundle, text_rung_that_fails, two_text_towers

Part = records.Part


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """A bundle with indexes of two photos and of one; and another student's bundle with its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths, indexes = packaged_photos()[:3], []
    bundles = [make_tiny_bundle(tmp_path / "one"), make_tiny_bundle(tmp_path / "two", 32)]
    for number, (bundle, chosen) in enumerate(
        ((bundles[0], paths[:2]), (bundles[0], paths[2:]), (bundles[1], paths[:1]))
    ):
        folder = tmp_path / f"photos-{number}"
        folder.mkdir()
        for path in chosen:
            shutil.copy(path, folder)
        indexes.append(tmp_path / f"index-{number}")
        with create_index(bundle, indexes[-1]) as index:
            sync_folder(SearchEngine(bundle), index, folder)
    made = open_state(bundles, indexes, [tmp_path / "photos-0"])
    yield made
    made.close()


def path_in(state: State, index: str, row: int = 0) -> str:
    return state.indexes[index].snapshot.catalog.paths[row]


@pytest.mark.parametrize(("slowest", "taken"), [(1, True), (10**9, False)])
def test_a_body_has_the_more_time_the_more_of_it_has_come(slowest: int, taken: bool) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield b"x" * 1000
        await asyncio.sleep(0.3)
        yield b"y"

    async def read() -> bytes:
        request: Any = SimpleNamespace(headers={}, stream=stream)
        chunks = operations.limited(request, 2000, body_s=0.1, slowest=slowest)
        return b"".join([chunk async for chunk in chunks])

    if taken:
        assert asyncio.run(read()) == b"x" * 1000 + b"y"
        return
    with pytest.raises(operations.Refused) as refused:
        asyncio.run(read())
    assert refused.value.status == 408


def test_indexing_uses_the_runtime_asked_for_and_leaves_a_core(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "one")
    engine = served_bundles.ServedBundle("one", bundle, runtime="onnx").indexing_engine()
    assert (engine.runtime, engine.threads) == ("onnx", max(allowed_cores() - 1, 1))


def test_bundles_of_one_folder_name_have_ids_of_their_own(tmp_path: Path) -> None:
    bundles = [make_tiny_bundle(tmp_path / place / "same") for place in "ab"]
    with create_index(bundles[0], tmp_path / "index") as index:
        SearchEngine(bundles[0]).index_photos(index, packaged_photos()[:1])
    with closing(open_state(bundles, [tmp_path / "index"])) as made:
        assert [*made.bundles] == ["same", "same-2"]


def test_what_is_not_named_is_the_first_of_the_same_student(state: State) -> None:
    assert state.bundle(None).id == "one" and state.bundle("two").id == "two"
    with pytest.raises(QueryError, match="no bundle 'three'") as caught:
        state.bundle("three")
    assert caught.value.hint == "There are: one, two."
    with pytest.raises(QueryError, match="no index 'x'"):
        state.index("x")
    first, second = state.bundles.values()
    assert [index.id for index in state.indexes_of(first)] == ["index-0", "index-1"]
    assert [index.id for index in state.indexes_of(second)] == ["index-2"]
    words = [Part(text="a dog", weight=0.5)]
    asked = state.prepare_query(records.Side(bundle="two"), words, records.Filter())
    assert (asked.bundle, asked.name, asked.exact) == ("two", "index-2", False)
    assert asked.rung == "onnx fp32" and asked.engine.bundle.dim == 32
    assert [(part.content, part.weight) for part in asked.parts] == [("a dog", 0.5)]
    other = records.Side(index="index-1")
    asked = state.prepare_query(other, words, records.Filter(), exact=True)
    assert (asked.bundle, asked.name, asked.exact) == ("one", "index-1", True)
    with pytest.raises(PhotoIndexError):
        state.prepare_query(records.Side(bundle="two", index="index-0"), words, records.Filter())


def test_a_photo_of_another_index_can_be_searched_by(state: State) -> None:
    path = path_in(state, "index-1")
    parts = [Part(photo=path_id(path), weight=-1.0)]
    asked = state.prepare_query(records.Side(), parts, records.Filter())
    assert [(str(part.content), part.weight) for part in asked.parts] == [(path, -1.0)]
    with pytest.raises(QueryError, match="No index holds a photo 'none'"):
        state.photo(state.index("index-0"), "none")


@pytest.mark.parametrize("key", ["s3://bucket/2025/a.jpg", "a.jpg"])
def test_a_photo_whose_key_is_no_path_is_found_by_and_never_looked_for(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Photos of shards, whose keys may be addresses or relative."""
    index = state.index("index-1")
    with PhotoIndex.open(index.directory).writer() as writer:
        writer.add([key], np.eye(64, dtype=np.float32)[:1])
    index.follow()
    monkeypatch.chdir(tmp_path)  # where there is a file by that name
    file = tmp_path / key
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(packaged_photos()[0], file)

    async def requests(ask: Any) -> None:
        for kind in ("thumbnail", "view"):
            place = f"/api/indexes/index-1/photos/{path_id(key)}/{kind}"
            status, _, body = await ask("GET", place)
            assert status == 404
            assert f"{key} is no path on this computer" in body.decode()
        query = {"parts": [{"photo": path_id(key)}], "index": "index-1"}
        status, _, body = await ask("POST", "/api/search", query)
        assert status == 200
        hits = msgspec.json.decode(body, type=records.Answer).hits
        assert [hit.id for hit in hits] == [path_id(path_in(state, "index-1"))]
        status, _, body = await ask("POST", "/api/search", {**query, "index": "index-0"})
        assert status == 422 and f"has no photo {key}" in body.decode()

    in_process(state, requests)


def test_the_status_names_what_is_served(
    state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = state.status()
    assert [(found.id, found.indexes) for found in status.bundles] == [
        ("one", ["index-0", "index-1"]),
        ("two", ["index-2"]),
    ]
    one = status.bundles[0]
    assert (one.target, one.student, one.path) == ("cpu", "tiny", str(tmp_path / "one"))
    assert status.version == VERSION
    assert {index.id: (index.path, index.filled_by) for index in status.indexes} == {
        f"index-{number}": (str(tmp_path / f"index-{number}"), ["onnx fp32 by CPU"])
        for number in range(3)
    }
    assert [(found.id, found.photos, found.generation) for found in status.indexes] == [
        ("index-0", 2, 2),
        ("index-1", 1, 2),
        ("index-2", 1, 2),
    ]
    assert all(found.first_day <= found.last_day != "" for found in status.indexes)
    assert status.indexes[0].folders_to_index == [str(tmp_path / "photos-0")]
    assert status.indexes[0].bytes_per_photo == round(
        state.index("index-0").snapshot.index.bytes_per_photo, 1
    )
    assert status.machine.cores == allowed_cores()
    assert 10 < (status.machine.pss_mib or 0) < (status.machine.rss_mib or 0)
    assert (status.job, status.upload_limit_bytes) == (None, 32 << 20)
    (folder,) = state.folders(state.index("index-0"))
    path = str(tmp_path / "photos-0")
    assert (folder.path, folder.name, folder.depth, folder.photos) == (path, "photos-0", 0, 2)
    assert folder.id == path_id(path)

    def unknown() -> None:
        raise MemoryUnavailable("There is no such file.", "")

    monkeypatch.setattr(serving, "process_memory", unknown)
    assert (state.status().machine.pss_mib, state.status().machine.rss_mib) == (None, None)


def test_folders_are_indexed_once_at_a_time(state: State) -> None:
    bundle, index = state.bundle(None), state.index("index-1")
    state.job = SimpleNamespace(running=True)  # type: ignore[assignment]
    with pytest.raises(QueryError, match="under way"):
        state.start_indexing(bundle, index)
    state.job.running = False  # type: ignore[union-attr, misc]
    job = state.start_indexing(bundle, index)
    job._thread.join(60)
    assert job is state.job and job.info().message == "photos-0: 2 new"
    assert PhotoIndex.open(index.directory).photos == 3
    state.folders_to_index.clear()
    with pytest.raises(QueryError, match="without a folder") as caught:
        state.start_indexing(bundle, index)
    assert caught.value.remedy == Remedy.INDEX_FOLDER


def test_thumbnails_are_made_ahead_while_nothing_else_is_done(state: State) -> None:
    made: list[str] = []
    gone, there = path_in(state, "index-0"), path_in(state, "index-1")
    Path(gone).unlink()

    def make(path: str, tag: str) -> bytes:
        made.append(path)
        raise PhotoError("It is cut off.")  # and the next one is made all the same

    state.thumbnails = SimpleNamespace(  # type: ignore[assignment]
        can_store=True, has=lambda path, tag: path == there, make=make
    )
    job = SimpleNamespace(running=True, stop=lambda wait_s: None)
    state.job = job  # type: ignore[assignment]

    async def watched() -> None:
        state.last_request = time.monotonic() - 60
        ahead = asyncio.create_task(state.make_ahead())
        await asyncio.sleep(0.3)
        assert made == []  # while the job runs
        job.running, state.last_request = False, time.monotonic() - 0.9
        await asyncio.sleep(0.3)
        assert made == []  # less than a second and a half after the last request
        async with asyncio.timeout(30):
            while len(made) < 2:
                await asyncio.sleep(0.05)
        ahead.cancel()

    asyncio.run(watched())
    assert made == [path_in(state, "index-0", 1), path_in(state, "index-2")]


def test_engines_have_the_runtime_and_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "one")
    create_index(bundle, tmp_path / "index").close()
    state = open_state([bundle], [tmp_path / "index"], runtime="onnx", threads=3)
    for rung in (None, "onnx fp32"):
        engine = state.bundle(None).engine(rung)
        assert (engine.threads, engine.runtime) == (3, "onnx")
    assert state.bundle(None).best == "onnx fp32"
    with pytest.raises(QueryError, match="no text tower 'onnx int8'"):
        state.bundle(None).engine("onnx int8")
    state.close()
    rungs = (text_rung_that_fails(bundle), *bundle.text.rungs)
    broken = replace(bundle, text=replace(bundle.text, rungs=rungs))
    warned: list[str] = []
    state = open_state([broken], [tmp_path / "index"], warn=warned.append)
    assert state.bundle(None).best == "onnx fp32" and "next rung is used" in warned[0]
    state.close()


def test_a_bundle_needs_an_index_of_its_student(tmp_path: Path) -> None:
    one, two = make_tiny_bundle(tmp_path / "one"), make_tiny_bundle(tmp_path / "two", 32)
    create_index(two, tmp_path / "index").close()
    with pytest.raises(PhotoIndexError, match="No index that is served") as caught:
        open_state([one], [tmp_path / "index"])
    assert caught.value.remedy == Remedy.INDEX_WITH_BUNDLE
    assert caught.value.values == {"bundle": one.directory}
    shutil.copy(packaged_photos()[0], tmp_path)
    # None is made for one bundle if another one lacks its own.
    with pytest.raises(PhotoIndexError, match="No index that is served") as caught:
        open_state([one, two], [default_index(one.directory)], [tmp_path])
    assert caught.value.values == {"bundle": two.directory}
    assert not default_index(one.directory).exists()
    began = time.monotonic()
    state = open_state([one], [default_index(one.directory)], [tmp_path])
    assert state.index("one.index").snapshot.index.photos == 0
    assert began <= state.last_request <= time.monotonic()
    state.close()


def test_no_index_is_made_for_folders_without_photos(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for name in ("empty", "more"):
        (tmp_path / name).mkdir()
    index, folders = default_index(bundle.directory), [tmp_path / "empty", tmp_path / "more"]
    with pytest.raises(PhotoError, match=f"No photos in {folders[0]} "):
        open_state([bundle], [index], folders)
    assert not index.exists()
    shutil.copy(packaged_photos()[0], folders[1])
    open_state([bundle], [index], folders).close()
    assert index.exists()


def test_a_request_is_prepared_with_all_that_it_says(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, prepare = [], state.prepare_query

    def note(side: records.Side, *about: Any, **options: Any) -> Any:
        prepared.append(((side.bundle, side.rung, side.index), *about, options))
        return prepare(side, *about, **options)

    monkeypatch.setattr(state, "prepare_query", note)
    words = (Part(text="a dog", weight=2.0),)
    wanted = records.Filter(after=datetime.date(2020, 1, 1))
    left, right = ({"bundle": "one", "index": f"index-{number}"} for number in (0, 1))
    both = {"stack": True, "by": "content"}

    async def requests(ask: Any) -> None:
        query = {"parts": words, "filter": wanted}
        sides = {"left": left, "right": right}
        kind = {"content_type": "Application/JSON; charset=utf-8"}
        status, headers, _ = await ask(
            "POST",
            "/api/search",
            {**query, **left, "exact": True, "stack": True, "by": "content"},
            **kind,
        )
        assert (status, headers["cache-control"]) == (200, "no-store")
        assert (await ask("POST", "/api/compare", {**query, **sides, **both}))[0] == 200

    in_process(state, requests)
    assert prepared == [
        (("one", None, "index-0"), words, wanted, True, True, "content", {}),
        (("one", None, "index-0"), words, wanted, both),
        (("one", None, "index-1"), words, wanted, both),
    ]


def test_a_query_whose_sender_has_gone_is_not_answered_if_it_had_to_wait(state: State) -> None:
    answered: list[object] = []
    state.searcher = SimpleNamespace(  # type: ignore[assignment]
        answer=lambda *about: answered.append(about)
    )

    async def requests(ask: Any) -> None:
        hold = threading.Event()
        state.engines.submit(hold.wait, 10)
        asked = [
            asyncio.ensure_future(ask("POST", "/api/search", {}, left=left))
            for left in (False, True, False)
        ]
        await asyncio.sleep(0)
        hold.set()
        assert [(await each)[0] for each in asked] == [200, 499, 200]

    in_process(state, requests)
    assert len(answered) == 2


def test_only_a_request_of_somebody_ends_the_rest_of_the_server(state: State) -> None:
    """An open page polls the status."""

    async def requests(ask: Any) -> None:
        for path, counts in (("/api/status", False), ("/api/indexes/index-0/folders", True)):
            state.last_request = 0.0
            assert (await ask("GET", path))[0] == 200
            assert (state.last_request > 0) == counts

    in_process(state, requests)


def test_photos_are_given_as_large_as_they_are_wanted_and_as_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wide, odd = tmp_path / "wide.jpg", os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jpg")
    Image.new("RGB", (2000, 1000), "red").save(wide)
    Path(odd).write_bytes(b"no photo")
    bundle = make_tiny_bundle(tmp_path / "bundle")
    with create_index(bundle, tmp_path / "index").writer() as writer:
        writer.add([str(wide), odd], np.eye(64, dtype=np.float32)[:2])
    state = open_state([bundle], [tmp_path / "index"])
    sizes = {"thumbnail": (640, 320), "view": (1600, 800)}

    async def requests(ask: Any) -> None:
        place = "/api/indexes/index/photos/{}/{}"
        for kind, size in sizes.items():
            status, _, body = await ask("GET", place.format(path_id(str(wide)), kind))
            assert (status, Image.open(io.BytesIO(body)).size) == (200, size)
        (kept,) = (tmp_path / "cache").rglob("*.jpg")
        kept.write_bytes(b"kept")
        assert (await ask("GET", place.format(path_id(str(wide)), "thumbnail")))[2] == b"kept"
        # Of a name that is no UTF-8, and so cannot be in JSON.
        status, headers, body = await ask("GET", place.format(path_id(odd), "view"))
        assert (status, headers["content-type"]) == (404, "application/json")
        assert "caf?.jpg" in msgspec.json.decode(body)["error"]
        _, _, body = await ask("POST", "/api/search", {})
        names = {hit["name"] for hit in msgspec.json.decode(body)["hits"]}
        assert names == {"wide.jpg", "caf\ufffd.jpg"}

    in_process(state, requests)


def test_an_upload_is_measured_upright_and_shown_small_and_upright(state: State) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    file = io.BytesIO()
    Image.new("RGB", (2000, 1000), "red").save(file, "JPEG", exif=exif)

    async def requests(ask: Any) -> None:
        status, _, body = await ask("POST", "/api/uploads", file.getvalue())
        told = msgspec.json.decode(body, type=records.Upload)
        assert (status, told.width, told.height) == (201, 1000, 2000)
        status, headers, small = await ask("GET", f"/api/uploads/{told.id}/thumbnail")
        assert (status, headers["content-type"]) == (200, "image/jpeg")
        assert headers["cache-control"] == "no-store"
        image = Image.open(io.BytesIO(small))
        assert image.size == (320, 640) and not image.getexif()
        (part,) = state.prepare_query(
            records.Side(), [Part(upload=told.id, weight=-0.5)], records.Filter()
        ).parts
        assert isinstance(part.content, Path) and part.content.read_bytes() == file.getvalue()
        assert part.weight == -0.5

    in_process(state, requests)


def test_indexing_is_begun_where_it_was_asked_for_and_stopped(state: State) -> None:
    stopped: list[float] = []
    told = records.JobInfo("running", "i", "f", 0, 0, 0.0, None, "", [])

    async def requests(ask: Any) -> None:
        assert (await ask("DELETE", "/api/indexing"))[0] == 404
        for side, status, index in (
            ({}, 202, "index-0"),
            ({"bundle": "two"}, 202, "index-2"),
            ({"index": "index-1"}, 202, "index-1"),
            ({"bundle": "two", "index": "index-1"}, 409, ""),  # of another student
        ):
            found, _, body = await ask("POST", "/api/indexing", side)
            assert found == status
            if index:
                assert msgspec.json.decode(body)["index"] == index
                assert state.job is not None
                state.job.stop(60)
        state.job = SimpleNamespace(  # type: ignore[assignment]
            running=True, stop=stopped.append, info=lambda: told
        )
        assert (await ask("DELETE", "/api/indexing"))[0] == 200
        # A moment for its last commit, so that the answer is of its end.
        assert stopped == [1.0]

    in_process(state, requests)
    assert len(stopped) == 2 and 1 < stopped[1] < 4  # as the server ends, in 5 seconds


def test_an_unexpected_error_is_answered_as_others_are(state: State) -> None:
    state.bundles = None  # type: ignore[assignment]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/status", "headers": []}
    with pytest.raises(AttributeError):  # which the server prints
        asyncio.run(create_app(state)({**scope, "query_string": b""}, asyncio.Event().wait, send))
    start, body = sent
    told = msgspec.json.decode(body["body"], type=records.Problem)
    assert start["status"] == 500 and told.error.startswith("AttributeError: ")
    assert told.hint == "Report this, with the request."


def test_a_hint_of_the_page_names_the_only_bundle(state: State) -> None:
    async def requests(ask: Any) -> None:
        _, _, body = await ask("POST", "/api/indexing", {"index": "index-2"})
        assert f"--bundle {state.bundle(None).bundle.directory} --index NEW" in body.decode()

    del state.bundles["two"]
    in_process(state, requests)


def test_what_changes_on_disk_is_looked_for_more_often_while_indexing(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruned, naps, followed = [], [], []
    thumbnails = SimpleNamespace(needs_pruning=False, prune=lambda: pruned.append(len(naps)))
    state.thumbnails = thumbnails  # type: ignore[assignment]
    for name in state.indexes:
        follow = functools.partial(followed.append, name)
        state.indexes[name] = SimpleNamespace(follow=follow)  # type: ignore[assignment]
    job = SimpleNamespace(running=True, stop=lambda wait_s: None)
    state.job = job  # type: ignore[assignment]

    async def sleep(seconds: float) -> None:
        naps.append(seconds)
        job.running = False
        thumbnails.needs_pruning = len(naps) == 1
        if len(naps) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(serving.asyncio, "sleep", sleep)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(state.follow())
    assert naps == [0.3, 1.0, 1.0]
    assert pruned == [0, 1]  # as it starts, and when they have grown
    assert followed == ["index-0", "index-1", "index-2"] * 3


def test_an_unexpected_error_is_noted_and_the_others_are_followed_on(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*about: Any, **more: Any) -> Any:
        raise ZeroDivisionError("by zero")

    rounds = []

    async def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr(serving.asyncio, "sleep", sleep)
    monkeypatch.setattr(state.index("index-0"), "follow", fail)
    with PhotoIndex.open(state.index("index-1").directory).writer() as writer:
        writer.add(["new.jpg"], np.eye(64, dtype=np.float32)[:1])
    monkeypatch.setattr(state.bundle("one"), "find_replacement", fail)
    monkeypatch.setattr(served_bundles, "SearchEngine", fail)
    changed = state.bundle("two")
    engine = changed.engine()
    changed.bundle.save()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(state.follow())
    status = state.status()
    notes = [each.note or "" for each in (status.indexes[0], *status.bundles)]
    assert all("ZeroDivisionError: by zero" in note for note in notes)
    assert changed.engine() is engine  # the old one
    assert status.indexes[1].photos == 2 and status.indexes[1].note is None


def test_why_a_new_bundle_is_not_served_is_told_until_it_is_replaced(state: State) -> None:
    served = state.bundle("one")
    old = served.bundle
    (rung,) = old.text.rungs
    npu = replace(rung, runtime="neuropilot", precision="w8a16")
    replace(old, text=replace(old.text, rungs=(npu,))).save()

    def follow() -> None:
        found = served.find_replacement()
        if found is not None:
            served.change_over(found)

    for _ in range(3):
        follow()
        assert "is still served" in (served.note or "")
    assert served.engine().bundle is old and served.best == "onnx fp32"
    simulated = replace(rung, runtime="qnn", precision="w8a16")
    replace(old, text=replace(old.text, rungs=(simulated, npu, rung))).save()
    assert state.status().bundles[0].generation == 1
    for _ in range(2):
        follow()
        assert served.note is None and served.bundle is not old
    assert state.status().bundles[0].generation == 2
    assert [(info.simulated, info.best) for info in served.rungs()] == [
        (True, False),
        (False, False),
        (False, True),
    ]
    assert [bool(info.why) for info in served.rungs()] == [False, True, False]


def test_a_replacement_that_was_refused_is_read_again_after_its_files_have_changed(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it is being copied, its manifest first."""
    bundle, index = state.bundle("one"), state.index("index-0")
    reads: list[Path] = []

    def note(directory: Path, *, read: Callable[[Path], Any]) -> Any:
        reads.append(directory)
        return read(directory)

    for kind, name in ((Bundle, "load"), (Snapshot, "open")):
        monkeypatch.setattr(kind, name, functools.partial(note, read=getattr(kind, name)))
    tower = bundle.bundle.directory / "text.onnx"
    whole = tower.read_bytes()
    tower.write_bytes(b"the first bytes")
    (segment,) = index.directory.glob("*.mcs")
    segment.rename(tmp_path / "on its way")
    for directory in (bundle.bundle.directory, index.directory):
        (manifest,) = directory.glob("*.json")
        os.utime(manifest)

    for _ in range(3):
        index.follow()
        assert bundle.find_replacement() is None
        assert "older state is served" in (index.note or "")
        assert "is still served" in (bundle.note or "")
    assert reads == [index.directory, bundle.bundle.directory]

    tower.write_bytes(whole)
    (tmp_path / "on its way").rename(segment)
    index.follow()
    assert bundle.find_replacement() is not None
    assert (index.note, bundle.note) == (None, None)


def test_the_best_rung_of_a_new_bundle_is_served(state: State) -> None:
    served = state.bundle("one")
    (rung,) = served.bundle.text.rungs
    text = replace(served.bundle.text, rungs=(replace(rung, precision="int8"), rung))
    replace(served.bundle, text=text).save()
    found = served.find_replacement()
    assert found is not None and served.best == "onnx fp32"
    served.change_over(found)
    assert served.best == "onnx int8" and served.engine().text_rung.rung.precision == "int8"


def test_a_bundle_and_the_one_after_it_are_served_in_a_language(tmp_path: Path) -> None:
    both = two_text_towers(tmp_path / "both")
    create_index(both, tmp_path / "index")
    with closing(open_state([both], [tmp_path / "index"], language="de")) as state:
        served = state.bundle("both")
        assert served.engine().bundle.student.name == "tiny-m"
        os.utime(both.directory / "bundle.json", (1, 1))
        assert served.find_replacement() == served.bundle == both.for_language("de")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_photos_are_decoded_where_no_search_wants_the_processor(state: State) -> None:
    async def priorities() -> list[int]:
        ask = functools.partial(os.getpriority, os.PRIO_PROCESS, 0)
        return [await state.run_on(pool, ask) for pool in (state.engines, state.decoders)]

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    searches, decoders = asyncio.run(priorities())
    assert searches == ours and decoders >= min(ours + 1, 19)


def test_engines_answer_one_call_after_the_other(state: State) -> None:
    """They are not thread-safe, and a bundle is also changed over to on their thread."""
    steps: list[str] = []

    def call() -> None:
        steps.append("begin")
        time.sleep(0.01)
        steps.append("end")

    async def calls() -> None:
        await asyncio.gather(*(state.run_on(state.engines, call) for _ in range(3)))

    asyncio.run(calls())
    assert steps == ["begin", "end"] * 3
