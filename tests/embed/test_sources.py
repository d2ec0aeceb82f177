"""What is embedded: folders, lists, Parquet, WebDataset, here and at addresses."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import tarfile
import uuid

import fsspec
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry as registry

from mcad_mobile.embed import make_shards as embedding
from mcad_mobile.embed.job import Inventory, KnownPhotos, ShardRecord
from mcad_mobile.embed.pieces import Rows, name_of, photos_of
from mcad_mobile.embed.shard import embed_shard
from mcad_mobile.embed.shard_store import Store, reaching
from mcad_mobile.embed.source import Source
from mcad_mobile.embed.worker import BundleModel
from mcad_mobile.errors import DataError, DiskError, MissingExtra, PhotoError, StoreError
from tests.support.embedding_runs import run_json, vectors


def cut(source, at_once=3):
    left = []
    empty = lambda: KnownPhotos(Store("memory://nothing"), ())  # noqa: E731
    return list(source.pieces(at_once, empty, left))


def keys(pieces):
    return [photo.key for piece in pieces for photo in photos_of(piece)]


def contents(pieces):
    return [photo.read()[0] for piece in pieces for photo in photos_of(piece)]


@pytest.fixture
def paths(photos):
    return sorted(photos.iterdir())


@pytest.fixture
def memory():
    """An object store in this process."""
    yield f"memory://{uuid.uuid4().hex}"
    fsspec.filesystem("memory").store.clear()


def test_a_list_names_photos_and_their_order(tmp_path, paths, bundle):
    names = [*(str(path) for path in paths[4:1:-1]), " a name.jpg "]
    (tmp_path / "list.txt").write_text("\r\n".join(names) + "\n\n", newline="")
    pieces = cut(Source(str(tmp_path / "list.txt")), at_once=2)
    assert [len(piece.keys) for piece in pieces] == [2, 2]
    assert keys(pieces) == names
    model = BundleModel(bundle.directory, "onnx", "fp32", 1)
    found = embed_shard(model, photos_of(pieces[0]))
    assert found.keys == [str(paths[4]), str(paths[3])]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\n\ufeffb.jpg\n", "utf-8-sig")
    assert keys(cut(Source(str(tmp_path / "list.txt")))) == ["a.jpg", "\ufeffb.jpg"]


def test_a_list_is_known_by_its_suffix_in_capitals_too(tmp_path, paths):
    (tmp_path / "LIST.TXT").write_text(str(paths[0]))
    assert keys(cut(Source(str(tmp_path / "LIST.TXT")))) == [str(paths[0])]


def table_of(paths, kind):
    data = [path.read_bytes() for path in paths]
    named = [path.stem for path in paths]
    if kind == "bytes":
        return {"id": range(len(data)), "image": arrow.array(data, arrow.binary())}
    if kind == "hugging face":
        return {"id": named, "image": [{"bytes": photo, "path": "a.jpg"} for photo in data]}
    return {"id": named, "path": [str(path) for path in paths]}


@pytest.mark.parametrize("kind", ["bytes", "hugging face", "paths"])
def test_parquet_holds_photos_or_where_they_are(tmp_path, paths, kind):
    file = tmp_path / "photos.parquet"
    table = arrow.table(table_of(paths, kind))
    parquet.write_table(table, file, row_group_size=2)
    pieces = cut(Source(str(file)), at_once=3)
    assert [(piece.first, piece.count) for piece in pieces] == [(0, 3), (3, 3), (6, 2)]
    assert keys(pieces) == [str(name) for name in table["id"].to_pylist()]
    assert contents(pieces) == [path.read_bytes() for path in paths]
    # By its piece a range of rows is known another day, and nothing of it is read again.
    shards = [ShardRecord("a", name_of(piece), 9, 3, 0, 0, "onnx") for piece in pieces[:2]]
    later = map(Inventory(tuple(shards), 2).rest_of, cut(Source(str(file)), at_once=3))
    assert [*later] == [None, None, *pieces[2:]]


def test_rows_without_names_are_called_by_their_file_and_number(tmp_path, paths):
    file = tmp_path / "photos.parquet"
    parquet.write_table(arrow.table({"jpg": [path.read_bytes() for path in paths]}), file)
    pieces = cut(Source(str(file)), at_once=7)
    assert keys(pieces) == [f"{file}#{number}" for number in range(8)]


def test_an_empty_cell_is_left_out_and_listed(tmp_path, paths, bundle):
    file = tmp_path / "photos.parquet"
    parquet.write_table(arrow.table({"jpg": [paths[0].read_bytes(), None]}), file)
    model = BundleModel(bundle.directory, "onnx", "fp32", 1)
    found = embed_shard(model, photos_of(cut(Source(str(file)))[0]))
    assert found.keys == [f"{file}#0"]
    assert [(photo.key, photo.cause) for photo in found.left_out] == [(f"{file}#1", "decode")]


def tar_of(paths):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path in paths:
            tar.add(path, path.name)
            caption = tarfile.TarInfo(f"{path.stem}.txt")
            caption.size = 7
            tar.addfile(caption, io.BytesIO(b"a photo"))
    return made.getvalue()


def test_webdataset_shards_are_read_one_a_piece_and_their_captions_passed_over(tmp_path, paths):
    for number in (0, 1):
        (tmp_path / f"set-{number}.tar").write_bytes(tar_of(paths[number * 4 : number * 4 + 4]))
    pieces = cut(Source(f"{tmp_path}/set-*.tar"))
    assert len(pieces) == 2
    assert keys(pieces) == [f"{tmp_path}/set-{i // 4}.tar/{p.name}" for i, p in enumerate(paths)]
    assert contents(pieces) == [path.read_bytes() for path in paths]


@pytest.mark.parametrize(("pattern", "numbers"), [("set-?.tar", [0, 1]), ("set-[0].tar", [0])])
def test_an_address_may_be_a_pattern(tmp_path, pattern, numbers):
    for number in (0, 1, 10):
        (tmp_path / f"set-{number}.tar").write_bytes(tar_of([]))
    pieces = cut(Source(f"{tmp_path}/{pattern}"))
    assert [piece.file for piece in pieces] == [f"{tmp_path}/set-{n}.tar" for n in numbers]


def test_a_tar_file_that_is_cut_off_is_named_and_read_again_once_it_is_whole(
    tmp_path, paths, bundle
):
    whole = tar_of(paths)
    (tmp_path / "set.tar").write_bytes(whole[: len(whole) * 2 // 3])
    arguments = ("--bundle", bundle.directory, "--out", tmp_path / "out", "--workers", 1)
    document = run_json("embed", tmp_path / "set.tar", *arguments)
    assert 0 < document["photos"] < 8
    (skipped,) = document["skipped"]
    assert skipped["path"] == f"{tmp_path}/set.tar" and "damaged" in skipped["why"]
    (tmp_path / "set.tar").write_bytes(whole)
    document = run_json("embed", tmp_path / "set.tar", *arguments)
    assert (document["embedded"], document["skipped"]) == (8, [])


def test_the_command_embeds_from_and_to_addresses(tmp_path, bundle, photos, shards):
    document = run_json(
        "embed", f"file://{photos}", "--bundle", bundle.directory, "--out", f"file://{tmp_path}/s"
    )
    assert document["photos"] == 8
    found, expected = vectors(tmp_path / "s"), vectors(shards)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def test_an_object_store_is_a_source_like_a_folder(memory, paths):
    files = fsspec.filesystem("memory")
    for path in paths:
        files.pipe_file(f"{memory.removeprefix('memory:/')}/2025/{path.name}", path.read_bytes())
    pieces = cut(Source(memory))
    assert keys(pieces) == [f"{memory}/2025/{path.name}".replace("://", ":///") for path in paths]
    assert contents(pieces) == [path.read_bytes() for path in paths]
    (piece,) = cut(Source(memory), at_once=9)
    assert all(piece.stamps)
    # A stamp changes with the object, though it has as many bytes.
    key = f"{memory.removeprefix('memory:/')}/2025/{paths[2].name}"
    files.pipe_file(key, paths[2].read_bytes()[::-1])
    (later,) = cut(Source(memory), at_once=9)
    changed = [now != then for now, then in zip(later.stamps, piece.stamps, strict=True)]
    assert changed == [number == 2 for number in range(8)]


def test_workers_share_the_photos_of_an_object_store_as_they_do_those_of_a_folder(
    memory, bundle, paths, tasks
):
    """As a worker does it, in this process: another one would not see this store."""
    files = fsspec.filesystem("memory")
    for number in range(40):
        files.pipe_file(f"{memory}/photos/{number:02}.png", paths[number % 8].read_bytes())
    made = embedding.embed(
        Source(f"{memory}/photos"), bundle, f"{memory}/out", embedding.Options(workers=2)
    )
    assert (made.embedded, made.left_out) == (40, [])
    # Of no fewer than 16 photos each, however many workers there are.
    assert sorted(len(task.keys) for task in tasks) == [8, 16, 16]


def test_files_of_an_object_store_are_whole_or_absent_and_claimed_once(memory):
    store = Store(memory)
    assert store.read("a") is None and store.sizes("shards") == {}
    assert store.create("a", b"first") and not store.create("a", b"second")
    assert store.read("a") == b"first"
    store.write("shards/b", b"12345")
    store.write("shards/b", b"123")
    assert store.sizes("shards") == {"b": 3}


def test_a_store_without_conditional_requests_that_remembers_its_folders_is_served(memory):
    listed = {}

    class Plain(MemoryFileSystem):
        protocol = "plain"

        def pipe_file(self, path, value, mode="overwrite", **options):
            if mode == "create":
                raise NotImplementedError
            super().pipe_file(path, value, **options)

        def ls(self, path, **options):
            if path not in listed:
                listed[path] = super().ls(path, **options)
            return listed[path]

        def invalidate_cache(self, path=None):
            listed.clear()

    fsspec.register_implementation("plain", Plain, clobber=True)
    store = Store(memory.replace("memory", "plain"))
    assert store.create("shards/a", b"first") and not store.create("shards/a", b"second")
    assert store.read("shards/a") == b"first" and store.sizes("shards") == {"a": 5}
    store.write("shards/b", b"123")
    assert store.sizes("shards") == {"a": 5, "b": 3}


class CredentialsExpired(Exception):
    pass


@pytest.mark.parametrize(
    ("where", "error", "kind", "message"),
    [
        ("s3://b", PermissionError("no"), StoreError, r"s3://b denied access: no\.\n.*credentials"),
        ("s3://b", RuntimeError("HTTP 403."), StoreError, r"s3://b denied access: HTTP 403\."),
        ("s3://b", CredentialsExpired(), StoreError, "s3://b denied access: CredentialsExpired"),
        ("s3://b", FileNotFoundError("b"), StoreError, r"nothing at s3://b: b\.\n.*the address"),
        ("s3://b", OSError("a\nb"), StoreError, r"s3://b cannot be reached: a b\.\n.*network"),
        ("/b", FileNotFoundError("b"), StoreError, "nothing at /b"),
        (
            "/b",
            OSError(errno.EACCES, "no"),
            DiskError,
            r"/b cannot be written: no\.\n.*permissions",
        ),
        ("file:///b", OSError(errno.ENOSPC, "full"), DiskError, r"^/b cannot .*full\.\n.*space"),
        ("s3://b", DataError("ours"), DataError, "^ours$"),
    ],
)
def test_an_error_of_a_store_says_where_to_look(where, error, kind, message):
    with pytest.raises(kind, match=message), reaching(where):
        raise error


def test_a_shard_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """A machine that loses power keeps names of files whose bytes it lost."""
    flushed, sync = [], os.fsync

    def noted(descriptor):
        sync(descriptor)
        flushed.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        assert not (tmp_path / "shards" / "new").exists()

    monkeypatch.setattr(os, "fsync", noted)
    store = Store(str(tmp_path))
    for make in (store.write, store.create):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / "new.partial").write_bytes(b"of a run that was killed")
        make("shards/new", b"12345")
        assert store.read("shards/new") == b"12345"
        assert flushed.pop() == ((tmp_path / "shards" / "new").stat().st_ino, 5)
        store.remove("shards/new")


def test_others_may_read_shards_where_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        Store(str(tmp_path)).write("a", b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_names_that_lead_nowhere_say_so(tmp_path, photos, monkeypatch):
    with pytest.raises(StoreError, match="nothing at"):
        cut(Source(str(tmp_path / "missing")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(PhotoError, match="No photos"):
        cut(Source(str(tmp_path / "empty")))
    with pytest.raises(StoreError, match="cannot be opened"):
        cut(Source("nosuch://bucket"))
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(registry, "s3", raising=False)
    with pytest.raises(MissingExtra, match="s3fs"):
        Store("s3://bucket/shards")


def test_a_folder_of_several_kinds_asks_which_are_meant(tmp_path, paths):
    (tmp_path / "a.jpg").write_bytes(paths[0].read_bytes())
    (tmp_path / "b.TAR").write_bytes(tar_of(paths[:2]))
    with pytest.raises(DataError, match="--kind"):
        cut(Source(str(tmp_path)))
    assert len(cut(Source(str(tmp_path), "webdataset"))) == 1
    assert keys(cut(Source(str(tmp_path), "photos"))) == [str(tmp_path / "a.jpg")]


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path, paths):
    file = tmp_path / "photos.parquet"
    parquet.write_table(arrow.table({"x": [path.read_bytes() for path in paths]}), file)
    with pytest.raises(DataError, match=r"no column .* it has: x"):
        cut(Source(str(file)))
    assert isinstance(cut(Source(str(file), photo_column="x"))[0], Rows)
    with pytest.raises(DataError, match="no column name"):
        cut(Source(str(file), photo_column="x", key_column="name"))
