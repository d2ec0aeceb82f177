"""A run by workers in this process: what it saves and when, what a later one does again, and
workers that die."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from types import SimpleNamespace

import msgspec
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from msgspec.structs import replace

from mcad_mobile.base.documents import ReportedError
from mcad_mobile.embed import make_shards as embedding
from mcad_mobile.embed.job import (
    KnownPhotos,
    ShardRecord,
    ShardsManifest,
    claim_folder,
    job_of,
    read_manifest,
)
from mcad_mobile.embed.make_shards import Options, embed
from mcad_mobile.embed.phone_index import Shards, index_shards, read_selection
from mcad_mobile.embed.pieces import Members, PhotoList, Rows, name_of, photos_of
from mcad_mobile.embed.shard import (
    LeftOut,
    ShardFacts,
    ShardFile,
    ShardRows,
    left_out_bytes,
    shard_bytes,
)
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.embed.source import Source
from mcad_mobile.embed.worker import (
    BundleModel,
    Failed,
    Finished,
    GuardedWorker,
    PhotoEvent,
    Ready,
    Setup,
    Task,
    write_shard,
)
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import (
    BundleError,
    DataError,
    PhotoError,
    PhotoIndexError,
    Remedy,
    RuntimeUnavailable,
    ShardError,
    StoreError,
)
from tests.support.embedding_runs import same, vectors
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture
def listed(tmp_path, photos):
    """A list of photos, and how it is made of others."""

    def write(*names):
        path = tmp_path / "list.txt"
        path.write_text("".join(f"{photos / name}\n" for name in names))
        return Source(str(path))

    return write


def test_rows_that_could_not_be_read_are_tried_again_alone_and_lose_no_embedding(
    tasks, bundle, photos, tmp_path
):
    folder, away, out = tmp_path / "photos", tmp_path / "away", tmp_path / "out"
    shutil.copytree(photos, folder)
    paths = sorted(map(str, folder.iterdir()))
    missing = (folder / paths[0]).read_bytes()
    (folder / paths[0]).unlink()
    parquet.write_table(arrow.table({"path": paths}), tmp_path / "photos.parquet")

    def run():
        del tasks[:]
        options = Options(photos_a_shard=4)
        made = embed(Source(str(tmp_path / "photos.parquet")), bundle, str(out), options)
        files = {shard.file for shard in made.manifest.shards}
        assert {path.name for path in (out / "shards").iterdir()} == files
        return made.embedded, [photo.key for photo in made.left_out], made.manifest.photos

    assert run() == (7, paths[:1], 7)
    first = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    for number in range(3):
        if number == 2:
            folder.rename(away)
        assert run() == (0, paths[:1], 7)
        assert [piece.first for piece in tasks] == [0]  # the other piece is whole
        # A retry that embeds nothing takes the place of the one before.
        assert [len([*(out / name).iterdir()]) for name in ("shards", "left-out")] == [3, 2]
    away.rename(folder)
    (folder / paths[0]).write_bytes(missing)
    assert run() == (1, [], 8)
    assert run() == (0, [], 8) and tasks == []
    assert first.items() <= {p: p.stat().st_mtime_ns for p in (out / "shards").iterdir()}.items()
    assert vectors(out).keys() == set(paths)
    with pytest.raises(ShardError, match="holds 3 shards already"):
        embed(Source(str(photos)), bundle, str(out), Options(resume=False))


def test_photos_of_a_table_that_come_back_one_after_another_are_embedded_once(
    tasks, bundle, photos, tmp_path
):
    shutil.copytree(photos, tmp_path / "photos")
    paths = sorted((tmp_path / "photos").iterdir())
    table = arrow.table({"path": [str(path) for path in paths]})
    parquet.write_table(table, tmp_path / "photos.parquet")
    away = {path: path.read_bytes() for path in paths[:2]}
    for path in away:
        path.unlink()

    def run():
        source, out = Source(str(tmp_path / "photos.parquet")), str(tmp_path / "out")
        made = embed(source, bundle, out, Options())
        return made.embedded, made.manifest.photos

    assert run() == (6, 6)
    for whole, (path, content) in enumerate(away.items(), start=7):
        path.write_bytes(content)
        assert run() == (1, whole)


def test_a_table_none_of_whose_photos_could_be_read_is_embedded_when_they_are_back(
    tasks, bundle, photos, tmp_path
):
    paths = [str(tmp_path / "photos" / path.name) for path in photos.iterdir()]
    parquet.write_table(arrow.table({"path": paths}), tmp_path / "photos.parquet")
    source, out = Source(str(tmp_path / "photos.parquet")), tmp_path / "out"
    for _ in range(2):
        assert len(embed(source, bundle, str(out), Options()).left_out) == 8
    shutil.copytree(photos, tmp_path / "photos")
    made = embed(source, bundle, str(out), Options()).manifest
    assert (made.photos, made.left_out, len(made.shards)) == (8, 0, 1)
    assert [*(out / "left-out").iterdir()] == []


def test_the_photos_before_the_damage_of_a_tar_file_are_embedded_once(
    tasks, bundle, photos, tmp_path
):
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for path in sorted(photos.iterdir()):
            tar.add(path, path.name)
    os.truncate(tmp_path / "set.tar", (tmp_path / "set.tar").stat().st_size * 2 // 3)
    source, out = Source(str(tmp_path / "set.tar")), str(tmp_path / "out")
    first = embed(source, bundle, out, Options())
    again = embed(source, bundle, out, Options())
    assert 0 < first.embedded == first.manifest.photos == again.manifest.photos
    assert again.embedded == 0
    assert [photo.key for photo in again.left_out] == [str(tmp_path / "set.tar")]


def in_turn(futures):
    for future in futures:
        future.exception()
        yield future


def test_progress_counts_photos(tasks, bundle, photos, tmp_path, listed):
    names = sorted(path.name for path in photos.iterdir())
    seen = []
    options = Options(photos_a_shard=2)
    result = embed(
        listed(*names), bundle, str(tmp_path / "out"), options, lambda *step: seen.append(step)
    )
    assert seen == [("photos", number, 8) for number in range(1, 9)]
    assert result.embedded == 8
    assert read_manifest(Store(str(tmp_path / "out"))).photos == 8


def test_progress_knows_from_the_start_how_many_rows_a_table_has(tasks, bundle, photos, tmp_path):
    paths = [str(path) for path in photos.iterdir()]
    parquet.write_table(arrow.table({"path": paths}), tmp_path / "photos.parquet")
    source, out, seen = Source(str(tmp_path / "photos.parquet")), str(tmp_path / "out"), []
    embed(source, bundle, out, Options(photos_a_shard=3), lambda *step: seen.append(step))
    assert seen == [("photos", number, 8) for number in range(1, 9)]


def test_a_run_that_fails_keeps_the_shards_that_are_done(
    tasks, bundle, photos, tmp_path, listed, monkeypatch
):
    monkeypatch.setattr(embedding, "as_completed", in_turn)
    names = sorted(path.name for path in photos.iterdir())

    def fail(step, done, total):
        if done == 5:
            raise StoreError("It is away.", "Wait.")

    with pytest.raises(StoreError, match="away"):
        embed(listed(*names), bundle, str(tmp_path / "out"), Options(photos_a_shard=2), fail)
    manifest = read_manifest(Store(str(tmp_path / "out")))
    assert (manifest.photos, len(manifest.shards)) == (4, 2)


def test_a_job_goes_on_by_the_rung_that_it_began_with_and_pieces_as_large(
    tasks, photos, tmp_path, listed, bundle
):
    names = sorted(path.name for path in photos.iterdir())
    out = str(tmp_path / "out")
    begun = embed(listed(*names[:3]), bundle, out, Options(photos_a_shard=2)).manifest
    del tasks[:]
    later = embed(listed(*names), bundle, out, Options(photos_a_shard=3)).manifest
    assert (later.runtime, later.precision, later.job) == (
        begun.runtime,
        begun.precision,
        begun.job,
    )
    assert [len(piece.keys) for piece in tasks] == [2, 2, 1]
    other = make_tiny_bundle(tmp_path / "other", 32)
    with pytest.raises(ShardError, match=r"64 dimensions.*32"):
        embed(listed(*names), other, out, Options())


def test_a_rung_is_chosen_once_for_all_workers_and_shards_are_not_begun_twice(
    tasks, tmp_path, listed, bundle, photos, monkeypatch
):
    chosen = []

    def engine(searched, **options):
        chosen.append((searched.directory, options))
        return SimpleNamespace(image_rung=SimpleNamespace(rung=bundle.image.rungs[0]))

    monkeypatch.setattr(embedding, "SearchEngine", engine)
    (name, *_) = sorted(path.name for path in photos.iterdir())

    def run(out, **options):
        embed(listed(name), bundle, str(tmp_path / out), Options(**options), warn=warned.append)

    warned = []
    run("a")
    run("a")  # as it began
    run("a", runtime="onnx")
    assert chosen == [(bundle.directory, {"runtime": None, "fastest": True, "warn": warned.append})]
    run("a", runtime="litert")  # which is another job, unless it is the same rung
    run("b", runtime="onnx")
    assert [options["runtime"] for _, options in chosen[1:]] == ["litert", "onnx"]
    del chosen[:]
    run("c", gpus=0.5)
    assert chosen == []
    (tmp_path / "list.txt").write_bytes(f"{tmp_path / 'later.jpg'}\n".encode() + b"caf\xe9.jpg\n")
    source = Source(str(tmp_path / "list.txt"))
    found = embed(source, bundle, str(tmp_path / "d"), Options())
    assert {photo.key for photo in found.left_out} == {
        str(tmp_path / "later.jpg"),
        f"{tmp_path / 'list.txt'}:2",
    }
    with pytest.raises(ShardError, match="holds 1 shards already"):  # if no photo is in it yet
        embed(source, bundle, str(tmp_path / "d"), Options(resume=False))


def test_names_that_are_no_text_are_listed_where_there_is_nothing_else(tasks, bundle, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    result = embed(Source(str(folder)), bundle, str(tmp_path / "out"), Options())
    assert (result.embedded, [photo.cause for photo in result.left_out]) == (0, ["read"] * 2)
    assert "is not valid UTF-8: rename" in result.left_out[0].why
    assert "link to none" in result.left_out[1].why


def test_a_local_file_of_a_list_is_embedded_again_only_when_it_changes(
    tasks, bundle, photos, tmp_path
):
    first, second, third, *_ = sorted(photos.iterdir())
    here = [tmp_path / name for name in ("a b.jpg", "b.jpg")]
    for path in here:
        shutil.copy(first, path)
    lines = [str(here[0]), f"file://{here[1]}", str(second)]
    (tmp_path / "list.txt").write_text("\n".join(lines))

    def run():
        return embed(Source(str(tmp_path / "list.txt")), bundle, str(tmp_path / "out"), Options())

    assert (run().embedded, run().embedded) == (3, 0)
    for path in here:
        shutil.copy(third, path)
    assert (run().embedded, tasks[-1].keys) == (2, (*lines[:2],))
    here[0].unlink()  # it stays in the shards
    made = run()
    assert (made.embedded, made.left_out) == (0, [])


def test_standard_input_is_a_list_in_which_a_photo_may_stand_twice(
    tasks, bundle, photos, tmp_path, monkeypatch
):
    first, second, *_ = sorted(map(str, photos.iterdir()))
    text = f"{second}\n{first}\r\n{second}\n".encode()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    assert embed(Source("-"), bundle, str(tmp_path / "out"), Options()).embedded == 2
    assert tasks[0].keys == (second, first)


def test_shards_that_are_damaged_or_gone_are_refused_and_made_again(
    tasks, bundle, photos, tmp_path, shards
):
    out = tmp_path / "out"
    shutil.copytree(shards, out)
    before = {shard.file: shard.photos for shard in read_manifest(Store(str(out))).shards}
    first, second, third = sorted((out / "shards").iterdir())
    (out / "left-out").mkdir()
    unfinished = [out / folder / f"{first.name}.partial" for folder in ("shards", "left-out")]
    for path in unfinished:
        path.write_bytes(b"PAR1")
    assert Shards(str(out)).count_rows().total() == 8
    first.write_bytes(first.read_bytes()[:-40])
    with pytest.raises(ShardError, match=f"{first.name} is half written"):
        Shards(str(out))
    second.unlink()
    warned = []
    made = embed(Source(str(photos)), bundle, str(out), Options(), warn=warned.append)
    (warning,) = warned
    assert first.name in warning and warning.endswith("It is made again.")
    assert made.embedded == before[first.name] + before[second.name]
    assert same(vectors(out), vectors(shards))
    assert not any(path.exists() for path in (first, *unfinished))
    third.unlink()
    with pytest.raises(ShardError, match=f"names {third.name}, and it is gone"):
        Shards(str(out))
    facts = ShardFacts("mcad-shard/1", "s", "0" * 64, "another", "p", "onnx", 1, 0, 0)
    rows = ShardRows(np.ones((1, 64), np.float32), ["a"], np.zeros((1, 2), np.uint32), [])
    foreign = f"shards/000009-{'0' * 16}.parquet"
    Store(str(out)).write(foreign, shard_bytes(rows, 64, facts))
    for use in (Shards, lambda out: embed(Source(str(photos)), bundle, out, Options())):
        with pytest.raises(ShardError, match=f"{foreign} belongs to job another of student s"):
            use(str(out))


def test_which_photos_need_not_be_read_again(tmp_path):
    store = Store(str(tmp_path / "shards"))
    job = ShardsManifest("mcad-embed/1", "j", "s", "0" * 64, 1, "float32", "onnx", "fp32", 9)
    facts = ShardFacts("mcad-shard/1", "s", "0" * 64, job.job, "p", "onnx", 2, 2, 1)
    stamps = np.array([[7, 1], [0, 2]], np.uint32)
    left = [LeftOut("broken", 8, "why", "decode"), LeftOut("away", 9, "why", "read")]
    left.append(LeftOut("odd", 4, "why", "a cause of a later version"))
    rows = ShardRows(np.ones((2, 1), np.float32), ["a", "b"], stamps, left)
    data, name = shard_bytes(rows, 1, facts), "000001-0123456789abcdef.parquet"
    store.write(f"shards/{name}", data)
    store.write(f"left-out/{name}", left_out_bytes(left))
    record = ShardRecord.of(name, len(data), facts)
    assert (record.photos, record.left_out, record.unread, record.bytes) == (2, 2, 1, len(data))
    whole = job.with_shards([replace(record, file="2"), replace(record, file="1")])
    assert (whole.photos, whole.left_out) == (4, 4)
    assert [shard.file for shard in whole.shards] == ["1", "2"]
    known = KnownPhotos(store, [record])

    def has(key, stamp):
        return bool(known.has([key], [stamp])[0])

    assert has("a", 7) and has("a", 0) and not has("a", 6)
    assert has("b", 5)  # whose stamp was not known
    assert has("broken", 8) and not has("broken", 9)
    assert not has("away", 9) and not has("other", 0) and not has("", 0)
    assert not has("odd", 4)
    assert not KnownPhotos(store, []).has(["a"], [0])[0]
    again = ShardRows(np.ones((1, 1), np.float32), ["a"], np.array([[6, 3]], np.uint32), [])
    later = f"000002-{'0' * 16}.parquet"
    store.write(f"shards/{later}", shard_bytes(again, 1, facts))
    known = KnownPhotos(store, [record, replace(record, file=later, left_out=0)])
    assert has("a", 6) and not has("a", 7)  # of two stamps the last one


# Ends as the first line of a file says, which it takes away: ready, and dead at once; with photos
# in hand ("1"; "1." is done); in the middle of a message; silent; or with a shard. "refuses" is not
# ready.
WORKER = """
import os, sys, time
from multiprocessing.connection import Connection
from pathlib import Path
plan = Path(sys.argv[1])
first, _, rest = plan.read_text().partition("\\n")
plan.write_text(rest)
connection = Connection(int(sys.argv[7]))
connection.recv_bytes()

def send(number, photo=""):
    connection.send_bytes(sys.argv[number].replace("99", photo).encode())

send(6 if "refuses" in first else 2)
task = connection.recv_bytes().decode()
with open(sys.argv[1] + ".tasks", "a") as file:
    print(task, file=file)
for word in first.split():
    if word == "refuses":
        break
    if word == "silent":
        time.sleep(20)
    elif word == "half":
        os.write(connection.fileno(), b"\\0\\0\\0\\x09half")
        os._exit(7)
    elif word == "done":
        send(3)
    else:
        send(5 if word.endswith(".") else 4, word.rstrip("."))
"""


@pytest.fixture
def worker(bundle, tmp_path):
    """A guarded worker whose processes go by a plan; and the tasks that they were given."""
    record = ShardRecord("f", "p", 1, 1, 0, 0, "onnx")
    photo = [PhotoEvent("begun", 99), PhotoEvent("done", 99)]
    lines = [
        Ready(),
        Finished(record),
        *photo,
        Failed("StoreError", ReportedError("It is away.", "Wait.")),
    ]
    arguments = [msgspec.json.encode(line).decode() for line in lines]
    plan = tmp_path / "plan"

    def call(*steps, photo_done=lambda guarded: None):
        plan.write_text("\n".join(steps))
        setup = Setup(str(bundle.directory), str(tmp_path), job_of(bundle, "onnx", "fp32", 9), 1)
        guarded = GuardedWorker(setup, (sys.executable, "-c", WORKER, str(plan), *arguments), 60.0)
        try:
            piece = PhotoList(("a", "b", "c"), (0, 0, 0))
            shard = guarded(piece, lambda: photo_done(guarded))
        finally:
            guarded.stop()
        tasks = (tmp_path / "plan.tasks").read_text().splitlines()
        tasks = [msgspec.json.decode(task, type=Task) for task in tasks]
        return shard.file, [(set(task.excluded), set(task.isolated)) for task in tasks]

    return call


def test_a_photo_over_which_two_processes_die_is_left_out_and_one_is_tried_alone(worker):
    file, tasks = worker("0 1", "1", "2", "done")
    assert file == "f"
    assert tasks == [(set(), set()), (set(), {0, 1}), ({1}, {0}), ({1}, {0, 2})]


def test_a_photo_that_is_done_counts_and_is_no_suspect(worker):
    done = []
    _, tasks = worker("0 1 1. 2 2.", "done", photo_done=done.append)
    assert (len(done), tasks) == (2, [(set(), set()), (set(), {0})])


def test_a_process_that_falls_silent_is_ended_and_its_photo_tried_alone(worker):
    def lose_patience(guarded):
        guarded.silent_s = 2.0

    _, tasks = worker("0 1 0. silent done", "done", photo_done=lose_patience)
    assert tasks == [(set(), set()), (set(), {1})]


def test_three_processes_that_die_in_a_row_with_nothing_in_hand_end_the_run(worker):
    file, tasks = worker("", "", "1", "", "", "done")
    assert (file, len(tasks)) == ("f", 6)
    with pytest.raises(ShardError, match=r"ended 3 times in a row between photos \(exit code 7\)"):
        worker("", "", "half", "done")


def test_a_process_that_refuses_its_setup_ends_the_run_with_its_error(worker):
    with pytest.raises(StoreError, match="away"):
        worker("refuses", "done")


def test_a_worker_that_was_stopped_starts_no_process(bundle):
    setup = Setup("b", "out", job_of(bundle, "onnx", "fp32", 9), 1)
    guarded = GuardedWorker(setup, ("/no/such/program",))
    guarded.stop()
    with pytest.raises(ShardError):
        guarded(PhotoList(("a",), (0,)))


def test_a_shard_is_written_after_the_list_of_what_it_lacks_and_counts_it(bundle, photos, tmp_path):
    """A process that dies in between leaves no shard whose list is missing."""
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    paths = [*sorted(map(str, photos.iterdir()))[:2], "/nowhere.jpg", str(tmp_path / "broken.jpg")]
    piece = PhotoList(tuple(paths), (0,) * 4)
    setup = Setup("b", str(tmp_path / "out"), job_of(bundle, "onnx", "fp32", 9), 7)
    model = BundleModel(bundle.directory, "onnx", "fp32", 1)
    task = Task(piece, excluded=frozenset({0}))  # which killed two processes
    made = write_shard(setup, model, task, lambda event, number: None)
    assert made.file == f"000007-{name_of(piece)}.parquet"
    first, second = (tmp_path / "out" / name / made.file for name in ("left-out", "shards"))
    assert first.stat().st_mtime_ns < second.stat().st_mtime_ns
    assert (made.photos, made.left_out, made.unread) == (1, 3, 1)
    data = Store(setup.out).read(f"shards/{made.file}")
    facts = ShardFile(io.BytesIO(data), "a.parquet").facts
    assert ShardRecord.of(made.file, len(data), facts) == made
    assert (facts.student, facts.job, facts.filled_by) == ("tiny", setup.job.job, model.filled_by)


def test_errors_cross_processes_as_what_they_are():
    error = Failed.of(StoreError("It is away.", "Wait.")).error()
    assert (type(error), error.message, error.hint) == (StoreError, "It is away.", "Wait.")
    damaged = BundleError("It is damaged.", Remedy.EXPORT_STUDENT(student="a b"))
    told = Failed.of(damaged).error()
    assert (told.remedy, told.values) == (Remedy.EXPORT_STUDENT, {"student": "a b"})
    odd = Failed("SystemExit", ReportedError("what", "hint")).error()
    assert type(odd).__name__ == "McadError"


def test_a_worker_that_is_to_use_a_gpu_does_not_use_the_processor(bundle):
    """And its process tells why."""
    setup = Setup(str(bundle.directory), "out", job_of(bundle, "onnx", "fp32", 9), 1, 3, gpu=True)
    guarded = GuardedWorker(setup)
    with pytest.raises(RuntimeUnavailable, match="CUDA"):
        guarded(PhotoList(("a",), (0,)))
    guarded.stop()


@pytest.mark.parametrize(
    ("photos_a_shard", "sizes"),
    [(100, [*[17] * 5, 15, 17, 13]), (15, [*[15] * 8, 10]), (1000, [*[17] * 7, 11])],
)
def test_a_list_is_cut_so_that_all_workers_have_work(
    photos_a_shard, sizes, tasks, bundle, tmp_path
):
    paths = [f"{tmp_path}/{number:03}.jpg" for number in range(130)]
    (tmp_path / "list.txt").write_text("\n".join(paths))
    options = Options(workers=2, photos_a_shard=photos_a_shard)
    embed(Source(str(tmp_path / "list.txt")), bundle, str(tmp_path / "out"), options)
    cut = sorted(piece.keys for piece in tasks)
    assert [len(keys) for keys in cut] == sizes
    assert [key for keys in cut for key in keys] == paths


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (" ä b.jpg \r\n\nc.jpg".encode(), {" ä b.jpg ", "c.jpg"}),
        (b"\n\r\n", "holds no key"),
        (b"\xef\xbb\xbfa.jpg\nb.jpg", {"a.jpg", "b.jpg"}),
        (b"caf\xe9.jpg", "cannot be read"),
        (None, "cannot be read: .*No such file"),
    ],
)
def test_a_selection_is_a_key_a_line(content, keys, tmp_path):
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    if isinstance(keys, set):
        assert read_selection(tmp_path / "keys") == keys
        return
    with pytest.raises(DataError, match=keys):
        read_selection(tmp_path / "keys")


@pytest.fixture
def add(tmp_path):
    """A job's shards, and how one is added: a photo is a row of the identity matrix."""
    store = Store(str(tmp_path / "shards"))
    job = ShardsManifest("mcad-embed/1", "j", "s", "0" * 64, 64, "float32", "onnx", "fp32", 9)
    store.write("manifest.json", msgspec.json.encode(job))

    def write(run, keys, stamps, places, filled_by="onnx fp32 by CPU"):
        rows = np.eye(64, dtype=np.float32)[places]
        piece = f"{run:016x}"
        facts = ShardFacts("mcad-shard/1", "s", "0" * 64, "j", piece, filled_by, len(keys), 0, 0)
        pairs = [stamp if isinstance(stamp, tuple) else (stamp, stamp + 100) for stamp in stamps]
        data = shard_bytes(ShardRows(rows, keys, np.array(pairs, np.uint32), []), 64, facts)
        store.write(f"shards/{run:06d}-{piece}.parquet", data)

    return write


def test_photos_that_were_embedded_twice_keep_their_dates_in_an_index(tmp_path, add):
    add(1, ["a", "b", "c", "c"], [1, 2, 3, 4], [0, 1, 2, 3])
    add(2, ["a", "b"], [9, (8, 102)], [4, 5])  # a has other bytes, b only another time
    index = PhotoIndex.create(tmp_path / "index", dim=64, student="s", student_sha256="0" * 64)
    stamps = np.array([(9, 109), (2, 102), (4, 104)], np.uint32)
    with index.writer() as writer:
        writer.add(list("abc"), np.eye(64, dtype=np.float32)[[4, 1, 3]], stamps, np.arange(3))
    result = index_shards(Shards(str(tmp_path / "shards")), index)
    assert (result.added, result.changed, result.unchanged) == (0, 0, 3)
    assert all(photo.timed for photo in index.membership().find(list("abc")))
    add(3, ["a"], [1], [0])
    for changed in (1, 0):
        result = index_shards(Shards(str(tmp_path / "shards")), index)
        assert (result.changed, result.unchanged) == (changed, 3 - changed)
    timed = [photo.timed for photo in index.membership().find(list("abc"))]
    assert timed == [False, True, True]


def test_an_index_takes_the_last_row_of_each_photo_and_only_what_it_lacks(tmp_path, add):
    def take(wanted=None):
        steps = []
        shards = Shards(str(tmp_path / "shards"))
        result = index_shards(shards, index, wanted, lambda *step: steps.append(step))
        counts = (result.added, result.changed, result.unchanged)
        assert steps[-1][0] == "photos"
        return counts, [photo.path for photo in result.skipped], steps[-1][1:]

    def at(key):
        return int(index.embedding(key).argmax())

    index = PhotoIndex.create(tmp_path / "index", dim=64, student="s", student_sha256="0" * 64)
    add(1, ["a", "b", "c"], [1, 2, 3], [0, 1, 2])
    assert take({"a", "zzz", "y", "x"}) == ((1, 0, 0), ["x", "y", "zzz"], (1, 1))
    assert index.paths() == ["a"] and index.filled_by == ("onnx fp32 by CPU",)
    older = PhotoIndex.open(tmp_path / "index")
    assert take() == ((2, 0, 1), [], (3, 3))
    assert take() == ((0, 0, 3), [], (3, 3))
    index = older  # which was opened before the others were added
    assert take() == ((0, 0, 3), [], (3, 3))
    add(2, ["a"], [1], [20], "onnx int8 by CPU")
    assert take()[0] == (0, 0, 3) and index.filled_by == ("onnx fp32 by CPU",)
    add(3, ["b", "c", "d"], [2, 9, 4], [11, 12, 13], "litert fp32 by CPU")
    assert take()[0] == (1, 1, 2)
    assert [at(key) for key in "abcd"] == [0, 1, 12, 13]  # b has the stamp that is known
    assert index.filled_by == ("litert fp32 by CPU", "onnx fp32 by CPU", "onnx int8 by CPU")
    whole = PhotoIndex.create(tmp_path / "new", dim=64, student="s", student_sha256="0" * 64)
    index = whole
    assert take()[0] == (4, 0, 0)
    assert [at(key) for key in "abcd"] == [20, 11, 12, 13]  # of two rows the later one
    other = PhotoIndex.create(tmp_path / "other", dim=64, student="s", student_sha256="1" * 64)
    with pytest.raises(PhotoIndexError):
        index_shards(Shards(str(tmp_path / "shards")), other)


def test_bytes_that_have_changed_are_an_error_of_the_shard_however_it_is_read():
    facts = ShardFacts("mcad-shard/1", "s", "0" * 64, "j", "p", "onnx", 5, 0, 0)
    keys = [f"photo {number}" for number in range(5)]
    stamps = np.arange(10, dtype=np.uint32).reshape(5, 2)
    data = shard_bytes(ShardRows(np.eye(5, dtype=np.float32), keys, stamps, []), 5, facts)
    # The keys as zstd stores them: the page still decodes, to another key.
    changed = data.replace(b"photo 01234", b"photo 91234")
    uses = (ShardFile.stamps, ShardFile.batches, lambda file: file.batches({"photo 1"}))
    for use in uses:
        assert len(list(use(ShardFile(io.BytesIO(data), "a.parquet")))) == 1
        with pytest.raises(ShardError, match=r"a\.parquet is half written or damaged"):
            list(use(ShardFile(io.BytesIO(changed), "a.parquet")))


def test_chosen_rows_are_read_from_all_groups_of_a_shard():
    rows = 2500  # a group has 1000
    facts = ShardFacts("mcad-shard/1", "s", "0" * 64, "j", "p", "onnx", rows, 0, 0)
    keys, stamps = [str(n) for n in range(rows)], np.arange(2 * rows, dtype=np.uint32)
    embeddings = np.arange(2 * rows, dtype=np.float32).reshape(-1, 2)
    data = shard_bytes(ShardRows(embeddings, keys, stamps.reshape(-1, 2), []), 2, facts)
    for wanted, found in (({"1", "1500", "2499", "z"}, [1, 1500, 2499]), ({"7"}, [7])):
        batches = list(ShardFile(io.BytesIO(data), "a.parquet").batches(wanted))
        assert [key for batch in batches for key in batch.keys] == [keys[row] for row in found]
        read = np.concatenate([batch.embeddings for batch in batches])
        assert read.tolist() == embeddings[found].tolist()
        assert np.concatenate([b.stamps for b in batches])[:, 0].tolist() == [2 * n for n in found]
    whole = list(ShardFile(io.BytesIO(data), "a.parquet").batches())
    assert [key for batch in whole for key in batch.keys] == keys


def test_documents_of_another_version_are_refused(tmp_path):
    facts = ShardFacts("mcad-shard/2", "s", "0" * 64, "j", "p", "onnx", 1, 0, 0)
    rows = ShardRows(np.ones((1, 1), np.float32), ["a"], np.zeros((1, 2), np.uint32), [])
    with pytest.raises(ShardError, match="'mcad-shard/2', of a newer mcad-mobile"):
        ShardFile(io.BytesIO(shard_bytes(rows, 1, facts)), "a.parquet")
    job = ShardsManifest("mcad-embed/2", "j", "s", "0" * 64, 1, "float32", "onnx", "fp32", 9)
    store = Store(str(tmp_path))
    store.write("manifest.json", msgspec.json.encode(job))
    with pytest.raises(ShardError, match="'mcad-embed/2', of a newer mcad-mobile"):
        read_manifest(store)


def test_of_two_first_runs_at_once_one_begins_the_job_and_both_go_by_it(tmp_path):
    job = ShardsManifest("mcad-embed/1", "j", "s", "0" * 64, 1, "float32", "onnx", "fp32", 9)

    class Late(Store):
        def create(self, name, data):
            self.write(name, msgspec.json.encode(other))
            return super().create(name, data)

    other = replace(job, photos_a_shard=5)
    assert claim_folder(Late(str(tmp_path / "same")), job) == other
    other = replace(job, job="k")
    with pytest.raises(ShardError, match="job k, by onnx fp32; this is job j"):
        claim_folder(Late(str(tmp_path / "another")), job)


def test_other_parquet_files_are_no_shards():
    file = io.BytesIO()
    parquet.write_table(arrow.table({"key": ["a"]}), file, store_schema=False)
    with pytest.raises(ShardError, match=r"a\.parquet is a Parquet file, but not a shard"):
        ShardFile(file, "a.parquet")


def test_a_job_is_what_decides_an_embedding(bundle):
    job = job_of(bundle, "onnx", "fp32", 10)
    (rung,) = bundle.image.rungs

    def changed(**fields):
        return job_of(replace(bundle, **fields), "onnx", "fp32", 10).job

    others = {
        changed(dim=32),
        changed(student=replace(bundle.student, image_sha256="3" * 64)),
        changed(preprocess=replace(bundle.preprocess, fill=(1, 2, 3))),
        changed(
            image=replace(
                bundle.image,
                rungs=(replace(rung, files=(replace(rung.files[0], sha256="4" * 64),)),),
            )
        ),
    }
    for runtime, precision in (("qnn", "fp32"), ("onnx", "int8")):
        as_other = replace(rung, runtime=runtime, precision=precision)
        made = replace(bundle, image=replace(bundle.image, rungs=(as_other,)))
        others.add(job_of(made, runtime, precision, 10).job)
    assert len(others | {job.job}) == 7
    same = {
        changed(name="other", created="2030-01-01T00:00:00+00:00", tools={}),
        changed(student=replace(bundle.student, name="other", sha256="5" * 64)),
        changed(text=replace(bundle.text, rungs=())),
        job_of(bundle, "onnx", "fp32", 99).job,
    }
    assert same == {job.job}
    assert (job.student, job.dim, job.dtype, job.photos_a_shard) == ("tiny", 64, "float32", 10)
    # The same photos are the same piece, in any run.
    one = PhotoList(("a", "b"), (1, 2))
    pieces = [
        PhotoList(("a", "b"), (1, 3)),
        PhotoList(("b", "a"), (2, 1)),
        Members("a.tar", "1"),
        Members("a.tar", "2"),
        Rows("a.parquet", "1", 0, 9, "image"),
        Rows("a.parquet", "1", 9, 9, "image"),
        Rows("a.parquet", "1", 0, 9, "image", "key"),
    ]
    assert name_of(one) == name_of(PhotoList(("a", "b"), (1, 2)))
    assert len({name_of(piece) for piece in (one, *pieces)}) == 8


def test_what_can_never_be_read_is_not_asked_for_again(tmp_path):
    """A link in a tar file, or an empty cell: to fill it changes its file."""
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (photo,) = photos_of(Members(str(tmp_path / "set.tar"), ""))
    with pytest.raises(PhotoError, match="is a link"):
        photo.read()
    cells = arrow.table({"jpg": arrow.array([None], arrow.binary())})
    parquet.write_table(cells, tmp_path / "t.parquet")
    (photo,) = photos_of(Rows(str(tmp_path / "t.parquet"), "", 0, 1, "jpg"))
    with pytest.raises(PhotoError, match="its cell is empty"):
        photo.read()
