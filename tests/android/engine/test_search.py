"""An app's one door to the engine: what a search shows, who indexes when, and what a phone can do
to both."""

from __future__ import annotations

import json
import os
import threading
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from mcad_mobile.engine.bundle import Bundle, FileRecord
from mcad_mobile.engine.engine import SearchEngine, open_index
from mcad_mobile.engine.query import compose
from mcad_mobile.engine.text.normalize import SPACES
from mcad_mobile.engine.text.tokenizer import Tokenizer
from tests.support.phone import OWN, App, FakePhone
from tests.support.probe import EngineError, Probe, variant

NAMES = [f"{number:03d}.png" for number in range(12)]
BATCH = 64  # photos per commit


@pytest.mark.parametrize("words", ["a dog on the beach", "nothing of the kind", "zebra"])
def test_an_app_finds_what_python_finds_in_the_same_order(app, phone, bundle, words):
    phone.take(*NAMES)
    app.index()
    found = app.ask("search", words=words, k=5)
    expected = SearchEngine(bundle).search(open_index(bundle, app.index_directory), words, k=5)
    assert found["paths"] == [result.path for result in expected.results]
    assert found["scores"] == pytest.approx([r.score for r in expected.results], abs=1e-3)


def test_a_query_that_was_cut_off_says_so(app, phone, bundle):
    phone.take(NAMES[0])
    app.index()
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    most = max(count for count in range(1, 100) if not tokenizer("dog " * count).truncated)
    assert app.ask("search", words="dog " * most, k=1)["truncated"] is False
    assert app.ask("search", words="dog " * (most + 1), k=1)["truncated"] is True


def test_words_that_the_student_cannot_know_are_named(app, phone):
    phone.take(*NAMES[:2])
    app.index()
    assert app.ask("search", words="a dog", k=1)["unknown"] == []
    assert app.ask("search", words="a dog 🐶 собака", k=1)["unknown"] == ["🐶", "собака"]
    path = app.ask("search", words="a dog", k=1)["paths"][0]
    like = app.ask("like", path=path, words="ночь " * 100, k=1)
    assert (like["unknown"], like["truncated"]) == (["ночь"], True)
    assert app.ask("like", path=path, k=1)["unknown"] == []


def break_file(folder: Path, bundle: Bundle) -> Path:
    (folder / "text.onnx").write_bytes(b"broken")
    return variant(bundle, folder)


def break_tokenizer(folder: Path, bundle: Bundle) -> Path:
    (folder / "tokenizer.bin").write_bytes(b"none")
    return variant(bundle, folder, tokenizer_file=FileRecord.of(folder, folder / "tokenizer.bin"))


def need_litert(folder: Path, bundle: Bundle) -> Path:
    rung = replace(bundle.image.rungs[0], runtime="litert")
    return variant(bundle, folder, image=replace(bundle.image, rungs=(rung,)))


@pytest.mark.parametrize(
    ("breaks", "verb", "kind"),
    [
        (break_file, "search", "BUNDLE"),
        (break_tokenizer, "search", "TOWER"),
        (need_litert, "index", "TOWER"),
    ],
)
def test_a_screen_is_told_what_kind_of_thing_is_broken(
    probe, bundle, phone, tmp_path, breaks, verb, kind
):
    folder = tmp_path / "broken"
    folder.mkdir()
    phone.take(NAMES[0])
    app = App(probe, replace(bundle, directory=breaks(folder, bundle)), phone)
    with pytest.raises(EngineError) as error:
        app.ask(verb, words="a dog", k=1)
    assert error.value.kind == kind
    app.close()


def test_a_run_tells_its_times_in_ms(app, phone):
    phone.take(*NAMES)
    started = time.monotonic()
    app.index()
    took_ms = 1000 * (time.monotonic() - started)
    times = app.ask("timings")
    assert times["photos"] == len(NAMES)
    assert 0.01 * len(NAMES) < times["ms"] < took_ms
    started = time.monotonic()
    app.ask("search", words="a dog", k=3)
    took_ms = 1000 * (time.monotonic() - started)
    times = app.ask("timings")
    assert 0 < times["stages"] <= times["total"] < took_ms


def test_photos_like_one_of_the_index_and_like_any_other(app, phone):
    phone.take(*NAMES)
    app.index()
    path = phone.path(NAMES[3])
    like = app.ask("like", path=path, k=3)
    assert path not in like["paths"]
    assert len(like["paths"]) == 3
    file = app.ask("like_file", photo=phone.folder / "external_primary" / NAMES[3], k=3)
    assert file["paths"] == [path, *like["paths"][:2]]
    with pytest.raises(EngineError, match="does not hold"):
        app.ask("like", path="content://media/external_primary/images/media/999", k=3)


def test_every_space_stands_between_words_and_is_no_query(probe, bundle):
    tokenizer = Tokenizer(bundle.tokenizer, bundle.path(bundle.tokenizer_file))
    texts = [f"{space}a{space}dog{space}" for space in SPACES]
    expected = tokenizer("a dog").ids.tolist()
    answers = probe.ask("tokens", bundle=bundle.directory, texts=texts)
    for space, text, answer in zip(SPACES, texts, answers, strict=True):
        assert answer["ids"] == tokenizer(text).ids.tolist()
        assert answer["ids"] == expected or unicodedata.category(space) == "Cc"
        with pytest.raises(EngineError, match="is empty"):
            probe.ask("tokens", bundle=bundle.directory, texts=[space * 2])


def test_queries_that_tell_photos_apart_are_proposed_first(app, phone, bundle):
    """By how much nearer the third of the photos is than the hundredth."""
    queries = ["a dog", "a cat", "the beach", "a red car"]
    assert app.ask("clearest", queries=queries, most=2) == []  # there is no photo
    for names in (NAMES[:1], NAMES[1:4], [f"{number:03d}.png" for number in range(12, 120)]):
        phone.take(*names)
        app.index()
        index, engine = open_index(bundle, app.index_directory), SearchEngine(bundle)
        scores = [[r.score for r in engine.search(index, q, k=100).results] for q in queries]
        third = min(3, (len(scores[0]) + 1) // 2) - 1
        margins = {q: found[third] - found[-1] for q, found in zip(queries, scores, strict=True)}
        expected = [q for q in sorted(queries, key=lambda q: -margins[q]) if margins[q] > 0]
        assert len(expected) == (0 if names == NAMES[:1] else 4)
        assert app.ask("clearest", queries=queries, most=2) == expected[:2]


def test_near_duplicates_are_found_once_and_others_take_their_place(app, phone):
    phone.take(*NAMES)
    copies = phone.folder / "external_primary"
    for number in range(4):  # of one photo, each with another pixel changed
        phone.take(f"copy-{number}.png")
        with Image.open(copies / NAMES[0]) as photo:
            photo.putpixel((number, 0), (0, 0, 0))
            photo.save(copies / f"copy-{number}.png")
    app.index()

    stacks: list[Iterator[str]] = []

    def names(**options: float) -> list[str]:
        found = app.ask("search", words="a dog", k=12, **options)
        assert found["scores"] == sorted(found["scores"], reverse=True)
        stacks.extend(map(phone.name, copies) for copies in found["copies"] if copies)
        return [phone.name(path) for path in found["paths"]]

    alike = {NAMES[0], *(f"copy-{number}.png" for number in range(4))}
    assert len(names()) == 12
    assert not stacks
    distinct = names(same=0.97)
    assert len(distinct) == len({*distinct}) == 12  # all but four of sixteen
    assert len(alike & {*distinct}) == 1
    assert {*distinct} & alike | {*stacks[0]} == alike
    assert len(stacks) == 1


def test_photos_of_a_decoder_that_has_changed_are_embedded_again(app, phone):
    phone.take("a.heic", "b.heic", "c.png")
    assert app.index()["added"] == 3
    assert app.index(revision=1)["added"] == 2
    assert app.index()["added"] == 0


def test_a_second_run_has_the_first_go_over_the_photos_again(app, phone, tmp_path):
    """ "Choose more" while it indexes: the photos that may be seen from now on are indexed, too."""
    phone.take(*NAMES)
    phone.change(chosen={*NAMES[:4]})
    before = phone.file.read_bytes()
    phone.change(chosen=None)
    then = tmp_path / "then.json"
    then.write_bytes(phone.file.read_bytes())
    phone.file.write_bytes(before)
    joined, first = app.ask("interrupted", by="index", then=then)
    assert joined == "joined"
    assert (first["left"], first["photos"]) == (0, len(NAMES))


def test_a_run_that_takes_another_s_place_loses_nothing_of_it(app, phone):
    phone.take(*NAMES)
    outcomes = app.ask("interrupted", by="instead")
    assert [outcome["left"] for outcome in outcomes] == [len(NAMES) - 1, 0]
    assert [outcome["added"] for outcome in outcomes] == [1, len(NAMES) - 1]
    assert app.ask("state")["running"] is False


def test_a_run_that_takes_another_s_place_is_never_said_to_be_over(app, phone):
    phone.take(*NAMES)
    assert True in app.ask("interrupted", by="instead", heard=True)


def test_a_run_that_is_asked_for_while_another_stops_is_made_after_it(app, phone):
    """ "Pause", then "Index now", within one photo."""
    phone.take(*NAMES)
    stopped, again = app.ask("interrupted", by="again")
    assert (stopped["added"], stopped["left"]) == (1, len(NAMES) - 1)
    assert (again["added"], again["left"]) == (len(NAMES) - 1, 0)


def test_two_runs_that_are_asked_for_during_an_estimate_do_not_stop_each_other(app, phone):
    phone.take(*NAMES)
    outcomes = app.ask("interrupted", by="both", estimate=True)
    runs = [outcome for outcome in outcomes if outcome != "joined"]
    assert {outcome["left"] for outcome in runs} == {0}
    assert app.indexed() == sorted(phone.path(name) for name in NAMES)


def test_an_estimate_is_no_run(app, phone):
    phone.take(*NAMES)
    assert app.ask("interrupted", by="question", estimate=True) == [False]
    assert app.ask("interrupted", by="question")[0] is True


def test_a_run_whose_thread_is_interrupted_over_a_photo_ends(app, phone):
    phone.take(*NAMES)
    (outcome,) = app.ask("interrupted", by="interrupt")
    assert "ClosedByInterruptException" in outcome
    assert app.index()["photos"] == len(NAMES)


def test_a_listener_that_fails_stops_no_run(app, phone):
    phone.take(*NAMES)
    assert app.ask("index_unheard")["added"] == len(NAMES)
    assert app.ask("state")["failure"] is None


def test_an_estimate_that_comes_meanwhile_asks_for_no_other_pass(app, phone):
    phone.take(*NAMES)
    (outcome,) = app.ask("interrupted", by="estimate")
    assert (outcome["left"], app.ask("state")["lists"]) == (0, 1)


def test_a_run_that_is_asked_for_during_an_estimate_is_made_after_it(app, phone):
    phone.take(*NAMES)
    app.ask("interrupted", by="job", estimate=True)
    assert app.indexed() == sorted(phone.path(name) for name in NAMES)


def test_a_job_that_comes_meanwhile_holds_the_process_until_the_run_is_over(app, phone):
    phone.take(*NAMES)
    outcomes = app.ask("interrupted", by="job")
    assert "joined, then over" in outcomes
    assert app.indexed() == sorted(phone.path(name) for name in NAMES)


def test_a_job_that_came_meanwhile_runs_again_for_what_a_stopped_run_has_left(app, phone):
    phone.take(*NAMES)
    outcomes = app.ask("interrupted", by="job", stop=True)
    assert "joined, then over, not done" in outcomes
    assert app.index()["added"] == len(NAMES) - 1


def test_after_a_run_that_ended_unforeseen_the_next_one_runs(app, phone):
    phone.take(*NAMES)
    with pytest.raises(AssertionError, match="broken"):
        app.index(broken=True)
    state = app.ask("state")
    assert (state["running"], state["left"]) == (False, len(NAMES))
    assert app.index()["left"] == 0


def test_a_run_ends_when_it_is_no_longer_wanted(app, phone):
    """The cable goes, say, in the mid of a run."""
    phone.take(*NAMES)
    outcome = app.ask("index_while", asked=8)
    assert 0 < outcome["added"] < len(NAMES)
    assert outcome["left"] == len(NAMES) - outcome["added"]
    # It had begun where the phone's list begins.
    assert app.indexed() == [phone.path(name) for name in NAMES[: outcome["added"]]]
    assert app.index()["left"] == 0


def test_photos_are_found_while_the_run_over_the_others_goes_on(app, phone):
    phone.take(*(f"{number}.png" for number in range(70)))
    reports = app.ask("index_searched")
    assert sorted({*reports["searchable"]}) == [0, 64, 70]
    assert reports["unwanted"] == 0  # once nobody listens


def test_a_screen_that_comes_back_does_not_walk_through_the_photos_again(app, phone):
    phone.take(*NAMES)
    phone.change(counts_changes=True)
    assert app.ask("count")["lists"] == 1
    assert app.ask("count")["lists"] == 1
    phone.take("new.png")
    assert (app.ask("count")["lists"], app.ask("state")["left"]) == (2, len(NAMES) + 1)
    app.index()
    assert app.ask("count")["lists"] == app.ask("state")["lists"] == 3  # the run's own
    app.ask("choose_folders", only=True, names=[])
    assert app.ask("count")["lists"] == 4
    phone.change(counts_changes=False)  # an Android that does not count
    assert app.ask("count")["lists"] == 5
    assert app.ask("count")["lists"] == 6


def test_a_first_run_can_be_estimated_before_it_begins(app, phone):
    phone.take(*NAMES)
    started = time.monotonic()
    state = app.ask("estimate")
    took_s = time.monotonic() - started
    assert (state["running"], state["left"]) == (False, len(NAMES))
    assert state["per_minute"] > 60 * 5 / took_s  # of six photos, without the first
    assert state["minutes"] == 1
    assert app.indexed() == []
    outcome = app.index()
    assert (outcome["added"], outcome["left"]) == (len(NAMES), 0)


def test_an_estimate_needs_no_index(app, phone):
    phone.take(*NAMES)
    assert app.ask("estimate", uncounted=True)["per_minute"] > 0


def test_an_estimate_looks_at_a_few_photos_and_at_none_that_kills_the_process(app, phone):
    phone.take(*NAMES)
    app.ask("count")
    for _ in range(2):
        leave_note(app, phone, phone.path(NAMES[0]))
        app.ask("index_while", asked=0)  # a run that finds the note, and ends
    opened = phone.folder / "opened.txt"
    opened.write_text("")
    app.ask("estimate")
    assert {*opened.read_text().split()} == {phone.path(name) for name in NAMES[1:6]}


def test_no_pace_is_made_up_where_no_photo_can_be_decoded(app, phone):
    path = phone.take("a.png")
    Path(phone.volumes[OWN][path.rpartition("/")[2]]).write_bytes(b"no photo")
    assert app.ask("estimate")["per_minute"] == 0
    app.index()
    assert app.ask("state")["skipped"] == 1


def test_parts_of_a_query_are_weighted_and_excluded_as_python_does(app, phone, bundle):
    phone.take(*NAMES)
    app.index()
    path = phone.path(NAMES[3])
    index, engine = open_index(bundle, app.index_directory), SearchEngine(bundle)
    photo = index.embedding(path)
    embeddings = [photo / np.linalg.norm(photo), *map(engine.embed_text, ("flowers", "people"))]
    query = compose(embeddings, [1, 0.5, -0.5], engine.typical_photos)
    nearest = [other for other in index.search(query, k=6, exact=True).paths if other != path]
    parts = [
        {"path": path, "weight": 1},
        {"words": "flowers", "weight": 0.5},
        {"words": "people", "weight": -0.5},
    ]
    assert app.ask("parts", parts=parts, k=5)["paths"] == nearest[:5]
    with pytest.raises(EngineError, match="cancel out"):
        same = [{"words": "people", "weight": weight} for weight in (1, -1)]
        app.ask("parts", parts=same, k=5)
    with pytest.raises(EngineError, match="no parts"):
        app.ask("parts", parts=[], k=5)


def test_words_refine_a_search_by_a_photo_as_python_does(app, phone, bundle):
    phone.take(*NAMES)
    app.index()
    path = phone.path(NAMES[3])
    found = app.ask("like", path=path, words="at night", k=5)["paths"]
    index, engine = open_index(bundle, app.index_directory), SearchEngine(bundle)
    photo = index.embedding(path)
    parts = [photo / np.linalg.norm(photo), engine.embed_text("at night")]
    query = compose(parts, [1, 1], engine.typical_photos)
    nearest = index.search(query, k=6, exact=True).paths
    assert found == [other for other in nearest if other != path][:5]
    assert found != app.ask("like", path=path, k=5)["paths"]
    file = phone.folder / OWN / NAMES[3]  # as if it was shared by another app
    parts = [engine.embed_photo(file), engine.embed_text("at night")]
    nearest = index.search(compose(parts, [1, 1], engine.typical_photos), k=5, exact=True)
    assert app.ask("like_file", photo=file, words="at night", k=5)["paths"] == nearest.paths


def test_the_text_tower_can_be_given_back(app, phone):
    phone.take(*NAMES)
    app.index()
    assert app.ask("release") == {"kept": True, "released": True, "closed": True}
    assert len(app.ask("search", words="a dog", k=3)["paths"]) == 3


def test_an_app_that_is_closed_has_no_file_and_no_tower_open(probe, bundle, phone):
    phone.take(*NAMES)
    app = App(probe, bundle, phone)
    app.index()
    app.ask("search", words="a dog", k=3, folders=[""])
    phone.take("new.png")
    app.ask("count")
    app.index()
    app.ask("search", words="a dog", k=3)
    assert app.ask("close", towers=True) == {"image": True, "text": True}
    assert not [path for path in probe.open_files if path.startswith(str(app.directory))]


def test_a_closed_search_says_that_it_is_closed(app, phone):
    phone.take(*NAMES)
    app.index()
    app.ask("search", words="a dog", k=3)
    closed = app.ask("closed")
    assert closed == {"closings": 1, "errors": ["This search is closed."] * 4}


def test_a_photo_that_is_slow_to_come_holds_up_no_other_search(app, phone):
    phone.take(*NAMES)
    app.index()
    photo = phone.folder / OWN / NAMES[3]
    found = app.ask("search_meanwhile", photo=photo)
    assert found["meanwhile"] == app.ask("search", words="a dog", k=1)
    assert found["like"]["paths"] == [phone.path(NAMES[3])]


def test_phones_that_cannot_load_the_kernels_are_told_so(java_classes, bundle, phone, tmp_path):
    phone.take(NAMES[0])
    library = f"-Dmcad.search.library={tmp_path}/none.so"
    process = Probe(java_classes, tmp_path, kernels=library)
    app = App(process, bundle, phone)
    for verb in ("search", "index"):
        with pytest.raises(EngineError, match="could not be loaded") as error:
            app.ask(verb, words="a dog", k=1)
        assert error.value.kind == "TOWER"
    process.close()


def test_full_storage_is_told_as_such(java_classes, bundle, phone, tmp_path):
    """There is no room for a note of the photo."""
    phone.take(NAMES[0])
    process = Probe(java_classes, tmp_path)
    app = App(process, bundle, phone)
    app.index()
    phone.take(NAMES[1])
    app.limit_files(50)
    with pytest.raises(EngineError, match="could not be written") as error:
        app.index()
    assert error.value.kind == app.ask("state")["failure"] == "STORAGE"
    with pytest.raises(EngineError) as error:
        app.ask("choose_folders", only=False, names=["DCIM/Camera", "Pictures/Screenshots"])
    assert error.value.kind == "STORAGE"
    process.close()


def leave_note(app: App, phone: FakePhone, path: str) -> None:
    """As a process leaves it that dies while it decodes a photo."""
    stat = Path(phone.volumes[OWN][path.rpartition("/")[2]]).stat()
    note = {
        "path": path,
        "modified_ms": stat.st_mtime_ns // 1_000_000,
        "bytes": stat.st_size,
        "kind": "image/png",
        "process": 7,
    }
    (app.index_directory / "decoding.json").write_text(json.dumps(note))


@pytest.mark.parametrize(("ended", "skipped"), [("OTHER", 0), ("FAULT", 1), ("UNKNOWN", 1)])
def test_a_photo_is_not_blamed_for_a_process_that_the_user_ended(
    probe, bundle, phone, ended, skipped
):
    path = phone.take("a.png")
    app = App(probe, bundle, phone, ended=ended)
    app.index()  # there is an index to put a note into
    phone.take("a.png", seed=1)
    for _ in range(2):
        leave_note(app, phone, path)
        app.ask("index_while", asked=0)  # a run that finds the note, and ends
    assert app.index()["skipped"] == skipped
    assert app.indexed() == ([] if skipped else [path])  # not as it was before
    app.close()


def test_a_photo_is_blamed_once_for_a_death_and_forgotten_when_it_is_gone(app, phone):
    path = phone.take("a.png")
    app.index()
    changed = phone.take("a.png", "b.png", seed=1)
    leave_note(app, phone, path)
    for _ in range(2):
        app.ask("index_while", asked=0)  # a run that ends before it decodes a photo
    assert app.index()["skipped"] == 0
    phone.delete("a.png")
    leave_note(app, phone, changed)
    app.index()
    crashes = json.loads((app.index_directory / "crashes.json").read_text())
    assert [photo["path"] for photo in crashes["photos"]] == [changed]


def test_a_photo_that_is_listed_twice_is_indexed_once(app, phone):
    phone.take("a.png", "b.png")
    document = json.loads(phone.file.read_text())
    document["volumes"][0]["order"] *= 2
    phone.file.write_text(json.dumps(document))
    assert [app.index()["added"] for _ in range(2)] == [2, 0]
    assert len(app.indexed()) == 2


def test_the_image_tower_of_a_search_is_given_back(app, phone):
    """It is loaded again for the next photo, which is noted beside the rungs."""
    phone.take("a.png")
    app.index()
    photo = phone.folder / OWN / "a.png"
    loaded = []
    for _ in range(3):
        app.ask("like_file", photo=photo, k=1)
        loaded.append((app.directory / "rungs").stat().st_mtime_ns)
    assert loaded == sorted({*loaded})


def test_a_photo_that_is_far_longer_than_wide_is_skipped_as_python_does(app, phone):
    phone.take("long.png", "longer.png")
    for name, width in (("long.png", 2000), ("longer.png", 2001)):
        Image.new("RGB", (width, 20), "red").save(phone.folder / OWN / name)
        os.utime(phone.folder / OWN / name, (1, 1))
    phone.write()
    outcome = app.index()
    assert (outcome["added"], outcome["skipped"]) == (1, 1)
    assert app.indexed() == [phone.path("long.png")]


def test_a_decoder_that_hangs_costs_its_photo_alone(app, phone):
    phone.take(*NAMES)
    hangs = phone.volumes[OWN][[*phone.volumes[OWN]][1]]
    outcome = app.index(hangs=hangs)
    assert (outcome["added"], outcome["skipped"], outcome["left"]) == (len(NAMES) - 1, 1, 0)
    assert app.index()["skipped"] == 1  # it is not tried again
    phone.take(NAMES[1], seed=1)
    assert app.index()["added"] == 1


def test_the_note_of_a_photo_names_the_process_that_decodes_it(app, phone, probe):
    phone.take(NAMES[0])
    (hangs,) = phone.volumes[OWN].values()
    run = threading.Thread(target=app.index, kwargs={"hangs": hangs})
    run.start()
    note = app.index_directory / "decoding.json"
    while run.is_alive() and not (note.exists() and note.stat().st_size):
        time.sleep(0.01)
    named = json.loads(note.read_text())["process"]
    run.join()
    assert named == probe.process


def test_a_hot_phone_rests_and_goes_on_when_it_is_cool(app, phone, tmp_path):
    phone.take(*NAMES)
    phone.change(heat=3)
    hot = phone.file.read_bytes()
    cool = tmp_path / "cool.json"
    phone.change(heat=1)
    cool.write_bytes(phone.file.read_bytes())
    phone.file.write_bytes(hot)
    answer = app.ask("hot", then=cool)
    assert answer["rests"] == 1  # and none before it was hot
    assert (answer["outcome"]["left"], answer["outcome"]["added"]) == (0, len(NAMES))
    assert [h["resting"] for h in app.ask("heard") if h["resting"]] == [True]


def test_a_phone_that_was_hot_rests_until_it_is_cool(app, phone, tmp_path):
    """Not only until it is warm: it would be hot again after a few photos."""
    phone.take(*NAMES)
    files = {}
    for name, heat in (("then", 1), ("warm", 2), ("hot", 3)):
        phone.change(heat=heat)
        files[name] = tmp_path / f"{name}.json"
        files[name].write_bytes(phone.file.read_bytes())
    answer = app.ask("hot", then=files["then"], warm=files["warm"])
    assert answer["rests_warm"] is True
    assert (answer["rests"], answer["outcome"]["left"]) == (1, 0)


def test_a_warm_phone_does_not_rest(app, phone):
    phone.take(*NAMES)
    phone.change(heat=2)
    answer = app.ask("hot")
    assert (answer["rests"], answer["outcome"]["left"]) == (0, 0)


def test_a_hot_phone_can_be_told_to_stop(app, phone):
    phone.take(*NAMES)
    phone.change(heat=5)
    outcome = app.ask("hot")["outcome"]
    assert (outcome["added"], outcome["left"]) == (0, len(NAMES))


def test_what_is_left_is_told(app, phone):
    assert app.ask("state")["counted"] is False
    phone.take(*NAMES)
    state = app.ask("count")
    assert (state["counted"], state["total"], state["left"]) == (True, 12, 12)
    app.index()
    phone.take("new.png")
    state = app.ask("count")
    assert (state["done"], state["left"]) == (12, 1)
    heard = app.ask("heard")
    assert {h["total"] for h in heard if h["running"]} == {-1, len(NAMES)}
    assert heard[0] == {
        "running": True,
        "resting": False,
        "changing": False,
        "done": -1,
        "total": -1,
        "per_minute": 0,
        "read": 0,
        "to_read": 0,
    }
    assert max(h["per_minute"] for h in heard) > 60


def test_photos_that_cannot_be_read_are_not_left_in_the_next_process(probe, bundle, phone):
    phone.take(*NAMES)
    for name in NAMES[:2]:
        (phone.folder / OWN / name).write_bytes(b"no photo")
    app = App(probe, bundle, phone)
    app.index()
    assert (app.ask("state")["left"], app.ask("state")["skipped"]) == (0, 2)
    app.close()
    app = App(probe, bundle, phone)
    state = app.ask("count")
    assert (state["left"], state["skipped"]) == (0, 2)
    phone.delete(NAMES[0])
    phone.take(NAMES[1], seed=1)  # it is another file by now
    phone.take("new.png")
    state = app.ask("count")
    assert (state["left"], state["skipped"]) == (2, 0)
    app.close()


def damage_paths(app):
    app.close()
    (segment,) = app.index_directory.glob("segment-*.mcs")
    data = bytearray(segment.read_bytes())
    paths = data.rindex(b"content://media/")
    data[paths - 3 : paths] = b"\xff\xff\xff"  # a path that can't be
    segment.write_bytes(data)


def test_what_a_run_built_again_before_it_failed_is_kept(app, phone):
    names = [f"{number}.png" for number in range(BATCH + 6)]
    phone.take(*names[:6])
    app.index()
    damage_paths(app)
    with pytest.raises(EngineError, match="damaged"):
        app.ask("search", words="a dog", k=3)
    phone.take(*names[6:])
    assert app.ask("index_until_error", photos=BATCH + 2) == "of a test"
    outcome = app.index()
    assert (outcome["added"], outcome["rebuilt"], outcome["photos"]) == (6, False, BATCH + 6)


def test_a_damaged_index_is_built_again_also_when_a_search_finds_it(app, phone):
    phone.take(*NAMES)
    app.index()
    app.ask("search", words="a dog", k=3)
    damage_paths(app)
    with pytest.raises(EngineError, match=r"(?s)damaged.*builds the index again.*repair it there"):
        app.ask("search", words="a dog", k=3)
    # A run that fails before it has built the index again leaves that to the next.
    phone.change(access=False)
    with pytest.raises(EngineError, match="may not see photos"):
        app.index()
    phone.change(access=True)
    outcome = app.index()
    assert (outcome["added"], outcome["rebuilt"], outcome["searchable"]) == (12, True, 12)
    assert app.ask("state")["rebuilt"] is True
    assert len(app.ask("search", words="a dog", k=3)["paths"]) == 3
    assert app.index()["rebuilt"] is False


def test_an_index_of_a_newer_app_is_left_as_it_is(app, phone):
    phone.take(*NAMES)
    app.index()
    app.close()
    manifest = app.index_directory / "manifest.json"
    manifest.write_text(manifest.read_text("utf-8").replace("mcad-index/1", "mcad-index/2"))

    def kept() -> dict[str, bytes]:
        return {f.name: f.read_bytes() for f in app.index_directory.glob("[ms]*") if f.is_file()}

    before = kept()
    for use in (lambda: app.ask("search", words="a dog", k=3), app.index):
        with pytest.raises(EngineError, match="schema 'mcad-index/2', of a newer version"):
            use()
        assert kept() == before
    assert app.ask("state")["failure"] == "INDEX"


def test_the_index_can_be_forgotten(app, phone):
    phone.take(*NAMES)
    app.index()
    manifest, generations = app.index_directory / "manifest.json", []
    for _ in range(2):
        assert app.ask("clear") == 0
        generations.append(json.loads(manifest.read_text())["generation"])
    assert app.ask("state")["counted"] is False
    assert 2 < generations[0] < generations[1]  # no file gets the name of one that was there
    assert app.index()["added"] == len(NAMES)


def test_forgetting_the_index_leaves_no_path_of_a_photo_on_the_disk(app, phone):
    phone.take(*NAMES)
    app.index(hangs=phone.volumes[OWN][[*phone.volumes[OWN]][1]])
    leave_note(app, phone, phone.path(NAMES[0]))
    assert {f.name for f in with_paths(app)} >= {"crashes.json", "decoding.json"}
    app.ask("clear")
    assert with_paths(app) == []


def with_paths(app: App) -> list[Path]:
    files = [file for file in app.directory.rglob("*") if file.is_file()]
    return [file for file in files if b"content:" in file.read_bytes()]


def test_access_that_is_taken_back_is_told_and_costs_nothing(app, phone):
    phone.take(*NAMES)
    app.index()
    phone.change(access=False)
    with pytest.raises(EngineError, match="may not see photos"):
        app.index()
    assert app.ask("state")["failure"] == "ACCESS"
    before = app.ask("state")["asked"]
    with pytest.raises(EngineError, match="may not see photos"):
        app.ask("search", words="a dog", k=1)
    assert app.ask("state")["asked"] == before + 1
    phone.change(access=True)
    assert (app.index()["added"], app.ask("state")["failure"]) == (0, None)
