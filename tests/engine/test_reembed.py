"""The photos of an index, by another student: beside it, and in its place in the end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from mcad_mobile.base.files import aside_path
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex, manifest
from mcad_mobile.engine.reembed import reembed_index
from mcad_mobile.engine.sync import sync_folder
from mcad_mobile.errors import DiskError, PhotoError, PhotoIndexError
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """An index of another student, whose embeddings are as wide."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in packaged_photos()[:6]:
        shutil.copy(path, folder)
    engine = SearchEngine(make_tiny_bundle(tmp_path / "bundle"))
    index = PhotoIndex.create(
        tmp_path / "old.index", dim=engine.bundle.dim, student="old", student_sha256="2" * 64
    )
    sync_folder(engine, index, folder)
    return tmp_path / "old.index"


@pytest.fixture
def new(old: Path) -> SearchEngine:
    from mcad_mobile.engine.bundle import Bundle

    return SearchEngine(Bundle.load(old.parent / "bundle"))


def test_the_photos_of_an_index_are_embedded_by_another_student(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    gone = tmp_path / "photos" / packaged_photos()[2].name
    gone.unlink()
    steps: list[tuple[str, int, int]] = []
    index, result = reembed_index(
        new, old, tmp_path / "new.index", lambda *step: steps.append(step), batch_photos=4
    )
    assert (result.added, result.gone) == (5, [str(gone)])
    assert {(step, total) for step, _, total in steps} == {("photos", 6)}
    assert [done for _, done, _ in steps] == [0, 1, 2, 3, 4, 4, 5, 6, 6]  # a gone one at the end
    assert index.student_sha256 == new.bundle.student.image_sha256
    assert index.paths() == [path for path in PhotoIndex.open(old).paths() if path != str(gone)]
    assert PhotoIndex.open(old).photos == 6
    assert not (tmp_path / "new.index.partial").exists()


def test_it_takes_the_place_of_the_old_one_in_the_end(old: Path, new: SearchEngine) -> None:
    seen = []

    def look(step: str, done: int, total: int) -> None:
        seen.append((PhotoIndex.open(old).student, done, total))

    index, _ = reembed_index(new, old, old, look)
    assert {student for student, _, _ in seen} == {"old"}
    assert seen[-1] == ("old", 6, 6)
    assert PhotoIndex.open(old).student_sha256 == index.student_sha256 != "2" * 64
    assert sorted(path.name for path in old.parent.iterdir() if "index" in path.name) == [old.name]


@pytest.mark.parametrize("place", ["old.index", "pictures"])
def test_a_folder_that_holds_something_else_is_not_replaced(
    old: Path, new: SearchEngine, place: str
) -> None:
    folder = old.with_name(place)
    folder.mkdir(exist_ok=True)
    (folder / "holiday.jpg").touch()
    with pytest.raises(PhotoIndexError, match=r"holiday\.jpg is no part of an index"):
        reembed_index(new, old, folder)
    assert (folder / "holiday.jpg").exists()


def test_an_index_that_a_writer_is_at_work_on_is_not_replaced(old: Path, new: SearchEngine) -> None:
    at_work = pytest.raises(PhotoIndexError, match="Another writer is at work")
    with PhotoIndex.open(old).exclusive(), at_work:
        reembed_index(new, old, old)
    assert PhotoIndex.open(old).student == "old"


@pytest.mark.parametrize("place", ["old.index", "new.index"])
def test_no_other_writer_is_at_work_on_an_index_that_will_be_replaced(
    old: Path, new: SearchEngine, place: str
) -> None:
    refused = []

    def write(step: str, done: int, total: int) -> None:
        with pytest.raises(PhotoIndexError, match="Another writer is at work"):
            create_index(new.bundle, old.with_name(place))
        refused.append(done)

    reembed_index(new, old, old.with_name(place), write)
    assert refused[-1] == 6


def test_embeddings_of_the_old_student_are_not_added_to_the_index_that_took_its_place(
    old: Path, new: SearchEngine
) -> None:
    before = PhotoIndex.open(old)
    reembed_index(new, old, old)
    for opened in (before.exclusive, before.writer):
        with pytest.raises(PhotoIndexError, match="was built by student"), opened():
            pass


def test_a_writer_that_opened_the_lock_of_the_old_index_is_refused_by_that_of_the_new_one(
    old: Path, new: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as held:
        lock = manifest.lock

        def replaced_before(file: IO[bytes], *, wait: bool) -> bool:
            monkeypatch.undo()
            index, _ = reembed_index(new, old, old)
            held.enter_context(index.exclusive())
            return lock(file, wait=wait)

        monkeypatch.setattr(manifest, "lock", replaced_before)
        with pytest.raises(PhotoIndexError, match="Another writer is at work"):
            PhotoIndex.rebuild(old)


def test_an_index_behind_a_link_is_replaced_and_the_link_stays(
    old: Path, new: SearchEngine
) -> None:
    link = old.with_name("link.index")
    old.rename(old.parent / "photos" / "far.index")
    link.symlink_to("photos/far.index")
    beside: set[str] = set()

    def look(step: str, done: int, total: int) -> None:  # a rename does not cross disks
        beside.update(path.name for path in (old.parent / "photos").glob("*.partial"))

    reembed_index(new, link, link, look)
    assert beside == {"far.index.partial"}
    assert link.is_symlink()
    assert PhotoIndex.open(link).student_sha256 == new.bundle.student.image_sha256
    folders = [path.name for path in old.parent.rglob("*index*")]
    assert sorted(folders) == ["far.index", "link.index"]


def test_the_current_folder_is_not_replaced(
    old: Path, new: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(old)
    with pytest.raises(DiskError, match="it is the current folder"):
        reembed_index(new, old, Path())
    assert PhotoIndex.open(old).student == "old"


CHILD = """
import sys
from pathlib import Path
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.reembed import reembed_index
bundle, old = map(Path, sys.argv[1:])

def tell(step, done, total):
    print(done, flush=True)
    if done >= 3:
        sys.stdin.read()  # until it is killed

reembed_index(SearchEngine(Bundle.load(bundle)), old, old, tell, batch_photos=1)
"""


def test_a_killed_run_goes_on_where_it_was(old: Path, new: SearchEngine) -> None:
    command = [sys.executable, "-c", CHILD, str(old.parent / "bundle"), str(old)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 3:
                child.send_signal(signal.SIGKILL)
                break
    assert PhotoIndex.open(old).student == "old"
    held = PhotoIndex.open(old.with_name("old.index.partial")).photos
    assert held >= 2
    _, result = reembed_index(new, old, old)
    assert (result.added, result.unchanged) == (6 - held, held)
    assert PhotoIndex.open(old).photos == 6


def test_an_index_of_the_new_student_is_added_to(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    held = create_index(new.bundle, tmp_path / "new.index")
    new.index_photos(held, packaged_photos()[7:8])
    index, result = reembed_index(new, old, tmp_path / "new.index")
    assert (result.added, index.photos) == (6, 7)
    with pytest.raises(PhotoIndexError, match="with this bundle's student already"):
        reembed_index(new, tmp_path / "new.index", tmp_path / "new.index")


def test_a_second_run_finds_nothing_to_do_although_a_photo_is_gone(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    gone = tmp_path / "photos" / packaged_photos()[2].name
    gone.unlink()
    reembed_index(new, old, tmp_path / "new.index")
    _, result = reembed_index(new, old, tmp_path / "new.index")
    assert (result.added, result.unchanged, result.gone) == (0, 5, [str(gone)])


def interrupted(engine: SearchEngine, old: Path, directory: Path) -> Path:
    """Leave a run that was stopped after some photos; return where it keeps them."""

    def stop(step: str, done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reembed_index(engine, old, directory, stop, batch_photos=1)
    partial = directory.with_name(f"{directory.name}.partial")
    assert PhotoIndex.open(partial).photos >= 2
    return partial


@pytest.mark.parametrize("place", ["old.index", "new.index"])
def test_an_index_whose_photos_are_all_gone_is_not_replaced(
    old: Path, new: SearchEngine, tmp_path: Path, place: str
) -> None:
    """Like those of a drive that is not mounted."""
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    with pytest.raises(PhotoError, match=r"6 files are gone, such as .*photos[\s\S]*mount it"):
        reembed_index(new, old, tmp_path / place)
    assert PhotoIndex.open(old).photos == 6
    assert {path.name for path in tmp_path.glob("*.index*")} == {"old.index"}
    (tmp_path / "elsewhere").rename(tmp_path / "photos")
    assert reembed_index(new, old, tmp_path / place)[1].added == 6


def test_an_index_of_photos_at_addresses_is_not_replaced(old: Path, new: SearchEngine) -> None:
    with PhotoIndex.open(old) as index, index.writer() as writer:
        writer.delete(index.paths())
        writer.add(["s3://bucket/a.jpg"], np.eye(1, index.dim, dtype=np.float32))
    with pytest.raises(PhotoError, match="No photo at s3://bucket/a"):
        reembed_index(new, old, old)
    assert PhotoIndex.open(old).paths() == ["s3://bucket/a.jpg"]


def test_a_run_takes_over_nothing_from_an_interrupted_one_of_another_index(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    partial = interrupted(new, old, tmp_path / "new.index")
    other = PhotoIndex.create(
        tmp_path / "other.index", dim=new.bundle.dim, student="old", student_sha256="2" * 64
    )
    sync_folder(new, other, shutil.copytree(tmp_path / "photos", tmp_path / "others"))
    index, _ = reembed_index(new, tmp_path / "other.index", tmp_path / "new.index")
    assert (index.paths(), partial.exists()) == (other.paths(), False)


def test_a_run_begins_again_after_an_interrupted_one_of_another_student(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    partial = old.with_name("old.index.partial")
    PhotoIndex.create(partial, dim=new.bundle.dim, student="third", student_sha256="3" * 64)
    index, result = reembed_index(new, old, old)
    assert (result.added, index.photos, partial.exists()) == (6, 6, False)


def test_what_another_run_is_at_work_on_is_not_deleted(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    partial = tmp_path / "new.index.partial"
    other = PhotoIndex.create(partial, dim=new.bundle.dim, student="third", student_sha256="3" * 64)
    with other.exclusive(), pytest.raises(PhotoIndexError, match="Another writer is at work"):
        reembed_index(new, old, tmp_path / "new.index")
    assert PhotoIndex.open(partial).student == "third"


def test_photos_are_counted_by_what_became_of_them(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    """In an index that has some of them, over several batches."""
    same, changed, broken, *_ = sorted((tmp_path / "photos").iterdir())
    new.index_photos(create_index(new.bundle, tmp_path / "new.index"), [same, changed])
    shutil.copy(packaged_photos()[7], changed)
    broken.write_bytes(b"no photo")
    _, result = reembed_index(new, old, tmp_path / "new.index", batch_photos=2)
    assert (result.added, result.changed, result.unchanged) == (3, 1, 1)
    assert [skipped.path for skipped in result.skipped] == [str(broken)]
    assert result.gone == []


def test_an_index_that_was_set_aside_when_its_process_died_is_put_back(
    old: Path, new: SearchEngine
) -> None:
    old.rename(aside_path(old))
    _, result = reembed_index(new, old, old)
    assert (result.added, PhotoIndex.open(old).photos) == (6, 6)


def test_an_index_of_a_third_student_is_not_overwritten(
    old: Path, new: SearchEngine, tmp_path: Path
) -> None:
    PhotoIndex.create(tmp_path / "third", dim=new.bundle.dim, student="x", student_sha256="1" * 64)
    with pytest.raises(PhotoIndexError, match="was built by student x"):
        reembed_index(new, old, tmp_path / "third")
    assert PhotoIndex.open(tmp_path / "third").student == "x"
