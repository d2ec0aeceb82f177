"""Photos that moved keep their embeddings, and what only looks like one that moved does not."""

from __future__ import annotations

import os
import shutil
import zlib
from pathlib import Path

from mcad_mobile.engine import sync
from mcad_mobile.engine.photos.folder import stat_stamp
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import PhotoError
from tests.engine.test_sync import counts, files, paint
from tests.support.index_embeddings import stamps_of


def test_a_moved_photo_keeps_its_embedding_and_a_copy_is_embedded(engine, index, folder, embedded):
    sync_folder(engine, index, folder)
    first, second, *_ = files(folder)
    before = index.search(engine.embed_photo(Path(first)), k=1)
    (folder / "2024").mkdir()
    moved = shutil.move(first, folder / "2024/renamed.jpg")
    copied = shutil.copy2(second, folder / "copy.png")
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (1, 0, 1, 0, 5)
    assert embedded == [str(copied)]
    hits = index.search(engine.embed_photo(Path(moved)), k=1)
    assert hits.paths == [str(moved)]
    assert hits.scores.tolist() == before.scores.tolist()
    assert index.paths() == files(folder)
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 0, 0, 7)
    assert stamps_of(index)[str(moved)] == (
        stat_stamp(moved.stat()),
        zlib.crc32(moved.read_bytes()),
    )


def test_a_photo_that_moved_counts_as_done_in_the_progress(engine, index, folder):
    sync_folder(engine, index, folder)
    first = Path(files(folder)[0])
    first.rename(first.with_stem("renamed"))
    steps = []
    assert sync_folder(engine, index, folder, lambda *step: steps.append(step)).moved == 1
    assert steps[-1] == ("photos", 6, 6)


def test_a_moved_photo_that_cannot_be_read_hides_no_other_move(
    engine, index, folder, embedded, monkeypatch
):
    sync_folder(engine, index, folder)
    for path in map(Path, files(folder)):
        path.rename(path.with_stem(f"renamed {path.stem}"))
    asked, read = [], sync.read_photo

    def refuse_the_first(path):
        asked.append(path)
        if path == asked[0]:
            raise PhotoError(f"{path} cannot be read.")
        return read(path)

    monkeypatch.setattr(sync, "read_photo", refuse_the_first)
    embedded.clear()
    result = sync_folder(engine, index, folder)
    assert (result.moved, embedded) == (5, [])
    assert [skip.path for skip in result.skipped] == [asked[0]]


def test_a_photo_moved_over_another_changes_it_and_hides_no_other_move(
    engine, index, folder, embedded
):
    sync_folder(engine, index, folder)
    first, second, third, *_ = files(folder)
    shutil.move(first, second)
    (folder / "2024").mkdir()
    shutil.move(third, folder / "2024/renamed.jpg")
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (0, 1, 1, 1, 3)
    assert embedded == [second]
    assert index.paths() == files(folder)


def test_of_two_new_copies_of_a_photo_that_is_gone_one_has_moved(engine, index, folder, embedded):
    sync_folder(engine, index, folder)
    first = Path(files(folder)[0])
    for name in ("copy a", "copy b"):
        shutil.copy2(first, first.with_stem(name))
    first.unlink()
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (1, 0, 1, 0, 5)
    assert len(embedded) == 1
    assert index.paths() == files(folder)


def test_a_photo_that_moved_within_its_folder_is_not_taken_for_one_of_another(
    engine, index, folder, tmp_path
):
    """Both are gone, and the other folder may come back."""
    other = tmp_path / "other"
    other.mkdir()
    first = Path(files(folder)[0])
    elsewhere = shutil.copy2(first, other / first.name)
    paint(other / "b.png", "blue")
    sync_folder(engine, index, folder)
    sync_folder(engine, index, other)
    elsewhere.unlink()
    first.rename(first.with_stem("renamed"))
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 1, 0, 5)
    assert str(elsewhere) in index.paths()


def test_the_photos_of_a_renamed_folder_are_known_again(engine, index, folder, embedded, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    paint(other / "a.png", "red")
    sync_folder(engine, index, folder)
    sync_folder(engine, index, other)
    before = {Path(path).name: index.embedding(path).tolist() for path in files(folder)}
    renamed = folder.rename(tmp_path / "pictures")
    (renamed / "beach").rename(renamed / "sea")
    paint(renamed / "new.png", "blue")
    embedded.clear()
    assert counts(sync_folder(engine, index, renamed)) == (1, 0, 6, 0, 0)
    assert embedded == [str(renamed / "new.png")]
    assert index.paths() == sorted([*files(other), *files(renamed)])
    after = {Path(path).name: index.embedding(path).tolist() for path in files(renamed)}
    assert {name: after[name] for name in before} == before


def test_every_copy_in_a_renamed_folder_is_known_again(engine, index, folder, embedded):
    first = next((folder / "beach").iterdir())
    for name in ("copy a", "copy b"):
        shutil.copy2(first, first.with_stem(name))
    sync_folder(engine, index, folder)
    (folder / "beach").rename(folder / "sea")
    embedded.clear()
    result = sync_folder(engine, index, folder)
    assert (result.moved, result.kept, embedded) == (5, 0, [])
    assert index.paths() == files(folder)


def test_the_photos_of_a_renamed_subfolder_are_known_again(engine, index, folder, embedded):
    """Some of them: the others stay, since their folder may come back."""
    sync_folder(engine, index, folder)
    (folder / "beach").rename(folder / "sea")
    lost, *_ = (folder / "sea").iterdir()
    lost.unlink()
    embedded.clear()
    result = sync_folder(engine, index, folder)
    assert (counts(result), result.kept, embedded) == ((0, 0, 2, 0, 3), 1, [])
    assert index.paths() == sorted([*files(folder), str(folder / "beach" / lost.name)])


def test_a_photo_that_moved_is_not_taken_for_one_of_a_folder_that_is_gone(engine, index, folder):
    first = Path(files(folder)[-1])
    assert first.parent == folder
    (folder / "drive").mkdir()
    absent = shutil.copy2(first, folder / "drive" / first.name)
    sync_folder(engine, index, folder)
    shutil.rmtree(folder / "drive")
    first.rename(first.with_stem("renamed"))
    assert counts(sync_folder(engine, index, folder)) == (0, 0, 1, 0, 5)
    assert index.paths() == sorted([*files(folder), str(absent)])


def test_a_copied_folder_takes_nothing_from_the_one_it_was_copied_from(
    engine, index, folder, tmp_path
):
    sync_folder(engine, index, folder)
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert counts(sync_folder(engine, index, copied)) == (6, 0, 0, 0, 0)
    assert index.paths() == sorted([*files(folder), *files(copied)])


def test_another_photo_of_the_same_size_and_time_is_not_taken_for_one_that_moved(
    engine, index, folder, embedded
):
    for name, colour in (("red.png", "red"), ("blue.png", "blue")):
        paint(folder / name, colour)
    blue = (folder / "blue.png").read_bytes()
    (folder / "blue.png").unlink()
    sync_folder(engine, index, folder)
    red = (folder / "red.png").stat()
    size = max(red.st_size, len(blue))
    (folder / "red.png").write_bytes((folder / "red.png").read_bytes().ljust(size, b"\0"))
    os.utime(folder / "red.png", ns=(red.st_atime_ns, red.st_mtime_ns))
    sync_folder(engine, index, folder)
    (folder / "red.png").unlink()
    (folder / "blue.png").write_bytes(blue.ljust(size, b"\0"))
    os.utime(folder / "blue.png", ns=(red.st_atime_ns, red.st_mtime_ns))
    embedded.clear()
    assert counts(sync_folder(engine, index, folder)) == (1, 0, 0, 1, 6)
    assert embedded == [str(folder / "blue.png")]
    assert index.search(engine.embed_photo(folder / "blue.png"), k=1).scores[0] > 0.999
