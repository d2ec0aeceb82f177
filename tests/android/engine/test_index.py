"""The index in Java: the C core through JNI, and what Java adds to it, beside Python's."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, executable
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.words.photo_words import PhotoWords
from tests.support.damaged_index import plant_number
from tests.support.paths import ROOT
from tests.support.probe import KERNELS, EngineError, Probe

GOLDEN = ROOT / "tests" / "golden" / "index"
SHA = "ab" * 32
KILLS = 8


def unit(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors of length 1 as embeddings are: in a cone, most of their spread in few directions."""
    fixed, generator = np.random.default_rng(99), np.random.default_rng(seed)
    centre, directions = fixed.normal(size=dim), fixed.normal(size=(dim // 4, dim))
    spread = generator.normal(size=(count, dim // 4)) @ directions
    rows = (spread + generator.normal(size=(count, dim)) * 0.5 + centre).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def names(count: int, prefix: str = "photo") -> list[str]:
    return [f"{prefix}-{number:06d}.jpg" for number in range(count)]


def saved(path: Path, rows: np.ndarray) -> Path:
    path.write_bytes(np.ascontiguousarray(rows, "<f4").tobytes())
    return path


def write_manifest(file: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document | {"crc32": "0" * 8}, separators=(",", ":"))
    text = text.replace('"crc32":', '"crc32": ', 1)
    assert text.startswith('{"crc32": "')
    file.write_text(text.replace("0" * 8, f"{zlib.crc32(text.encode()):08x}", 1))


class JavaIndex:
    """An index directory as the Java engine sees it."""

    def __init__(self, probe, directory: Path, scratch: Path) -> None:
        self._probe, self.directory, self._scratch = probe, directory, scratch

    def read(self, *, verify: bool = False):
        """(answer, {path: embedding}, {path: stamps})."""
        out = self._scratch / "read.f32"
        flags = {"verify": True} if verify else {}
        answer = self._probe.ask("index_read", index=self.directory, out=out, **flags)
        rows = np.fromfile(out, "<f4").reshape(-1, answer["dim"]) if answer["photos"] else []
        embeddings = dict(zip(answer["paths"], rows, strict=True))
        return answer, embeddings, dict(zip(answer["paths"], answer["stamps"], strict=True))

    def search(self, queries: np.ndarray, k: int, *, exact: bool = False, **among):
        given = saved(self._scratch / "queries.f32", queries)
        return self._probe.ask(
            "index_search", index=self.directory, queries=given, k=k, exact=exact, **among
        )

    def change(self, paths=(), embeddings=None, *, delete=(), restamp=(), dim: int, **flags):
        rows = np.empty((0, dim), np.float32) if embeddings is None else embeddings
        return self._probe.ask(
            "index_change",
            index=self.directory,
            dim=dim,
            paths=list(paths),
            embeddings=saved(self._scratch / "rows.f32", rows),
            stamps=list(range(len(rows))),
            delete=list(delete),
            restamp=list(restamp),
            **{"student": SHA, **flags},
        )


@pytest.fixture
def java(probe, tmp_path) -> JavaIndex:
    return JavaIndex(probe, tmp_path / "index", tmp_path)


@pytest.mark.parametrize("room", [100, 1000])
def test_full_storage_is_told_as_such_and_costs_no_commit(java_classes, tmp_path, room):
    """There is no room for an embedding, or for a segment."""
    probe = Probe(java_classes, tmp_path)
    java = JavaIndex(probe, tmp_path / "index", tmp_path)
    java.change(["a"], unit(1, 64), dim=64)
    probe.limit_files(room)
    with pytest.raises(EngineError, match="could not be written") as error:
        java.change(["b"], unit(1, 64, seed=1), dim=64)
    probe.close()
    assert error.value.kind == "STORAGE"
    assert [*PhotoIndex.open(java.directory).paths()] == ["a"]


def test_the_golden_index_holds_what_is_expected(probe, tmp_path):
    expected = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
    java = JavaIndex(probe, GOLDEN, tmp_path)
    answer, embeddings, stamps = java.read(verify=True)

    def named(values: dict) -> dict:
        return {os.fsdecode(bytes.fromhex(path)): value for path, value in values.items()}

    assert answer["photos"] == expected["photos"]
    assert sorted(embeddings, key=lambda path: path.encode("utf-8", "surrogateescape")) == [
        os.fsdecode(bytes.fromhex(path)) for path in expected["paths_hex"]
    ]
    assert stamps == named(expected["stamps"])
    for path, embedding in named(expected["embeddings"]).items():
        assert np.abs(embeddings[path] - embedding).max() < 0.01, path
    for query in expected["queries"]:
        vector = np.array([query["embedding"]], np.float32)
        (found,) = java.search(vector, k=expected["photos"], exact=True)
        scores = dict(zip(found["paths"], found["scores"], strict=True))
        for path, score in zip(query["paths_hex"], query["scores"], strict=True):
            name = os.fsdecode(bytes.fromhex(path))
            assert scores[name] == pytest.approx(score, abs=expected["score_tolerance"])
        (found,) = java.search(vector, k=len(query["found_hex"]))
        assert [path.encode("utf-8", "surrogateescape").hex() for path in found["paths"]] == query[
            "found_hex"
        ]


def test_the_golden_index_is_merged_with_new_photos(java):
    expected = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
    shutil.copytree(GOLDEN, java.directory)
    before = java.read()[1]
    answer = java.change(names(400), unit(400, 64), dim=64)
    assert answer["photos"] == expected["photos"] + 400
    _, embeddings, stamps = java.read(verify=True)
    assert all(cosine(embeddings[path], row) > 0.9999 for path, row in before.items())
    for path, stamp in expected["stamps"].items():
        assert stamps[os.fsdecode(bytes.fromhex(path))] == stamp
    assert len(list(java.directory.glob("*.mcs"))) == 1


def test_java_finds_in_pythons_index_what_python_finds(java):
    """Three segments, whose records are read in both passes, and deleted photos."""
    dim = 200
    photos, queries = unit(6000, dim), unit(20, dim, seed=1)
    index = PhotoIndex.create(java.directory, dim=dim, student="tiny", student_sha256=SHA)
    for start, stop in ((0, 4000), (4000, 5500), (5500, 6000)):
        with index.writer() as writer:
            writer.add(names(6000)[start:stop], photos[start:stop])
    with index.writer() as writer:
        writer.delete(names(6000)[::50])
    for k, exact in ((10, True), (1, False), (10, False), (200, False)):
        for query, found in zip(queries, java.search(queries, k=k, exact=exact), strict=True):
            expected = index.search(query, k=k, exact=exact)
            assert found["paths"] == expected.paths
            assert np.array_equal(np.float32(found["scores"]), expected.scores)


def test_changes_are_found_searched_and_read_again_after_their_commit(java):
    photos, clip = unit(500, 64), "film.mp4"
    shot = "shot.jpg"  # a motion photo, with a moment of its video
    paths = [*names(495), shot, f"{shot}#t=1.500", *(f"{clip}#t={s}.000" for s in (0, 5, 9))]
    ticket = {"lines": [{"text": "Boarding PASS", "box": []}], "places": ["Lisbon"], "read": True}
    words = [{"path": path, **ticket} for path in (paths[0], paths[1])]
    java.change(paths, photos, dim=64, words=words)
    moves = {"from": [paths[1], shot, clip], "to": ["moved/b.jpg", "new.jpg", "new.mp4"]}
    answer = java.change(delete=[paths[0], "none"], dim=64, **moves)
    assert (answer["deleted"], answer["moved"]) == (1, [True, True, True])
    _, embeddings, stamps = java.read(verify=True)
    assert cosine(embeddings["moved/b.jpg"], photos[1]) > 0.9999
    assert stamps["new.jpg"] == stamps["new.mp4"] == [5, 6]
    (found,) = java.search(photos[496:497], k=1)
    assert found["paths"] == ["new.jpg#t=1.500"]
    (found,) = java.search(photos[499:500], k=1, exact=True)
    assert found["paths"] == ["new.mp4#t=9.000"]
    read, gone = java._probe.ask(
        "index_words", index=java.directory, paths=["moved/b.jpg", paths[1]]
    )
    assert (read, gone) == (ticket, None)
    assert java.change(delete=["new.jpg", "new.mp4"], dim=64)["photos"] == 494


def test_both_write_one_index_in_turn(java, probe):
    """Against a plain dictionary: adding, replacing, deleting, merging."""
    dim = 64
    pick = random.Random(4)
    model: dict[str, np.ndarray] = {}
    index = PhotoIndex.create(java.directory, dim=dim, student="tiny", student_sha256=SHA)
    for turn in range(12):
        paths = pick.sample(names(1500), pick.choice([3, 40, 300]))
        rows = unit(len(paths), dim, seed=turn)
        gone = pick.sample(sorted(model), min(len(model), pick.choice([0, 5, 50])))
        if turn % 2:
            java.change(paths, rows, delete=gone, dim=dim)
        else:
            with index.writer() as writer:
                writer.add(paths, rows)
                writer.delete(gone)
        model |= dict(zip(paths, rows, strict=True))
        for path in gone:
            model.pop(path, None)
        answer, embeddings, _ = java.read(verify=True)
        index = PhotoIndex.open(java.directory)
        index.verify()
        assert set(embeddings) == set(index.paths()) == set(model)
        assert answer["bytes_per_photo"] == pytest.approx(index.bytes_per_photo)
        for path, row in model.items():
            assert cosine(embeddings[path], row) > 0.9999


def test_times_of_photos_outlive_javas_changes(java):
    dim, paths, rows = 64, names(60), unit(60, 64)
    index = PhotoIndex.create(java.directory, dim=dim, student="tiny", student_sha256=SHA)
    with index.writer() as writer:
        writer.add(paths[:30], rows[:30], times=np.arange(100, 130, dtype=np.int32))
    java.change(paths[30:40], rows[30:40], dim=dim, times=[*range(130, 140)])
    java.change(restamp=[paths[3], paths[35]], dim=dim)
    java.change(paths[40:], rows[40:], dim=dim)  # and all are merged
    index = PhotoIndex.open(java.directory)
    unknown = dict.fromkeys(paths[40:], -(2**31))
    expected = dict(zip(paths, range(100, 140), strict=False)) | unknown
    assert (len(list(java.directory.glob("*.mcs"))), index.dates()) == (1, expected)


def test_paths_of_any_letters_are_ordered_and_found_as_their_bytes(java, probe):
    paths = ["\U0001f600.jpg", "\ufb00.jpg", "Füße/é.jpg", "Füße/e.jpg", "a", "a\udc80", "aé"]
    ordered = sorted(paths, key=os.fsencode)
    assert probe.ask("index_order", paths=paths) == ordered != sorted(paths)
    java.change(paths, unit(len(paths), 64), dim=64)
    for path in paths:
        (found,) = java.search(unit(1, 64), k=9, among=[path])
        assert found["paths"] == [path]


def test_paths_of_every_length_come_back_and_no_others_are_taken(java):
    paths = [*(f"{'x' * 300}{number:02}" for number in range(20)), "y" * 65_535, "z\udcff"]
    java.change(paths, unit(len(paths), 64), dim=64)
    assert [*java.read(verify=True)[1]] == paths == PhotoIndex.open(java.directory).paths()
    refused = [
        ("", "a path of 0 bytes"),
        ("\u00e9" * 32_768, "a path of 65536 bytes"),
        ("a\ud800", "half a surrogate pair"),
        ("a\udc7f", "half a surrogate pair"),
    ]
    for path, message in refused:
        with pytest.raises(EngineError, match=message):
            java.change([path], unit(1, 64), dim=64)


def test_what_a_killed_writer_left_is_in_nobodys_way(java):
    java.change(names(3), unit(3, 64), dim=64)
    for name in ("segment-00000003.mcs", "manifest.json.tmp", "notes.txt"):
        (java.directory / name).write_bytes(b"left")
    java.change(names(5)[3:], unit(5, 64)[3:], dim=64)
    assert java.read(verify=True)[0]["photos"] == 5
    left = {file.name for file in java.directory.iterdir() if file.read_bytes() == b"left"}
    assert left == {"notes.txt"}
    assert not (java.directory / "manifest.json.tmp").exists()


def test_a_touched_file_keeps_its_embedding(java):
    photos = unit(10, 64)
    java.change(names(10), photos, dim=64)
    java.change(restamp=names(10)[3:4], dim=64)
    _, embeddings, stamps = java.read(verify=True)
    assert len(embeddings) == 10
    assert stamps[names(10)[3]] == [5, 6]
    assert stamps[names(10)[4]] == [4, 7]
    assert cosine(embeddings[names(10)[3]], photos[3]) > 0.9999


def test_a_moved_photo_takes_anothers_place_and_one_that_is_gone_moves_nowhere(java):
    photos = unit(3, 64)
    java.change(["a", "b", "c"], photos, dim=64)
    answer = java.change(delete=["c"], dim=64, **{"from": ["a", "c", "a"], "to": ["b", "d", "e"]})
    assert answer["moved"] == [True, False, False]
    _, embeddings, stamps = java.read(verify=True)
    assert stamps == {"b": [5, 6]}
    assert cosine(embeddings["b"], photos[0]) > 0.9999


def test_deleting_a_photo_that_is_not_there_takes_back_no_other_change(java):
    answer = java.change(["a", "b"], unit(2, 64), delete=["c"], dim=64)
    assert (answer["deleted"], answer["photos"]) == (0, 2)
    answer = java.change(delete=["a", "c"], dim=64)
    assert (answer["deleted"], answer["photos"]) == (1, 1)


def test_words_of_photos_stay_with_their_segment(java):
    rows = unit(3000, 64)
    java.change(names(3000), rows, dim=64)
    with PhotoIndex.open(java.directory).writer() as writer:
        writer.set_words({names(1)[0]: PhotoWords(places=("Lisbon",), read=True)})
    java.change(["new.jpg"], unit(1, 64, seed=1), delete=names(3000)[-1:], dim=64)
    index = PhotoIndex.open(java.directory)
    assert index.photos == 3000
    assert [hit.path for hit in index.search_words("lisbon", 5) or []] == names(1)
    assert index.words(names(1)[0]) == PhotoWords(places=("Lisbon",), read=True)


def test_what_is_not_committed_never_happened(java):
    java.change(names(5), unit(5, 64), dim=64)
    before = sorted(path.name for path in java.directory.iterdir())
    java.change(names(9), unit(9, 64), delete=names(2), dim=64, hold=True)
    assert java.read()[0]["photos"] == 5
    assert sorted(path.name for path in java.directory.iterdir()) == before


def test_a_second_writer_is_refused_and_the_first_keeps_its_lock(java, probe):
    java.change(names(5), unit(5, 64), dim=64)
    for _ in range(2):  # the first lets go of it in the end
        answer = probe.ask("index_second_writer", index=java.directory)
        assert answer["refused"].startswith("Another writer is at work")
        assert answer["locked"]


def test_a_writer_that_meets_damage_keeps_no_lock(java, probe):
    java.change(names(5), unit(5, 64), dim=64)
    assert probe.ask("index_writer_again", index=java.directory) == "DAMAGED"


def test_a_writer_that_cannot_begin_leaves_no_file_open_and_no_lock(java, probe):
    java.change(names(5), unit(5, 64), dim=64)
    stray = java.directory / "segment-00000099.mcs"
    (stray / "full").mkdir(parents=True)
    with pytest.raises(EngineError, match=r"segment-00000099\.mcs"):
        java.change(names(6)[5:], unit(1, 64), dim=64)
    assert not [file for file in probe.open_files if file.startswith(str(java.directory))]
    shutil.rmtree(stray)
    java.change(names(6)[5:], unit(1, 64), dim=64)
    assert java.read()[0]["photos"] == 6


def test_damage_is_not_merged_into_a_segment_with_a_good_checksum(java):
    java.change(names(5), unit(5, 64), dim=64)
    (segment,) = java.directory.glob("*.mcs")
    data = segment.read_bytes()
    segment.write_bytes(data[:-1] + b"?")
    with pytest.raises(EngineError, match="CRC-32"):
        java.change(names(9)[5:], unit(4, 64), dim=64)
    segment.write_bytes(data)
    assert java.read(verify=True)[0]["photos"] == 5


def test_a_commit_that_comes_while_an_index_is_opened_is_opened(java):
    """The manifest that is read is the one of before, whose segment is gone by then."""
    java.change(names(5), unit(5, 64), dim=64)
    manifest, newer = java.directory / "manifest.json", java.directory / "newer"
    before = manifest.read_bytes()
    java.change(names(7), unit(7, 64), dim=64)
    manifest.rename(newer)
    os.mkfifo(manifest)

    def commit() -> None:
        with manifest.open("wb") as read:  # when it is opened for reading
            newer.replace(manifest)
            read.write(before)

    committing = threading.Thread(target=commit)
    committing.start()
    assert java.read()[0]["photos"] == 7
    committing.join()


def test_a_filter_does_not_take_an_index_for_the_one_that_was_in_its_place(java, probe):
    paths = names(9)
    answer = probe.ask("index_rows_of_another", index=java.directory, paths=paths)
    assert answer == [True] * len(paths)


def test_another_students_index_is_refused(java, probe):
    java.change(names(5), unit(5, 64), dim=64)
    with pytest.raises(EngineError, match="was built by student tiny"):
        java.change(names(5), unit(5, 128), dim=128)
    with pytest.raises(EngineError, match="was built by student tiny"):
        java.change(names(5), unit(5, 64), dim=64, student="cd" * 32)


@pytest.mark.parametrize(
    ("vector", "complaint"),
    [
        (np.zeros(64), "has length 0.0, not 1"),
        (np.full(64, np.nan), "has length NaN, not 1"),
        (np.full(64, 0.25), "has length 2.0, not 1"),
        (np.full(64, 0.125 * 1.011), r"has length 1\.011\d*, not 1"),
        (np.full(64, 0.125 * 0.989), r"has length 0\.98\d*, not 1"),
    ],
)
def test_vectors_that_are_no_embeddings_are_refused(java, vector, complaint):
    java.change(names(5), unit(5, 64), dim=64)
    with pytest.raises(EngineError, match=complaint):
        java.search(vector[None].astype(np.float32), k=1)
    with pytest.raises(EngineError, match=complaint):
        java.change(["x"], vector[None].astype(np.float32), dim=64)


def test_asking_for_no_results_is_refused(java):
    java.change(names(5), unit(5, 64), dim=64)
    with pytest.raises(EngineError, match="0 results were asked for"):
        java.search(unit(1, 64), k=0)


def test_vectors_of_a_length_that_rounding_leaves_are_taken(java):
    java.change(["x"], np.full((1, 64), 0.125 * 1.009, np.float32), dim=64)
    (found,) = java.search(np.full((1, 64), 0.125 * 0.991, np.float32), k=1)
    assert found["scores"] == pytest.approx([1], abs=0.01)


def test_every_damaged_part_is_found_and_leaves_no_file_open(java, probe, tmp_path):
    java.change(names(300), unit(300, 64), dim=64)
    whole = tmp_path / "whole"
    shutil.copytree(java.directory, whole)
    (segment,) = java.directory.glob("*.mcs")
    data = segment.read_bytes()
    # Of the header, of zeros between the parts, and of every part.
    places = [
        9,
        4000,
        4094,
        4096 + 4 * 64,
        32,
        *(struct.unpack_from("<Q", data, 40 + 24 * part)[0] for part in range(11)),
        len(data) - 1,
    ]
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 1
        segment.write_bytes(broken)
        with pytest.raises(EngineError, match=r"is damaged|another CRC-32"):
            java.read(verify=True)
    segment.write_bytes(data[: len(data) // 2])
    with pytest.raises(EngineError, match="is damaged"):
        java.read()
    segment.unlink()
    (tmp_path / "outside.mcs").write_bytes(data)
    segment.symlink_to(tmp_path / "outside.mcs")
    with pytest.raises(EngineError, match="it is a link"):
        java.read()
    segment.unlink()
    with pytest.raises(EngineError, match="it is gone"):
        java.read()
    assert not [file for file in probe.open_files if file.startswith(str(java.directory))]


@pytest.mark.parametrize(
    ("part", "number", "said"),
    [
        ("axis", np.nan, "its axis has length NaN, not 1"),
        ("axis", 1e38, "its axis has length .*, not 1"),
        ("bit_weights", np.inf, "a bit weight of Infinity"),
    ],
)
def test_numbers_that_no_writer_makes_are_refused_though_all_checksums_fit(
    java, part, number, said
):
    shutil.copytree(ROOT / "tests" / "golden" / "index", java.directory, dirs_exist_ok=True)
    plant_number(java.directory, part, number)
    with pytest.raises(EngineError, match=f"is damaged: .*{said}"):
        java.read()


def test_a_damaged_manifest_is_refused(java):
    java.change(names(3), unit(3, 64), dim=64)
    manifest = java.directory / "manifest.json"
    text = manifest.read_text()
    for damaged in (text.replace('"photos": 3', '"photos": 2'), text[:40], "[]", ""):
        manifest.write_text(damaged)
        with pytest.raises(EngineError):
            java.read()
    for field in ("candidates", "filled_by"):
        changed = text.replace(f'"{field}"', f'"{field[::-1]}"')
        blank = (changed[:11] + "0" * 8 + changed[19:]).encode()
        manifest.write_text(changed[:11] + f"{zlib.crc32(blank):08x}" + changed[19:])
        with pytest.raises(EngineError, match=field):
            java.read()


COUNT = {"factor": 1, "exponent": 1, "growth": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deleted": [5, 5]}, "where a list of its photos' rows, ascending, belongs"),
        ({"deleted": [5, 4]}, "where a list of its photos' rows, ascending, belongs"),
        ({"deleted": [-1]}, "where a list of its photos' rows, ascending, belongs"),
        ({"deleted": [300]}, "where a list of its photos' rows, ascending, belongs"),
        ({"file": "../segment-00000002.mcs"}, "where the name of a segment belongs"),
        ({"file": "segment-2.mcs"}, "where the name of a segment belongs"),
        ({"candidates": COUNT | {"factor": -1}}, "where a number from 0 to 1000000.0 belongs"),
        ({"candidates": COUNT | {"factor": 1.1e6}}, "where a number from 0 to 1000000.0 belongs"),
        ({"candidates": COUNT | {"exponent": 1.1}}, "where a number from 0 to 1.0 belongs"),
        ({"candidates": COUNT | {"growth": 1.1}}, "where a number from 0 to 1.0 belongs"),
        ({"prescan": {"bits": 64, "candidates": COUNT}}, "not have the 64 bits that its prescan"),
        ({"photos": 299}, "not the segment that the manifest names"),
        ({"header_crc32": 1}, "not the segment that the manifest names"),
        ({"cells": COUNT}, "differ over whether it has cells"),
    ],
)
def test_a_manifest_that_its_segment_does_not_fit_is_refused_and_leaves_no_file_open(
    java, probe, change, message
):
    java.change(names(300), unit(300, 64), dim=64)
    manifest = java.directory / "manifest.json"
    document = json.loads(manifest.read_text())
    document["segments"][0] |= change
    write_manifest(manifest, document)
    with pytest.raises(EngineError, match=message):
        java.read()
    assert not [file for file in probe.open_files if file.startswith(str(java.directory))]


def test_a_manifest_that_names_a_segment_twice_is_refused(java):
    java.change(names(3), unit(3, 64), dim=64)
    manifest = java.directory / "manifest.json"
    document = json.loads(manifest.read_text())
    write_manifest(manifest, document | {"segments": 2 * document["segments"]})
    with pytest.raises(EngineError, match="names a segment twice"):
        java.read()


@pytest.mark.parametrize(("dim", "message"), [(60, "a multiple of 8 belongs"), (4104, "to 4096")])
def test_a_manifest_of_no_possible_width_is_refused(java, dim, message):
    java.change(names(3), unit(3, 64), dim=64)
    manifest = java.directory / "manifest.json"
    write_manifest(manifest, json.loads(manifest.read_text()) | {"dim": dim})
    with pytest.raises(EngineError, match=message):
        java.read()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("mcad-index/2", r"'mcad-index/2', of a newer .* reads 'mcad-index/1'.*Update this app"),
        ("something-else/1", r"'something-else/1'; this version reads 'mcad-index/1'.*again"),
    ],
)
def test_an_index_of_another_schema_is_refused_and_left_as_it_is(java, schema, message):
    java.change(names(3), unit(3, 64), dim=64)
    manifest = java.directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace("mcad-index/1", schema))
    refused(java, message)


@pytest.mark.parametrize(
    ("magic", "message"),
    [
        (b"MCADSEG2", r"'MCADSEG2', of a newer .* reads 'MCADSEG1'.*Update this app"),
        (b"MCADSEGX", r"'MCADSEGX', not with 'MCADSEG1'.*repair it there"),
    ],
)
def test_a_segment_of_another_format_is_refused_and_left_as_it_is(java, magic, message):
    java.change(names(3), unit(3, 64), dim=64)
    (segment,) = java.directory.glob("*.mcs")
    segment.write_bytes(magic + segment.read_bytes()[8:])
    refused(java, message)


def refused(java: JavaIndex, message: str) -> None:
    """Nobody reads it, and nobody writes or deletes a byte of it."""
    (java.directory / "segment-00000009.mcs").write_bytes(b"which a newer writer may need")
    before = {file.name: file.read_bytes() for file in java.directory.iterdir()}
    for use in (
        lambda: java.read(),
        lambda: java.search(unit(1, 64), k=1),
        lambda: java.change(names(1), unit(1, 64), dim=64),
    ):
        with pytest.raises(EngineError) as error:
            use()
        assert re.search(message, " ".join(error.value.args), re.DOTALL)
        assert {file.name: file.read_bytes() for file in java.directory.iterdir()} == before


def test_a_killed_writer_loses_no_commit(java_classes, java):
    """kill -9 at random moments: every commit that was announced is there, whole."""
    pick = random.Random(5)
    for _ in range(KILLS):
        classpath = ":".join(map(str, [java_classes, *jvm_libraries()]))
        command = [
            executable(JAVA),
            KERNELS,
            "-cp",
            classpath,
            "io.github.mcadmobile.desktop.WriteForever",
        ]
        with subprocess.Popen(
            [*command, str(java.directory)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            announced = 0
            for _ in range(pick.randint(1, 12)):
                announced = int(process.stdout.readline())
            process.kill()
            announced = max([announced, *map(int, process.stdout.read().split("\n")[:-1])])
        index = PhotoIndex.open(java.directory)
        index.verify()
        assert index.photos >= announced
        assert index.photos % 40 == 0
        assert java.read(verify=True)[0]["photos"] == index.photos
