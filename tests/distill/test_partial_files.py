"""What a run that was cut off leaves: the next one goes on behind it, and no two write at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mcad_mobile.base.files import Partial, remove_partials
from mcad_mobile.distill.features import FeatureCache
from tests.distill.test_features import CAPTIONS, Counted


def cut_off(cache: FeatureCache, after: int) -> None:
    """A run that ends in the third batch of CAPTIONS, or before."""
    model = Counted()

    def killed(captions):
        if len(model.asked) == after:
            raise KeyboardInterrupt
        return model.captions(captions)

    with pytest.raises(KeyboardInterrupt):
        cache.of_captions(CAPTIONS, "m", "", killed)
    assert not list(cache.folder.glob("*.npy"))


@pytest.mark.parametrize(
    ("done", "lost", "asked"),
    [
        (0, 0, [512, 512, 176]),
        (1, 0, [512, 176]),
        (2, 0, [176]),
        (2, 1, [512, 176]),  # its last row is not whole, so that its batch is computed again
        (1, 512 * 4, [512, 512, 176]),  # no row, but the header
        (1, 512 * 4 + 100, [512, 512, 176]),  # not even that
    ],
)
def test_a_run_cut_off_goes_on_behind_its_last_whole_batch(cache, done, lost, asked):
    cut_off(cache, done)
    partials = list(cache.folder.iterdir())
    assert len(partials) == (1 if done else 0)
    for partial in partials:
        partial.write_bytes(partial.read_bytes()[: partial.stat().st_size - lost])
    again, reports = Counted(), []
    later = FeatureCache(cache.folder, lambda *step: reports.append(step))
    found = later.of_captions(CAPTIONS, "m", "", again.captions)
    assert again.asked == asked
    assert reports[0][1] == 1200 - sum(asked)
    assert np.array_equal(found, Counted().captions(CAPTIONS))
    assert [path.suffix for path in cache.folder.iterdir()] == [".npy"]


KILLED = """
import sys
from pathlib import Path
import numpy as np
from mcad_mobile.distill.features import FeatureCache

def compute(captions):
    if captions[0] != "caption 0":
        print("in the second batch", flush=True)
        sys.stdin.read()  # until it is killed
    return np.array([[int(caption.split()[1]), len(caption)] for caption in captions], np.float16)

cache = FeatureCache(Path(sys.argv[1]), lambda *step: None)
cache.of_captions([f"caption {number}" for number in range(1200)], "m", "", compute)
"""


def test_a_run_killed_inside_a_pass_goes_on_there(cache):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(cache.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == b"in the second batch\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    (partial,) = cache.folder.iterdir()
    again = Counted()
    found = cache.of_captions(CAPTIONS, "m", "", again.captions)
    assert again.asked == [512, 176]
    assert np.array_equal(found, Counted().captions(CAPTIONS))
    assert not partial.exists()


def test_two_runs_do_not_compute_the_same_at_once(cache):
    first, second, found = Counted(), Counted(), []

    def ask() -> None:
        found.append(cache.of_captions(CAPTIONS, "m", "", second.captions))

    other = threading.Thread(target=ask)

    def slow(captions):
        if len(first.asked) == 1:
            other.start()
            other.join(0.3)
            assert other.is_alive()  # it waits
        return first.captions(captions)

    cache.of_captions(CAPTIONS, "m", "", slow)
    other.join(60)
    assert second.asked == []
    assert np.array_equal(found[0], Counted().captions(CAPTIONS))
    assert [path.suffix for path in cache.folder.iterdir()] == [".npy"]


def test_who_waited_for_a_file_writes_one_of_its_own(tmp_path):
    path, seen = tmp_path / "teacher", []

    def write_after() -> None:
        with Partial(path) as partial:
            seen.append(partial.file.read())
            partial.file.write(b"second")
            partial.finish()

    other = threading.Thread(target=write_after)
    with Partial(path) as partial:
        other.start()
        other.join(0.3)
        assert other.is_alive()
        partial.file.write(b"the first")
        partial.finish()
    other.join(60)
    assert seen == [b""]
    assert path.read_bytes() == b"second"
    assert [found.name for found in tmp_path.iterdir()] == ["teacher"]


def test_a_run_keeps_what_another_one_may_still_go_on_with(cache):
    cut_off(cache, 1)
    (young,) = cache.folder.iterdir()
    old = cache.folder / "old.npy.partial"
    old.write_bytes(b"rows")
    os.utime(old, (0, 0))
    cache.remove_abandoned()
    assert [*cache.folder.iterdir()] == [young]


def test_a_partial_file_is_kept_for_a_week(cache):
    cache.folder.mkdir()
    for days in (6, 8):
        partial = cache.folder / f"{days} days old.npy.partial"
        partial.write_bytes(b"rows")
        changed = time.time() - days * 86_400
        os.utime(partial, (changed, changed))
    cache.remove_abandoned()
    assert [path.name for path in cache.folder.iterdir()] == ["6 days old.npy.partial"]


def test_partial_files_are_removed_but_for_those_that_someone_writes(cache):
    cut_off(cache, 1)
    (cache.folder / "of an earlier version.77.partial").write_bytes(b"rows")
    (cache.folder / "kept.npy").write_bytes(b"rows")
    with Partial(cache.folder / "written.npy") as partial:
        partial.file.write(b"rows")
        partial.file.flush()
        remove_partials(cache.folder)
        assert {path.name for path in cache.folder.iterdir()} == {
            "kept.npy",
            "written.npy.partial",
        }
        partial.finish()
    assert (cache.folder / "written.npy").read_bytes() == b"rows"
    remove_partials(cache.folder)
    assert {path.name for path in cache.folder.iterdir()} == {"kept.npy", "written.npy"}
