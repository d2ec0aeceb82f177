"""What each verb prints of what it did, word by word, and as a document."""

from __future__ import annotations

import json
import os
import re
import select
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result as Done
from typer.testing import CliRunner

from mcad_mobile.bench import report as reports
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.cli import bench, demo
from mcad_mobile.cli.command import app
from mcad_mobile.cli.index import print_sync
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, Result, SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import LeftOut, Skipped
from mcad_mobile.engine.sync import SyncResult
from mcad_mobile.errors import AiHubError, McadError, PhotoError, ShardError
from tests.support.report_documents import measured
from tests.support.servers import Server
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With an index of three photos that are nowhere."""
    folder = tmp_path_factory.mktemp("output")
    bundle = make_tiny_bundle(folder / "bundle")
    with create_index(bundle, folder / "bundle.index") as made, made.writer() as writer:
        rows = np.eye(64, dtype=np.float32)[[0, 0, 63]]
        writer.add(["/nowhere/a.jpg", "/nowhere/b.jpg", "/nowhere/c.jpg"], rows)
    return bundle


def mcad(*arguments: object) -> Done:
    return CliRunner().invoke(app, list(map(str, arguments)))


def document(*arguments: object) -> Any:
    done = mcad(*arguments, "--json")
    assert done.exception is None, done.exception
    return json.loads(done.stdout)


def test_results_are_told_with_what_is_odd_about_them(bundle: Bundle, tmp_path: Path) -> None:
    there = tmp_path / "there.jpg"
    there.touch()
    asked = SearchEngine(bundle).embed_text("a dog")
    away = np.roll(asked, 1) - asked * (np.roll(asked, 1) @ asked)
    rows = np.array([asked + away * share for share in (0.1, 0.5, 2)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with create_index(bundle, tmp_path / "index") as made, made.writer() as writer:
        writer.add(["/nowhere/a\n.jpg", str(there), "/nowhere/c"], rows.astype(np.float32))
    place = ("-b", bundle.directory, "--index", tmp_path / "index")
    told = document("search", "a dog", *place)["results"]
    assert [(result["path"], result["gone"]) for result in told] == [
        *[("/nowhere/a\n.jpg", True), (str(there), False), ("/nowhere/c", True)]
    ]
    scores = [result["score"] for result in told]
    again = f"mcad-mobile index --prune --bundle {place[1]} --index {place[3]}"
    lines = [
        f"{scores[0]:.3f}  /nowhere/a\\n.jpg  (gone)",
        f"{scores[1]:.3f}  {there}",
        f"{scores[2]:.3f}  /nowhere/c  (gone)",
        f"(2 of these files are gone; to drop such photos: {again})",
    ]
    assert mcad("search", "a dog", *place).stdout.splitlines() == lines
    fewer = mcad("search", "a dog", *place, "--min-score", scores[1]).stdout.splitlines()
    assert fewer == [*lines[:2], lines[3].replace("2 of these files are", "1 of these files is")]
    odd = ("search", "a dog " * 20 + "\u72d7 \u732b", "-k", 1, *place)
    assert mcad(*odd).stdout.splitlines()[2:] == [
        "(not understood by the model: \u72d7, \u732b)",
        "(only the first 16 tokens of the query were read)",
    ]
    told = document(*odd)
    assert (told["truncated"], told["unknown"]) == (True, ["\u72d7", "\u732b"])


def test_an_empty_answer_says_why_it_is_empty(bundle: Bundle, tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    photo.write_bytes(packaged_photos()[0].read_bytes())
    for name in ("empty", "one"):
        create_index(bundle, tmp_path / name).close()
    place = ("-b", bundle.directory, "--index")
    assert mcad("index", tmp_path, *place, tmp_path / "one").exit_code == 0
    for words, index, message in (
        (("a dog",), "empty", "The index holds no photos."),
        (("a dog", "--after", "2230-01-01"), "one", "No photo of the index passes --in, --after, "),
        (("a dog", "--min-score", 0.999), "one", "No photo is left: all score below --min-score."),
        (("--like", photo), "one", "No photo is left but those of the query."),
    ):
        assert message in mcad("search", *words, *place, tmp_path / index).stdout


def test_photos_that_look_alike_are_told_in_groups(bundle: Bundle) -> None:
    place = ("search", "--duplicates", 0.97, "-b", bundle.directory)
    assert mcad(*place).stdout == "/nowhere/a.jpg\n/nowhere/b.jpg\n\n1 group, 2 of 3 photos\n"
    assert document(*place) == {
        "photos": 3,
        "least": 0.97,
        "groups": [["/nowhere/a.jpg", "/nowhere/b.jpg"]],
    }


SYNCED = {
    "added": 7,
    "changed": 3,
    "moved": 2,
    "removed": 1,
    "unchanged": 9,
    "skipped": [
        Skipped("/a\n.jpg", "It is cut off.\nAt byte 9."),
        Skipped("/b.jpg", "/b.jpg is locked."),
    ],
    "left_out": {"movie": LeftOut(1, ["/m.mov"]), "hidden": LeftOut(1200, ["/.h", "/.i"])},
    "kept": 1200,
}


def test_a_run_that_embedded_nothing_has_no_speed(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    own = bundle.directory.with_name("bundle.index")
    with PhotoIndex.open(own) as index:
        print_sync(own, index, SyncResult(unchanged=3), "onnx int8 by CPU", 4.0, False)
    assert capsys.readouterr().out.endswith(" bytes each\n")


def test_what_indexing_did_is_told(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    own = bundle.directory.with_name("bundle.index")
    with PhotoIndex.open(own) as index:
        size = index.bytes_per_photo
        for json_only in (False, True):
            print_sync(own, index, SyncResult(**SYNCED), "onnx int8 by CPU", 4.0, json_only)
    text, brace, told = capsys.readouterr().out.partition("{")
    assert text.splitlines() == [
        f"{own}: 3 photos, 7 new, 3 changed, 2 moved, 1 gone, {size:.0f} bytes each, 2.5 photos/s",
        "  kept 1,200 photos of folders that are gone or empty; to drop such photos: --prune",
        "  skipped /a\\n.jpg: It is cut off.",
        "  skipped /b.jpg is locked.",
        "  left out 1,200 (hidden): /.h, ...",
        "  left out 1 (movie): /m.mov",
    ]
    counts = {name: count for name, count in SYNCED.items() if isinstance(count, int)}
    assert json.loads(brace + told) == {
        **{"index": str(own), **counts, "photos": 3, "bytes_per_photo": size, "photos_per_s": 2.5},
        "skipped": [
            {"path": "/a\n.jpg", "why": "It is cut off.\nAt byte 9."},
            {"path": "/b.jpg", "why": "/b.jpg is locked."},
        ],
        "left_out": {
            "movie": {"count": 1, "paths": ["/m.mov"]},
            "hidden": {"count": 1200, "paths": ["/.h", "/.i"]},
        },
        "filled_by": "onnx int8 by CPU",
    }


def test_photos_of_another_students_index_that_are_gone_are_named(
    bundle: Bundle, tmp_path: Path
) -> None:
    old = PhotoIndex.create(tmp_path / "old.index", dim=32, student="old", student_sha256="1" * 64)
    paths = [str(packaged_photos()[0]), "/gone\t.jpg"]
    with old, old.writer() as writer:
        writer.add(paths, np.eye(2, 32, dtype=np.float32))
    again = ("index", "--from", tmp_path / "old.index", "-b", bundle.directory, "--index")
    lines = mcad(*again, tmp_path / "new").stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'new'}: 1 photo, 1 new, ")
    assert lines[-1] == "  gone /gone\\t.jpg"
    assert document(*again, tmp_path / "newer")["gone"] == paths[1:]


def test_what_embedding_did_is_told_and_its_shards_make_an_index(
    bundle: Bundle, tmp_path: Path
) -> None:
    photos, broken = tmp_path / "photos", tmp_path / "broken"
    for folder in (photos, broken):
        folder.mkdir()
        for number in range(22):
            (folder / f"{number:02}.jpg").write_bytes(b"no photo")
    good = [photos / f"good{number}.png" for number in range(2)]
    for path, photo in zip(good, packaged_photos(), strict=False):
        path.write_bytes(photo.read_bytes())
    out = tmp_path / "shards"
    embed = ("embed", photos, "-b", bundle.directory, "-o", out, "--workers", 1)
    first, *lines = mcad(*embed).stdout.splitlines()
    assert re.fullmatch(rf"{out}: 2 photos, 2 embedded now, [\d.]+ photos/s", first)
    assert all(line.startswith(f"  skipped {photos}/") for line in lines[:20]) and len(lines) == 21
    assert lines[-1] == "  and 2 more: --json lists all"
    told = document("embed", photos, "-b", bundle.directory, "-o", tmp_path / "again")
    assert len(told["skipped"]) == 22 and told["skipped"][0].keys() == {"path", "why"}
    assert (told["shards"], told["student"]) == (str(tmp_path / "again"), "tiny")
    assert (told["photos"], told["embedded"]) == (2, 2)
    told = document(*embed)
    assert (told["skipped"], told["photos"], told["embedded"], told["workers"]) == ([], 2, 0, 1)
    nothing = mcad("embed", broken, "-b", bundle.directory, "-o", tmp_path / "none")
    assert isinstance(nothing.exception, PhotoError)
    assert "could be embedded, 22 tried" in nothing.exception.message

    place = ("index", "--from", out, "-b", bundle.directory, "--index", tmp_path / "index")
    keys = tmp_path / "keys"
    keys.write_text(f"{good[0]}\nnone.png\n")
    told = document(*place, "--select", keys)
    assert (told["added"], told["photos"], told["filled_by"]) == (1, 1, "onnx fp32 by CPU")
    assert [photo["path"] for photo in told["skipped"]] == ["none.png"]
    assert document(*place, "--select", keys)["unchanged"] == 1
    assert document(*place)["photos"] == 2  # all of them
    keys.write_text("none.png\n")
    refused = mcad(*place, "--select", keys)
    assert isinstance(refused.exception, ShardError)
    assert f"None of the 1 keys of {keys} is in {out}." in refused.exception.message


@pytest.mark.parametrize(
    ("words", "flag", "when"),
    [
        ("search a dog --duplicates 0.97", "QUERY", "with --duplicates"),
        ("search --duplicates 0.97 -k 3", "-k", "with --duplicates"),
        ("search --duplicates 0.97 --plus snow", "--plus", "with --duplicates"),
        ("search --duplicates 0.97 --threads 2", "--threads", "with --duplicates"),
        ("index --from s3://a --threads 2", "--threads", "with --from SHARDS"),
        ("index --from s3://a --runtime onnx", "--runtime", "with --from SHARDS"),
        ("index --from INDEX --select k", "--select", "with --from INDEX"),
        ("index --from INDEX photos", "PHOTOS", "with --from INDEX"),
        ("index --from INDEX --prune", "--prune", "with --from INDEX"),
        ("index photos --select k", "--select", "with PHOTOS"),
        ("index photos --verify", "PHOTOS", "with --verify"),
        ("index --repair --rebuild", "--repair", "with --rebuild"),
        ("index --rebuild --prune", "--prune", "with --rebuild"),
        ("index --verify --from INDEX", "--from", "with --verify"),
        ("index --repair --threads 2", "--threads", "with --repair"),
        ("embed p -o o --gpus 1", "--gpus", "without --ray"),
        ("eval --data d --student s", "--student", "with --bundle"),
        ("eval --data d --dim 64", "--dim", "with --bundle"),
        ("eval --data d --runtime onnx", "--runtime", "without --bundle"),
        ("eval --data d --threads 1", "--threads", "without --bundle"),
        ("export -t cpu -o o --max-recall-drop 0.5", "--max-recall-drop", "without --data"),
        ("app -o demo.apk --key-alias a", "--key-alias", "without --keystore"),
        ("library -o a.aar --maven m", "--out", "with --maven"),
        ("library -o a --coordinates a:b:1", "--coordinates", "without --maven"),
        ("library --maven m --sample s", "--sample", "with --maven"),
        ("library -o a --own-photos --sample s", "--sample", "with --own-photos"),
    ],
)
def test_an_option_that_would_be_ignored_is_wrong_usage(
    bundle: Bundle, words: str, flag: str, when: str
) -> None:
    own = str(bundle.directory.with_name("bundle.index"))
    verb, *options = [own if word == "INDEX" else word for word in words.split()]
    without = verb in ("export", "library") or when == "without --bundle"
    done = mcad(verb, *options, *([] if without else ["-b", bundle.directory]))
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{flag} cannot be used {when}: leave " in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export", "Missing option '--out' / '-o'"),
        ("export -t cpu -o x --samples 1", "Invalid value for '--samples'"),
        ("library", "give either --out FILE or --maven DIR"),
        ("index -b BUNDLE", "give a folder of photos, or --from INDEX|SHARDS"),
        ("search -b BUNDLE", "give words, --like PHOTO, or --duplicates"),
        ("report r.json -o page.pdf", "a report ends in .html, .md or .json, not 'page.pdf'"),
        (
            "export -t snapdragon -t cpu -o o --precision w8a16",
            "--precision w8a16 is for chips with an NPU, and not for cpu",
        ),
    ],
)
def test_a_command_that_lacks_something_is_wrong_usage(
    bundle: Bundle, words: str, message: str
) -> None:
    done = mcad(*words.replace("BUNDLE", str(bundle.directory)).split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_an_index_is_verified_repaired_and_written_anew_in_a_sentence_each(bundle: Bundle) -> None:
    own = bundle.directory.with_name("bundle.index")
    place = ("-b", bundle.directory)
    assert mcad("index", "--verify", *place).stdout == f"{own}: 3 photos, intact\n"
    assert mcad("index", "--repair", *place).stdout == (
        f"{own}: 3 photos; 0 in damaged files, dropped\n"
    )
    told = document("index", "--rebuild", *place)
    assert (told["index"], told["photos"]) == (str(own), 3)
    assert mcad("index", "--rebuild", *place).stdout == (
        f"{own}: written anew, 3 photos, {told['bytes_per_photo']:.0f} bytes each\n"
    )
    assert mcad("index", "--verify", *place, "--index", "none").exit_code == 1


def test_a_server_that_answers_tells_its_address_and_opens_its_page(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, shown = tmp_path / "browser", tmp_path / "shown"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shown}\n')
    browser.chmod(0o755)
    os.mkfifo(shown)
    pipe = os.open(shown, os.O_RDWR)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    server = Server("-b", bundle.directory, "--open", cache=tmp_path)
    try:
        assert select.select([pipe], [], [], 60)[0]
        assert os.read(pipe, 1000).decode() == f"{server.url}\n"
    finally:
        code, messages = server.stop()
        os.close(pipe)
    assert server.started["bundles"] == ["bundle"]
    assert len(server.started["indexes"]) == 1
    assert code == 130
    kept = "Photos embedded so far are in the index. Uploaded photos are deleted."
    assert messages.splitlines()[-1] == f"interrupted: {kept}"


def test_a_bench_prints_writes_and_then_names_what_failed(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [complete_document(bundle, measured(total=ms)) for ms in (2.0, 3.0)]
    failures: list[str] = []
    monkeypatch.setattr(bench, "measure", lambda *about: (documents, failures))
    place = ("bench", "-b", bundle.directory)
    both = reports.markdown(*documents)
    assert mcad(*place).stdout == f"{both}\n"
    assert document(*place) == documents
    mcad(*place, "--json", "--report", tmp_path / "r" / "s" / "both.json")
    assert json.loads((tmp_path / "r" / "s" / "both.json").read_text()) == documents
    failures[:] = ["one fails", "so does another"]
    failed = mcad(*place, "--report", tmp_path / "both.md")
    assert isinstance(failed.exception, AiHubError)
    assert failed.exception.message == "one fails\n  so does another"
    assert failed.stdout == f"{both}\n" and (tmp_path / "both.md").read_text() == both
    del documents[1], failures[:]
    assert document(*place, "--report", tmp_path / "one.json") == documents[0]
    assert json.loads((tmp_path / "one.json").read_text()) == documents[0]
    # Of a bundle that is at hand, the page also shows the towers.
    mcad(*place, "--report", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == reports.html(*documents, bundle=bundle)
    for name, code, missing in (
        ("page.pdf", 2, "none"),
        ("page.html", 1, "jinja2"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            done = mcad(*place, "--report", tmp_path / name)
            assert (done.exit_code, done.stdout) == (code, "")  # nothing is measured
    del documents[:]
    assert mcad(*place, "--report", tmp_path / "no.md").stdout == ""
    assert not (tmp_path / "no.md").exists()


def test_a_report_prints_or_writes_stored_results(bundle: Bundle, tmp_path: Path) -> None:
    result = complete_document(bundle, measured(total=2.0))
    kept, two, page = (tmp_path / name for name in ("one.json", "two.json", "page.html"))
    kept.write_text(json.dumps(result))
    two.write_text(json.dumps([result] * 2))
    assert mcad("report", kept).stdout == f"{reports.markdown(result)}\n"
    assert document("report", kept, kept) == [result] * 2
    mcad("report", kept, "--out", page)
    assert page.read_text("utf-8") == reports.html(result)
    done = mcad("report", kept, "--out", tmp_path / "o.md", "--baseline", kept)
    assert (done.stdout, (tmp_path / "o.md").read_text()) == ("", reports.markdown(result))
    assert done.stderr == "Nothing is more than 1.2 times the baseline.\n"
    refused = mcad("report", kept, "--baseline", two)
    assert "two.json holds 2 results" in str(refused.exception)
    slower = tmp_path / "slower.json"
    slower.write_text(json.dumps(complete_document(bundle, measured(total=4.0))))
    assert mcad("report", kept, kept, "--baseline", kept).exit_code == 0
    worse = str(mcad("report", kept, slower, "--baseline", kept).exception)
    assert worse.count("times the baseline's") == 1
    assert re.search("tiny[^:]*.*: whole search, median: 4.00 ms", worse)


def test_the_demo_does_one_verb_after_the_other_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    commands: list[tuple[str, ...]] = []
    result = {"path": "/p/cat.jpg", "score": 0.256, "gone": False}

    def run(verb: str, *words: str) -> str:
        commands.append((verb, *words))
        if verb == "export":
            answers["bench"] = complete_document(
                make_tiny_bundle(out / "cpu"), measured(total=2.5, peak=64.0)
            )
        return json.dumps(answers.get(verb))

    answers: dict[str, Any] = {
        "search": {"results": [result], "ms": {"total": 1.0}, "truncated": False}
    }
    monkeypatch.setattr(demo, "mcad", run)
    # A folder of the user's, who has an index and photos in it.
    own = [out / "cpu.index" / "manifest.json", out / "photos" / "flower.jpg"]
    for file in own:
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    done = mcad("demo", "-o", out, "-t", "cpu")
    assert done.exception is None
    place = ["--bundle", str(out / "cpu")]
    samples = out / "sample-photos"
    assert {photo.name for photo in packaged_photos()} == {x.name for x in samples.iterdir()}
    assert commands == [
        ("export", "--target", "cpu", "--out", str(out / "cpu")),
        ("index", str(samples), *place),
        *(("search", query, *place, "-k", "3", "--json") for query in demo.QUERIES),
        ("bench", *place, "--synthetic", "100000", "--json"),
    ]
    assert [file.read_text() for file in own] == ["mine", "mine"]
    found = [Found(query, [Result(**result)], {"total": 1.0}, False) for query in demo.QUERIES]
    assert (out / "report.html").read_text("utf-8") == reports.html(
        answers["bench"], bundle=Bundle.load(out / "cpu"), searches=found
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines.count("  cat.jpg 0.26") == 5
    assert lines[-5:] == [
        "",
        "At 100,000 photos, one thread, on this computer (A <CPU> & more), not a phone:",
        "                  limit    measured",
        "Search, median    8 ms     2.50 ms   pass",
        "Memory, peak PSS  100 MiB  64.0 MiB  pass",
    ]
    assert lines[-6] == f"Report: {(out / 'report.html').resolve()}"
    mcad("demo", "-o", out, "-t", "cpu", "--photos", tmp_path / "own")
    assert commands[9][:3] == ("index", str(tmp_path / "own"), "--bundle")


def test_the_demo_echoes_its_commands_and_stops_at_one_that_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = demo.mcad("targets")
    assert capsys.readouterr().out == f"$ mcad-mobile targets\n{told}"
    documents = demo.mcad("targets", "--json")
    assert json.loads(documents)
    assert capsys.readouterr().out == "$ mcad-mobile targets --json\n"
    for words, timeout_s, message in (
        (("index", "-b", "none"), 60, "`mcad-mobile index` ended with code 2."),
        (("targets",), 0, "`mcad-mobile targets` took more than 0 s."),
    ):
        with pytest.raises(McadError) as failed:
            demo.mcad(*words, timeout_s=timeout_s)
        assert failed.value.message == message


def test_recall_is_told_both_ways_of_a_bundle(bundle: Bundle, packaged_pairs: Path) -> None:
    place = ("eval", "--data", packaged_pairs, "--split", "val", "--bundle", bundle.directory)
    told = document(*place)
    assert told["photos"] == len(packaged_photos()) // 4
    ways = [told[f"{way}"] for way in ("text_to_image", "image_to_text")]
    first, *table = mcad(*place).stdout.splitlines()
    assert first == (
        f"{packaged_pairs} val: {told['photos']} photos, {told['captions']} captions, "
        f"mR {told['mean_recall']:.1f}"
    )
    assert [line.split() for line in table[1:]] == [
        [*name.split(), *(f"{way[k]:.1f}" for k in ("r1", "r5", "r10"))]
        for name, way in zip(("text to image", "image to text"), ways, strict=True)
    ]
    assert told["student"] == {
        **{"name": "tiny", "sha256": bundle.student.sha256, "source": bundle.student.source}
    }
    assert told["bundle"] == {"name": "tiny", "created": bundle.created}
    rung = {"runtime": "onnx", "precision": "fp32"}
    assert told["runtime"] == {"image": rung, "text": rung}
