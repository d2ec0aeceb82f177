"""Whatever happens to a writer, the last commit stays; a reader never sees half of one."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import PhotoIndexError
from tests.engine.index.child import start_python
from tests.support import disk_faults
from tests.support.index_embeddings import names, photos_and_queries, unit

pytestmark = pytest.mark.long


# A process that adds 2000 photos and dies before the `deadly`-th call of `function`.
KILLED = """
import sys
from pathlib import Path
from tests.support.disk_faults import KILL, fault
from tests.support.index_embeddings import names, photos_and_queries
from mcad_mobile.engine.index import PhotoIndex

directory, function, file, deadly = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
index = PhotoIndex.open(directory)
fault(function, deadly, KILL, file)
with index.writer() as changes:
    for part in range(4):
        changes.add(names(500, f"new{part}"), photos_and_queries(500, 1, seed=part)[0])
    changes.delete(names(10))
print("committed")
"""

SPOOL = "(deleted)"
# fsync 1 is the directory's on opening, 2 the segment's, 3 the manifest's, 4 and 5 the directory's
# before and after the rename.
BEFORE_THE_RENAME = [
    ("pwrite", SPOOL, 3),
    ("pwrite", ".mcs", 1),
    ("pwrite", ".mcs", 9),
    *(("fsync", "", number) for number in (1, 2, 3, 4)),
    ("rename", "", 1),
]
AFTER_THE_RENAME = [("fsync", "", 5), ("unlink", "", 1)]


def filled(directory: Path) -> PhotoIndex:
    index = PhotoIndex.create(directory, dim=64, student_sha256="ab" * 32, student="tiny")
    with index.writer() as writer:
        writer.add(names(300), photos_and_queries(300, 1)[0])
    return index


@pytest.mark.parametrize(("function", "file", "deadly"), BEFORE_THE_RENAME + AFTER_THE_RENAME)
def test_a_killed_writer_loses_nothing_that_was_committed(
    tmp_path: Path, function: str, file: str, deadly: int
) -> None:
    before = filled(tmp_path)
    killed = disk_faults.run(KILLED, tmp_path, function, file, deadly)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, ""), killed.stderr

    index = PhotoIndex.open(tmp_path)
    index.verify()
    committed = (function, file, deadly) in AFTER_THE_RENAME
    assert index.photos == (2290 if committed else 300)
    assert before.photos == 300
    query = photos_and_queries(300, 1)[0][200]
    assert before.search(query, k=1).paths == index.search(query, k=1).paths == [names(300)[200]]

    with index.writer() as writer:
        writer.add(["one more"], unit(np.ones((1, 64))))
    assert PhotoIndex.open(tmp_path).photos == (2291 if committed else 301)
    named = (tmp_path / "manifest.json").read_text()
    leftover = {file.name for file in tmp_path.iterdir()} - {"manifest.json", "lock"}
    assert all(name in named for name in leftover)


# Adds a photo to an index while a call fails, and prints the error.
REFUSED = """
import errno, sys
from pathlib import Path
import numpy as np
from tests.support.disk_faults import fault
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import PhotoIndexError

index = PhotoIndex.open(Path(sys.argv[1]))
fault(sys.argv[2], int(sys.argv[4]), errno.ENOSPC, sys.argv[3])
try:
    with index.writer() as writer:
        writer.add(["new"], np.eye(1, 64, dtype=np.float32))
except PhotoIndexError as error:
    print(error)
index.search(np.eye(64, dtype=np.float32)[0])
"""


@pytest.mark.parametrize(
    ("function", "file", "failing"),
    [
        *(("fsync", "", number) for number in (2, 3, 4, 5)),
        ("pwrite", SPOOL, 1),
        ("pwrite", ".mcs", 2),
    ],
)
def test_a_disk_that_refuses_leaves_an_index_that_works(
    tmp_path: Path, function: str, file: str, failing: int
) -> None:
    index = filled(tmp_path)
    done = disk_faults.run(REFUSED, tmp_path, function, file, failing)
    assert done.returncode == 0, done.stderr
    assert "could not be written" in done.stdout and "No space left" in done.stdout
    again = PhotoIndex.open(tmp_path)
    again.verify()
    # The fifth is the directory's, after the rename: the commit stands, though it may not be safe.
    stands = (function, failing) == ("fsync", 5)
    assert again.photos == (301 if stands else 300)
    # The full disk gets the room of the segment back.
    written = (function, failing) in [("fsync", 3), ("fsync", 4), ("fsync", 5)]
    assert len([*tmp_path.glob("*.mcs")]) == 1 + written
    with index.writer() as writer:
        writer.add(["newer"], unit(np.ones((1, 64))))
    assert "newer" in index.paths()
    index.verify()


# Makes an index and commits twice, and logs what it does.
LOGGED = """
import sys
from pathlib import Path
from tests.engine.index.test_crash import filled
from tests.support.disk_faults import log
from tests.support.index_embeddings import names

directory = Path(sys.argv[1])
log(sys.argv[2])
index = filled(directory)
log(sys.argv[3])
with index.writer() as writer:
    writer.delete(names(1))
"""


def test_every_name_is_flushed_before_what_relies_on_it(tmp_path: Path) -> None:
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    done = disk_faults.run(LOGGED, tmp_path / "new/index", *logs)
    assert done.returncode == 0, done.stderr
    first, second = [
        [
            "rename" if call == "rename" else Path(file).name
            for call, _, _, file in (line.split(" ", 3) for line in log.read_text().splitlines())
            if call in ("fsync", "rename")
        ]
        for log in logs
    ]
    commit = ["manifest.json.tmp", "index", "rename", "index"]
    begin = ["index"]
    assert first == ["new", tmp_path.name, *commit, *begin, "segment-00000002.mcs", *commit]
    assert second == [*begin, *commit]


def test_strays_of_a_crashed_writer_are_removed_and_other_files_left(tmp_path: Path) -> None:
    index = filled(tmp_path)
    strays = [tmp_path / "segment-00000099.mcs", tmp_path / "manifest.json.tmp"]
    unrelated = [tmp_path / "holiday.jpg", tmp_path / "segment-notes.txt"]
    for file in strays + unrelated:
        file.write_bytes(b"half written")
    assert PhotoIndex.open(tmp_path).photos == 300
    with index.writer() as writer:
        writer.delete(["photo/000001.jpg"])
    assert not any(file.exists() for file in strays)
    assert all(file.exists() for file in unrelated)


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    index = filled(tmp_path)
    other = PhotoIndex.open(tmp_path)
    with index.writer() as writer:
        writer.add(["new"], unit(np.ones((1, 64))))
        with pytest.raises(PhotoIndexError, match="Another writer"), other.writer():
            pass
        with pytest.raises(PhotoIndexError, match="Another writer"):
            other.compact()
    with other.writer() as writer:
        writer.delete(["new"])
    assert other.photos == 300


def test_a_lock_that_is_held_over_several_commits_is_lent_to_one_writer_at_a_time(
    tmp_path: Path,
) -> None:
    index = filled(tmp_path)
    other = PhotoIndex.open(tmp_path)
    with other.writer() as writer:
        writer.delete(names(1))
    with index.exclusive():
        assert index.photos == 299
        for _ in range(2):
            with index.writer() as writer:
                writer.delete(index.paths()[:1])
                with pytest.raises(PhotoIndexError, match="Another writer"), index.writer():
                    pass
            with pytest.raises(PhotoIndexError, match="Another writer"), other.writer():
                pass
        with index.exclusive(), index.writer() as writer:
            writer.delete(index.paths()[:1])
        index.compact()
    with other.writer() as writer:
        assert writer.delete(other.paths()) == 296
    with pytest.raises(RuntimeError), index.exclusive():
        raise RuntimeError
    with other.exclusive():
        assert other.photos == 0


def test_a_lock_is_lent_to_no_other_thread(tmp_path: Path) -> None:
    index = filled(tmp_path)
    with index.exclusive(), ThreadPoolExecutor(1) as pool:
        with pytest.raises(PhotoIndexError, match="Another writer"):
            pool.submit(index.compact).result()
        index.compact()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(index.compact).result()


def test_a_writer_in_another_process_is_refused_too(tmp_path: Path) -> None:
    index = filled(tmp_path)
    code = (
        "import sys; from pathlib import Path; from mcad_mobile.engine.index import PhotoIndex\n"
        "PhotoIndex.open(Path(sys.argv[1])).compact()"
    )
    with index.writer():
        second = start_python(code, str(tmp_path))
        _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "Another writer is at work" in err


def test_a_writer_starts_from_the_last_commit_whoever_made_it(tmp_path: Path) -> None:
    stale = filled(tmp_path)
    other = PhotoIndex.open(tmp_path)
    with other.writer() as writer:
        writer.add(["theirs"], unit(np.ones((1, 64))))
    assert stale.photos == 300
    with stale.writer() as writer:
        writer.add(["ours"], unit(np.eye(64)[:1]))
    assert {"theirs", "ours"} <= set(stale.paths())


def test_an_open_reader_keeps_its_commit_while_others_compact(tmp_path: Path) -> None:
    reader = filled(tmp_path)
    photos = photos_and_queries(300, 1)[0]
    writer_side = PhotoIndex.open(tmp_path)
    with writer_side.writer() as writer:
        writer.delete(names(200))
    writer_side.compact()
    assert reader.photos == 300
    assert reader.search(photos[5], k=1).paths == ["photo/000005.jpg"]
    assert PhotoIndex.open(tmp_path).search(photos[5], k=1).paths != ["photo/000005.jpg"]


# Every commit of this process replaces all photos by 50 of the next round.
ROUNDS = """
import sys
from pathlib import Path
from tests.support.index_embeddings import names, photos_and_queries
from mcad_mobile.engine.index import PhotoIndex

index = PhotoIndex.open(Path(sys.argv[1]))
photos = photos_and_queries(50, 1)[0]
for round in range(60):
    with index.writer() as writer:
        writer.delete(index.paths())
        writer.add(names(50, f"round{round}"), photos)
"""


def test_a_reader_sees_whole_commits_only_while_a_writer_replaces_everything(
    tmp_path: Path,
) -> None:
    index = PhotoIndex.create(tmp_path, dim=64, student_sha256="ab" * 32, student="tiny")
    photos = photos_and_queries(50, 1)[0]
    with index.writer() as writer:
        writer.add(names(50, "round-1"), photos)
    writing = start_python(ROUNDS, str(tmp_path))
    seen = set()
    while writing.poll() is None:
        index = PhotoIndex.open(tmp_path)
        rounds = {path.split("/")[0] for path in index.paths()}
        assert len(rounds) == 1
        assert index.photos == 50
        hits = index.search(photos[7], k=50)
        assert {path.split("/")[0] for path in hits.paths} == rounds
        seen |= rounds
    _, err = writing.communicate(timeout=60)
    assert writing.returncode == 0, err
    assert len(seen) > 1
    assert PhotoIndex.open(tmp_path).paths()[0].startswith("round59/")
