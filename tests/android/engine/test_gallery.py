"""A run that indexes a phone's photos, whatever becomes of photos, tower and process."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, open_index
from tests.support.index_embeddings import stamps_of
from tests.support.probe import EngineError, Probe, variant

BATCH = 64


class Phone:
    """A folder of photos and the index that the app keeps of it."""

    def __init__(self, probe, bundle: Bundle, folder: Path) -> None:
        self._probe, self.bundle = probe, bundle
        self.photos, self.directory = folder / "photos", folder / "index"
        self.photos.mkdir(exist_ok=True)

    def take(self, *names: str, seed: int = 0) -> None:
        """Photos of noise: small, and each another one."""
        for number, name in enumerate(names):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(self.photos / name)

    def run(self, **options):
        return self._probe.ask(
            "index_run",
            bundle=self.bundle.directory,
            index=self.directory,
            folder=self.photos,
            **options,
        )

    def indexed(self) -> list[str]:
        index = open_index(self.bundle, self.directory)
        index.verify()
        return sorted(Path(path).name for path in index.paths())


@pytest.fixture
def phone(probe, bundle, tmp_path) -> Phone:
    return Phone(probe, bundle, tmp_path)


def test_a_folder_becomes_the_index_that_python_makes_of_it(probe, bundle, tmp_path):
    phone = Phone(probe, bundle, tmp_path)
    for photo in packaged_photos():
        if photo.suffix in (".jpg", ".png"):
            shutil.copy(photo, phone.photos)
    outcome = phone.run()
    photos = sorted(phone.photos.iterdir())
    assert outcome["photos"] == outcome["added"] == len(photos) > 10
    assert (outcome["skipped"], outcome["deleted"], outcome["finished"]) == (0, 0, True)
    index, engine = open_index(bundle, phone.directory), SearchEngine(bundle)
    stamps = stamps_of(index)
    for photo in photos:
        (best,) = index.search(engine.embed_photo(photo), k=1).paths
        assert best == str(photo)
        stat = photo.stat()
        state = struct.pack("<qq", stat.st_size, stat.st_mtime_ns // 1_000_000)
        assert [stamp & 0xFFFFFFFF for stamp in stamps[str(photo)]] == [
            zlib.crc32(state),
            zlib.crc32(photo.read_bytes()),
        ]
    assert index.filled_by == ("onnx fp32 by CPU",)


def test_a_stopped_run_is_gone_on_with(phone):
    names = [f"{number:03d}.png" for number in range(150)]
    phone.take(*names)
    first = phone.run(stop_after=70)
    assert (first["added"], first["finished"]) == (70, False)
    assert first["commits"] == [BATCH, 70]
    assert phone.indexed() == names[:70]
    second = phone.run()
    assert (second["added"], second["photos"], second["finished"]) == (80, 150, True)
    assert phone.run()["added"] == 0


def test_photos_come_change_and_go(phone):
    phone.take("a.png", "b.png", "c.png", "touched.png")
    phone.run()
    phone.take("b.png", "d.png", seed=1)
    (phone.photos / "a.png").unlink()
    os.utime(phone.photos / "touched.png", (1, 1))
    outcome = phone.run()
    assert (outcome["added"], outcome["deleted"], outcome["photos"]) == (2, 1, 4)
    assert phone.indexed() == ["b.png", "c.png", "d.png", "touched.png"]
    index, engine = open_index(phone.bundle, phone.directory), SearchEngine(phone.bundle)
    changed = str(phone.photos / "b.png")
    hits = index.search(engine.embed_photo(Path(changed)), k=1)
    assert (hits.paths, hits.scores[0] > 0.999) == ([changed], True)
    assert phone.run()["added"] == 0
    os.utime(phone.photos / "touched.png", (2, 2))
    os.utime(phone.photos / "c.png", (2, 2))
    assert phone.run()["added"] == 0  # merged segments know what is in the files, too
    assert len(list(phone.directory.glob("*.mcs"))) == 1
    assert open_index(phone.bundle, phone.directory).filled_by == ("onnx fp32 by CPU",)


def test_every_copy_that_was_renamed_is_known_again(phone):
    phone.take("a.png", "other.png")
    for name in ("b.png", "c.png"):
        shutil.copy2(phone.photos / "a.png", phone.photos / name)
    phone.run()
    for name in ("a.png", "b.png", "c.png", "other.png"):
        (phone.photos / name).rename(phone.photos / f"moved-{name}")
    outcome = phone.run()
    assert (outcome["added"], outcome["deleted"], outcome["photos"]) == (0, 0, 4)
    assert phone.indexed() == [f"moved-{name}" for name in ("a.png", "b.png", "c.png", "other.png")]


def test_broken_photos_are_counted_and_stop_no_other(phone):
    phone.take("a.png", "z.png")
    (phone.photos / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (phone.photos / "empty.jpg").write_bytes(b"")
    outcome = phone.run()
    assert (outcome["added"], outcome["skipped"], outcome["finished"]) == (2, 2, True)
    (phone.photos / "z.png").write_bytes(b"overwritten")
    assert phone.run()["photos"] == 1
    assert phone.indexed() == ["a.png"]


def test_a_photo_that_does_not_decode_is_not_opened_again_whatever_failed_before(phone):
    broken = phone.photos / "broken.png"
    broken.write_bytes(b"\x89PNG and no more")
    assert phone.run(large=str(broken))["skipped"] == 1  # for want of memory
    phone.run()
    assert phone.run(revoke_after=0)["skipped"] == 1


def test_a_changed_photo_that_cannot_be_read_for_now_stays(phone):
    phone.take("a.png", "b.png")
    phone.run()
    (phone.photos / "b.png").unlink()
    (phone.photos / "b.png").mkdir()  # it is listed, and each read fails
    outcome = phone.run()
    assert (outcome["skipped"], outcome["deleted"], outcome["photos"]) == (1, 0, 2)
    assert phone.indexed() == ["a.png", "b.png"]


def test_a_photo_too_large_for_the_memory_costs_no_other(phone):
    phone.take("a.png", "huge.png", "z.png")
    outcome = phone.run(large=str(phone.photos / "huge.png"))
    assert (outcome["added"], outcome["skipped"], outcome["finished"]) == (2, 1, True)
    assert phone.run()["added"] == 1


def test_a_tower_that_fails_ends_the_run_and_costs_no_photo(phone, tmp_path):
    phone.take("a.png", "b.png", "c.png")
    phone.run()
    phone.take("b.png", seed=1)
    whole = phone.bundle
    smaller = replace(whole.preprocess, size=16)  # other pixels than the tower takes
    phone.bundle = Bundle.load(variant(whole, tmp_path / "failing", preprocess=smaller))
    with pytest.raises(EngineError, match="input pixels was not given whole"):
        phone.run()
    phone.bundle = whole
    assert phone.indexed() == ["a.png", "b.png", "c.png"]
    assert phone.run()["added"] == 1


def test_access_that_is_taken_back_ends_the_run_and_costs_no_photo(phone):
    names = [f"{number:03d}.png" for number in range(100)]
    phone.take(*names)
    with pytest.raises(EngineError, match="Access was taken back"):
        phone.run(revoke_after=BATCH + 3)
    assert phone.indexed() == names[:BATCH]
    phone.run()
    phone.take(*names, seed=1)
    with pytest.raises(EngineError, match="Access was taken back"):
        phone.run(revoke_after=0)
    assert phone.indexed() == names


def test_a_photo_that_kills_the_process_comes_last_and_then_no_more(
    bundle, java_classes, tmp_path, probe
):
    phone = Phone(probe, bundle, tmp_path)
    names = ["a.png", "b.png", "poison.png", "y.png", "z.png"]
    phone.take(*names)
    decodable = [name for name in names if name != "poison.png"]

    def die() -> None:
        mortal = Probe(java_classes, tmp_path)
        with pytest.raises(AssertionError, match="the JVM ended"):
            Phone(mortal, bundle, tmp_path).run(poison=str(phone.photos / "poison.png"))
        mortal.end()

    die()
    assert phone.indexed() == []  # it was the third of the batch
    phone.take("c.png", seed=2)
    die()
    outcome = phone.run(poison=str(phone.photos / "poison.png"))
    assert (outcome["skipped"], outcome["finished"]) == (1, True)
    assert phone.indexed() == sorted([*decodable, "c.png"])
    phone.take("poison.png", seed=3)  # another photo by now
    assert phone.run()["skipped"] == 0
    assert "poison.png" in phone.indexed()


def test_a_death_by_chance_only_delays_a_photo(phone):
    phone.take("a.png", "b.png")
    phone.run()
    (phone.directory / "decoding.json").write_text("torn off in the mid")
    assert phone.run()["skipped"] == 0
    phone.take("b.png", seed=1)
    stat = (phone.photos / "b.png").stat()
    note = {
        "path": str(phone.photos / "b.png"),
        "modified_ms": int(stat.st_mtime_ns // 1_000_000),
        "bytes": stat.st_size,
        "kind": "",
        "process": 1,
    }
    (phone.directory / "decoding.json").write_text(json.dumps(note))
    outcome = phone.run()
    assert (outcome["added"], outcome["skipped"]) == (1, 0)
    assert phone.indexed() == ["a.png", "b.png"]
    assert not (phone.directory / "decoding.json").exists()


def test_an_index_that_cannot_be_read_is_built_again(phone):
    """It is a cache: what it was made of is still there."""
    phone.take("a.png", "b.png")
    phone.run()
    manifest = phone.directory / "manifest.json"
    names = {file.name for file in phone.directory.glob("segment-*.mcs")}
    (phone.directory / f"segment-{'9' * 19}.mcs").touch()  # a number that Java has not
    for damage in ("{}", '{"crc32": "', ""):
        manifest.write_text(damage)
        outcome = phone.run()
        assert (outcome["added"], outcome["photos"], outcome["finished"]) == (2, 2, True)
        assert outcome["commits"] == [0, 2]  # a search lets go of what is damaged
        assert phone.indexed() == ["a.png", "b.png"]
        (segment,) = phone.directory.glob("segment-*.mcs")
        assert segment.name not in names  # a search may still have the one of before open
        names.add(segment.name)
    (segment,) = phone.directory.glob("segment-*.mcs")
    segment.write_bytes(segment.read_bytes()[:-1])
    assert phone.run()["added"] == 2
    segment = max(phone.directory.glob("segment-*.mcs"))
    segment.unlink()
    assert phone.run()["added"] == 2
    assert phone.indexed() == ["a.png", "b.png"]


def test_damage_that_is_found_in_the_mid_of_a_run_is_built_again_and_counted_once(phone):
    phone.take("a.png", "b.png")
    phone.run()
    (segment,) = phone.directory.glob("segment-*.mcs")
    data = bytearray(segment.read_bytes())
    data[4096] ^= 1  # of its axis, which is not looked at before segments are merged
    segment.write_bytes(data)
    phone.take("c.png", seed=1)
    outcome = phone.run()
    assert (outcome["added"], outcome["photos"]) == (3, 3)
    assert phone.indexed() == ["a.png", "b.png", "c.png"]


def test_an_index_that_another_writes_is_not_built_again(phone):
    phone.take("a.png")
    phone.run()
    before = (phone.directory / "manifest.json").read_bytes()
    phone.take("b.png")
    with (phone.directory / "lock").open("w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with pytest.raises(EngineError, match="Another writer"):
            phone.run()
    assert (phone.directory / "manifest.json").read_bytes() == before
