"""The text of an index's photos is read once, and what was read survives a kill."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.decode import read_photo
from mcad_mobile.engine.reading.read_index import ReadResult, read_index
from mcad_mobile.errors import PhotoIndexError
from tests.engine.index.child import start_python
from tests.engine.reading.fake_reader import line, photo, reader
from tests.support.index_embeddings import create, photos_and_queries


def indexed(folder: Path, photos: Sequence[Image.Image]) -> tuple[PhotoIndex, list[str]]:
    """Return an index of photos, saved without loss, and their paths."""
    paths = [str(folder / f"{number:02}.png") for number in range(len(photos))]
    for image, path in zip(photos, paths, strict=True):
        image.save(path)
    index = create(folder / "index", 16)
    add(index, paths)
    return index, paths


def add(index: PhotoIndex, paths: list[str]) -> None:
    stamps = np.array([read_photo(path).stamp() for path in paths], np.uint32)
    with index.writer() as writer:
        writer.add(paths, photos_and_queries(len(paths), 1, 16)[0], stamps)


def read(index: PhotoIndex, **options: object) -> ReadResult:
    return read_index(reader()[0], lambda _: ("Lisbon",), index, **options)


def found(index: PhotoIndex, query: str) -> list[str]:
    return [hit.path for hit in index.search_words(query, 99) or []]


WITH_TEXT, PLAIN = photo(600, 400, (100, 100, line("abcdefg"))), photo(600, 400)


def test_photos_are_found_by_the_text_that_was_read_and_are_read_once(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT, PLAIN])
    steps: list[tuple[object, ...]] = []
    result = read(index, progress=lambda *step: steps.append(step), threads=2)
    assert result == ReadResult(photos=2, with_text=1)
    assert steps == [("text", 0, 2), ("text", 1, 2), ("text", 2, 2)]
    assert found(index, "abcdefg") == paths[:1]
    assert found(index, "lisbon") == paths and found(index, "01") == paths[1:]
    assert read(index).photos == 0


def test_a_photo_that_cannot_be_read_is_tried_again_when_its_file_changes(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT, PLAIN])
    Path(paths[0]).write_bytes(b"no photo")
    add(index, paths)
    result = read(index)
    assert [skip.path for skip in result.skipped] == paths[:1] and result.photos == 1
    assert read(index) == ReadResult()
    WITH_TEXT.save(paths[0])
    os.utime(paths[0], (1, 1))
    assert read(index) == ReadResult()  # what the index holds is of another file
    add(index, paths)
    assert read(index).with_text == 1
    assert found(index, "abcdefg") == paths[:1]


def test_photos_that_are_gone_stay_unread(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT, PLAIN])
    away = shutil.move(paths[0], tmp_path / "away")
    assert read(index).photos == 1
    assert [path for path, _ in index.unread()] == paths[:1]
    shutil.move(away, paths[0])
    assert read(index).with_text == 1


def test_a_photo_that_has_changed_is_embedded_before_it_is_read(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT, PLAIN])
    os.utime(paths[0], (1, 1))
    assert read(index) == ReadResult(photos=1)
    add(index, paths)
    assert read(index).with_text == 1


def test_an_interrupt_keeps_what_was_read(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT] * 4)

    def stop_at_two(step: str, done: int = 0, total: int = 0, /) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(index, progress=stop_at_two)
    assert found(index, "abcdefg") == paths[:2]
    assert read(index).photos == 2


def test_after_an_early_commit_the_next_one_comes_late(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT] * 4)
    unread: list[int] = []

    def look(*_: object) -> None:
        unread.append(len([*PhotoIndex.open(tmp_path / "index").unread()]))

    read(index, progress=look, waits=(0.0, 1000.0))
    assert unread == [4, 4, 3, 3, 3]
    assert len([*index.unread()]) == 0
    with_words = index.generation
    add(index, paths[:1])
    read(index, waits=(0.0,))
    assert index.generation == with_words + 2  # what was committed is not committed again


def test_two_processes_do_not_read_at_once(tmp_path: Path) -> None:
    index, _ = indexed(tmp_path, [WITH_TEXT])
    with PhotoIndex.open(tmp_path / "index").exclusive(), pytest.raises(PhotoIndexError):
        read(index)


READING = """
import sys
from pathlib import Path
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.reading.read_index import read_index
from tests.engine.reading.fake_reader import reader
show = lambda step, done, total: print(done, flush=True)
index = PhotoIndex.open(Path(sys.argv[1]))
read_index(reader()[0], lambda _: (), index, show, waits=(0.0,))
"""


def test_a_killed_run_is_continued(tmp_path: Path) -> None:
    index, paths = indexed(tmp_path, [WITH_TEXT] * 40)
    before = 40
    for number in (3, 5):
        process = start_python(READING, tmp_path / "index")
        assert process.stdout
        while int(process.stdout.readline()) < number:
            pass
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        index = PhotoIndex.open(tmp_path / "index")
        index.verify()
        left = len([*index.unread()])
        assert left < before
        before = left
    assert before > 0
    assert read(index).photos == before
    assert found(index, "abcdefg") == paths
