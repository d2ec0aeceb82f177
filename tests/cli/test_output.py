"""What each verb prints of what it did, word by word, and as a document: nothing is computed here,
each verb is handed its result."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import Result as Done
from msgspec.structs import replace
from typer.testing import CliRunner

from mcad_mobile.bench import report as reports
from mcad_mobile.bench.measurement import complete_document
from mcad_mobile.cli import bench, demo, evaluate, index, report, search
from mcad_mobile.cli import serve as serve_verb
from mcad_mobile.cli.command import app
from mcad_mobile.cli.output import warn
from mcad_mobile.data.captions import CaptionedPhoto
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.embed import phone_index
from mcad_mobile.embed import run as embedding
from mcad_mobile.embed.job import Manifest, ShardRecord
from mcad_mobile.embed.shard import LeftOut
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import Found, Result, create_index
from mcad_mobile.engine.photos.folder import LeftOut as OfNoPhotos
from mcad_mobile.engine.photos.folder import Skipped
from mcad_mobile.engine.query import PhotoKey
from mcad_mobile.engine.reembed import ReembedResult
from mcad_mobile.engine.sync import SyncResult
from mcad_mobile.errors import AiHubError, DiskError, McadError, PhotoError, ShardError
from mcad_mobile.serve import run as serving
from mcad_mobile.students import load as students
from tests.support.report_documents import measured
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


def raise_(error: Exception) -> None:
    raise error


def document(*arguments: object) -> Any:
    done = mcad(*arguments, "--json")
    assert done.exception is None, done.exception
    return json.loads(done.stdout)


def test_results_are_told_with_what_is_odd_about_them(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there.jpg").touch()
    there = str(tmp_path / "there.jpg")
    asked: list[tuple[Any, ...]] = []
    found: list[Found] = []

    class Engine:
        def __init__(self, searched: Bundle, **options: object) -> None:
            assert searched.directory == bundle.directory
            assert options == {"runtime": None, "threads": 1, "warn": warn}

        def search_parts(self, index: Any, parts: Any, k: int, *, rows: Any, exact: bool) -> Found:
            asked.append(([(part.content, part.weight) for part in parts], k, exact))
            return found[-1]

    monkeypatch.setattr(search, "SearchEngine", Engine)
    ms = dict.fromkeys(("tokenize", "text", "scan", "rescore", "total"), 1.0)
    results = [Result("/nowhere/a\n.jpg", 0.98765), Result(there, 0.5), Result("/nowhere/c", 0.25)]
    place = ("-b", bundle.directory)

    found.append(Found("q", results, ms, truncated=True, unknown=("\u72d7", "\u732b")))
    again = f"mcad-mobile index --prune --bundle {bundle.directory}"
    assert mcad("search", "a dog", "--like", there, "-k", 4, "--exact", *place).stdout == (
        "0.988  /nowhere/a\\n.jpg  (gone)\n"
        f"0.500  {there}\n"
        "0.250  /nowhere/c  (gone)\n"
        f"(2 of these files are gone; to drop such photos: {again})\n"
        "(not understood by the model: \u72d7, \u732b)\n"
        "(only the first 16 tokens of the query were read)\n"
    )
    assert asked.pop() == ([("a dog", 1.0), (PhotoKey(there), 1.0)], 4, True)
    assert f"(1 of these files is gone; to drop such photos: {again})" in (
        mcad("search", "a dog", "--min-score", 0.5, *place).stdout
    )
    assert asked.pop() == ([("a dog", 1.0)], 10, False)
    own = bundle.directory.with_name("bundle.index")
    assert f"such photos: {again} --index {own})" in (
        mcad("search", "a dog", "--index", own, *place).stdout
    )
    assert mcad("search", "a dog", "--min-score", 0.99, *place).stdout.splitlines()[0] == (
        "No photo is left: all score below --min-score."
    )
    found.append(Found("q", [], ms, truncated=False))
    assert mcad("search", "--like", there, *place).stdout == (
        "No photo is left but those of the query.\n"
    )
    found.pop()
    assert mcad("search", "a dog", "--after", "2030-01-01", *place).stdout.splitlines()[4] == (
        "No photo of the index passes --in, --after and --before."
    )
    told = document("search", "a dog", *place)
    assert told["results"][0] == {"path": "/nowhere/a\n.jpg", "score": 0.98765, "gone": True}
    assert (told["truncated"], told["unknown"]) == (True, ["狗", "猫"])
    empty = bundle.directory.with_name("empty.index")
    create_index(bundle, empty).close()
    found.append(Found("q", [], ms, truncated=False))
    assert mcad("search", "a dog", *place, "--index", empty).stdout == (
        "The index holds no photos.\n"
    )


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
    "skipped": [Skipped("/a\n.jpg", "It is cut off.\nAt byte 9."), Skipped("/b.jpg", "Locked.")],
    "left_out": {"movie": OfNoPhotos(1, ["/m.mov"]), "hidden": OfNoPhotos(1200, ["/.h", "/.i"])},
    "kept": 1200,
}


@pytest.fixture
def filled(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What indexing was asked for, where it changes nothing and says that it did SYNCED."""
    asked: dict[str, Any] = {}

    class Engine:
        folder_rung = "onnx int8 by CPU"

        def __init__(self, *about: object, **options: object) -> None:
            pass

        def index_folder(self, index: Any, photos: Path, progress: Any, **more: Any) -> SyncResult:
            asked.update(folder=photos, **more)
            return SyncResult(**{**SYNCED, **asked.get("synced", {})})

    def again(engine: Any, origin: Path, directory: Path, progress: Any) -> Any:
        asked.update(origin=origin, directory=directory)
        index = SimpleNamespace(photos=40, bytes_per_photo=300.6)
        return index, ReembedResult(**SYNCED, gone=["/gone\t.jpg"])

    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(index, "SearchEngine", Engine)
    monkeypatch.setattr(index, "reembed_index", again)
    monkeypatch.setattr(index, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    return asked


def test_what_indexing_did_is_told(bundle: Bundle, tmp_path: Path, filled: dict[str, Any]) -> None:
    (tmp_path / "a.jpg").touch()
    own = bundle.directory.with_name("bundle.index")
    place = ("index", tmp_path, "-b", bundle.directory)
    with index.PhotoIndex.open(own) as opened:
        size = opened.bytes_per_photo
    tail = [
        "  kept 1,200 photos of folders that are gone or empty; to drop such photos: --prune",
        "  skipped /a\\n.jpg: It is cut off.",
        "  skipped /b.jpg: Locked.",
        "  left out 1,200 (hidden): /.h, ...",
        "  left out 1 (movie): /m.mov",
    ]
    head = "7 new, 3 changed, 2 moved, 1 gone"
    assert mcad(*place).stdout.splitlines() == [
        f"{own}: 3 photos, {head}, {size:.0f} bytes each, 2.5 photos/s",
        *tail,
    ]
    assert (filled["folder"], filled["drop_gone"]) == (tmp_path, False)
    told = document(*place, "--prune")
    assert filled["drop_gone"]
    counts = {name: count for name, count in SYNCED.items() if isinstance(count, int)}
    assert told == {
        **{"index": str(own), **counts, "photos": 3, "bytes_per_photo": size, "photos_per_s": 2.5},
        "skipped": [
            {"path": "/a\n.jpg", "why": "It is cut off.\nAt byte 9."},
            {"path": "/b.jpg", "why": "Locked."},
        ],
        "left_out": {
            "movie": {"count": 1, "paths": ["/m.mov"]},
            "hidden": {"count": 1200, "paths": ["/.h", "/.i"]},
        },
        "filled_by": "onnx int8 by CPU",
    }
    # Of another student's index.
    create_index(replace(bundle, dim=32), tmp_path / "old.index").close()
    origin = ("index", "--from", tmp_path / "old.index", "-b", bundle.directory)
    assert mcad(*origin, "--index", tmp_path / "new").stdout.splitlines() == [
        f"{tmp_path / 'new'}: 40 photos, {head}, 301 bytes each, 2.5 photos/s",
        *tail,
        "  gone /gone\\t.jpg",
    ]
    assert filled["origin"] == tmp_path / "old.index"
    assert filled["directory"] == tmp_path / "new"
    assert document(*origin)["gone"] == ["/gone\t.jpg"]


def test_where_no_photo_could_be_read_it_is_an_error_unless_some_were_known(
    bundle: Bundle, tmp_path: Path, filled: dict[str, Any]
) -> None:
    nothing = dict.fromkeys(("added", "changed", "moved", "unchanged"), 0)
    place = ("index", tmp_path, "-b", bundle.directory)
    for known in nothing:
        filled["synced"] = {**nothing, known: 1}
        assert mcad(*place).exit_code == 0
    filled["synced"] = nothing
    failed = mcad(*place)
    assert isinstance(failed.exception, PhotoError)
    assert failed.exception.message == (
        f"None of the 2 photos in {tmp_path} could be read; the first: It is cut off."
    )
    assert failed.exception.hint == "Give a folder that holds photos."  # some may be removed
    assert "2 moved" not in failed.stdout and "0 moved" in failed.stdout


def test_photos_of_shards_are_taken_as_they_are(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []

    class Shards:
        filled_by = ("litert int8", "onnx int8")

        def __init__(self, address: str) -> None:
            taken.append(address)

        def check_student(self, bundle: Bundle) -> None:
            taken.append(bundle.name)

    def index_shards(shards: Any, index: Any, wanted: Any, progress: Any) -> SyncResult:
        taken.append(wanted)
        return SyncResult(**counts, skipped=[Skipped("/zzz", "No shard has it.")])

    counts = {"added": 0, "changed": 0, "unchanged": 2}
    monkeypatch.setattr(phone_index, "Shards", Shards)
    monkeypatch.setattr(phone_index, "index_shards", index_shards)
    (tmp_path / "keys").write_text("/a\n/zzz\n")
    place = ("index", "--from", "s3://a/b", "-b", bundle.directory, "--index", tmp_path / "new")
    told = document(*place, "--select", tmp_path / "keys")
    assert taken == ["s3://a/b", "tiny", {"/a", "/zzz"}]
    assert (told["filled_by"], told["unchanged"]) == ("litert int8, onnx int8", 2)
    counts["unchanged"] = 0
    assert f"None of the 1 keys of {tmp_path / 'keys'} is in s3://a/b." in (
        str(mcad(*place, "--select", tmp_path / "keys").exception)
    )
    for name in counts:
        assert mcad(*place, "--json").exception.__class__ is ShardError
        counts[name] = 1
        assert mcad(*place, "--json").exit_code == 0
        counts[name] = 0
    taken.clear()
    mcad(*place)
    assert taken[2] is None  # all of them


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--from", "s3://a", "--threads", 2),
            "--threads cannot be used with --from SHARDS: leave",
        ),
        (("--from", "s3://a", "--runtime", "onnx"), "--runtime cannot be used with --from SHARDS"),
        (("--from", "INDEX", "--select", "k"), "--select cannot be used with --from INDEX"),
        (("--from", "INDEX", "photos"), "PHOTOS cannot be used with --from INDEX: leave it out"),
        (("--from", "INDEX", "--prune"), "--prune cannot be used with --from INDEX"),
        (("photos", "--select", "k"), "--select cannot be used with PHOTOS: leave it out"),
        ((), "give a folder of photos, or --from INDEX|SHARDS"),
        (("photos", "--verify"), "PHOTOS cannot be used with --verify: leave it out"),
        (("--repair", "--rebuild"), "--repair cannot be used with --rebuild: leave it out"),
        (("--rebuild", "--prune"), "--prune cannot be used with --rebuild: leave it out"),
        (("--verify", "--from", "INDEX"), "--from cannot be used with --verify: leave it out"),
        (("--repair", "--threads", 2), "--threads cannot be used with --repair: leave it out"),
    ],
)
def test_what_indexing_would_ignore_is_wrong_usage(
    bundle: Bundle, options: tuple[object, ...], message: str
) -> None:
    own = bundle.directory.with_name("bundle.index")
    words = [own if word == "INDEX" else word for word in options]
    done = mcad("index", *words, "-b", bundle.directory)
    assert done.exit_code == 2
    assert message in " ".join(done.output.replace("│", " ").split())


def test_an_index_is_verified_repaired_and_written_anew_in_a_sentence_each(bundle: Bundle) -> None:
    own = bundle.directory.with_name("bundle.index")
    place = ("-b", bundle.directory)
    assert mcad("index", "--verify", *place).stdout == f"{own}: 3 photos, intact\n"
    assert mcad("index", "--repair", *place).stdout == (
        f"{own}: 3 photos; 0 were in damaged files and are dropped\n"
    )
    told = document("index", "--rebuild", *place)
    assert (told["index"], told["photos"]) == (str(own), 3)
    assert mcad("index", "--rebuild", *place).stdout == (
        f"{own}: written anew, 3 photos, {told['bytes_per_photo']:.0f} bytes each\n"
    )
    assert mcad("index", "--verify", *place, "--index", "none").exit_code == 1


def test_what_embedding_did_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Manifest("mcad-embed/1", "ab12", "s", "0" * 64, 64, "float32", "onnx", "fp32", 9)
    shards = [ShardRecord(f"{n}", f"{n}", 1, 20, 3, 0, "onnx") for n in range(2)]
    left = [LeftOut(f"/{n}\n.jpg", n, f"Why {n}.\nMore.", "decode") for n in range(22)]
    results = [
        embedding.EmbedResult(job.with_shards(shards), 30, 4.0, left),
        embedding.EmbedResult(job.with_shards(shards), 0, 4.0, left[:20]),
        embedding.EmbedResult(job, 0, 4.0, []),
        embedding.EmbedResult(job, 0, 4.0, left[1:]),
    ]
    monkeypatch.setattr(embedding, "embed", lambda *about: results[0])
    place = ("embed", "photos", "-b", bundle.directory, "-o", "out", "--workers", 3)
    assert mcad(*place).stdout.splitlines() == [
        "out: 40 photos, 30 embedded now, 7.5 photos/s",
        *(f"  skipped /{n}\\n.jpg: Why {n}." for n in range(20)),
        "  and 2 more: --json lists all",
    ]
    told = document(*place)
    assert told.pop("skipped") == [{"path": photo.key, "why": photo.why} for photo in left]
    assert told == {
        **{"shards": "out", "student": "s", "job": "ab12", "files": 2, "photos": 40},
        **{"embedded": 30, "photos_per_s": 7.5, "workers": 3},
    }
    for _ in results[1:3]:
        del results[0]
        done = mcad(*place)
        assert done.exit_code == 0 and "more" not in done.stdout
    del results[0]
    assert str(mcad(*place).exception).splitlines()[0] == (
        "None of the 21 photos in photos could be embedded; the first: Why 1."
    )


class State(SimpleNamespace):
    """Two bundles, and two indexes, of 1,000 and 234 photos."""

    def __init__(self) -> None:
        sizes = {"a.index": 1000, "b.index": 234}
        indexes = {
            name: SimpleNamespace(snapshot=SimpleNamespace(index=SimpleNamespace(photos=photos)))
            for name, photos in sizes.items()
        }
        super().__init__(bundles={"b": "B", "a": "A"}, indexes=indexes, began=[])

    def indexes_of(self, bundle: str) -> list[str]:
        return [f"index of {bundle}", "another"]

    def start_indexing(self, *about: str) -> None:
        self.began.append(about)


def test_a_server_that_answers_tells_its_address_and_begins_to_index(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, opened, given = State(), Queue[tuple[str, bool]](), []
    answered = threading.Event()
    listening = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 8421))

    def open_state(bundles: Any, indexes: Any, *more: Any, **options: Any) -> State:
        given.append(([made.directory for made in bundles], indexes))
        return state

    def serve(served: Any, port: Any, ready: Any) -> None:
        assert (served, port) == (state, listening)
        ready()
        answered.set()

    def browse(address: str) -> None:
        """As a terminal's browser, which ends when the page has been read."""
        opened.put((address, answered.wait(10)))

    monkeypatch.setattr(serving, "take_port", lambda port: nullcontext(listening))
    monkeypatch.setattr(serving, "open_state", open_state)
    monkeypatch.setattr(serving, "serve", serve)
    monkeypatch.setattr(serve_verb.webbrowser, "open", browse)
    url = "http://127.0.0.1:8421/"
    none = tmp_path / "none"
    none.mkdir()
    place = ("serve", "-b", none / "x", "-b", bundle.directory)
    monkeypatch.setattr(serve_verb, "load_bundle", lambda path: replace(bundle, directory=path))
    assert mcad(*place).stdout == f"{url}  (1,234 photos; Ctrl-C stops it)\n"
    assert (state.began, opened.qsize()) == ([], 0)
    answered.clear()
    assert document(*place, "--photos", tmp_path, "--open") == {
        "url": url,
        "bundles": ["b", "a"],
        "indexes": ["a.index", "b.index"],
    }
    assert state.began == [("B", "index of B")]
    assert opened.get(timeout=20) == (url, True)
    own = bundle.directory.with_name("bundle.index").resolve()
    # Of the bundles' own indexes those that exist; else all, or one that is made for the photos.
    assert [indexes for _, indexes in given] == [[own], [own]]
    assert given[0][0] == [none / "x", bundle.directory]
    absent = ("serve", "-b", none / "x", "-b", none / "y")
    mcad(*absent)
    mcad(*absent, "--photos", tmp_path)
    both = [(none / f"{name}.index").resolve() for name in "xy"]
    assert [indexes for _, indexes in given[2:]] == [both, both[:1]]


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
    with monkeypatch.context() as patch:
        patch.setattr(report, "html", lambda *of, bundle: f"{len(of)} of {bundle and bundle.name}")
        page = tmp_path / "page.html"
        for words, shown in (
            (place, "1 of tiny"),
            (("report", tmp_path / "one.json"), "1 of None"),
        ):
            mcad(*words, "--report" if words == place else "--out", page)
            assert page.read_text() == shown
    # Where it cannot be written, nothing is measured.
    monkeypatch.setattr(bench, "measure", lambda *about: pytest.fail("it is measured"))
    for name, code, missing in (
        ("page.pdf", 2, "none"),
        ("one.json/page.md", 1, "none"),
        ("page.html", 1, "jinja2"),
        ("page.html", 1, "matplotlib"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, missing, None)
            assert mcad(*place, "--report", tmp_path / name).exit_code == code
    monkeypatch.setattr(bench, "measure", lambda *about: (documents, failures))
    # Where one of two places is full, the results reach the other.
    kept = tmp_path / "one.json"
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(bench, "print_json", lambda found: raise_(full))
        assert mcad(*place, "--json", "--report", tmp_path / "saved.json").exception is full
        assert json.loads((tmp_path / "saved.json").read_text()) == documents[0]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda *about: raise_(full))
        failed = mcad("report", kept, "--out", tmp_path / "full.md")
        assert isinstance(failed.exception, DiskError) and "full.md" in str(failed.exception)
    # The same of results that are kept.
    assert mcad("report", kept).stdout == f"{reports.markdown(*documents)}\n"
    assert document("report", kept, kept) == documents * 2
    done = mcad("report", kept, "--out", tmp_path / "o.md", "--baseline", kept)
    assert (done.stdout, (tmp_path / "o.md").read_text()) == ("", reports.markdown(*documents))
    assert done.stderr == "Nothing is more than 1.2 times the baseline.\n"
    (tmp_path / "two.json").write_text(json.dumps(documents * 2))
    two = tmp_path / "two.json"
    for words, message in (
        (("report", kept, "--baseline", two), "two.json holds 2 results"),
        (
            ("report", kept, kept, "--baseline", kept),
            "2 results; only one can be compared",
        ),
    ):
        assert message in str(mcad(*words).exception)
    del documents[:]
    assert mcad(*place, "--report", tmp_path / "no.md").stdout == ""
    assert not (tmp_path / "no.md").exists()


def test_the_demo_does_one_verb_after_the_other_and_reports(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = complete_document(bundle, measured(total=2.5, peak=64.0))
    ms = {"total": 1.0}
    results = [{"path": "/p/cat.jpg", "score": 0.256, "gone": False}]
    answers = {
        "search": json.dumps({"results": results, "ms": ms, "truncated": False}),
        "bench": json.dumps(found),
    }
    commands: list[list[str]] = []
    codes: dict[str, int] = {}

    def run(command: list[str], **options: Any) -> Any:
        assert options["timeout"] == 3600 and options["stdout"] == subprocess.PIPE
        verb, words = command[4], command[5:]
        commands.append(command[1:])
        if codes.get(verb) == 124:
            raise subprocess.TimeoutExpired(command, 3600)
        if verb == "index":
            samples = out / "sample-photos"
            assert words[0] != str(samples) or {photo.name for photo in packaged_photos()} == {
                photo.name for photo in samples.iterdir()
            }
        return SimpleNamespace(returncode=codes.get(verb, 0), stdout=answers.get(verb, "told\n"))

    shown: list[tuple[Any, ...]] = []

    def html(document: Any, *, bundle: Any, searches: Any) -> str:
        shown.append((document, bundle, searches))
        return "the page"

    monkeypatch.setattr(demo, "subprocess", SimpleNamespace(
        run=run, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    ))  # fmt: skip
    monkeypatch.setattr(reports, "html", html)
    monkeypatch.setattr(demo.Bundle, "load", lambda path: path)
    out = tmp_path / "out"
    # A folder of the user's, who has an index and photos in it.
    own = [out / "cpu.index" / "manifest.json", out / "photos" / "flower.jpg"]
    for file in own:
        file.parent.mkdir(parents=True)
        file.write_text("mine")
    done = mcad("demo", "-o", out, "-t", "cpu")
    assert done.exception is None
    place = ["--bundle", str(out / "cpu")]
    assert commands == [
        ["-P", "-m", "mcad_mobile", *words]
        for words in (
            ["export", "--target", "cpu", "--out", str(out / "cpu")],
            ["index", str(out / "sample-photos"), *place],
            *(["search", query, *place, "-k", "3", "--json"] for query in demo.QUERIES),
            ["bench", *place, "--synthetic", "100000", "--json"],
        )
    ]
    ((document, of, searches),) = shown
    assert (document, of) == (found, out / "cpu")
    assert [search.query for search in searches] == [*demo.QUERIES]
    assert searches[0] == Found(demo.QUERIES[0], [Result(**results[0])], ms, truncated=False)
    assert (out / "report.html").read_text() == "the page"
    lines = done.stdout.splitlines()
    assert [file.read_text() for file in own] == ["mine", "mine"]
    assert lines[:2] == [f"$ mcad-mobile export --target cpu --out {out / 'cpu'}", "told"]
    assert lines.count("  cat.jpg 0.26") == 5
    assert lines[-5:] == [
        "",
        "At 100,000 photos, one thread, on this computer (A <CPU> & more), not a phone:",
        "                  limit    measured",
        "Search, median    8 ms     2.50 ms   pass",
        "Memory, peak PSS  100 MiB  64.0 MiB  pass",
    ]
    assert lines[-6] == f"Report: {(out / 'report.html').resolve()}"
    mcad("demo", "-o", out, "--photos", tmp_path / "own")
    assert commands[9][4:6] == [str(tmp_path / "own"), "--bundle"]
    for code, message in ((3, "`mcad-mobile index` ended with code 3."), (124, "more than 3600 s")):
        codes["index"] = code
        failed = mcad("demo", "-o", out)
        assert isinstance(failed.exception, McadError) and message in failed.exception.message
    monkeypatch.setattr(demo, "packaged_photos", list)
    assert "No installed package ships photos" in str(mcad("demo", "-o", out).exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("library",), "give either --out FILE or --maven DIR"),
        (("library", "-o", "a.aar", "--maven", "m"), "give either --out FILE or --maven DIR"),
        (("library", "-o", "a", "--coordinates", "a:b:1"), "--coordinates is for --maven"),
        (("library", "--maven", "m", "--sample", "s"), "leave out --maven and --own-photos"),
        (("library", "-o", "a", "--own-photos", "--sample", "s"), "leave out --maven and --own-"),
        (("embed", "p", "-o", "o", "--gpus", 1), "--gpus needs --ray"),
        (("eval", "--data", "d", "--student", "s"), "give --student or --bundle, not both"),
        (("eval", "--data", "d", "--dim", 64), "--dim cannot be used with --bundle"),
        (("search",), "give words, --like PHOTO, or --duplicates"),
        (("report", "r.json", "-o", "page.pdf"), "a report ends in .html, .md or .json, not 'page"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(
    bundle: Bundle, words: tuple[object, ...], message: str
) -> None:
    of_bundle = () if words[0] == "report" else ("-b", bundle.directory)
    done = mcad(*words, *of_bundle)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("eval", "--data", "d", "--runtime", "onnx"), "--runtime is for the towers of a bundle"),
        (("eval", "--data", "d", "--threads", 1), "--threads is for the towers of a bundle: add"),
        (
            ("export", "-t", "cpu", "-o", "o", "--max-recall-drop", 0.5),
            "--max-recall-drop is for the recall on --data: add --data DIR, or leave it out",
        ),
        (
            ("export", "-t", "snapdragon", "-t", "cpu", "-o", "o", "--precision", "w8a16"),
            "--precision w8a16 is for chips with an NPU, and not for cpu",
        ),
    ],
)
def test_an_option_that_would_do_nothing_is_wrong_usage(
    words: tuple[object, ...], message: str
) -> None:
    done = mcad(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.output.replace("│", " ").split())


def test_recall_is_told_both_ways_of_a_bundle_or_a_student(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight photos with two captions each, where the bundle takes one photo for another."""
    photos = [
        CaptionedPhoto(Path(f"{n}.jpg"), (f"{n} once", f"{n} twice"), "val") for n in range(8)
    ]
    rows = np.eye(8, dtype=np.float32)
    seen: list[Any] = []

    class Engine:
        def __init__(self, *about: Any, **options: Any) -> None:
            assert about[0].name == "tiny"
            assert options == {"runtime": "onnx", "threads": 2, "warn": warn}
            for name, precision in (("image", "int8"), ("text", "fp32")):
                rung = SimpleNamespace(runtime="onnx", precision=precision)
                setattr(self, f"{name}_rung", SimpleNamespace(rung=rung))

        def embed_photo(self, path: Path) -> Any:
            number = int(path.stem)
            return rows[{6: 7, 7: 6}.get(number, number)]

        def embed_text(self, text: str) -> Any:
            return rows[int(text.split()[0])]

    def load(data: Path, split: str) -> list[CaptionedPhoto]:
        seen.append((data, split))
        return photos

    def student(*asked: Any) -> Any:
        seen.append(asked)
        source = SimpleNamespace(weights="hf:x")
        return SimpleNamespace(name="mine", sha256=lambda: "ab", source=source)

    own = Engine.embed_text
    monkeypatch.setattr(evaluate, "load_captions", load)
    monkeypatch.setattr(evaluate, "SearchEngine", Engine)
    monkeypatch.setattr(students, "load_student", student)
    monkeypatch.setattr(
        evaluate,
        "embed_by_student",
        lambda student, photos, progress: evaluate.embed(
            photos, lambda path: own(Engine, path.stem), lambda text: own(Engine, text), progress
        ),
    )
    place = ("eval", "--data", "d")
    of_bundle = ("--bundle", bundle.directory, "--runtime", "onnx", "--threads", 2)
    of_bundle = (*of_bundle, "--split", "val")
    # A tie counts as a loss: the two photos come last among 8, their captions among 16.
    assert mcad(*place, *of_bundle).stdout.splitlines() == [
        "d val: 8 photos, 16 captions, mR 79.2",
        "               R@1 %  R@5 %  R@10 %",
        "text to image  75.0   75.0   100.0",
        "image to text  75.0   75.0   75.0",
    ]
    assert document(*place, *of_bundle) == {
        **{"photos": 8, "captions": 16, "mean_recall": 79.17},
        "text_to_image": {"r1": 75.0, "r5": 75.0, "r10": 100.0},
        "image_to_text": {"r1": 75.0, "r5": 75.0, "r10": 75.0},
        "student": {
            **{"name": "tiny", "sha256": bundle.student.sha256},
            "source": bundle.student.source,
        },
        "bundle": {"name": "tiny", "created": bundle.created},
        "runtime": {
            "image": {"runtime": "onnx", "precision": "int8"},
            "text": {"runtime": "onnx", "precision": "fp32"},
        },
    }
    told = document(*place, "--student", "hf:x", "--dim", 64)
    of_student = {"name": "mine", "sha256": "ab", "source": "hf:x"}
    assert (told["mean_recall"], told["student"]) == (100.0, of_student)
    assert "bundle" not in told and "runtime" not in told
    assert seen[2:] == [(Path("d"), "test"), ("hf:x", 64)] and seen[0] == (Path("d"), "val")
