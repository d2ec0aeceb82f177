"""What is unseen is not gone: an index and the phone's own list of photos, which comes and goes."""

from __future__ import annotations

import os

import numpy as np
import pytest

from benchmarks.jvm import jvm_libraries
from mcad_mobile.android.toolchain import JAVA, run
from tests.support.phone import CARD, OWN
from tests.support.probe import KERNELS

HOUR_MS = 60 * 60 * 1000
NAMES = [f"{number:03d}.png" for number in range(40)]


def test_an_empty_list_deletes_nothing(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.change(unanswered={OWN})
    for ms in (0, 2 * HOUR_MS, 50 * HOUR_MS):
        assert app.index(ms=ms)["photos"] == len(NAMES)
    phone.change(unanswered=set())
    outcome = app.index()
    assert (outcome["added"], outcome["photos"]) == (0, len(NAMES))


def test_half_a_list_is_not_believed_within_the_hour(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.change(chosen={*NAMES[:20]})
    phone.chosen = None
    whole = dict(phone.volumes[OWN])
    phone.volumes[OWN] = dict([*whole.items()][:20])
    phone.write()
    assert app.index(ms=0)["photos"] == len(NAMES)
    assert app.index(ms=HOUR_MS // 2)["photos"] == len(NAMES)
    phone.change(volumes={OWN: whole})
    assert app.index(ms=HOUR_MS * 2)["added"] == 0
    # Another such answer begins another hour.
    phone.change(volumes={OWN: dict([*whole.items()][:20])})
    assert app.index(ms=HOUR_MS * 3)["photos"] == len(NAMES)
    outcome = app.index(ms=HOUR_MS * 4)
    assert (outcome["deleted"], outcome["photos"]) == (20, 20)


@pytest.mark.parametrize("torn", ["", '{"versions":{"', '{"versions":{"external_primary":"1"}}'])
def test_without_its_notes_of_the_library_a_run_goes_on_and_notes_anew(app, phone, torn):
    phone.take(*NAMES)
    app.index()
    phone.delete(*NAMES[:20])
    assert app.index(ms=0)["deleted"] == 0
    (app.index_directory / "library.json").write_text(torn)
    assert app.index(ms=HOUR_MS)["deleted"] == 0  # since when they are gone is not known
    assert app.index(ms=2 * HOUR_MS)["deleted"] == 20


def test_a_few_deleted_photos_go_at_once(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.delete(*NAMES[:7])
    outcome = app.index()
    assert (outcome["deleted"], outcome["photos"]) == (7, len(NAMES) - 7)


@pytest.mark.parametrize(
    ("photos", "gone", "at_once"),
    [(30, 16, True), (30, 17, False), (72, 18, True), (72, 19, False)],
)
def test_sixteen_photos_or_a_quarter_go_at_once_and_more_are_asked_for_again(
    app, phone, photos, gone, at_once
):
    names = [f"{number:03d}.png" for number in range(photos)]
    phone.take(*names)
    app.index(ms=HOUR_MS)
    phone.delete(*names[:gone])
    assert app.index(ms=2 * HOUR_MS)["deleted"] == (gone if at_once else 0)
    # A clock that was set back begins anew.
    assert app.index(ms=HOUR_MS)["photos"] == photos - (gone if at_once else 0)
    assert app.index(ms=2 * HOUR_MS - 1)["photos"] == photos - (gone if at_once else 0)
    assert app.index(ms=2 * HOUR_MS)["photos"] == photos - gone


def test_a_quarter_of_all_photos_is_too_much_of_a_card_to_go_at_once(app, phone):
    phone.take(*NAMES, *(f"more-{number}.png" for number in range(10)))
    on_card = [f"card-{number}.png" for number in range(18)]
    phone.take(*on_card, volume=CARD)
    app.index()
    phone.delete(*on_card[:17], volume=CARD)  # a quarter of all photos
    assert app.index()["deleted"] == 0


def test_photos_of_a_card_that_is_out_stay_and_are_not_found(app, phone):
    phone.take(*NAMES[:5])
    phone.take("card-1.png", "card-2.png", volume=CARD)
    assert app.index()["photos"] == 7
    on_card = phone.path("card-1.png", CARD)
    assert on_card in app.ask("search", words="a dog", k=7)["paths"]
    phone.change(out={CARD})
    outcome = app.index(ms=50 * HOUR_MS)
    assert (outcome["deleted"], outcome["photos"]) == (0, 7)
    found = app.ask("search", words="a dog", k=5)["paths"]
    assert sorted(found) == sorted(phone.path(name) for name in NAMES[:5])
    phone.change(out=set())
    outcome = app.index()
    assert (outcome["added"], outcome["photos"]) == (0, 7)
    phone.delete("card-1.png", volume=CARD)
    assert app.index()["deleted"] == 1


def test_a_renumbered_phone_costs_no_embedding(app, phone, probe, bundle):
    """Each number means another photo by now, and not one is embedded a second time."""
    phone.take(*NAMES)
    app.index()
    before = app.embeddings()
    phone.renumber(version="2")
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["deleted"]) == (0, len(NAMES), 0)
    after = app.embeddings()
    assert after.keys() == before.keys() == {*NAMES}
    for name in NAMES:
        assert np.allclose(after[name], before[name], atol=1e-3)
    assert app.index()["moved"] == 0


def test_a_card_that_comes_back_with_other_numbers_is_known_again(app, phone):
    phone.take(*NAMES[:3])
    phone.take("card-1.png", "card-2.png", volume=CARD)
    app.index()
    phone.change(out={CARD})
    app.index()
    phone.volumes[CARD] = {f"9{i}": path for i, path in phone.volumes[CARD].items()}
    phone.change(out=set())
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["photos"]) == (0, 2, 5)
    assert phone.path("card-1.png", CARD) in app.indexed()


def test_a_stopped_run_over_a_renumbered_phone_costs_no_embedding(app, phone):
    phone.take(*NAMES[:12])
    app.index()
    phone.renumber(version="2")
    outcome = app.ask("index_some", photos=3)
    assert (outcome["moved"], outcome["deleted"], outcome["left"]) == (3, 0, 9)
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["photos"]) == (0, 9, 12)


@pytest.mark.parametrize("photos", [1, 2, 3])
def test_photos_that_were_renumbered_twice_keep_their_own_embeddings(app, phone, photos):
    """The second time came before all photos of the first were known again."""
    phone.take(*NAMES[:6])
    app.index()
    before = app.embeddings()
    phone.renumber(version="2")
    app.ask("index_some", photos=photos)
    phone.volumes[OWN] = dict(reversed(phone.volumes[OWN].items()))  # the phone lists them so, too
    phone.renumber(version="3")
    outcome = app.index()
    assert (outcome["photos"], outcome["left"]) == (6, 0)
    after = app.embeddings()
    for name in NAMES[:6]:
        assert np.allclose(after[name], before[name], atol=1e-3)


def test_a_card_that_was_renumbered_while_it_was_out_is_known_again(app, phone):
    phone.take(*NAMES[:3])
    phone.take("card-1.png", "card-2.png", "card-3.png", volume=CARD)
    app.index()
    phone.change(out={CARD})
    phone.renumber(version="2")
    app.index()
    phone.change(out=set())
    phone.renumber(CARD, version="2")
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["photos"]) == (0, 3, 6)


def test_a_touched_photo_beside_a_renumbered_card_costs_no_embedding(app, phone):
    phone.take("touched.png")
    phone.take("card-1.png", "card-2.png", "card-3.png", volume=CARD)
    app.index()
    os.utime(phone.folder / OWN / "touched.png", (1, 1))
    phone.renumber(CARD, version="2")
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["photos"]) == (0, 3, 4)


def test_a_renumbered_photo_that_was_edited_meanwhile_is_embedded(app, phone):
    phone.take(*NAMES[:6])
    app.index()
    phone.take(NAMES[0], seed=1)
    phone.renumber(version="2")
    outcome = app.index()
    assert (outcome["added"], outcome["moved"], outcome["deleted"]) == (1, 5, 1)
    assert app.indexed() == sorted(phone.path(name) for name in NAMES[:6])


def test_a_new_version_with_the_same_numbers_costs_no_look_into_a_file(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.change(versions={**phone.versions, OWN: "2"})
    outcome = app.index()
    assert (outcome["opened"], outcome["added"], outcome["moved"]) == (0, 0, 0)


def test_chosen_photos_hide_the_others_and_delete_none(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.change(chosen={*NAMES[:3]})
    outcome = app.index(ms=50 * HOUR_MS)
    assert (outcome["deleted"], outcome["photos"]) == (0, len(NAMES))
    found = app.ask("search", words="a dog", k=10)["paths"]
    assert sorted(found) == sorted(phone.path(name) for name in NAMES[:3])
    phone.change(chosen=None)
    assert app.index()["added"] == 0
    assert len(app.ask("search", words="a dog", k=10)["paths"]) == 10


def test_a_deleted_photo_is_not_found_before_the_index_knows(app, phone):
    phone.take(*NAMES[:5])
    app.index()
    phone.delete(NAMES[2])
    found = app.ask("search", words="a dog", k=5)["paths"]
    assert sorted(phone.name(path) for path in found) == sorted({*NAMES[:5]} - {NAMES[2]})


def test_each_photo_is_opened_once(app, phone):
    phone.take(*NAMES)
    assert app.index()["opened"] == len(NAMES)
    assert app.index()["opened"] == 0


@pytest.mark.slow
def test_a_run_over_100_000_known_photos_takes_no_more_memory_than_a_phone_spares(
    java_classes, bundle, tmp_path
):
    embeddings = tmp_path / "embeddings.f32"
    vectors = np.random.default_rng(1).normal(size=(100_000, bundle.dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings.write_bytes(vectors.astype("<f4").tobytes())

    def many(command: str, heap: str) -> list[float]:
        classpath = ":".join(map(str, [java_classes, *jvm_libraries()]))
        main = ["-cp", classpath, "io.github.mcadmobile.gallery.ManyPhotos"]
        arguments = [command, bundle.directory, tmp_path / "app", 100_000, embeddings]
        return [float(word) for word in run(JAVA, [heap, KERNELS, *main, *arguments]).split()]

    assert many("fill", "-Xmx256m") == [100_000]
    assert many("run", "-Xmx32m")[:3] == [100_000, 0, 0]
    assert many("find", "-Xmx32m")[:2] == [100_000, 120]
