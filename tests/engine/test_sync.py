"""A folder and its index: each run does what has changed, and loses nothing else."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine import sync
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.engine.sync import prune, recheck, sync_folder
from mcad_mobile.errors import PhotoError, PhotoIndexError, Remedy
from tests.support.index_embeddings import stamps_of
from tests.support.paths import ROOT
from tests.support.processes import run_python


def files(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


def counts(result):
    return (result.added, result.changed, result.moved, result.removed, result.unchanged)


def paint(path, colour):
    Image.new("RGB", (40, 30), colour).save(path)


def test_a_second_run_does_nothing(engine, index, folder, embedded):
    assert counts(sync_folder(engine, index, folder)) == (6, 0, 0, 0, 0)
    assert index.paths() == files(folder)
    before = sorted(index._directory.iterdir())
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 6)
    assert embedded == []
    assert sorted(index._directory.iterdir()) == before


def test_the_first_photos_are_committed_soon(engine, index, tmp_path):
    (tmp_path / "many").mkdir()
    for number in range(120):
        paint(tmp_path / "many" / f"{number}.png", (number, 0, 0))
    held = []
    directory = index._directory
    sync_folder(
        engine,
        index,
        tmp_path / "many",
        lambda step, done, total: held.append(PhotoIndex.open(directory).photos),
        early_commits=True,
    )
    assert held[:51] == [0] * 51
    assert 0 < held[51] <= 50
    assert held[-1] < PhotoIndex.open(directory).photos == 120


def test_new_photos_are_added_gone_ones_dropped_changed_ones_embedded_again(
    engine, index, folder, embedded
):
    sync_folder(engine, index, folder)
    first, second, *_ = files(folder)
    Path(first).unlink()
    paint(second, "red")
    paint(folder / "new.png", "blue")
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (1, 1, 0, 1, 4)
    assert sorted(embedded) == sorted([second, str(folder / "new.png")])
    assert index.paths() == files(folder)
    hits = index.search(engine.embed_photo(Path(second)), k=1)
    assert hits.paths == [second]
    assert hits.scores[0] > 0.999
    index.verify()


def test_a_photo_that_became_older_is_embedded_again(engine, index, folder, embedded):
    """As from a backup, or by a camera whose clock was set back."""
    sync_folder(engine, index, folder)
    first = files(folder)[0]
    before = Path(first).stat()
    paint(first, "red")
    os.utime(first, (before.st_mtime - 86400, before.st_mtime - 86400))
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 1, 0, 0, 5)
    assert embedded == [first]


def test_a_photo_that_changed_within_a_second_is_embedded_again(engine, index, folder, embedded):
    first = str(folder / "a.bmp")
    paint(first, "red")
    size = Path(first).stat().st_size
    os.utime(first, ns=(10**18, 10**18))
    sync_folder(engine, index, folder)
    paint(first, "blue")
    assert Path(first).stat().st_size == size
    os.utime(first, ns=(10**18, 10**18 + 1_000_000))
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 1, 0, 0, 6)
    assert embedded == [first]


def test_a_touched_photo_is_read_but_not_embedded_again_and_then_known(
    engine, index, folder, embedded
):
    sync_folder(engine, index, folder)
    scores = index.search(engine.embed_text("a dog"), k=6).scores
    touched = files(folder)[2]
    os.utime(touched, (1, 1))
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 6)
    assert embedded == []
    assert np.array_equal(index.search(engine.embed_text("a dog"), k=6).scores, scores)
    assert stamps_of(index)[touched][0] == stat_stamp(Path(touched).stat())


def test_photos_from_before_times_were_kept_get_theirs_and_are_not_embedded(
    engine, index, folder, embedded
):
    sync_folder(engine, index, folder)
    stamps, day = stamps_of(index), RowFilter(after=0)
    assert index.count(day) == 6
    with index.writer() as writer:
        paths = index.paths()
        rows = np.stack([index.embedding(path) for path in paths])
        writer.add(paths, rows, np.array([stamps[path] for path in paths], np.uint32))
    assert index.count(day) == 0
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 6)
    assert (index.count(day), embedded, stamps_of(index)) == (6, [], stamps)


def test_two_folders_in_one_index_leave_each_other_alone(engine, index, folder, tmp_path):
    # Named so that one path starts with the other: a prefix of bytes is not a folder.
    other = tmp_path / "photos2"
    other.mkdir()
    paint(other / "a.png", "red")
    paint(other / "b.png", "green")
    sync_folder(engine, index, folder)
    assert counts(sync_folder(engine, index, other)) == (2, 0, 0, 0, 0)
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 6)
    (other / "a.png").unlink()
    assert counts(sync_folder(engine, index, folder / "beach")) == (0, 0, 0, 0, 3)
    assert index.photos == 8
    assert counts(sync_folder(engine, index, other)) == (0, 0, 0, 1, 1)
    assert index.photos == 7


@pytest.mark.parametrize("hidden", [".private", "2024/.private"])
def test_photos_of_a_hidden_folder_stay_when_the_folder_above_is_indexed(
    engine, index, folder, hidden
):
    (folder / hidden).mkdir(parents=True)
    paint(folder / hidden / "secret.png", "red")
    sync_folder(engine, index, folder / hidden)
    shutil.copy2(folder / hidden / "secret.png", folder / "copy.png")
    result = sync_folder(engine, index, folder)
    assert (result.added, result.moved, result.removed, result.kept) == (7, 0, 0, 0)
    assert {str(folder / hidden / "secret.png"), str(folder / "copy.png")} < set(index.paths())


def test_a_photo_gone_from_a_hidden_folder_is_dropped_by_a_run_on_that_folder(
    engine, index, folder
):
    hidden = folder / ".private"
    hidden.mkdir()
    for name in ("kept.png", "gone.png"):
        paint(hidden / name, "red")
    sync_folder(engine, index, hidden)
    (hidden / "gone.png").unlink()
    assert counts(sync_folder(engine, index, hidden)) == (0, 0, 0, 1, 1)
    assert index.paths() == [str(hidden / "kept.png")]


def test_an_empty_or_missing_folder_drops_nothing_unless_pruned(engine, index, folder):
    sync_folder(engine, index, folder)
    shutil.rmtree(folder)
    with pytest.raises(PhotoError, match="No folder at"):
        sync_folder(engine, index, folder)
    folder.mkdir()
    with pytest.raises(PhotoError, match="No photos in") as raised:
        sync_folder(engine, index, folder)
    assert raised.value.remedy == Remedy.DROP_GONE
    assert index.photos == 6
    assert prune(index) == 6
    assert index.photos == 0


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_photos_of_a_subfolder_that_is_gone_or_empty_stay_until_pruned(
    engine, index, folder, embedded, how
):
    """Like a drive that is not mounted: a run without it, and one when it is back."""
    sync_folder(engine, index, folder)
    before = files(folder)
    (folder / "beach").rename(folder.parent / "drive")
    if how == "empty":
        (folder / "beach").mkdir()
    embedded.clear()
    result = sync_folder(engine, index, folder)
    assert (counts(result), result.kept, index.paths()) == ((0, 0, 0, 0, 3), 3, before)
    if how == "empty":
        (folder / "beach").rmdir()
    (folder.parent / "drive").rename(folder / "beach")
    result = sync_folder(engine, index, folder)
    assert (counts(result), result.kept, embedded) == ((0, 0, 0, 0, 6), 0, [])
    shutil.rmtree(folder / "beach")
    result = sync_folder(engine, index, folder, drop_gone=True)
    assert (result.removed, result.kept, index.paths()) == (3, 0, files(folder))


def test_a_link_to_a_photo_on_a_drive_that_is_not_mounted_stays(engine, index, folder, tmp_path):
    (tmp_path / "drive").mkdir()
    paint(tmp_path / "drive" / "a.png", "red")
    link = folder / "link.png"
    link.symlink_to(tmp_path / "drive" / "a.png")
    sync_folder(engine, index, folder)
    (tmp_path / "drive").rename(tmp_path / "not mounted")
    result = sync_folder(engine, index, folder)
    assert counts(result) == (0, 0, 0, 0, 6)
    assert [skip.path for skip in result.skipped] == [str(link)]
    assert str(link) in index.paths()


def test_photos_gone_here_and_elsewhere_are_counted_together(engine, index, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    paint(other / "a.png", "red")
    sync_folder(engine, index, other)
    sync_folder(engine, index, folder)
    shutil.rmtree(other)
    Path(files(folder)[0]).unlink()
    assert engine.index_folder(index, folder, drop_gone=True).removed == 2
    assert index.paths() == files(folder)


def test_pruning_keeps_photos_that_cannot_be_looked_up(engine, index, folder, monkeypatch):
    sync_folder(engine, index, folder)
    long = str(folder / ("x" * 300)) + ".jpg"
    with index.writer() as writer:
        writer.add([long], np.eye(1, index.dim, dtype=np.float32))
    for path in files(folder):
        Path(path).unlink()
    stat = os.stat

    def refuse(path, *args, **kwargs):
        if "beach" in os.fsdecode(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    assert prune(index) == 3
    assert index.photos == 4
    assert long in index.paths()


def test_a_subfolder_that_cannot_be_listed_keeps_its_photos(engine, index, folder, monkeypatch):
    sync_folder(engine, index, folder)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("beach"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = sync_folder(engine, index, folder)
    assert counts(result) == (0, 0, 0, 0, 3)
    assert [(skip.path, "Permission denied" in skip.why) for skip in result.skipped] == [
        (str(folder / "beach"), True)
    ]
    assert (index.photos, result.kept) == (6, 0)  # it is known to be there


def test_files_that_are_no_photos_are_skipped_and_listed(engine, index, folder):
    jpeg = Path(files(folder)[0]).read_bytes()
    bad = {
        "zero.jpg": b"",
        "text.jpg": b"not a photo at all",
        "broken.jpg": b"\xff\xd8\xff",
        "cut short.png": Path(packaged_photos()[0]).read_bytes()[:3000],
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")  # 12 kB of file, 1.2 GB of RGB
    Image.new("1", (9000, 9000)).save(folder / "large.png")
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "notes.txt").write_bytes(jpeg)
    (folder / "folder.jpg").mkdir()
    result = sync_folder(engine, index, folder)
    assert result.added == 6
    expected = {*bad, "bomb.png", "large.png", "dangling.jpg", "pipe.jpg"}
    assert {Path(skip.path).name for skip in result.skipped} == expected
    assert all(
        Path(skip.path).name in skip.why or "not a file" in skip.why for skip in result.skipped
    )
    assert any("9000 x 9000 pixels" in skip.why for skip in result.skipped)
    assert index.photos == 6


def test_oddly_named_photos_are_indexed_and_found_under_their_names(engine, index, folder):
    odd = [
        b"with spaces .png",
        "\U0001f415 im Schnee.png".encode(),
        b"two\nlines.png",
        b"latin1-\xe9\xff.png",
        b"%s {} \\ \" '.PNG",
        "e\u0301.png".encode(),
        "\u00e9.png".encode(),
    ]
    for number, name in enumerate(odd):
        paint(os.fsencode(folder) + b"/" + name, (number * 30, 0, 255 - number * 30))
    result = sync_folder(engine, index, folder)
    assert (result.added, result.skipped) == (6 + len(odd), [])
    held = {os.fsencode(path) for path in index.paths()}
    assert {os.fsencode(folder) + b"/" + name for name in odd} <= held
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 6 + len(odd))


def test_a_changed_photo_that_no_longer_decodes_keeps_its_place_until_it_does(
    engine, index, folder
):
    sync_folder(engine, index, folder)
    path = Path(files(folder)[0])
    good = path.read_bytes()
    path.write_bytes(b"half written")
    result = sync_folder(engine, index, folder)
    assert [skip.path for skip in result.skipped] == [str(path)]
    assert str(path) in index.paths()
    path.write_bytes(good)
    assert sync_folder(engine, index, folder).skipped == []


def test_an_interrupted_run_keeps_what_it_embedded_and_goes_on(engine, index, folder, embedded):
    def stop_at_four(step, done, total):
        if (done, total) == (4, 6):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync_folder(engine, index, folder, stop_at_four)
    assert PhotoIndex.open(index._directory).photos == 4
    embedded.clear()
    seen = []
    again = sync_folder(engine, index, folder, lambda step, done, total: seen.append((done, total)))
    assert counts(again) == (2, 0, 0, 0, 4)
    assert len(embedded) == 2
    assert [seen[0], seen[1], seen[-1]] == [(6, 0), (4, 6), (6, 6)]  # 0: the folder is listed


def test_long_runs_commit_now_and_then(engine, index, folder):
    held = []
    sync_folder(
        engine,
        index,
        folder,
        lambda step, done, total: held.append(PhotoIndex.open(index._directory).photos),
        commit_photos=2,
    )
    assert held == [0, 0, 0, 2, 2, 4, 4, 6]


def test_a_run_commits_as_often_as_its_page_says():
    page = (ROOT / "docs/data.md").read_text("utf-8")
    assert f"every {sync.COMMIT_PHOTOS:,} photos or {sync.COMMIT_S:.0f} seconds" in page


def test_a_run_beside_a_writer_is_refused_before_it_reads_a_photo(engine, index, folder, embedded):
    sync_folder(engine, index, folder)
    paint(folder / "new.png", "blue")
    other = PhotoIndex.open(index._directory)
    embedded.clear()
    with other.writer(), pytest.raises(PhotoIndexError, match="Another writer"):
        sync_folder(engine, index, folder)
    assert embedded == []
    with other.writer(), pytest.raises(PhotoIndexError, match="Another writer"):
        engine.index_photos(index, [folder / "new.png"])
    assert embedded == []
    assert counts(sync_folder(engine, index, folder)) == (1, 0, 0, 0, 6)


def test_no_other_writer_comes_between_the_commits_of_a_run(engine, index, folder):
    other = PhotoIndex.open(index._directory)

    def try_to_write(step, done, total):
        with pytest.raises(PhotoIndexError, match="Another writer"), other.writer():
            pass
        PhotoIndex.open(index._directory).search(engine.embed_text("a dog"))

    assert sync_folder(engine, index, folder, try_to_write, commit_photos=2).added == 6
    with other.writer() as writer:
        writer.delete(index.paths())


def test_a_run_begins_with_what_others_have_committed_since_the_index_was_opened(
    engine, index, folder, embedded
):
    stale = PhotoIndex.open(index._directory)
    sync_folder(engine, index, folder)
    embedded.clear()
    assert counts(sync_folder(engine, stale, folder)) == (0, 0, 0, 0, 6)
    assert embedded == []


# Lists a folder of 200,000 photos that the index holds, and says how much memory that took.
LISTING = """
import json, resource, sys
from pathlib import Path
from types import SimpleNamespace
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.engine.sync import sync_folder
index = PhotoIndex.open(Path(sys.argv[1]))
engine = SimpleNamespace(threads=1, folder_rung=None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = sync_folder(engine, index, Path(sys.argv[2]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([result.unchanged, result.removed, (after - before) / 1024]))
"""


@pytest.mark.slow
def test_two_hundred_thousand_files_are_listed_in_bounded_memory(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    item = tmp_path / "one.jpg"
    item.write_bytes(b"tiny")
    index = PhotoIndex.create(tmp_path / "index", dim=8, student_sha256="0" * 64, student="t")
    names = [f"{folder}/IMG_{number:08d}.jpg" for number in range(200_000)]
    stamp = [stat_stamp(item.stat()), zlib.crc32(item.read_bytes())]
    with index.writer() as writer:
        embeddings = np.zeros((len(names) + 1, 8), np.float32)
        embeddings[:, 0] = 1
        writer.add(
            [*names, f"{folder}/gone.jpg"],
            embeddings,
            np.tile(np.array(stamp, np.uint32), (len(embeddings), 1)),
            np.zeros(len(embeddings), np.int32),
        )
    for number in range(0, len(names), 50_000):  # as many links as any file system allows
        target = tmp_path / f"{number}.jpg"
        shutil.copy2(item, target)
        for name in names[number : number + 50_000]:
            os.link(target, name)
    done = run_python("-c", LISTING, tmp_path / "index", folder, check=True)
    unchanged, removed, grown_mib = json.loads(done.stdout)
    assert (unchanged, removed) == (200_000, 1)
    # The names alone are 20 MB as Python strings; the index is mapped besides.
    assert grown_mib < 16


@pytest.mark.parametrize(
    ("options", "seconds", "commits"),
    [
        ({}, 0.0, [130]),  # a thousand, or 20 seconds
        ({"commit_photos": 60}, 0.0, [60, 120, 130]),
        ({}, 0.5, [5, 11, 41, 81, 121, 130]),  # early on, after 2 and 5 seconds, too
        ({"early_commits": True}, 0.0, [50, 130]),  # 50, then 100 more, 200 more ...
        ({"early_commits": True, "commit_photos": 60}, 0.0, [50, 110, 130]),
        # After a second, then two, four, eight, sixteen, and twenty from then on.
        ({"early_commits": True}, 0.5, [3, 7, 15, 31, 63, 103, 130]),
    ],
)
def test_commits_come_by_number_and_by_time_the_rarer_the_more_there_are(
    engine, index, options, seconds, commits, tmp_path, monkeypatch
):
    (tmp_path / "many").mkdir()
    for number in range(130):
        paint(tmp_path / "many" / f"{number:03}.png", (number, 0, 0))
    clock, seen = [0.0], []
    monkeypatch.setattr(sync, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def progress(step, done, total):
        seen.append(index.photos)
        clock[0] += seconds if done and total else 0.0

    result = sync_folder(engine, index, tmp_path / "many", progress, **options)
    assert result.added == index.photos == 130
    assert sorted({*seen, index.photos} - {0}) == commits


def test_the_folder_of_the_index_is_not_indexed(engine, index, tmp_path):
    (tmp_path / "link").symlink_to(index._directory)
    paint(index._directory / "a.png", "red")
    with pytest.raises(PhotoIndexError) as refused:
        sync_folder(engine, index, tmp_path / "link")
    assert refused.value.remedy is Remedy.MOVE_INDEX
    assert index.photos == 0


def test_an_index_whose_numbers_are_not_those_of_its_photos_is_noticed(engine, index, folder):
    sync_folder(engine, index, folder)
    recheck(engine, index)
    paths, stamps = index.paths(), stamps_of(index)
    random = np.random.default_rng(0).normal(size=(len(paths), index.dim))
    embeddings = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    with index.writer() as writer:
        writer.add(paths, embeddings, np.array([stamps[path] for path in paths], np.uint32))
    index.verify()
    with pytest.raises(PhotoIndexError) as noticed:
        recheck(engine, index)
    assert noticed.value.remedy is Remedy.EMBED_AGAIN
    for path in paths:  # what changed since is no damage
        paint(Path(path), "pink")
    recheck(engine, index)
