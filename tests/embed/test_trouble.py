"""What goes wrong: nothing that was done is lost, and a sentence says what to do."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Pipe
from pathlib import Path

import msgspec
import pyarrow.parquet as parquet

from mcad_mobile.embed.job import job_of
from mcad_mobile.embed.shard import ShardFile
from mcad_mobile.embed.worker import Message, Ready, Setup
from mcad_mobile.engine.photos.folder import stat_stamp
from tests.support.embedding_runs import (
    command,
    environment,
    odd_photo,
    run,
    run_json,
    same,
    vectors,
)
from tests.support.mounts import run_on_disk

DEADLINE_S = 200


def until(condition):
    """Wait for something to become true."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def pids(held):
    return [int(line) for line in held.read_text().split()] if held.exists() else []


def alive(pid):
    """Whether a process runs: one that ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_photo_that_kills_two_processes_is_left_out_and_listed_and_costs_no_other(
    tmp_path, bundle, photos, shards
):
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos, folder)
    deadly = odd_photo(folder / "deadly.jpg", "kill", tmp_path / "deadly")
    arguments = ("--bundle", bundle.directory, "--out", out, "--workers", 1, "--threads", 2)
    document = run_json("embed", folder, *arguments)
    assert document["photos"] == 8
    assert [photo["path"] for photo in document["skipped"]] == [str(deadly)]
    assert "crashed two worker processes" in document["skipped"][0]["why"]
    assert len(pids(tmp_path / "deadly.held")) == 2
    found, expected = vectors(out), vectors(shards)
    assert sorted(found[str(folder / Path(key).name)].tobytes() for key in expected) == (
        sorted(embedding.tobytes() for embedding in expected.values())
    )
    # It is known from then on.
    assert run_json("embed", folder, *arguments)["embedded"] == 0
    assert len(pids(tmp_path / "deadly.held")) == 2
    (left,) = (out / "left-out").iterdir()
    assert parquet.read_table(left)["stamp"].to_pylist() == [stat_stamp(deadly.stat())]
    assert parquet.read_table(left)["cause"].to_pylist() == ["killed"]


def test_what_a_decoder_prints_is_no_message_of_its_process(tmp_path, bundle):
    (tmp_path / "photos").mkdir()
    odd_photo(tmp_path / "photos" / "talk.jpg", "talk", tmp_path / "talk")
    arguments = ("--bundle", bundle.directory, "--out", tmp_path / "out", "--workers", 1)
    done = run("embed", tmp_path / "photos", *arguments, "--json")
    assert "printed by a decoder" in done.stderr
    assert json.loads(done.stdout)["photos"] == 1


def test_python_files_of_the_current_folder_are_not_run(tmp_path, bundle, photos):
    shutil.copy(min(photos.iterdir()), tmp_path)
    for name in ("queue", "PIL", "mcad_mobile"):
        (tmp_path / f"{name}.py").write_text("open('was run', 'w')")
    run("embed", ".", "--bundle", bundle.directory, "--out", "out", "--workers", 1, cwd=tmp_path)
    assert len(vectors(tmp_path / "out")) == 1
    assert not (tmp_path / "was run").exists()


def test_a_worker_ends_when_its_input_does(tmp_path, bundle):
    """As it does when the process that started it is killed."""
    setup = Setup(str(bundle.directory), str(tmp_path), job_of(bundle, "onnx", "fp32", 9), 1)
    ours, its = Pipe()
    worker = subprocess.Popen(
        [sys.executable, "-m", "mcad_mobile.embed.worker", str(its.fileno())],
        stdin=subprocess.PIPE,
        pass_fds=[its.fileno()],
        env=environment(),
    )
    try:
        ours.send_bytes(msgspec.json.encode(setup))
        assert msgspec.json.decode(ours.recv_bytes(), type=Message) == Ready()
        worker.communicate(timeout=60)
    finally:
        worker.kill()
        ours.close()
        its.close()
    assert worker.returncode == 0


def test_an_interrupt_keeps_what_was_finished_and_leaves_no_process(
    tmp_path, bundle, photos, shards
):
    folder, out, go = tmp_path / "photos", tmp_path / "out", tmp_path / "go"
    shutil.copytree(photos, folder)
    odd_photo(folder / "zz.jpg", "wait", go)
    arguments = ("--bundle", bundle.directory, "--out", out, "--workers", 1, "--shard", 2)
    paths = [*sorted(map(str, photos.iterdir())), str(folder / "zz.jpg")]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    process = subprocess.Popen(
        command("embed", tmp_path / "list.txt", *arguments),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    until(lambda: pids(tmp_path / "go.held"))
    (worker,) = pids(tmp_path / "go.held")
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130, message
    assert "Finished shards are kept" in message
    until(lambda: not alive(worker))
    assert same(vectors(out), vectors(shards))
    assert json.loads((out / "manifest.json").read_text())["photos"] == 8
    go.touch()
    assert run_json("embed", tmp_path / "list.txt", *arguments)["embedded"] == 1


class Watched(io.FileIO):
    """A file that knows which threads have read it."""

    def __init__(self, path):
        super().__init__(path)
        self.readers = set()

    def read(self, size=-1):
        self.readers.add(threading.get_ident())
        return super().read(size)


def test_a_shard_is_read_on_the_thread_that_asks_for_it(shards):
    """Another that holds its file as the process ends aborts that."""
    for path in (shards / "shards").iterdir():
        with Watched(path) as file:
            assert list(ShardFile(file, path.name).batches())
        assert file.readers == {threading.get_ident()}


def test_a_lost_manifest_is_written_anew_from_the_shards(tmp_path, bundle, photos, shards):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    before = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").unlink()
    arguments = ("--bundle", bundle.directory, "--out", out, "--shard", before["photos_a_shard"])
    assert run_json("embed", photos, *arguments)["embedded"] == 0
    assert json.loads((out / "manifest.json").read_text()) == before


def test_an_empty_manifest_is_damage_and_not_a_folder_without_one(tmp_path, bundle, photos):
    (tmp_path / "manifest.json").write_text("")
    failed = run("embed", photos, "--bundle", bundle.directory, "--out", tmp_path, code=1)
    assert "manifest.json" in failed.stderr
    assert not (tmp_path / "shards").exists()


# Fills the disk, goes on once there is room, and says what was there in between.
ON_A_FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
command = [sys.executable, "-m", "mcad_mobile", "embed", *sys.argv[1:]]
full = subprocess.run(command, capture_output=True, text=True, timeout=200)
kept = len(list(Path("out/shards").glob("*.parquet")))
partial = len(list(Path("out/shards").glob("*.partial")))
os.remove("ballast")
again = subprocess.run(command, capture_output=True, text=True, timeout=200)
print(full.returncode, again.returncode, kept, partial)
print(full.stderr.replace(chr(10), " "))
print(again.stdout + again.stderr)
"""


def test_a_disk_that_fills_ends_the_run_and_keeps_what_is_done(tmp_path, bundle, photos):
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ("--bundle", bundle.directory, "--out", "out", "--workers", "1", "--shard", "2")
    ballast = "head -c 49152 /dev/zero > ballast"
    arguments = map(str, (photos, *options))
    done = run_on_disk(disk, "size=64k", "-c", ON_A_FULL_DISK, *arguments, first=ballast)
    codes, message, again = done.stdout.split("\n", 2)
    full, second, kept, partial = map(int, codes.split())
    assert (full, second, partial) == (1, 0, 0), done.stdout + done.stderr
    assert 0 < kept < 4, done.stdout
    assert "No space left on device" in message and "Free some space" in message
    assert "8 photos, " in again


def test_two_runs_do_not_write_to_one_folder(tmp_path, bundle, photos):
    out, go = tmp_path / "out", tmp_path / "go"
    odd_photo(tmp_path / "zz.jpg", "wait", go)
    (tmp_path / "list.txt").write_text(str(tmp_path / "zz.jpg"))
    arguments = ("--bundle", bundle.directory, "--out", out, "--workers", 1)
    process = subprocess.Popen(
        command("embed", tmp_path / "list.txt", *arguments), env=environment()
    )
    try:
        until(lambda: pids(tmp_path / "go.held"))
        assert "Another run is writing" in run("embed", photos, *arguments, code=1).stderr
    finally:
        go.touch()
        assert process.wait(DEADLINE_S) == 0


def test_a_source_that_is_not_there_leaves_nothing_behind(tmp_path, bundle):
    arguments = ("--bundle", bundle.directory, "--out", tmp_path / "out")
    assert "nothing at" in run("embed", tmp_path / "typo", *arguments, code=1).stderr
    assert not (tmp_path / "out").exists()
