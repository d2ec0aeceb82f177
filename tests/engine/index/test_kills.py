"""kill -9 at any moment, a full disk, flipped bits: no photo of a finished commit is lost."""

from __future__ import annotations

import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice, pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from mcad_mobile.engine.index.manifest import read_manifest
from mcad_mobile.errors import PhotoIndexError
from tests.engine.index.child import start_python
from tests.engine.index.index_model import DIM, Model, applied, assert_equal, holds, random_change
from tests.support.index_embeddings import create, names, photos_and_queries
from tests.support.index_oracle import PARTS, read_index

pytestmark = pytest.mark.long


# Commits change after change, and says so.
CHANGES = """
import sys
from pathlib import Path
from tests.engine.index.index_model import apply, random_change
from mcad_mobile.engine.index import PhotoIndex

index = PhotoIndex.open(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    print(number, flush=True)
    apply(index, random_change(number))
"""


def kill_at_random(directory: Path, first: int, random: np.random.Generator) -> int:
    """Let a process commit changes from `first` on, kill it, return the last that it began."""
    process = start_python(CHANGES, directory, first)
    assert process.stdout
    began = [process.stdout.readline()]  # the first change is under way
    try:
        process.wait(timeout=float(random.exponential(0.05)))
    except subprocess.TimeoutExpired:
        process.kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    return int((began + out.splitlines())[-1])


def survive(directory: Path, kills: int, seed: int) -> set[str]:
    """Kill a writer again and again; return the kinds of change that were killed half-way."""
    random = np.random.default_rng(seed)
    PhotoIndex.create(directory, dim=DIM, student_sha256="ab" * 32, student="tiny")
    model: Model = {}
    following, killed = seed * 10_000, set()
    for _ in range(kills):
        last = kill_at_random(directory, following, random)
        for number in range(following, last):
            model = applied(model, random_change(number))
        index = PhotoIndex.open(directory)
        change = random_change(last)
        after = applied(model, change)
        # The change that was under way is there as a whole, or not at all.
        differing = [path for path in {*model, *after} if model.get(path) != after.get(path)]
        there = {holds(index, path, after.get(path)) for path in differing}
        assert len(there) <= 1
        if there == {True}:
            model = after
        else:
            killed.add(change.kind)
        assert_equal(index, model)
        following = last + 1
    return killed


def test_a_writer_that_is_killed_twenty_times_loses_no_photo(tmp_path: Path) -> None:
    survive(tmp_path / "index", kills=20, seed=1)


@pytest.mark.slow
def test_a_writer_that_is_killed_two_hundred_times_loses_no_photo(tmp_path: Path) -> None:
    assert survive(tmp_path / "index", kills=200, seed=2) == {
        "add",
        "delete",
        "move",
        "rotate",
        "compact",
    }


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize(("photos", "limit"), [(3000, 300_000), (40, 20_000), (0, 200)])
def test_a_full_disk_is_a_clear_error_and_keeps_the_last_commit(
    tmp_path: Path, photos: int, limit: int
) -> None:
    """The spool, the segment or the manifest does not fit: a limit on the size of files."""
    index = PhotoIndex.create(tmp_path, dim=64, student_sha256="ab" * 32, student="tiny")
    embeddings = photos_and_queries(3000, 1)[0]
    with index.writer() as writer:
        writer.add(names(300), embeddings[:300])
    with (
        limited(resource.RLIMIT_FSIZE, limit),
        pytest.raises(PhotoIndexError, match=r"could not be written(.|\n)*Check free space"),
        index.writer() as writer,
    ):
        writer.add(names(photos, "new"), embeddings[:photos])
        writer.delete(names(1))
    again = PhotoIndex.open(tmp_path)
    again.verify()
    assert again.paths() == names(300)
    with index.writer() as writer:
        writer.add(["later.jpg"], embeddings[:1])
    assert PhotoIndex.open(tmp_path).photos == 301
    assert len([*tmp_path.iterdir()]) == 2 + len(read_manifest(tmp_path).segments)


def test_an_index_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for directory in (tmp_path / "file", tmp_path / "file/index", Path("/proc/index")):
        with pytest.raises(PhotoIndexError, match="could not be written"):
            PhotoIndex.create(directory, dim=64, student_sha256="ab" * 32, student="tiny")
    with (
        limited(resource.RLIMIT_FSIZE, 20),
        pytest.raises(PhotoIndexError, match=r"could not be written(.|\n)*Check free space"),
    ):
        PhotoIndex.create(tmp_path / "index", dim=64, student_sha256="ab" * 32, student="tiny")
    PhotoIndex.create(tmp_path / "index", dim=64, student_sha256="ab" * 32, student="tiny")


def test_too_many_open_files_are_a_clear_error_wherever_they_are_noticed(tmp_path: Path) -> None:
    """Each round may open one more file than the round before."""
    index = PhotoIndex.create(tmp_path, dim=64, student_sha256="ab" * 32, student="tiny")
    embeddings = photos_and_queries(1, 1)[0]
    with index.writer() as writer:
        writer.add(["first.jpg"], embeddings)
    refused = 0
    for spare in range(20):
        taken = {int(entry.name) for entry in Path("/dev/fd").iterdir()}
        free = (number for number in count() if number not in taken)
        try:
            with limited(resource.RLIMIT_NOFILE, next(islice(free, spare, None))):
                PhotoIndex.open(tmp_path)
                with index.writer() as writer:
                    writer.add(["second.jpg"], embeddings)
            break
        except PhotoIndexError as error:
            assert "Too many open files" in str(error)
            assert "limit of open files" in str(error)
            refused += 1
    assert 2 < refused < 19
    assert index.paths() == PhotoIndex.open(tmp_path).paths() == ["first.jpg", "second.jpg"]


@pytest.mark.parametrize("cells", [False, True], ids=["small", "cells"])
def test_every_flipped_bit_of_a_segment_is_found(tmp_path: Path, cells: bool) -> None:
    """On opening if it is in what every search reads: the header, axis, bit weights, centroids and
    starts of cells; else when the index is verified."""
    dim, photos = (64, 256) if cells else (8, 20)
    limits = TuningLimits(cells_from=256, cells_gain=0.0, photos_per_cell=16) if cells else None
    index = create(tmp_path, dim, limits)
    with index.writer() as writer:
        writer.add(names(photos), photos_and_queries(photos, 1, dim=dim)[0])
    (segment,) = read_index(tmp_path)
    assert len(segment.centroids) == 16 * cells
    good, chance = segment.raw, np.random.default_rng(0)

    def spread(part: str, most: int) -> np.ndarray:
        offset, length = segment.spans[part]
        return offset + chance.permutation(length)[:most]

    read_first = ["axis", "bit_weights", "centroids", "starts"]
    header = [i for i in range(4096) if good[i] or i < 304 or i >= 4080]
    full = [*header, *np.concatenate([spread(part, 260) for part in read_first]).tolist()]
    opened = {(i, bit) for i in full for bit in range(8)}
    opened |= {(i, i % 8) for i in range(304, 4080, 7)}
    rest = np.concatenate([spread(part, 400) for part in PARTS if part not in read_first])
    verified = {(i, int(chance.integers(8))) for i in rest.tolist()}
    ends = sorted((offset + length, offset) for offset, length in segment.spans.values())
    verified |= {
        (end + at, at % 8)
        for (end, _), (_, following) in pairwise(ends)
        for at in range(0, following - end, 301)
    }
    unnoticed = []
    with segment.file.open("r+b") as file:
        for offset, bit in sorted(opened | verified):
            file.seek(offset)
            file.write(bytes([good[offset] ^ 1 << bit]))
            file.flush()
            try:
                changed = PhotoIndex.open(tmp_path)
                if (offset, bit) in verified:
                    changed.verify()
                unnoticed.append((offset, bit))
            except PhotoIndexError:
                pass
            file.seek(offset)
            file.write(good[offset : offset + 1])
            file.flush()
    assert unnoticed == []
    index.verify()


def test_every_flipped_bit_of_a_manifest_is_found_on_opening(tmp_path: Path) -> None:
    index = PhotoIndex.create(tmp_path, dim=8, student_sha256="ab" * 32, student="tiny")
    with index.writer() as writer:
        writer.add(names(20), photos_and_queries(20, 1, dim=8)[0])
    with index.writer() as writer:
        writer.delete(names(2))
    file = tmp_path / "manifest.json"
    good = file.read_bytes()
    for offset in range(len(good)):
        for bit in range(8):
            file.write_bytes(good[:offset] + bytes([good[offset] ^ 1 << bit]) + good[offset + 1 :])
            with pytest.raises(PhotoIndexError):
                PhotoIndex.open(tmp_path)


# Opens an index, says so, and compacts or verifies it.
LONG = """
import sys
from mcad_mobile.engine.index import PhotoIndex

index = PhotoIndex.open(sys.argv[1])
print("ready", flush=True)
try:
    getattr(index, sys.argv[2])()
    print("done")
except KeyboardInterrupt:
    index.close()
    print("stopped")
"""


@pytest.mark.parametrize("use", ["compact", "verify", "near_duplicates"])
def test_ctrl_c_stops_what_takes_long_and_leaves_the_index_as_it_was(
    tmp_path: Path, use: str
) -> None:
    index = create(tmp_path, 512)
    photos = photos_and_queries(20_000, 1, dim=512)[0]
    for start, stop in ((0, 4000), (4000, 12_000), (12_000, 20_000)):
        with index.writer() as writer:
            writer.add(names(20_000)[start:stop], photos[start:stop])
    with index.writer() as writer:
        writer.delete(names(20_000)[::50])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    started = perf_counter()
    getattr(
        PhotoIndex.open(tmp_path), "near_duplicates" if use == "near_duplicates" else "verify"
    )()
    long = perf_counter() - started
    process = start_python(LONG, tmp_path, use)
    assert process.stdout and process.stdout.readline() == "ready\n"
    try:
        process.wait(timeout=long / 4)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    pressed = perf_counter()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "stopped\n"), err
    assert perf_counter() - pressed < 0.5 + long / 2
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert PhotoIndex.open(tmp_path).photos == index.photos
