"""What the app does behind its screens: indexing in batches, searching as one types, access."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe import EngineError, Probe, variant
from tiny_bundle import make_tiny_bundle

from mcad_mobile.bundle import Bundle
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import SearchEngine, create_index, open_index

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
    with pytest.raises(EngineError, match="The tower failed"):
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
    others = [name for name in names if name != "poison.png"]

    def die() -> None:
        killed = Phone.__new__(Phone)
        killed.__dict__.update(phone.__dict__, _probe=Probe(java_classes, tmp_path))
        with pytest.raises(AssertionError, match="the JVM ended"):
            killed.run(poison=str(phone.photos / "poison.png"))
        killed._probe.end()

    die()
    assert phone.indexed() == []  # it was the third of the batch
    phone.take("c.png", seed=2)
    die()
    outcome = phone.run(poison=str(phone.photos / "poison.png"))
    assert (outcome["skipped"], outcome["finished"]) == (1, True)
    assert phone.indexed() == sorted([*others, "c.png"])
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
    }
    (phone.directory / "decoding.json").write_text(json.dumps(note))
    outcome = phone.run()
    assert (outcome["added"], outcome["skipped"]) == (1, 0)
    assert phone.indexed() == ["a.png", "b.png"]
    assert not (phone.directory / "decoding.json").exists()


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
        elif str(event).startswith("like:"):
            named.append({"like": str(event).removeprefix("like:")})
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


def test_photos_like_one_are_shown_unless_something_was_typed_since(probe):
    log, searched = search_box(probe, "like:a.jpg", "work")
    assert (log, searched) == (["searching a.jpg", "found a.jpg"], ["like a.jpg"])
    log, searched = search_box(probe, "like:a.jpg", "dog", "work", 250, "work")
    assert log == ["searching a.jpg", "searching dog", "found dog"]
    assert searched == ["dog"]


def test_photos_like_one_take_the_place_of_what_was_typed(probe):
    log, searched = search_box(probe, "dog", 100, "like:a.jpg", 500, "work", "dog", 250, "work")
    assert searched == ["like a.jpg", "dog"]
    assert log[1] == "found a.jpg"


def test_more_like_this_finds_what_python_finds_without_the_photo_itself(probe, bundle, tmp_path):
    dim = bundle.dim
    rows = np.random.default_rng(3).normal(size=(500, dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    paths = [f"{number:03d}.jpg" for number in range(500)]
    index = create_index(bundle, tmp_path / "index")
    with index.writer() as writer:
        writer.add(paths, rows)
    found = probe.ask("more_like", index=tmp_path / "index", path=paths[42], k=10)
    expected = index.search(rows[42], k=11, exact=True)
    assert expected.paths[0] == paths[42]
    assert found["paths"][:3] == expected.paths[1:4]
    assert len({*found["paths"]} & {*expected.paths[1:]}) >= 9
    assert np.allclose(found["scores"][:3], expected.scores[1:4], atol=0.01)
    everything = probe.ask("more_like", index=tmp_path / "index", path=paths[42], k=1000)
    assert sorted(everything["paths"]) == sorted({*paths} - {paths[42]})
    with pytest.raises(EngineError, match=r"does not hold gone\.jpg"):
        probe.ask("more_like", index=tmp_path / "index", path="gone.jpg", k=10)


def test_an_index_that_does_not_open_again_is_tried_again_and_the_old_one_stays(probe, tmp_path):
    steps = ["get", "commit", "get", "get", "commit", "broken", "broken", "get", "commit", "get"]
    found = probe.ask("current_index", index=tmp_path / "index", steps=steps)
    assert found == [0, 1, 1, "INDEX", "INDEX", 2, 3]


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


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        ([(False, False)], [False]),  # a dialog that was put away
        ([(False, False), (False, False)], [False, True]),  # refused for good in an earlier life
        ([(False, True), (True, False)], [False, True]),
        ([(False, True), (True, True), (True, False)], [False, False, True]),
        ([(False, False), (False, True), (True, False)], [False, False, True]),
    ],
)
def test_a_dialog_put_away_is_not_taken_for_the_last_refusal(probe, answers, last):
    given = [{"before": before, "after": after} for before, after in answers]
    assert probe.ask("refusals", answers=given) == last


@pytest.mark.parametrize(
    ("width", "height", "side", "reduction"),
    [
        (12000, 2900, 1600, 4),
        (2900, 12000, 1600, 4),
        (30000, 300, 1600, 16),
        (4000, 3000, 1600, 2),
        (3199, 3199, 1600, 1),
        (3200, 100, 1600, 2),
        (100, 100, 1600, 1),
        (4000, 3000, 256, 8),
    ],
)
def test_no_photo_is_shown_larger_than_a_canvas_takes(probe, width, height, side, reduction):
    found = probe.ask("reductions", width=width, height=height, side=side, pixels=1)
    assert found["display"] == reduction
    assert width * height * 4 / reduction**2 <= 4 * (2 * side) ** 2 < 100 * 2**20


@pytest.mark.parametrize(
    ("width", "height", "sampling"),
    [(4096, 4096, 1), (4097, 4097, 2), (8160, 6120, 2), (40000, 30000, 16), (1, 1, 1)],
)
def test_a_bitmap_to_be_embedded_stays_under_64_mib(probe, width, height, sampling):
    found = probe.ask("reductions", width=width, height=height, side=1, pixels=2**24)
    assert found["sampling"] == sampling
    assert 4 * (width // sampling) * (height // sampling) <= 64 * 2**20


def test_memory_is_told_also_where_the_kernel_does_not_add_it_up(probe, tmp_path):
    """Android 8 and 9 have /proc/self/smaps alone."""
    smaps = probe.ask("memory", file="/proc/self/smaps")
    assert smaps["pss"] == pytest.approx(smaps["now"], rel=0.05)
    assert smaps["rss"] >= smaps["pss"]
    file = tmp_path / "smaps"
    file.write_text(
        "1-2 r /x\nRss: 2048 kB\nPss: 1024 kB\nPss_Dirty: 9 kB\nRss: 1024 kB\nPss: 512 kB\n"
    )
    assert probe.ask("memory", file=file)["pss"] == 1.5
    assert probe.ask("memory", file=file)["rss"] == 3.0


def test_the_panels_percentiles_are_those_of_the_last_200(probe):
    ms = np.random.default_rng(2).exponential(size=350)
    found = probe.ask("numbers", ms=ms.tolist())
    assert found["count"] == 200
    assert found["p50"] == pytest.approx(np.percentile(ms[-200:], 50))
    assert found["p90"] == pytest.approx(np.percentile(ms[-200:], 90))
