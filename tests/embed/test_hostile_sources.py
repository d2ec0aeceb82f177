"""What a row, a member or an address does that was made to harm: it is left out and named, and the
photos beside it are embedded."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_socket import enable_socket, socket_allow_hosts

from mcad_mobile.embed.job import KnownPhotos
from mcad_mobile.embed.pieces import Members, PhotoList, Rows, photos_of
from mcad_mobile.embed.shard import embed_shard
from mcad_mobile.embed.shard_store import Store
from mcad_mobile.embed.source import Source
from mcad_mobile.engine.photos.decode import MOST_BYTES, check_bytes
from mcad_mobile.errors import StoreError
from tests.support.embedding_runs import run_json

PHOTO = b"a photo"


class Bytes:
    """A model whose row is a photo's length."""

    threads = 2

    def prepare(self, photo, key):
        return photo

    def rows(self, prepared, key):
        return [(key, np.array([len(prepared)]))]


def embedded(piece):
    """Keys that have a row, and the causes and reasons of those that have none."""
    found = embed_shard(Bytes(), photos_of(piece))
    return found.keys, {photo.key: (photo.cause, photo.why) for photo in found.left_out}


def cut(source, at_once=100):
    left = []
    nothing = KnownPhotos(Store("memory://nothing"), ())
    return list(source.pieces(at_once, lambda: nothing, left)), left


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.jpg"
    path.write_bytes(PHOTO)
    return str(path)


@pytest.fixture
def opened():
    """A protocol of fsspec that notes what is opened by it."""
    seen = []

    class Trap(MemoryFileSystem):
        protocol = "trap"

        def __init__(self, *arguments, **options):
            seen.append((arguments, options))
            super().__init__(*arguments, **options)

    fsspec.register_implementation("trap", Trap, clobber=True)
    return seen


FOREIGN = [
    "trap://x/a.jpg",
    "TRAP://x/a.jpg",
    "simplecache::trap://x/a.jpg",
    "reference://::trap://x/a.json",
    "nosuch://x/a.jpg",
    "dir://a.jpg::file:///etc",
    "s3://bucket/a.jpg",
    "file://x::trap://x/a.jpg",
]


@pytest.mark.parametrize("address", FOREIGN)
def test_a_row_opens_files_the_web_and_the_sources_own_store_alone(address, good, opened):
    piece = PhotoList((good, *[address] * 30, f"file://{good}"), (0,) * 32)
    keys, left = embedded(piece)
    assert keys == [good, f"file://{good}"] and opened == []
    cause, why = left[address]
    assert cause == "decode" and "file, http, https" in why


def test_a_row_of_a_table_opens_no_foreign_protocol(tmp_path, good, opened):
    table = arrow.table({"path": [good, *FOREIGN, good]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    (piece,), _ = cut(Source(str(tmp_path / "rows.parquet")))
    keys, left = embedded(piece)
    assert keys == [good, good] and left.keys() == set(FOREIGN) and opened == []


def test_the_sources_own_store_is_opened(opened):
    fsspec.filesystem("memory").pipe_file("/own/a.jpg", PHOTO)
    piece = PhotoList(("memory://own/a.jpg",), (7,), "memory://own/list.txt")
    found = embed_shard(Bytes(), photos_of(piece))
    assert found.keys == ["memory://own/a.jpg"] and found.stamps.tolist()[0][0] == 7


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["", "trap://", "::", "file://", "/", "\0", "trap::"]))
def test_no_text_in_a_row_ends_a_shard(text, start):
    key = f"{start}{text}"
    if "http" in key or (not key.isprintable() and "\ud800" <= max(key) <= "\udfff"):
        return
    found = embed_shard(Bytes(), photos_of(PhotoList((key, key), (0, 0))))
    assert len(found.left_out) + len(found.keys) == 2


@pytest.mark.parametrize("number", [1, 25])
def test_photos_that_cannot_be_read_end_no_job(number, tmp_path, good):
    locked = []
    for index in range(number):
        (tmp_path / f"{index}.jpg").mkdir()
        locked.append(str(tmp_path / f"{index}.jpg"))
        locked += [f"{tmp_path}/nul\0{index}.jpg", f"{tmp_path}/{'x' * 300}{index}.jpg"]
    keys, left = embedded(PhotoList((*locked, good), (0,) * (len(locked) + 1)))
    assert keys == [good] and left.keys() == set(locked)


def test_a_pipe_is_not_waited_for(tmp_path, good):
    os.mkfifo(tmp_path / "pipe.jpg")
    keys, left = embedded(PhotoList((str(tmp_path / "pipe.jpg"), good), (0, 0)))
    assert keys == [good] and "regular file" in left[str(tmp_path / "pipe.jpg")][1]


def test_a_file_of_too_many_bytes_is_not_read(tmp_path, good):
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    keys, left = embedded(PhotoList((str(tmp_path / "large.jpg"), good), (0, 0)))
    assert keys == [good] and left[str(tmp_path / "large.jpg")][0] == "decode"


def test_an_object_of_too_many_bytes_is_not_held(monkeypatch):
    asked = []

    class Endless(MemoryFileSystem):
        protocol = "endless"

        def cat_file(self, path, start=None, end=None, **options):
            asked.append(end - start)
            return bytes(min(end - start, MOST_BYTES + 9))

    fsspec.register_implementation("endless", Endless, clobber=True)
    _, left = embedded(PhotoList(("endless://a.jpg",), (0,), "endless://"))
    assert asked == [MOST_BYTES + 1] and "MB" in left["endless://a.jpg"][1]


class Web(BaseHTTPRequestHandler):
    """/NUMBER answers with that status, /endless never ends, /silent sends nothing."""

    def do_GET(self):
        asked = self.path.partition("?")[0].strip("/")
        if asked.isdigit():
            named = self.headers["User-Agent"] == "mcad-mobile"  # some sites refuse programs
            self.send_response(int(asked) if named else 403)
            self.end_headers()
            self.wfile.write(PHOTO)
            return
        self.send_response(200)
        self.end_headers()
        try:
            while asked == "endless":
                self.wfile.write(bytes(1 << 16))
                if self.server.ended.wait(0.01):
                    return
        except OSError:
            return
        self.server.ended.wait(60)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(no_network):
    enable_socket()
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    server.daemon_threads, server.ended = True, threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_one_address_of_the_web_that_fails_ends_no_job(web):
    bad = [f"{web}/{status}" for status in (403, 404, 500)] * 10
    bad += ["http://127.0.0.1:1/a.jpg", "http://[::1/a.jpg", "https://", "http://a b/ü.jpg"]
    good = (f"{web}/200", f"{web}/200?a ph\u00f6to")
    keys, left = embedded(PhotoList((*bad, *good), (0,) * (len(bad) + 2)))
    assert keys == [*good] and left.keys() == set(bad)


def test_an_answer_that_does_not_end_is_given_up(web, monkeypatch):
    monkeypatch.setattr("mcad_mobile.embed.pieces.WEB_S", 1.0)
    bad = (f"{web}/endless", f"{web}/silent")
    keys, left = embedded(PhotoList((*bad, f"{web}/200"), (0, 0, 0)))
    assert keys == [f"{web}/200"] and left.keys() == set(bad)
    assert "more than 1 s" in left[f"{web}/endless"][1]
    fewer = partial(check_bytes, most=100_000)
    monkeypatch.setattr("mcad_mobile.embed.pieces.check_bytes", fewer)
    _, left = embedded(PhotoList((f"{web}/endless",), (0,)))
    assert left[f"{web}/endless"][0] == "decode"  # it has too many bytes


def test_a_store_that_is_away_ends_the_job_in_the_end(monkeypatch):
    class Away(MemoryFileSystem):
        protocol = "away"

        def cat_file(self, path, *arguments, **options):
            raise RuntimeError("no answer")

    fsspec.register_implementation("away", Away, clobber=True)
    keys = tuple(f"away://{number}.jpg" for number in range(40))
    with pytest.raises(StoreError, match="no answer"):
        embed_shard(Bytes(), photos_of(PhotoList(keys, (0,) * 40, "away://")))
    few = embed_shard(Bytes(), photos_of(PhotoList(keys[:5], (0,) * 5, "away://")))
    assert {photo.cause for photo in few.left_out} == {"read"}


def test_a_store_that_answers_now_and_then_ends_no_job():
    class Flaky(MemoryFileSystem):
        protocol = "flaky"

        def cat_file(self, path, *arguments, **options):
            if path.endswith("9.jpg"):
                return PHOTO
            raise RuntimeError("no answer")

    fsspec.register_implementation("flaky", Flaky, clobber=True)
    keys = tuple(f"flaky://{number}.jpg" for number in range(100, 200))
    found = embed_shard(Bytes(), photos_of(PhotoList(keys, (0,) * 100, "flaky://")))
    assert (len(found.keys), len(found.left_out)) == (10, 90)


def member(name, data=PHOTO, **facts):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for fact, value in facts.items():
        setattr(info, fact, value)
    return info, data


def tar_of(members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def of_tar(tmp_path, data):
    (tmp_path / "set.tar").write_bytes(data)
    keys, left = embedded(Members(str(tmp_path / "set.tar"), ""))
    short = {key.removeprefix(f"{tmp_path}/"): why for key, why in left.items()}
    return [key.removeprefix(f"{tmp_path}/set.tar/") for key in keys], short


def test_links_in_a_tar_file_are_left_out_alone(tmp_path):
    members = [member("a.jpg"), member("a folder.jpg", b"", type=tarfile.DIRTYPE)]
    for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
        members.append(member(f"{number}.jpg", b"", type=kind, linkname="a.jpg"))
    keys, left = of_tar(tmp_path, tar_of([*members, member("b.jpg")]))
    assert keys == ["a.jpg", "b.jpg"]
    assert left.keys() == {f"set.tar/{number}.jpg" for number in range(3)}


def test_a_member_whose_name_is_no_text_is_named(tmp_path):
    keys, left = of_tar(tmp_path, tar_of([member("caf\xe9.jpg"), member("b.jpg")]))
    assert keys == ["b.jpg"] and list(left) == ["set.tar/caf\\udce9.jpg"]


def test_a_member_that_says_it_is_huge_is_not_read(tmp_path):
    info, _ = member("huge.jpg")
    info.size = MOST_BYTES + 1
    keys, left = of_tar(tmp_path, tar_of([member("a.jpg")])[:1024] + info.tobuf() + bytes(2048))
    assert keys == ["a.jpg"] and "MB" in left["set.tar/huge.jpg"][1]


@pytest.mark.parametrize("harm", ["cut off", "a header", "gzip"])
def test_what_is_damaged_in_a_tar_file_is_told_and_what_is_before_is_embedded(tmp_path, harm):
    whole = tar_of([member("a.jpg"), member("b.jpg"), member("c.jpg")])
    if harm == "cut off":
        data = whole[: 2 * 1024 + 515]
    elif harm == "a header":
        data = whole[:2048] + b"\xff" * 512 + whole[2560:]
    else:
        zipped = gzip.compress(whole[:2048] + os.urandom(30_000))
        data = zipped[:-500]
    keys, left = of_tar(tmp_path, data)
    assert keys == ["a.jpg", "b.jpg"]
    assert left["set.tar"][0] == "read" and "damaged" in left["set.tar"][1]


@settings(
    max_examples=200, derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.data())
def test_a_tar_file_with_any_bytes_changed_is_embedded_or_told(tmp_path, data):
    whole = bytearray(tar_of([member(f"{name}.jpg") for name in "abcd"])[: 10 * 512])
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    keys, left = of_tar(tmp_path, bytes(whole))
    assert left or len(keys) == 4


def test_rows_that_are_no_text_or_no_photo_are_left_out_alone(tmp_path):
    text = arrow.array([b"a.jpg", b"\xff\xfe", b"c.jpg"], arrow.binary()).view(arrow.string())
    table = arrow.table({"key": text, "image": arrow.array([PHOTO] * 3, arrow.binary())})
    parquet.write_table(table, tmp_path / "text.parquet")
    keys, left = embedded(cut(Source(str(tmp_path / "text.parquet")))[0][0])
    assert keys == ["a.jpg", "c.jpg"] and list(left) == [f"{tmp_path}/text.parquet#1"]

    kinds = arrow.array([{"bytes": 7, "path": None}, {"bytes": None, "path": 1.5}, None])
    table = arrow.table({"key": ["a", None, "c"], "image": kinds})
    parquet.write_table(table, tmp_path / "kinds.parquet")
    keys, left = embedded(cut(Source(str(tmp_path / "kinds.parquet")))[0][0])
    assert keys == [] and left.keys() == {"a", f"{tmp_path}/kinds.parquet#1", "c"}


def test_a_damaged_group_of_rows_costs_no_other(tmp_path):
    path = tmp_path / "rows.parquet"
    photos = [bytes([65 + number]) * 5000 for number in range(6)]
    options = {"row_group_size": 2, "compression": "none", "use_dictionary": False}
    parquet.write_table(arrow.table({"jpg": photos}), path, **options, write_page_checksum=False)
    data = bytearray(path.read_bytes())
    group = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    start = group.data_page_offset
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    keys, left = embedded(Rows(str(path), "", 0, 6, "jpg"))
    assert keys == [f"{path}#{number}" for number in (0, 1, 4, 5)]
    assert list(left) == [f"{path}#2"] and "damaged" in left[f"{path}#2"][1]


@settings(
    max_examples=150, derandomize=True, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.data())
def test_a_table_with_any_bytes_changed_is_embedded_or_told(tmp_path, data):
    made = io.BytesIO()
    rows = {"key": list("abcd"), "jpg": [PHOTO, b"", None, PHOTO]}
    parquet.write_table(arrow.table(rows), made, row_group_size=2, compression="zstd")
    whole = bytearray(made.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "rows.parquet").write_bytes(whole)
    _, left = embedded(Rows(str(tmp_path / "rows.parquet"), "", 0, 4, "jpg", "key"))
    assert left


def test_a_line_that_is_no_text_is_left_out_and_listed(tmp_path, good):
    (tmp_path / "list.txt").write_bytes(good.encode() + b"\n\xff\xfe.jpg\n" + b"x" * 200_000)
    pieces, left = cut(Source(str(tmp_path / "list.txt")))
    assert pieces[0].keys[0] == good and all(len(key) < 100_000 for key in pieces[0].keys)
    assert [photo.cause for photo in left] == ["read"] and "not valid UTF-8" in left[0].why


def test_one_broken_table_among_others_is_left_out_and_listed(tmp_path):
    parquet.write_table(arrow.table({"jpg": [PHOTO]}), tmp_path / "b.parquet")
    (tmp_path / "a.parquet").write_bytes(b"no table")
    pieces, left = cut(Source(str(tmp_path)))
    assert [piece.file for piece in pieces] == [str(tmp_path / "b.parquet")]
    assert [photo.key for photo in left] == [str(tmp_path / "a.parquet")]


def test_a_command_goes_on_past_all_of_it(tmp_path, bundle, photos):
    whole = sorted(photos.iterdir())
    rows = [whole[0].read_bytes(), b"no photo", None]
    parquet.write_table(arrow.table({"jpg": rows}), tmp_path / "rows.parquet")
    lines = [str(whole[1]), "trap://x", f"{tmp_path}/nul\0.jpg", "http://127.0.0.1:1/a.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    for source, expected in (("rows.parquet", 2), ("list.txt", 3)):
        options = ("--bundle", bundle.directory, "--out", tmp_path / f"{source}-out")
        document = run_json("embed", tmp_path / source, *options, "--workers", 1)
        assert (document["photos"], len(document["skipped"])) == (1, expected)


def test_a_photo_that_memory_does_not_hold_is_left_out(monkeypatch):
    class Full(Bytes):
        def prepare(self, photo, key):
            if key == keys[1]:
                raise MemoryError
            return photo

    keys = ("memory://own/a.jpg", "memory://own/b.jpg")
    for name in ("a", "b"):
        fsspec.filesystem("memory").pipe_file(f"/own/{name}.jpg", PHOTO)
    found = embed_shard(Full(), photos_of(PhotoList(keys, (0, 0), "memory://own")))
    assert found.keys == [keys[0]] and found.left_out[0].cause == "decode"
    assert found.left_out[0].why == f"{keys[1]} takes more memory than there is."
