"""What an index keeps: adding, replacing, deleting, compacting."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.writer import NO_TIME
from mcad_mobile.errors import PhotoIndexError, Remedy
from tests.support.index_embeddings import (
    SHA,
    create,
    filled,
    names,
    photos_and_queries,
    stamps_of,
    unit,
)
from tests.support.index_oracle import read_index


def test_what_was_added_is_there_after_opening_again(tmp_path: Path) -> None:
    filled(tmp_path)
    index = PhotoIndex.open(tmp_path)
    assert (index.dim, index.student, index.student_sha256) == (64, "tiny", SHA)
    assert index.photos == 50
    assert index.paths() == names(50)


def test_dates_are_by_path_over_all_segments(tmp_path: Path) -> None:
    index = create(tmp_path)
    rows = np.eye(64, dtype=np.float32)
    for first in (1, 0):
        with index.writer() as writer:
            paths = [f"{number}.jpg" for number in range(first, 6, 2)]
            writer.add(paths, rows[first:6:2], times=np.arange(first, 6, 2, dtype=np.int32))
    with index.writer() as writer:
        writer.delete(["3.jpg"])
        writer.add(["9.jpg"], rows[9:10])
    assert index.dates() == {f"{n}.jpg": n for n in (0, 1, 2, 4, 5)} | {"9.jpg": NO_TIME}
    assert list(index.dates()) == index.paths()


def test_a_second_index_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(PhotoIndexError, match="already"):
        create(tmp_path)
    assert PhotoIndex.open(tmp_path).photos == 50


@pytest.mark.parametrize("dim", [0, 4, 100, 255, 8192, -8])
def test_a_width_that_has_no_whole_code_bytes_is_refused(tmp_path: Path, dim: int) -> None:
    with pytest.raises(PhotoIndexError, match=rf"{dim} dimensions.*multiple of 8"):
        create(tmp_path, dim)


def test_a_directory_without_an_index_says_how_to_make_one(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(PhotoIndexError) as raised:
            PhotoIndex.open(directory)
        assert (raised.value.remedy, raised.value.values) == (
            Remedy.MAKE_INDEX,
            {"index": directory},
        )


def test_adding_a_path_again_replaces_its_photo(tmp_path: Path) -> None:
    index = filled(tmp_path)
    new = unit(np.eye(64)[5] + np.eye(64)[6])
    with index.writer() as writer:
        writer.add(["photo/000007.jpg"], new[None])
    assert index.photos == 50
    hits = index.search(new, k=50)
    assert hits.paths[0] == "photo/000007.jpg"
    assert hits.scores[0] > 0.999
    assert hits.paths.count("photo/000007.jpg") == 1


def test_of_a_path_given_twice_the_last_embedding_counts(tmp_path: Path) -> None:
    index = create(tmp_path)
    a, b, c = np.eye(64, dtype=np.float32)[:3]
    with index.writer() as writer:
        writer.add(["x", "x"], np.stack([a, b]))
        writer.add(["x", "y"], np.stack([c, a]))
    assert index.paths() == ["x", "y"]
    assert index.search(c, k=1).paths == ["x"]
    assert index.search(b, k=1).scores[0] < 0.1


def test_replacing_thousands_within_one_commit_keeps_each_with_its_own(tmp_path: Path) -> None:
    """Rows of the spool are then no longer in the order in which the paths came."""
    photos = photos_and_queries(4000, 1)[0]
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(3000), photos[:3000])
        writer.add(names(1000), photos[3000:])
    assert index.photos == 3000
    for row, photo in ((5, photos[3005]), (999, photos[3999]), (1000, photos[1000])):
        assert index.search(photo, k=1, exact=True).paths == [names(3000)[row]]


def test_deleting_counts_only_photos_that_were_there(tmp_path: Path) -> None:
    index = filled(tmp_path)
    with index.writer() as writer:
        writer.add(["new"], unit(np.ones((1, 64))))
        assert writer.delete(["photo/000001.jpg", "photo/000001.jpg", "unknown", "new"]) == 2
        assert writer.delete(["photo/000001.jpg", "new"]) == 0
    assert index.photos == 49
    assert "new" not in index.paths()


def test_two_photos_swap_names_in_one_call(tmp_path: Path) -> None:
    index = filled(tmp_path)
    a, b, *_ = names(50)
    before = index.embedding(a), index.embedding(b)
    with index.writer() as writer:
        assert writer.move([(a, b, (1, 2)), (b, a, (3, 4)), ("unknown", "new", (5, 6))]) == 2
    assert index.paths() == names(50)
    assert np.array_equal(index.embedding(b), before[0])
    assert np.array_equal(index.embedding(a), before[1])
    assert (stamps_of(index)[b], stamps_of(index)[a]) == ((1, 2), (3, 4))


def test_a_photo_moves_on_within_one_commit_also_one_that_was_just_added(tmp_path: Path) -> None:
    index = filled(tmp_path)
    first, second = names(2)
    held, added = index.embedding(first), unit(np.ones(64))
    with index.writer() as writer:
        writer.add(["new"], added[None])
        writer.move([(first, "a", (1, 1)), ("new", "b", (2, 2))])
        writer.move([("a", second, (3, 3)), ("b", "c", (4, 4))])
        assert writer.move([("a", "d", (5, 5)), ("b", "d", (5, 5))]) == 0
    assert index.paths() == ["c", *names(50)[1:]]
    assert np.array_equal(index.embedding(second), held)
    assert index.embedding("c") @ added > 0.999
    assert (stamps_of(index)[second], stamps_of(index)["c"]) == ((3, 3), (4, 4))


def test_what_takes_a_moved_photos_place_has_the_stamps_that_it_came_with(tmp_path: Path) -> None:
    index = filled(tmp_path)
    first, second = names(2)
    with index.writer() as writer:
        writer.move([(first, "moved", (1, 2))])
        writer.add(["moved"], unit(np.ones((1, 64))), np.array([[7, 8]], np.uint32))
        writer.move([(second, second, (3, 4))])
        writer.add([second], unit(np.ones((1, 64))), np.array([[5, 6]], np.uint32))
    assert (stamps_of(index)["moved"], stamps_of(index)[second]) == ((7, 8), (5, 6))


def test_a_deleted_path_can_be_added_again(tmp_path: Path) -> None:
    index = filled(tmp_path)
    photo = unit(np.ones((1, 64)))
    with index.writer() as writer:
        writer.delete(["photo/000001.jpg"])
        writer.add(["photo/000001.jpg"], photo)
    assert index.photos == 50
    assert index.search(photo[0], k=1).paths == ["photo/000001.jpg"]


def test_an_exception_in_the_block_leaves_the_last_commit(tmp_path: Path) -> None:
    index = filled(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(RuntimeError, match="stop"), index.writer() as writer:
        writer.delete(names(20))
        writer.add(["new"], unit(np.ones((1, 64))))
        raise RuntimeError("stop")
    assert (tmp_path / "manifest.json").read_bytes() == before
    assert index.photos == PhotoIndex.open(tmp_path).photos == 50
    with index.writer() as writer:
        writer.add(["new"], unit(np.ones((1, 64))))
    assert index.photos == 51


def test_a_writer_that_changes_nothing_commits_nothing(tmp_path: Path) -> None:
    index = filled(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    with index.writer() as writer:
        writer.add([], np.empty((0, 64), np.float32))
        writer.delete(["unknown"])
    index.compact()
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, 1.5])
def test_embeddings_that_are_not_unit_vectors_are_refused_by_path(
    tmp_path: Path, bad: float
) -> None:
    index = create(tmp_path)
    photos = photos_and_queries(3, 1)[0]
    photos[1] *= np.float32(bad)
    with (
        pytest.raises(PhotoIndexError, match=r"photo/000001\.jpg.*length"),
        index.writer() as writer,
    ):
        writer.add(names(3), photos)
    assert index.photos == 0


def test_embeddings_of_another_shape_name_both(tmp_path: Path) -> None:
    index = create(tmp_path)
    for n, width in ((2, 64), (3, 32)):
        with (
            pytest.raises(PhotoIndexError, match=rf"\[{n}, {width}\].*\[3, 64\]"),
            index.writer() as writer,
        ):
            writer.add(names(3), np.ones((n, width), np.float32))


def test_paths_come_back_as_they_were(tmp_path: Path) -> None:
    paths = ["Ferien/Müllers Café.jpg", "写真/犬.png", "🐕/\n.jpg", "latin1-\udce9.jpg", "a" * 4000]
    index = create(tmp_path)
    photos = photos_and_queries(5, 1)[0]
    with index.writer() as writer:
        writer.add(paths, photos)
    assert PhotoIndex.open(tmp_path).paths() == sorted(paths)
    for path, photo in zip(paths, photos, strict=True):
        assert index.search(photo, k=1).paths == [path]
    with index.writer() as writer:
        assert writer.delete(paths) == 5


def test_an_empty_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotoIndexError, match="empty path"), create(tmp_path).writer() as writer:
        writer.add([""], unit(np.ones((1, 64))))


@pytest.mark.parametrize("path", ["\ud800", "a/\udfff.jpg", "\ud83d\udc15.jpg"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, path: str) -> None:
    index = filled(tmp_path)
    with pytest.raises(PhotoIndexError, match="no file name"), index.writer() as writer:
        writer.add([path], unit(np.ones((1, 64))))
    with pytest.raises(PhotoIndexError, match="no file name"):
        index.embedding(path)


def test_compacting_keeps_results_and_drops_tombstones(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(3000, 20)
    index = create(tmp_path)
    for i, (start, stop) in enumerate(((0, 2200), (2200, 2800), (2800, 3000))):
        with index.writer() as writer:
            writer.add(names(stop - start, str(i)), photos[start:stop])
    with index.writer() as writer:
        writer.delete(names(100, "0"))
    before = [index.search(query, k=20, exact=True) for query in queries]
    assert len(list(tmp_path.glob("*.mcs"))) > 1
    index.compact()
    after = [index.search(query, k=20, exact=True) for query in queries]
    assert [hits.paths for hits in after] == [hits.paths for hits in before]
    assert np.allclose([h.scores for h in after], [h.scores for h in before], atol=1e-6)
    assert len(list(tmp_path.glob("*.mcs"))) == 1
    assert index.photos == 2900


def test_compacting_a_single_segment_drops_its_tombstones(tmp_path: Path) -> None:
    index = filled(tmp_path)
    with index.writer() as writer:
        writer.delete(names(1))
    (segment,) = read_index(tmp_path)
    assert (segment.photos, index.photos) == (50, 49)
    assert index.bytes_per_photo == sum(length for _, length in segment.spans.values()) / 49
    index.compact()
    assert [segment.photos for segment in read_index(tmp_path)] == [49]
    assert index.paths() == names(50)[1:]


@pytest.mark.long
def test_photos_added_one_by_one_stay_in_few_segments_and_keep_their_scores(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(300, 5)
    index = create(tmp_path)
    for path, photo in zip(names(300), photos, strict=True):
        with index.writer() as writer:
            writer.add([path], photo[None])
    assert len(list(tmp_path.glob("*.mcs"))) <= np.log2(300)
    for query in queries:
        hits = index.search(query, k=300)
        true = [float(photos[int(path[-10:-4])] @ query) for path in hits.paths]
        assert np.abs(hits.scores - true).max() < 3e-3


@pytest.mark.long
def test_three_photos_first_and_many_later_are_coded_around_the_many(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(8003, 30)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(3, "first"), -photos[:3])
    with index.writer() as writer:
        writer.add(names(8000), photos[3:])
    true = np.argsort(-(queries @ photos[3:].T), axis=1)[:, :10]
    found = [index.search(query).paths for query in queries]
    same = [
        len({int(path[-10:-4]) for path in f} & set(t.tolist())) / 10
        for f, t in zip(found, true, strict=True)
    ]
    assert np.mean(same) >= 0.98


def test_photos_saved_early_and_added_again_leave_the_segment_of_one_commit(tmp_path: Path) -> None:
    """So that a run may save what it has, at no cost to what is found."""
    rows = unit(np.random.default_rng(4).normal(size=(600, 64)).astype(np.float32))
    segments = []
    for number, commits in enumerate(([600], [100, 300, 600])):
        index = create(tmp_path / str(number))
        for photos in commits:
            with index.writer() as writer:
                writer.add(names(photos), rows[:photos])
        last = max((tmp_path / str(number)).glob("*.mcs"))
        segments.append(last.read_bytes())
    assert segments[0] == segments[1]


def test_another_student_is_refused_with_both_sides_named(tmp_path: Path) -> None:
    index = create(tmp_path)
    index.check_student(SHA, 64)
    with pytest.raises(PhotoIndexError) as other:
        index.check_student("cd" * 32, 64)
    for part in (SHA, "cd" * 32, "tiny"):
        assert part in str(other.value)
    assert other.value.remedy == Remedy.EMBED_AGAIN
    with pytest.raises(PhotoIndexError, match=r"64 dimensions.*and 512 dimensions"):
        index.check_student(SHA, 512)


def open_files(directory: Path) -> int:
    """Descriptors and maps that this process has of the files of a directory."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    held = [str(link.readlink()) for link in links]
    maps = Path("/proc/self/maps").read_text().splitlines()
    return sum(str(directory) in name for name in (*held, *maps))


def test_a_closed_index_holds_no_file_and_says_that_it_is_closed(tmp_path: Path) -> None:
    filled(tmp_path)
    gc.collect()
    assert open_files(tmp_path) == 0
    with PhotoIndex.open(tmp_path) as index:
        assert index.photos == 50
        assert open_files(tmp_path) > 0
    assert open_files(tmp_path) == 0
    index.close()  # twice is once
    uses: list[Callable[[], object]] = [
        lambda: index.photos,
        index.paths,
        index.compact,
        lambda: index.search(unit(np.ones(64))),
        lambda: index.exclusive().__enter__(),
    ]
    for use in uses:
        with pytest.raises(PhotoIndexError, match="was closed"):
            use()
    assert PhotoIndex.open(tmp_path).photos == 50


def test_a_photo_added_twice_in_one_writer_is_the_last_one(tmp_path: Path) -> None:
    """Retaken between two looks at its folder: embedding, stamp and time are of one state."""
    photos, _ = photos_and_queries(4, 1)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(["a", "b"], photos[:2], np.full((2, 2), 1, np.uint32), np.full(2, 1, np.int32))
    with index.writer() as writer:
        for number in (2, 3):
            stamp = np.full((1, 2), number, np.uint32)
            writer.move([("a", "a", (7, 7))])
            writer.set_times({"a": 7})
            writer.add(["a"], photos[[number]], stamp, np.full(1, number, np.int32))
    assert index.paths() == ["a", "b"]
    assert stamps_of(index) == {"a": (3, 3), "b": (1, 1)}
    assert index.dates() == {"a": 3, "b": 1}
    assert index.search(photos[3], k=1).scores[0] > 0.999
    with index.writer() as writer:
        writer.add(["a", "a"], photos[:2], np.array([[5, 5], [6, 6]], np.uint32))
    assert stamps_of(index)["a"] == (6, 6)
    assert index.embedding("a") @ photos[1] > 0.999


def test_a_deleted_photo_is_not_there(tmp_path: Path) -> None:
    photos, (query,) = photos_and_queries(60, 1)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(60), photos)
    gone = names(60)[5]
    with index.writer() as writer:
        assert writer.delete([gone]) == 1
    (segment,) = read_index(tmp_path)
    assert len(segment.entry["deleted"]) == 1  # it is still in the file
    assert index.membership().find([gone]) == [None]
    assert gone not in dict(index.membership().missing(""))
    assert index.embedding(gone) is None
    assert gone not in index.paths() and gone not in stamps_of(index) and gone not in index.dates()
    assert gone not in index.search(query, k=60).paths
    with index.writer() as writer:
        assert writer.delete([gone]) == writer.move([(gone, "elsewhere", (1, 1))]) == 0


def test_only_the_user_can_read_a_new_index(tmp_path):
    before = os.umask(0o022)
    try:
        index = PhotoIndex.create(tmp_path / "new", dim=8, student="s", student_sha256="0" * 64)
        with index.writer() as writer:
            writer.add(["/a.jpg"], np.eye(1, 8, dtype=np.float32))
    finally:
        os.umask(before)
    for path in (tmp_path / "new", *(tmp_path / "new").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
