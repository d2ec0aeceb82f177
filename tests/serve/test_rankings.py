"""Pages of long rankings, comparisons, and the messages of a run over folders."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from mcad_mobile.base.progress import Progress
from mcad_mobile.engine.engine import Found, Result
from mcad_mobile.engine.index import RowFilter
from mcad_mobile.engine.photos.folder import Skipped
from mcad_mobile.engine.query import Part
from mcad_mobile.engine.sync import SyncResult
from mcad_mobile.errors import PhotoError, PhotoIndexError, Remedy
from mcad_mobile.serve import indexing
from mcad_mobile.serve.indexes import Catalog, Snapshot, day, path_id
from mcad_mobile.serve.photos import Thumbnails, Uploads, file_state
from mcad_mobile.serve.rankings import PreparedQuery, Searcher
from mcad_mobile.serve.records import Filter, Hit

WORDS = (Part("a dog"),)
pillow_heif.register_heif_opener()


class Engine:
    """Ranks `paths`, those in the filter's folders alone, and counts how often it was asked."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths
        self.asked: list[int] = []
        self.simulated = False

    def search_parts(
        self, index: Any, parts: Any, k: int, *, rows: RowFilter, exact: bool, by: Any = None
    ) -> Found:
        self.asked.append(k)
        own = {str(part.content) for part in parts if isinstance(part.content, Path)}
        inside = [
            path
            for path in self.paths
            if path not in own and path.startswith(tuple(rows.folders) or "")
        ]
        results = [Result(path, 1 - n / 1e5) for n, path in enumerate(inside[:k])]
        return Found("a dog", results, {"total": 1.5}, truncated=False, simulated=self.simulated)


def asked(paths: Sequence[str], parts: tuple[Part, ...] = WORDS, **changes: Any) -> PreparedQuery:
    catalog = Catalog(sorted(paths), np.arange(len(paths)))
    index, engine = cast(Any, SimpleNamespace(generation=3)), cast(Any, Engine(paths))
    return replace(
        PreparedQuery(
            engine, Snapshot(index, catalog), "b", "onnx int8", "i", parts, Filter(), exact=False
        ),
        **changes,
    )


def paths_of(number: int, folder: str = "/p") -> list[str]:
    """In another order than their names have."""
    order = np.random.default_rng(0).permutation(number)
    return [f"{folder}/{place:06}.jpg" for place in order]


def names(hits: Sequence[Hit]) -> list[str]:
    return [f"{hit.folder}/{hit.name}" for hit in hits]


def test_the_first_100_are_searched_for_and_all_once_who_scrolls_on() -> None:
    one, searcher = asked(paths_of(200)), Searcher()
    first = searcher.answer(one, 0, 64)
    assert (one.engine.asked, len(first.hits), first.total) == ([100], 64, 200)
    assert len(searcher.answer(one, 0, 100).hits) == 100
    assert one.engine.asked == [100, 100]
    pages = [first, *(searcher.answer(one, offset, 64) for offset in (64, 128, 192))]
    assert names([hit for page in pages for hit in page.hits]) == list(one.engine.paths)
    # All of it once, the first of each again.
    assert one.engine.asked[2:] == [100, 200, 100, 100]
    assert (first.generation, first.rung, first.bundle, first.index) == (3, "onnx int8", "b", "i")


@pytest.mark.parametrize(
    "other",
    [
        {"parts": (Part("a cat"),)},
        {"parts": (Part("a dog", 0.5),)},
        {"exact": True},
        {"snapshot": None},
        {"filter": Filter(after=date(1960, 1, 1))},
    ],
)
def test_another_query_has_a_ranking_of_its_own(other: dict[str, Any]) -> None:
    one, searcher = asked(paths_of(128)), Searcher()
    searcher.answer(one, 64, 64)
    if "snapshot" in other:
        other = {"snapshot": asked(paths_of(128)).snapshot}
    searcher.answer(replace(one, **other), 64, 64)
    assert one.engine.asked == [100, 128] * 2
    searcher.answer(one, 64, 64)
    assert one.engine.asked == [100, 128] * 2 + [100]


def test_a_bundle_that_was_replaced_has_rankings_of_its_own() -> None:
    one, searcher = asked(paths_of(128)), Searcher()
    searcher.answer(one, 64, 64)
    paths = one.engine.paths[::-1]
    new = replace(one, engine=cast(Any, Engine(paths)))
    assert names(searcher.answer(new, 64, 64).hits) == paths[64:]


def test_the_last_8_rankings_are_kept() -> None:
    one, searcher = asked(paths_of(128)), Searcher()
    queries = [replace(one, parts=(Part(f"query {number}"),)) for number in range(9)]
    for query in queries[:8]:
        searcher.answer(query, 64, 64)
    searcher.answer(queries[0], 64, 64)  # which counts as used
    searcher.answer(queries[8], 64, 64)
    del one.engine.asked[:]
    searcher.answer(queries[0], 64, 64)
    assert one.engine.asked == [100]
    searcher.answer(queries[1], 64, 64)
    assert one.engine.asked == [100, 100, 128]


def test_ten_thousand_are_ranked_and_all_are_counted() -> None:
    last = Searcher().answer(asked(paths_of(10_005)), 9_984, 64)
    assert (len(last.hits), last.total, last.photos) == (16, 10_000, 10_005)


def test_a_simulated_time_is_not_told() -> None:
    one = asked(paths_of(3))
    one.engine.simulated = True
    found = Searcher().answer(one, 0, 64)
    assert (found.simulated, found.ms, len(found.hits)) == (True, None, 3)


def test_a_photo_of_the_query_is_not_counted_and_words_that_are_its_path_change_nothing() -> None:
    paths = paths_of(10)
    like = Searcher().answer(asked(paths, (Part(Path(paths[3])),)), 0, 64)
    assert (like.photos, like.total, len(like.hits)) == (9, 9, 9)
    words = Searcher().answer(asked(paths, (Part(paths[3]),)), 0, 64)
    assert words.photos == 10


def test_an_answer_without_a_query_has_a_page_of_the_newest_photos() -> None:
    minutes = 28_000_000
    one = asked([f"/p/{place}.jpg" for place in range(9)], ())
    taken = np.arange(9) * 1440 + minutes
    catalog = Catalog(one.snapshot.catalog.paths, taken)
    one = replace(one, snapshot=Snapshot(one.snapshot.index, catalog))
    found = Searcher().answer(one, 2, 3)
    assert (found.offset, found.photos, found.total, found.ms) == (2, 9, 9, None)
    assert names(found.hits) == [f"/p/{place}.jpg" for place in (6, 5, 4)]
    assert found.hits[0] == Hit(path_id("/p/6.jpg"), "6.jpg", "/p", day(minutes + 6 * 1440))
    assert one.engine.asked == []
    words = Searcher().answer(replace(one, parts=WORDS), 1, 2)
    assert (words.offset, words.ms, words.simulated, words.truncated) == (
        1,
        {"total": 1.5},
        False,
        False,
    )
    assert words.hits[0].score == 1 - 1 / 1e5


def test_a_folder_is_ranked_alone() -> None:
    paths = [*paths_of(70, "/p/a"), *paths_of(90, "/p/b")]
    one = asked(paths, filter=Filter(folder=path_id("/p/b")))
    found = Searcher().answer(one, 64, 64)
    assert (found.photos, names(found.hits)) == (90, paths[70 + 64 :])


def test_a_photo_is_looked_for_four_times_as_far_on_the_other_side() -> None:
    paths = paths_of(20)
    left, right = asked(paths), asked([*paths[4:12], *paths[:4], *paths[12:]], bundle="c")
    found = Searcher().compare(left, right, 2)
    assert (left.engine.asked, right.engine.asked) == ([20], [20])
    assert [(hit.elsewhere, hit.only_here) for hit in found.left.hits] == [(None, True)] * 2
    # The photos that the right side has first are at places 5 and 6 of the left one.
    assert [(hit.elsewhere, hit.only_here) for hit in found.right.hits] == [(5, True), (6, True)]
    assert found.shared == 0
    same = Searcher().compare(left, replace(left), 3)
    assert [(hit.elsewhere, hit.only_here) for hit in same.left.hits] == [
        (1, False),
        (2, False),
        (3, False),
    ]
    assert (same.shared, len(same.right.hits)) == (3, 3)


def job_over(folders: list[Path], sync: Any, **more: Any) -> indexing.IndexingJob:
    bundle: Any = SimpleNamespace(bundle=SimpleNamespace(directory=Path("build/sd")))
    return indexing.IndexingJob(
        bundle, cast(Any, SimpleNamespace(id="i")), folders, sync=sync, **more
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """A job over folders `a`, `b` ..., each with an outcome, that has ended."""

    def call(*outcomes: SyncResult | Exception) -> Any:
        found = iter(outcomes)

        def sync(*about: Any) -> SyncResult:
            outcome = next(found)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        job = job_over([tmp_path / name for name in "abc"[: len(outcomes)]], sync)
        job._thread.join(10)
        assert not job.running and not list(found)
        return job.info()

    return call


def test_a_run_says_what_it_did_in_each_folder(run: Callable[..., Any]) -> None:
    whole = Skipped("a.jpg", "a.jpg is broken.")  # it names its photo
    skipped = [whole, *(Skipped(f"{number}.jpg", "It is broken.") for number in range(59))]
    info = run(SyncResult(1200, 2, 3, 4, 5, skipped, kept=6), SyncResult(unchanged=7))
    assert info.message == (
        "a: 1,200 new, 2 changed, 3 moved, 4 gone, 60 not readable, "
        "6 kept of folders that are gone or empty; b: nothing new"
    )
    assert (info.state, info.index, Path(info.folder).name) == ("done", "i", "b")
    assert (len(info.skipped), info.skipped[:2]) == (
        50,
        ["a.jpg is broken.", "0.jpg: It is broken."],
    )
    assert info.left_s is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PhotoIndexError("Another writer.", "Wait for it."), "Another writer. Wait for it."),
        (
            PhotoIndexError("Damaged.", Remedy.REPAIR_INDEX(index="my index")),
            "Damaged. Drop the damaged parts in a terminal: mcad-mobile index --repair --bundle "
            "build/sd --index 'my index'. Then press Index again.",
        ),
        (ValueError("odd"), "ValueError: odd"),
    ],
)
def test_what_fails_is_said_with_its_next_step(
    run: Callable[..., Any], error: Exception, message: str
) -> None:
    info = run(error)
    assert (info.state, info.message) == ("failed", message)


def test_a_folder_that_cannot_be_indexed_holds_up_no_other(run: Callable[..., Any]) -> None:
    absent = PhotoError("No photos.", "Give a folder.")
    info = run(absent, SyncResult(added=1), absent)
    assert (info.state, info.message) == ("failed", "No photos. Give a folder. b: 1 new")


def test_the_time_left_is_told_after_a_second(tmp_path: Path) -> None:
    clock, begun, go = [0.0], threading.Event(), threading.Event()

    def sync(bundle: Any, index: Any, folder: Path, progress: Progress) -> SyncResult:
        progress("photos", 500, 0)  # the folder is still listed
        progress("photos", 0, 30)
        progress("photos", 10, 30)
        begun.set()
        go.wait(10)
        return SyncResult()

    job = job_over([tmp_path], sync, clock=lambda: clock[0])
    assert begun.wait(10)
    told = []
    for clock[0] in (0.0, 1.0, 4.0):
        told.append((job.info().photos_per_s, job.info().left_s))
    go.set()
    job.stop(10)
    assert told == [(0.0, None), (10.0, None), (2.5, 8.0)]


def test_the_speed_of_a_run_leaves_out_the_photos_that_were_known_before(tmp_path: Path) -> None:
    clock, reached, go = [100.0], threading.Event(), threading.Event()

    def sync(bundle: Any, index: Any, folder: Path, progress: Progress) -> SyncResult:
        progress("photos", 1000, 1010)
        clock[0] += 2
        progress("photos", 1006, 1010)
        reached.set()
        go.wait(10)
        return SyncResult()

    job = job_over([tmp_path], sync, clock=lambda: clock[0])
    assert reached.wait(10)
    info = job.info()
    go.set()
    job.stop(10)
    assert (info.done, info.photos_per_s, info.left_s) == (1006, 3.0, 1.3)


def test_a_run_that_is_stopped_keeps_its_last_photos_and_begins_no_other_folder(
    tmp_path: Path,
) -> None:
    begun, last_commit, committed, priorities = threading.Event(), threading.Event(), [], []

    def sync(bundle: Any, index: Any, folder: Path, progress: Progress) -> SyncResult:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        begun.set()
        try:
            while True:
                progress("photos", 3, 9)
        finally:
            last_commit.wait(10)
            committed.append(folder)

    job = job_over([tmp_path / "a", tmp_path / "b"], sync)
    assert begun.wait(10)
    job.stop()
    assert job.running and job.info().state == "running"
    threading.Timer(0.02, last_commit.set).start()
    job.stop(10)
    info = job.info()
    assert (job.running, info.state, info.left_s) == (False, "stopped", None)
    assert (info.done, info.total) == (3, 9) and "kept" in info.message
    assert committed == [tmp_path / "a"]
    if sys.platform == "linux":  # searches come first
        assert priorities[0] >= min(os.getpriority(os.PRIO_PROCESS, 0) + 1, 19)


def test_thumbnails_are_pruned_as_they_grow_and_used_ones_once_a_day(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    held, path = Thumbnails(), str(next(photos.rglob("coffee.png")))
    tag = file_state(path) or ""
    assert held.find(path, tag) is None
    content = held.make(path, tag)
    (file,) = (tmp_path / "mcad-mobile" / "thumbnails").rglob("*.jpg")
    assert file.stat().st_mode & 0o777 == 0o600
    for folder in list(file.parents)[:2]:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert held.find(path, f"{tag}0") is None  # of another state
    assert Thumbnails(px=100).find(path, tag) is None  # of another size
    for kept, grown in ((8 * len(content), False), (8 * len(content) - 8, True)):
        growing = Thumbnails(kept_bytes=kept)
        growing.make(path, tag)
        assert growing.needs_pruning == grown
        growing.prune()
        assert not growing.needs_pruning
    for hours, touched in ((23, False), (25, True)):
        used = time.time() - hours * 3600
        os.utime(file, (used, used))
        assert held.find(path, tag) == content
        assert (file.stat().st_mtime > used + 1) == touched
    for days, left in ((59, True), (61, False)):
        used = time.time() - days * 86_400
        os.utime(file, (used, used))
        held.prune()
        assert file.exists() == left


def test_a_thumbnail_is_stored_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    held, path = Thumbnails(), str(tmp_path / "plain.png")
    Image.new("RGB", (9, 9)).save(path)  # its thumbnail is smaller than a file's buffer
    named: list[bytes] = []

    def refuse(partial: Path, target: Path) -> None:
        named.append(partial.read_bytes())
        raise OSError("The disk is full.")

    monkeypatch.setattr(Path, "replace", refuse)
    assert held.make(path, "tag") == named.pop()
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []
    assert not held.has(path, "tag")


def test_a_file_that_has_changed_in_any_way_is_in_another_state(tmp_path: Path) -> None:
    file, other = tmp_path / "a.jpg", tmp_path / "b.jpg"
    states = set()
    for place, content, changed in (
        (file, b"abc", 10**18),
        (file, b"abd", 10**18 + 1),  # a nanosecond later
        (file, b"abcd", 10**18 + 1),
        (other, b"abcd", 10**18 + 1),  # which takes the other's place
    ):
        place.write_bytes(content)
        os.utime(place, ns=(changed, changed))
        other.exists() and other.replace(file)
        assert file_state(file) == file_state(str(file)) is not None
        states.add(file_state(file))
    assert len(states) == 4
    assert file_state(other) is None and file_state("a\0.jpg") is None


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("HEIF", ".heic")],
)
def test_an_upload_is_known_by_its_bytes(kind: str, suffix: str) -> None:
    uploads = Uploads()
    with uploads.spool() as file:
        Image.new("RGB", (640, 700)).save(file, kind)
        name, taken = uploads.take(file)
    assert (taken.path.suffix, taken.width, taken.height) == (suffix, 640, 700)
    assert uploads.get(name) == taken
    uploads.close()
    assert not taken.path.exists()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_an_upload_is_that_of_the_upright_photo(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    uploads = Uploads()
    with uploads.spool() as file:
        Image.new("RGB", (64, 48)).save(file, "JPEG", exif=exif)
        _, taken = uploads.take(file)
    assert (taken.width, taken.height) == ((48, 64) if orientation > 4 else (64, 48))
    uploads.close()


@pytest.mark.parametrize("brand", ["heix", "heim", "heis", "hevc", "mif1", "msf1"])
def test_an_upload_may_be_of_any_brand_of_heif(brand: str) -> None:
    uploads = Uploads()
    with uploads.spool() as file:
        Image.new("RGB", (64, 48)).save(file, "HEIF")  # whose brand is heic
        file.seek(8)
        file.write(brand.encode())
        _, taken = uploads.take(file)
    assert (taken.path.suffix, taken.width, taken.height) == (".heic", 64, 48)
    uploads.close()
