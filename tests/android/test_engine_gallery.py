"""What the app does behind its screens: indexing in batches, searching as one types, access."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe import EngineError
from tiny_bundle import make_tiny_bundle

from mcad_mobile.bundle import Bundle
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import SearchEngine, open_index

BATCH = 64


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


class Phone:
    """A folder of photos and the index that the app keeps of it."""

    def __init__(self, probe, bundle: Bundle, folder: Path) -> None:
        self._probe, self.bundle = probe, bundle
        self.photos, self.directory = folder / "photos", folder / "index"
        self.photos.mkdir()

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
    for photo in photos:
        (best,) = index.search(engine.embed_photo(photo), k=1).paths
        assert best == str(photo)


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


def test_broken_photos_are_counted_and_stop_no_other(phone):
    phone.take("a.png", "z.png")
    (phone.photos / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    (phone.photos / "empty.jpg").write_bytes(b"")
    outcome = phone.run()
    assert (outcome["added"], outcome["skipped"], outcome["finished"]) == (2, 2, True)
    (phone.photos / "z.png").write_bytes(b"overwritten")
    assert phone.run()["photos"] == 1
    assert phone.indexed() == ["a.png"]


def test_an_index_that_cannot_be_read_is_an_error_and_stays(phone):
    phone.take("a.png")
    phone.run()
    manifest = phone.directory / "manifest.json"
    manifest.write_text("{}")
    with pytest.raises(EngineError, match="damaged"):
        phone.run()
    assert manifest.read_text() == "{}"


def search_box(probe, *events: object):
    named = []
    for event in events:
        if isinstance(event, int):
            named.append({"wait": event})
        elif event in ("work", "submit", "forget"):
            named.append({event: True})
        else:
            named.append({"type": str(event).removeprefix("type:")})
    answer = probe.ask("search_box", events=named)
    return answer["log"], answer["searched"]


def test_a_search_starts_when_typing_rests(probe):
    log, searched = search_box(probe, "d", 100, "do", 100, "dog", 249, 1, "work")
    assert searched == ["dog"]
    assert log == ["searching dog", "found dog"]


def test_results_of_an_older_query_are_never_shown(probe):
    log, searched = search_box(probe, "dog", 250, "dog beach", "work", 250, "work")
    assert searched == ["dog beach"]  # nor searched for, when nothing waits for them
    assert log[-1] == "found dog beach"


def test_the_search_key_does_not_wait(probe):
    log, searched = search_box(probe, "dog", "submit", "work", 500, "work")
    assert searched == ["dog"]
    assert log == ["searching dog", "found dog"]


def test_an_emptied_box_is_cleared_at_once(probe):
    log, searched = search_box(probe, "dog", 100, "type:", 500, "work")
    assert (log, searched) == (["cleared"], [])


def test_spaces_are_no_new_query(probe):
    assert search_box(probe, "dog", 250, "work", "dog ", 500, "work")[1] == ["dog"]


def test_a_failed_search_is_said(probe):
    assert search_box(probe, "broken", 250, "work")[0] == ["searching broken", "failed broken"]
    assert search_box(probe, "bug", 250, "work")[0] == ["searching bug", "failed bug"]


def test_what_was_forgotten_is_not_shown(probe):
    assert search_box(probe, "dog", 250, "forget", "work")[0] == ["searching dog"]


READ = "android.permission.READ_EXTERNAL_STORAGE"
IMAGES = "android.permission.READ_MEDIA_IMAGES"
SELECTED = "android.permission.READ_MEDIA_VISUAL_USER_SELECTED"


@pytest.mark.parametrize(
    ("sdk", "granted", "ask", "state"),
    [
        (26, [], [READ], "NONE"),
        (26, [READ], [READ], "ALL"),
        (32, [READ], [READ], "ALL"),
        (33, [READ], [IMAGES], "NONE"),
        (33, [IMAGES], [IMAGES], "ALL"),
        (33, [SELECTED], [IMAGES], "NONE"),
        (34, [SELECTED], [IMAGES, SELECTED], "SOME"),
        (36, [IMAGES, SELECTED], [IMAGES, SELECTED], "ALL"),
        (36, [], [IMAGES, SELECTED], "NONE"),
    ],
)
def test_access_by_version_of_android(probe, sdk, granted, ask, state):
    assert probe.ask("access", sdk=sdk, granted=granted) == {"ask": ask, "state": state}


def test_the_panels_percentiles_are_those_of_the_last_200(probe):
    ms = np.random.default_rng(2).exponential(size=350)
    found = probe.ask("numbers", ms=ms.tolist())
    assert found["count"] == 200
    assert found["p50"] == pytest.approx(np.percentile(ms[-200:], 50))
    assert found["p90"] == pytest.approx(np.percentile(ms[-200:], 90))
