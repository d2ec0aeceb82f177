"""Searches among some photos alone: of an album, of a time, without folders that were left out."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from tests.android.engine.test_index import SHA, JavaIndex, names, unit
from tests.support.phone import FakePhone
from tests.support.probe import EngineError

PHOTOS = 24_000
NAMES = names(PHOTOS)
K = 10


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    return unit(PHOTOS, 64)


@pytest.fixture(scope="module")
def java(probe, embeddings, tmp_path_factory) -> JavaIndex:
    """Three segments, a tenth of the photos deleted."""
    folder = tmp_path_factory.mktemp("filtered")
    index = PhotoIndex.create(folder / "index", dim=64, student="tiny", student_sha256=SHA)
    for start, stop in ((0, 16_000), (16_000, 22_000), (22_000, PHOTOS)):
        with index.writer() as writer:
            writer.add(NAMES[start:stop], embeddings[start:stop])
    with index.writer() as writer:
        writer.delete(NAMES[::10])
    return JavaIndex(probe, folder / "index", folder)


@pytest.mark.parametrize("share", [0.5, 0.001])
def test_the_nearest_of_those_that_pass_are_found(java, embeddings, share):
    """Compared with an exact search of the float embeddings."""
    passing = np.flatnonzero(np.random.default_rng(7).random(PHOTOS) < share)
    live = passing[passing % 10 != 0]
    queries = unit(100, 64, seed=3)
    given = java._scratch / "queries.f32"
    given.write_bytes(np.ascontiguousarray(queries, "<f4").tobytes())
    request = {"index": java.directory, "queries": given, "k": K, "exact": False}
    answers = java._probe.ask("index_search", **request, among=[NAMES[row] for row in passing])
    allowed = {NAMES[row] for row in live}
    shared = []
    for query, found in zip(queries, answers, strict=True):
        assert {*found["paths"]} <= allowed
        best = live[np.argsort(-(embeddings[live] @ query))[:K]]
        assert len(found["paths"]) == min(K, len(live))
        expected = {NAMES[row] for row in best}
        shared.append(len(expected & {*found["paths"]}) / len(expected))
    assert np.mean(shared) >= 0.99


def test_where_nothing_passes_nothing_is_found(java):
    given = java._scratch / "one.f32"
    given.write_bytes(np.ascontiguousarray(unit(1, 64), "<f4").tobytes())
    request = {"index": java.directory, "queries": given, "k": K, "exact": False}
    (found,) = java._probe.ask("index_search", **request, among=["none"])
    assert found["paths"] == []


@pytest.fixture
def albums(phone: FakePhone) -> FakePhone:
    phone.take(*(f"DCIM/Camera/{number}.png" for number in range(6)))
    phone.take(*(f"Pictures/Screenshots/{number}.png" for number in range(4)))
    phone.take("lying about.png")
    for number, file in enumerate(sorted(phone.volumes["external_primary"].values())):
        phone.taken[file] = 1_000_000 + number
    phone.write()
    return phone


def found(app, **request) -> set[str]:
    request = {"words": "a dog", "k": 50, **request}
    return {app.phone.name(path) for path in app.ask("search", **request)["paths"]}


def files(phone: FakePhone, folder: str) -> set[str]:
    """The names of the photos of a folder, as `found` has them."""
    return {path.name for path in (phone.folder / "external_primary" / folder).glob("*.png")}


def in_folder(app, folder: str, paths: list[str]) -> bool:
    photos = app.phone.volumes["external_primary"]
    return all(folder in photos[path.split("/")[-1]] for path in paths)


def test_an_album_is_searched_alone(app, albums):
    app.index()
    answer = app.ask("search", words="a dog", k=50, folders=["DCIM/Camera"])["paths"]
    assert len(answer) == 6 and in_folder(app, "DCIM/Camera", answer)
    both = ["DCIM/Camera", "Pictures/Screenshots"]
    assert len(app.ask("search", words="a dog", k=50, folders=both)["paths"]) == 10
    assert len(app.ask("search", words="a dog", k=50, folders=[""])["paths"]) == 1
    assert app.ask("search", words="a dog", k=50, folders=["DCIM"])["paths"] == []
    inside = albums.path("DCIM/Camera/0.png")
    answer = app.ask("like", path=inside, k=50, folders=["Pictures/Screenshots"])["paths"]
    assert len(answer) == 4 and in_folder(app, "Screenshots", answer)
    file = albums.volumes["external_primary"][inside.split("/")[-1]]
    answer = app.ask("like_file", photo=file, k=50, folders=["DCIM/Camera"])["paths"]
    assert answer[0] == inside and len(answer) == 6
    for verb, photo in (("like", {"path": inside}), ("like_file", {"photo": file})):
        request = {**photo, "words": "a dog", "k": 50, "folders": ["Pictures/Screenshots"]}
        answer = app.ask(verb, **request)["paths"]
        assert len(answer) == 4 and in_folder(app, "Screenshots", answer)


def test_a_time_is_searched_from_its_first_ms_to_before_its_last(app, albums):
    app.index()
    ordered = sorted(albums.taken, key=albums.taken.__getitem__)
    answer = app.ask("search", words="a dog", k=50, from_ms=1_000_002, until_ms=1_000_005)["paths"]
    photos = albums.volumes["external_primary"]
    assert {photos[path.split("/")[-1]] for path in answer} == {*ordered[2:5]}
    assert app.ask("search", words="a dog", k=50, from_ms=2_000_000)["paths"] == []


def test_a_filter_follows_the_index_and_the_phone_s_list(app, albums):
    app.index()
    assert len(found(app, folders=["DCIM/Camera"])) == 6
    albums.take("DCIM/Camera/new.png")
    app.index()
    assert "new.png" in found(app, folders=["DCIM/Camera"])
    # Another file is in its place by now: the album was moved.
    photos = albums.volumes["external_primary"]
    (number,) = [i for i, path in photos.items() if path.endswith("lying about.png")]
    moved = albums.folder / "external_primary" / "DCIM/Camera/moved.png"
    before = albums.folder / "external_primary" / "lying about.png"
    before.rename(moved)
    albums.taken[str(moved)] = albums.taken.pop(str(before))
    photos[number] = str(moved)
    albums.write()
    app.ask("count")  # the list is looked at, and the index is as it was
    assert "moved.png" in found(app, folders=["DCIM/Camera"])
    assert app.index()["added"] == 0
    assert "moved.png" in found(app, folders=["DCIM/Camera"])
    albums.change(taken=albums.taken | {str(moved): 5_000_000})
    app.ask("count")
    assert found(app, from_ms=5_000_000, until_ms=5_000_001) == {"moved.png"}


def test_an_album_that_was_renamed_is_searched_by_its_new_name(app, albums):
    app.index()
    folder = albums.folder / "external_primary" / "DCIM/Camera"
    folder.rename(folder.with_name("Kamera"))
    photos, taken = albums.volumes["external_primary"], albums.taken
    renamed = {number: path.replace("/Camera/", "/Kamera/") for number, path in photos.items()}
    times = {path.replace("/Camera/", "/Kamera/"): ms for path, ms in taken.items()}
    albums.change(volumes={"external_primary": renamed}, taken=times)
    app.ask("count")
    assert found(app, folders=["DCIM/Kamera"]) == files(albums, "DCIM/Kamera") != set()
    assert found(app, folders=["DCIM/Camera"]) == set()


def test_what_the_list_told_outlives_the_process_and_a_torn_file(app, albums):
    app.index()
    metadata = app.directory / "metadata.bin"
    whole = metadata.read_bytes()
    assert len(whole) < 11 * 20 + 200
    torn = (whole[:-1], whole[:30], whole[:9] + b"\xff" + whole[10:], b"")
    wrong = whole[:-20] + b"\x7f" + whole[-19:]  # the last photo's folder
    for content in (whole, *torn, wrong):
        metadata.write_bytes(content)
        app.close()
        assert len(found(app, folders=["DCIM/Camera"])) == 6
        assert len(found(app, from_ms=1_000_002, until_ms=1_000_005)) == 3
        assert app.ask("state")["lists"] == (content != whole)  # times that the phone is asked
    metadata.unlink()
    app.close()
    assert len(found(app, folders=["DCIM/Camera"])) == 6


def test_folders_are_told_with_their_photos(app, albums):
    app.ask("choose_folders", only=False, names=["Pictures/Screenshots"])
    assert app.ask("folders") == {"": 1, "DCIM/Camera": 6, "Pictures/Screenshots": 4}


def test_a_folder_that_is_left_out_is_neither_found_nor_indexed(app, albums):
    """Of so many photos, too, that it would not be believed that they are gone."""
    albums.take(*(f"Pictures/Screenshots/more-{number}.png" for number in range(20)))
    app.index()
    app.ask("choose_folders", only=False, names=["Pictures/Screenshots"])
    answer = app.ask("search", words="a dog", k=50)["paths"]
    assert len(answer) == 7 and not in_folder(app, "Screenshots", answer)  # at once
    albums.take("Pictures/Screenshots/new.png", "DCIM/Camera/new.png")
    outcome = app.index()
    assert (outcome["added"], outcome["deleted"], outcome["photos"]) == (1, 24, 8)
    counted = app.ask("count")
    assert (counted["left"], counted["total"]) == (0, 8)
    app.close()  # it is kept
    assert app.index()["photos"] == 8
    app.ask("choose_folders", only=False, names=[])
    assert app.index()["added"] == 25
    assert len(app.indexed()) == 33


def test_another_choice_of_folders_holds_before_the_next_run(app, albums):
    app.index()
    app.ask("choose_folders", only=False, names=["Pictures/Screenshots"])
    assert found(app) == files(albums, "DCIM/Camera") | {"lying about.png"}
    app.ask("choose_folders", only=True, names=["Pictures/Screenshots"])
    assert found(app) == files(albums, "Pictures/Screenshots")
    app.ask("choose_folders", only=True, names=[])
    assert found(app) == set()


def test_the_latest_photos_come_first_without_those_that_are_left_out(app, albums):
    ordered = sorted(albums.taken, key=albums.taken.__getitem__, reverse=True)
    camera = [file for file in ordered if "/DCIM/Camera/" in file]

    def recent(**request) -> list[str]:
        photos = albums.volumes["external_primary"]
        return [photos[path.split("/")[-1]] for path in app.ask("recent", **request)]

    assert recent(most=3) == ordered[:3]
    assert recent(most=50, folders=["DCIM/Camera"]) == camera
    assert recent(most=50, until_ms=1_000_004) == ordered[-4:]
    app.ask("choose_folders", only=False, names=["DCIM/Camera"])
    assert recent(most=50) == [file for file in ordered if file not in camera]


def test_some_folders_alone_are_indexed(app, albums):
    assert app.ask("choose_folders", only=True, names=["DCIM/Camera"])
    outcome = app.index()
    assert (outcome["added"], outcome["opened"]) == (6, 6)
    albums.take("New/1.png")
    app.close()  # it is kept
    assert app.index()["added"] == 0
    (app.directory / "folders.json").write_text("torn off in the mid")
    app.close()
    assert app.index()["added"] == 6


def test_photos_of_an_emptied_folder_go_though_all_others_are_left_out(app, albums):
    app.ask("choose_folders", only=True, names=["DCIM/Camera"])
    assert app.index()["photos"] == 6
    camera = files(albums, "DCIM/Camera")
    albums.delete(*(f"DCIM/Camera/{name}" for name in camera))
    outcome = app.index()
    assert (outcome["deleted"], outcome["photos"]) == (6, 0)


def test_a_photo_under_a_left_out_one_s_number_is_known_again(app, albums):
    """The phone numbered its photos anew while a folder was left out: none is embedded twice."""
    app.ask("choose_folders", only=False, names=["Pictures/Screenshots"])
    app.index()
    albums.renumber(version="2")
    outcome = app.index()
    assert (outcome["added"], outcome["photos"]) == (0, 7)
    answer = app.ask("search", words="a dog", k=50)["paths"]
    assert len(answer) == 7 and not in_folder(app, "Screenshots", answer)


def test_forgetting_all_photos_forgets_their_folders(app, albums):
    app.index()
    app.ask("clear")
    assert not (app.directory / "metadata.bin").exists()
    albums.take("New/1.png")
    assert app.ask("folders")["New"] == 1


@pytest.mark.parametrize(
    ("relative_path", "data", "folder"),
    [
        ("DCIM/Camera/", None, "DCIM/Camera"),
        ("", None, ""),
        (None, "/storage/emulated/0/DCIM/Camera/a.jpg", "DCIM/Camera"),
        (None, "/storage/emulated/0/a.jpg", ""),
        (None, "/storage/1A2B-3C4D/DCIM/a.jpg", "DCIM"),
        (None, "/storage/1A2B-3C4D/a.jpg", ""),
        (None, "/sdcard/DCIM/a.jpg", "sdcard/DCIM"),
        (None, None, ""),
    ],
)
def test_a_folder_is_named_alike_by_old_and_new_phones(probe, relative_path, data, folder):
    given = {
        key: value
        for key, value in {"relative_path": relative_path, "data": data}.items()
        if value is not None
    }
    assert probe.ask("folder", **given) == folder


def test_albums_have_short_names_where_they_differ(probe):
    folders = {"DCIM/Camera": 9, "Zoo/Ant": 9, "Pictures/Trip": 12, "Download/Trip": 1, "": 3}
    assert probe.ask("albums", folders=folders) == [
        ["Pictures/Trip", "Pictures/Trip", 12],
        ["Zoo/Ant", "Ant", 9],
        ["DCIM/Camera", "Camera", 9],
        ["", "/", 3],
        ["Download/Trip", "Download/Trip", 1],
    ]


@pytest.mark.parametrize(
    ("period", "first", "behind"),
    [
        ("ANY", None, None),
        ("WEEK", (2026, 3, 25), None),
        ("MONTH", (2026, 3, 2), None),
        ("THIS_YEAR", (2026, 1, 1), None),
        ("LAST_YEAR", (2025, 1, 1), (2026, 1, 1)),
    ],
)
def test_a_period_begins_and_ends_with_days_of_the_user_s_zone(probe, period, first, behind):
    """Across the change to summer time (2026-03-29)."""

    def ms(day: tuple[int, int, int] | None) -> int | None:
        return None if day is None else int(datetime(*day, tzinfo=ZoneInfo(zone)).timestamp() * 1e3)

    zone = "Europe/Berlin"
    range_ms = probe.ask("period", period=period, today="2026-03-31", zone=zone)
    assert range_ms == [ms(first), ms(behind), period != "ANY"]
    range_ms = probe.ask("period", first="2026-03-28", last="2026-03-29", zone=zone)
    assert range_ms == [ms((2026, 3, 28)), ms((2026, 3, 30)), True]


def test_rows_of_a_commit_before_are_refused(probe, java):
    with pytest.raises(EngineError, match="of another commit"):
        probe.ask("index_old_rows", index=java.directory)
