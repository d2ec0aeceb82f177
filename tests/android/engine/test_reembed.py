"""An update brings another student: the one of before finds photos until all are embedded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, open_index
from tests.android.engine.test_life import HOUR_MS
from tests.android.engine.test_search import leave_note
from tests.support.phone import OWN, App, FakePhone, killed
from tests.support.probe import Probe, variant
from tests.support.tiny_bundle import make_tiny_bundle, other_text_tower, two_text_towers

NAMES = [f"DCIM/{number:03d}.png" for number in range(70)]
WORDS = "a dog on the beach"


def another(directory: Path, *, dim: int, seed: int, sha: str) -> Bundle:
    """A bundle of another student, of other dimensions than the others."""
    made = make_tiny_bundle(directory / "made", dim=dim, seed=seed)
    student = replace(made.student, sha256=sha * 64, image_sha256=sha * 64)
    return Bundle.load(variant(made, directory / "bundle", student=student))


@pytest.fixture(scope="module")
def new(tmp_path_factory) -> Bundle:
    return another(tmp_path_factory.mktemp("new"), dim=128, seed=8, sha="1")


@pytest.fixture(scope="module")
def newest(tmp_path_factory) -> Bundle:
    return another(tmp_path_factory.mktemp("newest"), dim=96, seed=9, sha="2")


def search(app: App, k: int = 200, **options) -> dict[str, float]:
    answer = app.ask("search", words=WORDS, k=k, **options)
    return dict(zip(answer["paths"], answer["scores"], strict=True))


def kept(app: App) -> set[str]:
    """What lies in the app's folder and may be of one student or the other."""
    names = {path.name for path in app.directory.iterdir()}
    return {name for name in names if name.startswith(("bundle", "rungs", "index"))}


def after_it(bundle: Bundle) -> set[str]:
    return {"bundle", "rungs", f"index-{bundle.student.image_sha256[:16]}"}


@pytest.fixture
def apps(probe, phone):
    """The app by a bundle, as if it was just installed over the one of before."""
    running: list[App] = []

    def update(bundle: Bundle) -> App:
        while running:
            running.pop().close()
        running.append(App(probe, bundle, phone))
        return running[-1]

    yield update
    update(None)


@pytest.fixture
def old(apps, bundle, phone) -> dict[str, float]:
    """70 photos, indexed and found before the update."""
    phone.take(*NAMES)
    app = apps(bundle)
    app.index()
    return search(app)


def fresh(probe: Probe, bundle: Bundle, phone: FakePhone, scratch: Path) -> dict[str, float]:
    """What is found by an app that was never another."""
    app = App(probe, bundle, phone)
    app.directory = scratch / "fresh"
    app.index()
    found = search(app)
    app.close()
    return found


def test_the_student_of_before_finds_photos_until_all_are_embedded(
    apps, old, new, bundle, phone, probe, tmp_path
):
    app = apps(new)
    assert search(app) == old
    assert app.ask("bundle") == bundle.student.sha256
    counted = app.ask("count")
    assert (counted["left"], counted["changing"]) == (70, True)
    assert app.ask("index_some", photos=30)["left"] == 40
    assert search(app) == old
    app = apps(new)  # the process was ended
    assert search(app) == old
    outcome = app.index()
    assert (outcome["added"], outcome["photos"], outcome["searchable"]) == (40, 70, 70)
    assert not app.ask("state")["changing"]
    assert app.ask("bundle") == new.student.sha256
    assert search(app) == fresh(probe, new, phone, tmp_path) != old
    assert kept(app) == after_it(new)
    app = apps(new)
    assert (search(app).keys(), app.index()["added"]) == (old.keys(), 0)


def test_albums_times_choices_and_photos_like_one_hold_all_the_while(
    apps, bundle, new, phone, tmp_path
):
    phone.take("DCIM/a.png", "DCIM/b.png", "Pictures/c.png", "Hidden/d.png")
    taken = {str(phone.folder / OWN / "DCIM/a.png"): 1_000_000}
    phone.change(taken=taken)
    app = apps(bundle)
    app.ask("choose_folders", only=False, names=["Hidden"])
    app.index()

    def seen(app: App) -> tuple[object, ...]:
        first = phone.path("DCIM/a.png")
        like = app.ask("like", path=first, k=9)["paths"]
        photo = phone.folder / OWN / "DCIM/b.png"
        assert app.ask("like_file", photo=photo, k=1)["paths"] == [phone.path("DCIM/b.png")]
        return (
            {*search(app, folders=["DCIM"])},
            {*search(app, until_ms=2_000_000)},
            {*search(app)},
            {*like},
            app.ask("folders"),
        )

    before = seen(app)
    assert [len(part) for part in before] == [2, 1, 3, 2, 3]
    app = apps(new)
    assert seen(app) == before
    app.index()
    assert app.ask("bundle") == new.student.sha256
    assert seen(app) == before
    assert phone.path("Hidden/d.png") not in app.indexed()


def test_a_photo_that_comes_or_goes_meanwhile_is_that_in_the_end(apps, old, new, phone):
    app = apps(new)
    app.ask("index_some", photos=10)
    gone = phone.path(NAMES[3])
    phone.delete(NAMES[3])
    came = phone.take("new.png")
    assert {*search(app)} == {*old} - {gone}
    app.index()
    assert {*search(app)} == {*old} - {gone} | {came}


def test_what_is_out_is_not_given_up_at_once(apps, old, new, phone):
    phone.change(chosen={Path(name).name for name in NAMES[:9]})
    app = apps(new)
    outcome = app.index()
    assert (outcome["left"], outcome["photos"]) == (0, 9)
    assert app.ask("state")["changing"]
    phone.change(unanswered={OWN})
    app.index(ms=2 * HOUR_MS)
    phone.change(chosen=None, unanswered=set())
    assert search(app) == old
    phone.change(chosen={Path(name).name for name in NAMES[:9]})
    assert app.index(ms=HOUR_MS - 1)["left"] == 0
    assert app.ask("state")["changing"]
    app.index(ms=HOUR_MS)
    assert not app.ask("state")["changing"]
    assert len(search(app)) == 9


def test_photos_that_cannot_be_read_for_a_while_are_not_given_up(apps, old, new, phone):
    app = apps(new)
    photos = [*(phone.folder / OWN / "DCIM").iterdir()]
    whole = {photo: (photo.read_bytes(), photo.stat().st_mtime) for photo in photos}
    for photo in photos:
        photo.write_bytes(b"broken")
    assert app.index()["skipped"] == 70
    assert app.ask("state")["changing"]
    for photo, (content, modified) in whole.items():
        photo.write_bytes(content)
        os.utime(photo, (modified, modified))
    assert search(app) == old
    assert app.index()["added"] == 70
    assert not app.ask("state")["changing"]


@pytest.mark.parametrize(("broken", "changing"), [(17, False), (18, True)])
def test_a_quarter_of_the_photos_may_be_lost_in_a_change(apps, old, new, phone, broken, changing):
    for photo in [*(phone.folder / OWN / "DCIM").iterdir()][:broken]:
        photo.write_bytes(b"broken")
    app = apps(new)
    assert app.index()["skipped"] == broken
    assert app.ask("state")["changing"] is changing


def test_a_student_that_has_embedded_no_photo_is_not_waited_for(apps, bundle, new, phone):
    app = apps(bundle)
    assert search(app) == {}
    phone.take(*NAMES[:3])
    app = apps(new)
    assert app.ask("bundle") == new.student.sha256
    assert kept(app) == {"bundle", "rungs"}


def test_folders_that_are_left_out_since_are_no_loss(apps, old, new, phone):
    phone.take("Camera/1.png")
    app = apps(new)
    app.ask("choose_folders", only=False, names=["DCIM"])
    assert app.index()["added"] == 1
    assert not app.ask("state")["changing"]


def test_an_update_that_is_torn_off_is_gone_on_with(apps, old, bundle, new):
    app = apps(new)
    assert search(app) == old
    apps(new)
    # Between the one folder and the other: as a kill leaves it.
    shutil.rmtree(app.directory / "bundle")
    (app.directory / "bundle.gone").mkdir()
    app = apps(new)
    assert search(app) == old
    assert not (app.directory / "bundle.gone").exists()
    app.index()
    apps(new)
    # While what was of the old student is deleted.
    shutil.copytree(new.directory, app.directory / "bundle.gone")
    (app.directory / f"index-{bundle.student.image_sha256[:16]}").mkdir()
    app = apps(new)
    assert search(app).keys() == old.keys()
    assert kept(app) == after_it(new)


def test_two_updates_in_a_row_and_back(apps, old, bundle, new, newest):
    app = apps(new)
    app.ask("index_some", photos=10)
    app = apps(newest)
    assert search(app) == old
    assert kept(app) == {"bundle.before", "rungs.before", "bundle", "rungs"} | {
        f"index-{bundle.student.image_sha256[:16]}"
    }
    app.ask("index_some", photos=10)
    app = apps(bundle)  # the first one again: it has all photos
    assert search(app) == old
    assert not app.ask("state")["changing"]
    assert app.index()["added"] == 0
    assert kept(app) == after_it(bundle)


def test_another_bundle_of_the_same_student_goes_on_with_its_index(apps, old, bundle, tmp_path):
    exported = Bundle.load(variant(bundle, tmp_path / "again", created="2026-01-01T00:00:00+00:00"))
    app = apps(exported)
    assert search(app) == old
    assert not app.ask("state")["changing"]
    assert app.index()["added"] == 0
    assert kept(app) == after_it(bundle)


def test_another_text_tower_of_the_same_image_tower_searches_the_index_as_it_is(
    apps, old, bundle, tmp_path
):
    other = other_text_tower(bundle, tmp_path / "other")
    app = apps(other)
    engine = SearchEngine(other)
    found = engine.search(open_index(other, app.index_directory), WORDS, k=200)
    assert search(app) == pytest.approx({r.path: r.score for r in found.results}, abs=1e-3)
    assert search(app) != old
    assert not app.ask("state")["changing"]
    assert app.index()["added"] == 0


def test_the_text_tower_is_that_of_the_phones_language_and_no_other_is_loaded(
    apps, phone, tmp_path
):
    both = two_text_towers(tmp_path / "both")
    phone.take(*NAMES)
    app = apps(both)
    assert app.index()["added"] == 70
    for language in ("de", "ja", "en"):
        done = app.ask("speak", language=language)
        assert done == dict.fromkeys(("changed", "closed"), language != "ja")
        spoken = both.for_language(language)
        assert app.ask("bundle") == spoken.student.sha256
        found = SearchEngine(spoken).search(open_index(spoken, app.index_directory), WORDS, k=200)
        assert search(app) == pytest.approx({r.path: r.score for r in found.results}, abs=1e-3)
        assert not app.ask("state")["changing"]
    assert app.index()["added"] == 0


def break_bundle(app: App, old: Bundle) -> None:
    (app.directory / "bundle.before" / "text.onnx").write_bytes(b"broken")


def break_index(app: App, old: Bundle) -> None:
    for segment in (app.directory / f"index-{old.student.image_sha256[:16]}").glob("*.mcs"):
        segment.write_bytes(segment.read_bytes()[:-1])


@pytest.mark.parametrize("verb", ["bundle", "state"])  # known to be there, or not yet
@pytest.mark.parametrize("breaks", [break_bundle, break_index])
def test_a_student_of_before_that_cannot_be_used_makes_room(apps, old, bundle, new, breaks, verb):
    app = apps(new)
    app.ask("index_some", photos=30)
    app = apps(new)
    app.ask(verb)
    breaks(app, bundle)
    assert len(search(app)) == 30  # what is done
    assert not app.ask("state")["changing"]
    outcome = app.index()
    assert (outcome["added"], outcome["rebuilt"]) == (40, False)
    assert len(search(app)) == 70


def test_photos_that_are_numbered_anew_are_never_found_under_another_s_number(
    apps, old, new, phone
):
    app = apps(new)
    app.ask("index_some", photos=30)
    phone.renumber(version="2")
    assert app.ask("index_some", photos=10)["left"] == 60
    assert not app.ask("state")["changing"]
    outcome = app.index()
    assert (outcome["moved"] + outcome["added"], outcome["photos"]) == (60, 70)


def test_forgetting_all_photos_forgets_those_of_the_student_of_before(apps, old, new):
    app = apps(new)
    assert app.ask("clear") == 0
    assert search(app) == {}
    assert kept(app) == after_it(new)


def test_a_photo_that_killed_the_process_is_left_out_by_the_new_student_too(
    apps, old, bundle, new, phone
):
    app = apps(bundle)
    for _ in range(2):
        leave_note(app, phone, phone.path(NAMES[0]))
        app.index()
    app = apps(new)
    assert (app.index()["skipped"], app.ask("state")["changing"]) == (1, False)
    assert len(app.indexed()) == 69


def test_a_photo_that_kills_the_process_meanwhile_stays_left_out(apps, old, bundle, new, phone):
    app = apps(bundle)
    leave_note(app, phone, phone.path(NAMES[1]))
    app.index()
    app = apps(new)
    app.ask("index_some", photos=1)
    for _ in range(2):
        leave_note(app, phone, phone.path(NAMES[5]))
        app.ask("index_some", photos=1)
    app = apps(new)
    assert app.index()["skipped"] == 1


@pytest.mark.slow
def test_killed_at_any_moment_photos_are_found_by_the_one_or_the_other(
    java_classes, bundle, new, phone, tmp_path
):
    phone.take(*NAMES, *(f"more-{number}.png" for number in range(400)))
    random = np.random.default_rng(3)
    process = Probe(java_classes, tmp_path)
    app = App(process, bundle, phone)
    app.index()
    every = len(NAMES) + 400
    found = search(app, every)
    process.close()
    given, kills = new, 0
    for _ in range(12):
        process = Probe(java_classes, tmp_path)
        app = App(process, given, phone)
        process_end = float(random.uniform(0.3, 2.5))
        kills += killed(process, app, process_end)
        process = Probe(java_classes, tmp_path)
        app = App(process, given, phone)
        now = search(app, every)
        if app.ask("state")["changing"]:
            assert now == found
        else:
            assert app.index()["added"] == 0
            assert now.keys() == found.keys()
            found, given = now, bundle if given is new else new
        process.close()
    assert kills
