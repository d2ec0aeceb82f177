"""SearchEngine: photos in, photos found, nothing lost on the way."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.base import machine
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import engine as engines
from mcad_mobile.engine.engine import SearchEngine, default_index, open_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.query import Part
from mcad_mobile.errors import PhotoIndexError, QueryError, RuntimeUnavailable
from tests.support.tiny_bundle import make_tiny_bundle, other_text_tower, text_rung_that_fails


@pytest.fixture
def engine(tmp_path) -> SearchEngine:
    return SearchEngine(make_tiny_bundle(tmp_path / "bundle"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return [shutil.copy(path, folder / path.name) for path in packaged_photos()[:6]]


def test_embeddings_have_unit_length(engine, photos):
    for embedding in (engine.embed_text("a dog"), engine.embed_photo(photos[0])):
        assert embedding.dtype == np.float32
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_towers_are_chosen_as_the_engine_was_asked_to(engine, monkeypatch):
    asked = []
    monkeypatch.setattr(engines, "choose_rung", lambda *given, **more: asked.append((given, more)))
    heard = print
    chosen = SearchEngine(
        engine.bundle, runtime="onnx", precision="int8", threads=3, fastest=True, warn=heard
    )
    _ = chosen.text_rung, chosen.image_rung, chosen.folder_rung
    same = {"runtime": "onnx", "precision": "int8", "warn": heard}
    assert asked == [
        ((engine.bundle, "text"), same | {"threads": 3, "fastest": False}),
        ((engine.bundle, "image"), same | {"threads": 3, "fastest": True}),
        ((engine.bundle, "image"), same | {"threads": 1, "fastest": True}),
    ]


def test_the_times_of_an_emulated_processor_are_simulated(engine, index, monkeypatch):
    assert not engine.search(index, "a dog").simulated
    monkeypatch.setattr(machine, "emulator", lambda: "qemu-aarch64")
    assert engine.search(index, "a dog").simulated
    monkeypatch.undo()
    engine.text_tower.simulated = True
    assert engine.search(index, "a dog").simulated


def test_an_index_lies_beside_the_bundle_whatever_it_is_called(engine, tmp_path, monkeypatch):
    place = tmp_path / "bundle.index"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(engine.bundle.directory)
    monkeypatch.chdir(engine.bundle.directory)
    for name in (engine.bundle.directory, Path(), tmp_path / "elsewhere" / "link"):
        assert default_index(name) == place
    student = replace(engine.bundle.student, name="a student")
    made = open_index(replace(engine.bundle, student=student), create=True)
    assert (made.student, made.student_sha256) == ("a student", student.image_sha256)
    assert PhotoIndex.open(place).student == "a student"


def test_a_tower_that_loads_and_then_fails_is_told(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "bundle")
    text = replace(bundle.text, rungs=(text_rung_that_fails(bundle),))
    with pytest.raises(RuntimeUnavailable, match=r"cannot run .*fails\.onnx.*Reshape"):
        SearchEngine(replace(bundle, text=text)).embed_text("a dog")


def test_results_are_those_of_a_plain_product_of_float_embeddings(engine, index, photos):
    engine.index_photos(index, photos)
    embeddings = np.stack([engine.embed_photo(photo) for photo in photos])
    scores = embeddings @ engine.embed_text("a cat on a chair")
    best = np.argsort(-scores)[:3]
    found = engine.search(index, "a cat on a chair", 3)
    assert [result.path for result in found.results] == [str(photos[i]) for i in best]
    assert np.allclose([result.score for result in found.results], scores[best], atol=0.02)
    assert set(found.ms) == {"tokenize", "text", "scan", "rescore", "total"}
    assert found.ms["total"] >= found.ms["text"]


def test_a_search_finds_ten_photos_unless_it_is_told_how_many(engine, index):
    engine.index_photos(index, packaged_photos()[:12])
    assert len(engine.search(index, "a dog").results) == 10
    assert len(engine.search_parts(index, [Part("a dog")]).results) == 10


def test_threads_share_an_engine_that_has_loaded_nothing_yet(engine, index, photos):
    engine.index_photos(index, photos)
    fresh, queries = SearchEngine(engine.bundle), [f"a dog number {n}" for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: fresh.search(index, query).results, queries))
    assert found == [engine.search(index, query).results for query in queries]


def test_each_stage_of_a_search_is_timed_apart_and_loading_is_not(
    engine, index, photos, monkeypatch
):
    engine.index_photos(index, photos)
    clock = iter([0.001, 0.004, 0.010, 0.040])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    found = engine.search(index, "a cat")
    of_index = {"scan": found.ms["scan"], "rescore": found.ms["rescore"]}  # it has its own clock
    assert found.ms == pytest.approx({"tokenize": 3.0, "text": 6.0, **of_index, "total": 39.0})
    assert found.ms["scan"] >= 0 < found.ms["rescore"]


def test_another_text_tower_of_the_same_image_tower_searches_an_index_as_it_is(
    engine, index, photos, tmp_path
):
    engine.index_photos(index, photos)
    before = {path: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    other = SearchEngine(other_text_tower(engine.bundle, tmp_path / "other"))
    assert other.bundle.student.sha256 != engine.bundle.student.sha256
    opened = open_index(other.bundle, tmp_path / "index")
    query = other.embed_text("a cat on a chair")
    assert abs(query @ engine.embed_text("a cat on a chair")) < 0.9
    scores = np.stack([engine.embed_photo(photo) for photo in photos]) @ query
    found = other.search(opened, "a cat on a chair", 3)
    assert [result.path for result in found.results] == [
        str(photos[i]) for i in np.argsort(-scores)[:3]
    ]
    assert other.index_photos(opened, photos).unchanged == len(photos)
    assert {path: path.read_bytes() for path in (tmp_path / "index").iterdir()} == before


def test_the_same_text_tower_of_another_image_tower_is_refused(engine, index, tmp_path):
    student = replace(engine.bundle.student, image_sha256="7" * 64)
    with pytest.raises(PhotoIndexError, match="image tower has sha256 7777"):
        open_index(replace(engine.bundle, student=student), tmp_path / "index")


def test_an_index_of_another_student_is_neither_searched_nor_added_to(engine, photos, tmp_path):
    """However it was opened."""
    other = PhotoIndex.create(
        tmp_path / "other", dim=engine.bundle.dim, student="other", student_sha256="7" * 64
    )
    for use in (
        lambda: engine.search(other, "a dog"),
        lambda: engine.search_parts(other, [Part(photos[0])]),
        lambda: engine.index_photos(other, photos),
        lambda: engine.index_folder(other, photos[0].parent),
    ):
        with pytest.raises(PhotoIndexError, match="was built by student other"):
            use()
    assert PhotoIndex.open(tmp_path / "other").photos == 0


def test_photos_that_do_not_decode_are_skipped_and_listed(engine, index, photos):
    broken = photos[0].with_name("broken.jpg")
    broken.write_bytes(b"\xff\xd8\xff")
    result = engine.index_photos(index, [*photos[:2], broken, *photos[2:]])
    assert result.added == len(photos)
    (skipped,) = result.skipped
    assert skipped.path == str(broken)
    assert "broken.jpg" in skipped.why
    assert str(broken) not in index.paths()


def test_photos_are_known_by_absolute_paths(engine, index, photos, monkeypatch):
    monkeypatch.chdir(photos[0].parent)
    engine.index_photos(index, [photos[0].name, *photos[1:]])
    assert index.paths() == sorted(map(str, photos))
    assert engine.index_folder(index, ".").unchanged == len(photos)


def test_indexing_again_adds_only_what_is_new(engine, index, photos):
    engine.index_photos(index, photos[:4])
    seen = []
    result = engine.index_photos(index, photos, lambda *step: seen.append(step))
    assert (result.added, result.unchanged, index.photos) == (2, 4, 6)
    assert seen[-1] == ("photos", 6, 6)


def test_a_run_that_is_stopped_keeps_what_it_embedded(engine, index, photos):
    def stop_at_five(step, done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.index_photos(index, photos, stop_at_five)
    assert PhotoIndex.open(index._directory).photos == 5
    assert engine.index_photos(index, photos).added == 1


def test_an_empty_query_is_an_error_and_a_long_one_is_cut_and_says_so(engine, index, photos):
    engine.index_photos(index, photos)
    with pytest.raises(QueryError):
        engine.search(index, " ")
    assert engine.search(index, "dog " * 100).truncated
    assert not engine.search(index, "dog").truncated


def test_a_runtime_that_the_bundle_lacks_is_an_error_that_lists_what_it_has(tmp_path, engine):
    with pytest.raises(RuntimeUnavailable, match=r"(?s)'qnn'.*onnx"):
        _ = SearchEngine(engine.bundle, runtime="qnn").text_tower
