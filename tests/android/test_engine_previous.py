"""Indexes of the format before: the app reads them as they are, and converts them in a run."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from phone import App
from previous_format import rewrite_as_previous
from probe import EngineError, Probe
from test_engine_index import SHA, JavaIndex, names, unit

from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.paths import path_from_bytes

BEFORE = Path(__file__).parents[1] / "golden" / "index_2"
KILLS = 6
PHOTOS = 3000


@pytest.fixture
def golden(probe, tmp_path) -> JavaIndex:
    return JavaIndex(probe, Path(shutil.copytree(BEFORE, tmp_path / "index")), tmp_path)


def as_expected(index: JavaIndex, tmp_path: Path) -> None:
    """What it holds is what the golden file says."""
    expected = json.loads((BEFORE / "expected.json").read_text("utf-8"))

    def named(values: dict) -> dict:
        return {path_from_bytes(bytes.fromhex(path)): value for path, value in values.items()}

    answer, _, stamps = index.read(verify=True)
    assert [path.encode("utf-8", "surrogateescape").hex() for path in answer["paths"]] == expected[
        "paths_hex"
    ]
    assert stamps == named(expected["stamps"])
    for query in expected["queries"]:
        for exact in (True, False):
            vector = np.array([query["embedding"]], np.float32)
            (found,) = index.search(vector, k=expected["photos"], exact=exact)
            scores = dict(zip(found["paths"], found["scores"], strict=True))
            told = dict(zip(query["paths_hex"], query["scores"], strict=True))
            assert scores == pytest.approx(named(told), abs=3e-7)  # seven digits are written


def test_the_golden_index_is_read_as_it_is_and_converted_with_all_its_scores(golden, tmp_path):
    as_expected(golden, tmp_path)
    assert json.loads((golden.directory / "manifest.json").read_text())["schema"] == "mcad-index/2"
    assert golden.change(dim=32)["photos"] > 0  # opened for changes
    as_expected(golden, tmp_path)
    assert [file.name for file in golden.directory.glob("*.mcs")] == ["segment-00000004.mcs"]
    index = PhotoIndex.open(golden.directory)  # Python refuses every other format
    index.verify()
    assert index.student_sha256 == SHA


def test_photos_are_added_to_a_converted_index(golden):
    before = golden.read()[0]["photos"]
    golden.change(["new.jpg"], unit(1, 32), dim=32)
    assert golden.read(verify=True)[0]["photos"] == before + 1
    assert PhotoIndex.open(golden.directory).photos == before + 1


def test_settings_are_measured_as_a_commit_measures_them(java, probe, tmp_path):
    photos, queries = unit(PHOTOS, 128), unit(20, 128, seed=1)
    java.change(names(PHOTOS), photos, dim=128)
    measured = json.loads((java.directory / "manifest.json").read_text())["segments"][0]
    before = java.search(queries, k=10, exact=True)
    rewrite_as_previous(java.directory)
    assert java.search(queries, k=10) == before  # no search of it is short
    java.change(dim=128)
    converted = json.loads((java.directory / "manifest.json").read_text())["segments"][0]
    # By what is stored in place of the embeddings.
    assert converted["reach"]["factor"] == pytest.approx(measured["reach"]["factor"], rel=0.1)
    (live,) = PhotoIndex.open(java.directory)._commit[1]
    assert len(live.segment.lens) >= 64
    assert java.search(queries, k=10, exact=True) == before
    shared = [
        len({*found["paths"]} & {*expected["paths"]})
        for found, expected in zip(java.search(queries, k=10), before, strict=True)
    ]
    assert np.mean(shared) > 9.8


def test_a_damaged_index_is_not_converted(golden):
    segment = golden.directory / "segment-00000002.mcs"
    good, manifest = segment.read_bytes(), (golden.directory / "manifest.json").read_bytes()
    # A byte of the header, of the codes, of the magnitudes and of the last path.
    for offset in (9, 0x2003, 0x5001, len(good) - 1):
        segment.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        with pytest.raises(EngineError, match=r"segment-00000002\.mcs is damaged"):
            golden.change(dim=32)
        assert (golden.directory / "manifest.json").read_bytes() == manifest


@pytest.mark.slow
def test_a_kill_in_the_middle_loses_nothing(java_classes, java, tmp_path):
    """kill -9 at random moments: there is the index of before, or the one of today, whole."""
    photos = unit(PHOTOS, 64)
    java.change(names(PHOTOS), photos, dim=64)
    queries = unit(5, 64, seed=1)
    expected = java.search(queries, k=10, exact=True)
    rewrite_as_previous(java.directory)
    pick, seen = random.Random(5), set()
    for kill in range(KILLS):
        scratch = tmp_path / f"kill-{kill}"
        command = [executable(JAVA), "-cp", str(java_classes), "mcad.desktop.ConvertForever"]
        with subprocess.Popen(
            [*command, str(java.directory), str(scratch)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(pick.randint(1, 4)):
                last = int(process.stdout.readline())
            try:
                process.wait(timeout=pick.uniform(0, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
            last = max([last, *map(int, process.stdout.read().split("\n")[:-1])])
        copy = JavaIndex(java._probe, scratch / str(last), tmp_path)
        seen.add(json.loads((copy.directory / "manifest.json").read_text())["schema"])
        assert copy.search(queries, k=10, exact=True) == expected
        copy.change(dim=64)
        assert copy.read(verify=True)[0]["photos"] == PHOTOS
        assert copy.search(queries, k=10, exact=True) == expected
        assert len([*copy.directory.glob("*.mcs*")]) == 1  # and nothing left behind
    assert "mcad-index/2" in seen


@pytest.fixture
def java(probe, tmp_path) -> JavaIndex:
    return JavaIndex(probe, tmp_path / "written", tmp_path)


@pytest.fixture
def updated(app, phone):
    """An app whose index is of the format before, as an update finds it."""
    phone.take(*(f"{number:03d}.png" for number in range(70)))
    app.index()
    app.close()
    rewrite_as_previous(app.index_directory)
    return app


def test_an_updated_app_finds_all_photos_and_embeds_none_again(updated, phone):
    before = updated.ask("search", words="a dog", k=100)
    assert len(before["paths"]) == 70
    phone.take("new.png")
    assert updated.ask("count")["left"] == 1
    outcome = updated.index()
    assert (outcome["added"], outcome["photos"], outcome["opened"]) == (1, 71, 1)
    heard = updated.ask("heard")
    assert [told["converting"] for told in heard if told["running"]][:2] == [False, True]
    assert not heard[-1]["converting"]
    assert len(updated.indexed()) == 71  # Python reads it
    after = updated.ask("search", words="a dog", k=100)
    scores = dict(zip(after["paths"], after["scores"], strict=True))
    assert scores.items() >= dict(zip(before["paths"], before["scores"], strict=True)).items()


def test_without_space_the_index_of_before_goes_on_being_searched(
    java_classes, bundle, phone, tmp_path, updated
):
    process = Probe(java_classes, tmp_path)
    own = App(process, bundle, phone)
    before = own.ask("search", words="a dog", k=100)
    own.limit_files(6000)
    with pytest.raises(EngineError, match="could not be written"):
        own.index()
    assert own.ask("state")["failure"] == "STORAGE"
    assert own.ask("search", words="a dog", k=100) == before
    process.close()
    assert updated.index()["added"] == 0
    assert updated.ask("search", words="a dog", k=100) == before
