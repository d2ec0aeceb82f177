"""What the server's state says and asks for, without a server."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mcad_mobile.base.machine import Memory
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import SearchEngine, create_index, default_index
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import MemoryUnavailable, PhotoIndexError, QueryError
from mcad_mobile.serve import records
from mcad_mobile.serve import state as serving
from mcad_mobile.serve.indexes import path_id
from mcad_mobile.serve.run import open_state
from mcad_mobile.serve.state import State
from tests.support.tiny_bundle import make_tiny_bundle

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
    assert [(part.content, part.weight) for part in asked.parts] == [(Path(path), -1.0)]
    with pytest.raises(QueryError, match="No index holds a photo 'none'"):
        state.photo(state.index("index-0"), "none")


def test_the_status_names_what_is_served(
    state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serving, "process_memory", lambda: Memory(61.26, 70.04))
    monkeypatch.setattr(serving, "allowed_cores", lambda: 6)
    status = state.status()
    assert [(found.id, found.indexes) for found in status.bundles] == [
        ("one", ["index-0", "index-1"]),
        ("two", ["index-2"]),
    ]
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
    assert (status.machine.cores, status.machine.pss_mib, status.machine.rss_mib) == (6, 61.3, 70.0)
    assert (status.job, status.upload_limit_bytes) == (None, 32 << 20)
    (folder,) = state.folders(state.index("index-0"))
    path = str(tmp_path / "photos-0")
    assert (folder.path, folder.name, folder.depth, folder.photos) == (path, "photos-0", 0, 2)
    assert folder.id == path_id(path)

    def unknown() -> Memory:
        raise MemoryUnavailable("There is no such file.", "")

    monkeypatch.setattr(serving, "process_memory", unknown)
    assert (state.status().machine.pss_mib, state.status().machine.rss_mib) == (None, None)


def test_folders_are_indexed_once_at_a_time(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def job(*about: Any) -> Any:
        begun.append(about)
        return SimpleNamespace(running=True, info=lambda: None, stop=lambda wait_s: None)

    monkeypatch.setattr(serving, "IndexingJob", job)
    bundle, index = state.bundle(None), state.index("index-1")
    assert state.start_indexing(bundle, index) is state.job
    assert begun == [(bundle, index, state.folders_to_index)]
    with pytest.raises(QueryError, match="under way"):
        state.start_indexing(bundle, index)
    assert state.job is not None
    state.job.running = False  # type: ignore[misc]
    state.start_indexing(bundle, index)
    assert len(begun) == 2
    state.folders_to_index.clear()
    with pytest.raises(QueryError, match="without a folder"):
        state.start_indexing(bundle, index)


def test_thumbnails_are_made_ahead_while_nothing_else_is_done(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, naps = [], []
    gone = path_in(state, "index-0")
    Path(gone).unlink()
    there = path_in(state, "index-1")
    monkeypatch.setattr(state.thumbnails, "has", lambda path, tag: path == there)
    monkeypatch.setattr(state.thumbnails, "make", lambda path, tag: made.append(path))
    now = [100.0]
    monkeypatch.setattr(serving, "time", SimpleNamespace(monotonic=lambda: now[0]))
    state.last_request = 99.4
    state.job = SimpleNamespace(running=True, stop=lambda wait_s: None)  # type: ignore[assignment]

    async def sleep(seconds: float) -> None:
        naps.append(round(seconds, 3))
        now[0] += seconds
        if len(naps) == 2 and state.job is not None:
            state.job.running = False  # type: ignore[misc]
        if len(naps) == 4:
            raise asyncio.CancelledError

    monkeypatch.setattr(serving.asyncio, "sleep", sleep)

    async def ahead() -> None:
        with pytest.raises(asyncio.CancelledError):
            await state.make_ahead()

    asyncio.run(ahead())
    # Until a second and a half after the last request, then while the job runs; then in between.
    assert naps == [0.9, 0.1, 1.0, 1.0]
    assert made == [path_in(state, "index-0", 1), path_in(state, "index-2")]


def test_engines_have_the_runtime_and_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "one")
    create_index(bundle, tmp_path / "index").close()
    warned: list[str] = []
    state = open_state(
        [bundle], [tmp_path / "index"], runtime="onnx", threads=3, warn=warned.append
    )
    for rung in (None, "onnx fp32"):
        engine = state.bundle(None).engine(rung)
        assert (engine.threads, engine.runtime) == (3, "onnx")
    assert state.bundle(None).best == "onnx fp32"
    with pytest.raises(QueryError, match="no text tower 'onnx int8'"):
        state.bundle(None).engine("onnx int8")
    state.close()


def test_a_bundle_needs_an_index_of_its_student(tmp_path: Path) -> None:
    one, two = make_tiny_bundle(tmp_path / "one"), make_tiny_bundle(tmp_path / "two", 32)
    create_index(two, tmp_path / "index").close()
    with pytest.raises(PhotoIndexError, match="None of the indexes given") as caught:
        open_state([one], [tmp_path / "index"])
    assert f"mcad-mobile index PHOTOS --bundle {one.directory}" in caught.value.hint
    # Without photos to fill it, none is made.
    with pytest.raises(PhotoIndexError):
        open_state([one], [default_index(one.directory)], [tmp_path])
    shutil.copy(packaged_photos()[0], tmp_path)
    began = time.monotonic()
    state = open_state([one], [default_index(one.directory)], [tmp_path])
    assert state.index("one.index").snapshot.index.photos == 0
    assert began <= state.last_request <= time.monotonic()
    state.close()
