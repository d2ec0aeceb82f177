"""What the app does behind its screens: searching as one types, more like this, access, sizes."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.engine.engine import create_index
from tests.support.probe import EngineError
from tests.support.tiny_bundle import make_tiny_bundle


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
    assert search_box(probe, "dog", 250, "submit", "work")[1] == ["dog"]  # nor twice


def test_an_emptied_box_is_cleared_at_once(probe):
    log, searched = search_box(probe, "dog", 100, "type:", 500, "work")
    assert (log, searched) == (["cleared"], [])
    log, searched = search_box(probe, "dog", 250, "type:", "work")
    assert (log, searched) == (["searching dog", "cleared"], [])


def test_spaces_are_no_new_query(probe):
    assert search_box(probe, "dog", 250, "work", "dog ", 500, "work")[1] == ["dog"]


def test_a_failed_search_says_what_to_do(probe):
    log, _ = search_box(probe, "broken", 250, "work")
    assert log == ["searching broken", "failed broken: Repair it."]
    log, _ = search_box(probe, "bug", 250, "work")
    assert log == ["searching bug", "failed bug: Report it with its stack trace."]


def test_what_was_forgotten_is_not_shown(probe):
    assert search_box(probe, "dog", 250, "forget", "work")[0] == ["searching dog"]


def test_a_search_that_was_overtaken_while_it_ran_is_not_shown(probe):
    log, searched = search_box(probe, "overtaken", 250, "work", 250, "work")
    assert log == ["searching overtaken", "searching next", "found next"]
    assert searched == ["overtaken", "next"]


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


def shown(probe, *events: dict[str, object]) -> list[object]:
    """After each event: how many photos a grid shows, and the row that it is sent to."""
    return [tuple(state) for state in probe.ask("shown_results", events=events)]


def test_a_grid_shows_all_that_was_found(probe):
    assert shown(probe, {"found": 9}, {"found": 4}, {"clear": True}) == [(9, 0), (4, 0), (0, -1)]


def test_a_turned_screen_stays_where_it_was(probe):
    found = {"found": 90}
    turned = shown(probe, found, {"turned": 30}, found, {"turned": 31}, {"turned": 0}, found, found)
    assert turned[2] == (90, 30)
    assert turned[5] == (90, 31)  # turned twice before anything was found
    assert turned[6] == (90, 0)  # and another search begins at its top


def test_a_grid_stays_where_it_was_when_photos_were_deleted(probe):
    assert shown(probe, {"found": 90}, {"deleted": 30}, {"found": 89})[2] == (89, 30)
    deleted = shown(probe, {"found": 90}, {"turned": 31}, {"deleted": 0}, {"found": 89})
    assert deleted[3] == (89, 31)  # deleted before what was found was shown again


def test_more_like_this_finds_what_python_finds_without_the_photo_itself(probe, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "tiny")
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


def test_more_like_one_of_many_copies_finds_as_many_as_were_asked_for(probe, tmp_path):
    bundle = make_tiny_bundle(tmp_path / "tiny")
    paths = [f"{number}.jpg" for number in range(9)]
    with create_index(bundle, tmp_path / "index").writer() as writer:
        writer.add(paths, np.full((9, bundle.dim), bundle.dim**-0.5, np.float32))
    found = probe.ask("more_like", index=tmp_path / "index", path=paths[8], k=2)
    assert found["paths"] == paths[:2]  # the photo itself is not among the first three


def test_an_index_that_does_not_open_again_is_tried_again_and_the_old_one_stays(probe, tmp_path):
    steps = ["get", "commit", "get", "get", "commit", "broken", "broken", "get", "commit", "get"]
    found = probe.ask("current_index", index=tmp_path / "index", steps=steps)
    assert found == [0, 1, 1, "INDEX", "INDEX", 2, 3]


@pytest.mark.parametrize("before", [[], ["get"]], ids=["first", "later"])
def test_an_index_whose_opening_meets_a_bug_is_opened_by_the_next_search(probe, tmp_path, before):
    steps = [*before, "commit", "bug", "get"]
    found = probe.ask("current_index", index=tmp_path / "index", steps=steps)
    assert found == [*([0] if before else []), "bug", 1]


def test_a_commit_that_comes_while_an_index_is_opened_is_not_missed(probe, tmp_path):
    steps = ["meanwhile", "get", "get"]
    assert probe.ask("current_index", index=tmp_path / "index", steps=steps) == [0, 1, 1]


READ = "android.permission.READ_EXTERNAL_STORAGE"
IMAGES = "android.permission.READ_MEDIA_IMAGES"
VIDEO = "android.permission.READ_MEDIA_VIDEO"
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
    found = probe.ask("access", sdk=sdk, granted=granted, videos=False)
    assert found == {"ask": ask, "state": state}


@pytest.mark.parametrize(
    ("sdk", "granted", "ask", "state"),
    [
        (32, [READ], [READ], "ALL"),
        (33, [], [IMAGES, VIDEO], "NONE"),
        (33, [IMAGES], [IMAGES, VIDEO], "SOME"),
        (33, [IMAGES, VIDEO], [IMAGES, VIDEO], "ALL"),
        (34, [SELECTED], [IMAGES, VIDEO, SELECTED], "SOME"),
    ],
)
def test_access_of_an_app_that_searches_videos_too(probe, sdk, granted, ask, state):
    found = probe.ask("access", sdk=sdk, granted=granted, videos=True)
    assert found == {"ask": ask, "state": state}


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


@pytest.mark.parametrize(
    ("width", "height", "least"),
    [
        (512, 512, 32),
        (511, 900, 32),
        (900, 256, 32),
        (255, 900, 32),
        (128, 128, 32),
        (127, 900, 32),
    ],
)
def test_a_jpeg_is_reduced_as_pillow_does_it(probe, width, height, least):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG")
    with Image.open(file) as photo:
        photo.draft("L", (2 * least, 2 * least))
        expected = round(width / photo.width)
    sizes = {"width": width, "height": height, "pixels": 1}
    assert probe.ask("reductions", **sizes, side=least)["reduction"] == expected


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 300_000])
def test_a_photo_is_read_whole_whatever_size_the_phone_lists(probe, tmp_path, size):
    file = tmp_path / "photo"
    file.write_bytes(np.random.default_rng(size).bytes(size))
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    for listed in (0, size - 1, size, size + 1, 2**25, 2**25 + 1):
        expected = {"kept": listed <= 2**25, "read": sha, "whole": sha}
        assert probe.ask("photo_bytes", file=file, listed=listed) == expected


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


@pytest.mark.parametrize("told", ["", "Pss: 1024 kB\n", "Rss: 2048 kB\n"])
def test_memory_that_the_kernel_does_not_tell_is_no_zero(probe, tmp_path, told):
    file = tmp_path / "smaps"
    file.write_text("1-2 r /x\n" + told)
    with pytest.raises(EngineError, match=r"names no Pss or no Rss.*PROC_PAGE_MONITOR"):
        probe.ask("memory", file=file)


def test_the_panels_percentiles_are_those_of_the_last_200(probe):
    ms = np.random.default_rng(2).exponential(size=350)
    found = probe.ask("timings", ms=ms.tolist())
    assert found["count"] == 200
    assert found["p50"] == pytest.approx(np.percentile(ms[-200:], 50))
    assert found["p90"] == pytest.approx(np.percentile(ms[-200:], 90))
