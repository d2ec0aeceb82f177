"""What an index refuses: damaged bytes, foreign files, manifests that point elsewhere."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter, segments
from mcad_mobile.engine.index.filters import ALL_ROWS, LiveSegment
from mcad_mobile.engine.index.manifest import check_tuning
from mcad_mobile.engine.index.search import Hits, search_segments
from mcad_mobile.engine.index.segments import PARTS, open_segment
from mcad_mobile.engine.native import TuningLimits
from mcad_mobile.errors import PhotoIndexError
from tests.support.damaged_index import plant_number, rewrite_manifest
from tests.support.index_embeddings import (
    cells_from,
    create,
    filled,
    levels,
    names,
    photos_and_queries,
    searching_by,
    unit,
)
from tests.support.kernel_oracle import Oracle
from tests.support.paths import ROOT


def test_a_changed_byte_in_any_part_is_found_and_the_file_named(tmp_path: Path) -> None:
    index = filled(tmp_path)
    index.verify()
    (file,) = tmp_path.glob("*.mcs")
    good = file.read_bytes()
    # One byte in each part: axis, records, taken, stamps, ..., paths.
    for offset in (*range(4096, len(good), 4096), len(good) - 1):
        file.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs is damaged"):
            index.verify()
    file.write_bytes(good)
    index.verify()


def test_damage_is_not_merged_into_a_segment_with_a_good_checksum(tmp_path: Path) -> None:
    index = filled(tmp_path)
    with index.writer() as writer:
        writer.delete(["photo/000001.jpg"])
    (file,) = tmp_path.glob("*.mcs")
    with file.open("r+b") as opened:
        opened.seek(-1, 2)
        opened.write(b"?")
    with pytest.raises(PhotoIndexError, match="CRC-32"):
        index.compact()


@pytest.mark.parametrize("part", ["axis", "bit_weights"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e38, -200])
def test_numbers_that_no_writer_makes_are_refused_though_all_checksums_fit(
    tmp_path: Path, part: str, number: float
) -> None:
    directory = shutil.copytree(ROOT / "tests" / "golden" / "index", tmp_path / "index")
    plant_number(directory, part, number)
    with pytest.raises(PhotoIndexError, match=rf"is damaged: its {part[:3]}"):
        PhotoIndex.open(directory)


def make_endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def move_out(path: Path) -> None:
    """Put a link in the place of a file, to the same bytes in another folder."""
    path.symlink_to(shutil.copy(ROOT / "tests/golden/index" / path.name, path.parent.parent))


def make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 33)


@pytest.mark.parametrize("name", ["manifest.json", "segment-00000002.mcs"])
@pytest.mark.parametrize("put", [os.mkfifo, make_endless, move_out, make_sparse])
def test_files_that_no_writer_leaves_are_damage(
    tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    directory = shutil.copytree(ROOT / "tests" / "golden" / "index", tmp_path / "index")
    (directory / name).unlink()
    put(directory / name)
    with pytest.raises(PhotoIndexError, match=rf"{re.escape(name)} is damaged"):
        PhotoIndex.open(directory)
    if name != "manifest.json":
        assert PhotoIndex.repair(directory) > 0
        PhotoIndex.open(directory).verify()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_lock_that_no_writer_leaves_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "index").mkdir()
    lock = tmp_path / "index" / "lock"
    if kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.symlink_to(tmp_path / "made")
    with pytest.raises(PhotoIndexError, match="could not be written"):
        create(tmp_path / "index")
    assert not (tmp_path / "made").exists()


def test_a_commit_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"mine")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest.json.tmp").symlink_to(tmp_path / "secret")
    with pytest.raises(PhotoIndexError, match="could not be written"):
        create(tmp_path / "index")
    assert (tmp_path / "secret").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("at", "byte"),
    [(0, b"X"), (8, b"\x00"), (16, b"\x07"), (32, b"\x01"), (40, b"\x01"), (4095, b"\xff")],
)
def test_a_damaged_segment_header_is_refused_on_opening(
    tmp_path: Path, at: int, byte: bytes
) -> None:
    filled(tmp_path)
    (file,) = tmp_path.glob("*.mcs")
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(byte)
    with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs is damaged"):
        PhotoIndex.open(tmp_path)


@pytest.mark.parametrize("length", [0, 5, 4000, 4096, 9000, -1])
def test_a_segment_cut_short_is_refused_on_opening(tmp_path: Path, length: int) -> None:
    filled(tmp_path)
    (file,) = tmp_path.glob("*.mcs")
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(PhotoIndexError, match="damaged"):
        PhotoIndex.open(tmp_path)


def search_by(kernel: Any, segments: tuple[LiveSegment, ...]) -> Hits:
    """Score all photos of segments, whose sizes were looked at before."""
    query, limits = unit(np.ones(64)), TuningLimits()
    return search_segments(
        segments, query, 10, rows=ALL_ROWS, exact=True, kernel=kernel, limits=limits
    )


def test_a_segment_cut_short_while_open_is_an_error_and_not_a_wrong_score(tmp_path: Path) -> None:
    """Also when that happens after its size was looked at."""
    opened_before = filled(tmp_path, n=400).segments
    (file,) = tmp_path.glob("*.mcs")
    records = open_segment(file).parts["records"]
    with file.open("r+b") as opened:
        opened.truncate(records.offset + 1000)
    ends = r"segment-00000002\.mcs is damaged: it ends before all of its records"
    for kernel in levels():
        with pytest.raises(PhotoIndexError, match=ends):
            search_by(kernel, opened_before)


# Searches an index while its only segment is cut off at a byte.
CUT_OFF = """
import os, sys
from pathlib import Path
import numpy as np
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import PhotoIndexError
index = PhotoIndex.open(Path(sys.argv[1]))
query = np.eye(64, dtype=np.float32)[0]
index.search(query)
(file,) = Path(sys.argv[1]).glob("*.mcs")
os.truncate(file, int(sys.argv[2]))
uses = {
    "search": lambda: index.search(query),
    "exact": lambda: index.search(query, exact=True),
    "paths": index.paths,
    "embedding": lambda: index.embedding("photo/000001.jpg"),
    "duplicates": index.near_duplicates,
    "photos": lambda: index.membership().find(["photo/000001.jpg"]),
}
for name, use in uses.items():
    try:
        use()
    except PhotoIndexError as error:
        print(name, error.message.split()[3])
"""


@pytest.mark.parametrize("length", [0, 4096, 5000, 40_000])
def test_a_segment_cut_off_while_it_is_open_ends_no_process(tmp_path: Path, length: int) -> None:
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(400), photos_and_queries(400, 1)[0])
    (file,) = tmp_path.glob("*.mcs")
    assert file.stat().st_size > 40_000
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(tmp_path), str(length)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    uses = ("search", "exact", "paths", "embedding", "duplicates", "photos")
    assert done.stdout.splitlines() == [f"{use} {file}" for use in uses]


def test_a_manifest_that_names_a_segment_twice_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    (entry,) = json.loads((tmp_path / "manifest.json").read_text())["segments"]
    rewrite_manifest(tmp_path, {"segments": [entry, entry]})
    for use in (PhotoIndex.open, PhotoIndex.rebuild, PhotoIndex.repair):
        with pytest.raises(PhotoIndexError, match="twice"):
            use(tmp_path)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone"])
def test_repair_keeps_what_is_whole(tmp_path: Path, damage: str) -> None:
    photos, (query,) = photos_and_queries(600, 1)
    index = create(tmp_path)
    for start, end in ((0, 500), (500, 600)):
        with index.writer() as writer:
            writer.add(names(600)[start:end], photos[start:end])
    with index.writer() as writer:
        writer.delete(names(600)[:7] + names(600)[-3:])
    whole = index.search(query, k=600)
    large, small = (live.segment.file for live in index.segments)
    raw = small.read_bytes()
    if damage == "gone":
        small.unlink()
    else:
        small.write_bytes(raw[:-1] + (bytes([raw[-1] ^ 4]) if damage == "bit" else b""))
    assert PhotoIndex.repair(tmp_path) == 97
    repaired = PhotoIndex.open(tmp_path)
    assert repaired.paths() == names(600)[7:500]
    kept = dict(zip(whole.paths, whole.scores, strict=True))
    hits = repaired.search(query, k=600)
    assert all(kept[path] == score for path, score in zip(hits.paths, hits.scores, strict=True))
    assert sorted(tmp_path.glob("*.mcs")) == [large]
    assert PhotoIndex.repair(tmp_path) == 0
    assert PhotoIndex.open(tmp_path).generation == repaired.generation
    with repaired.writer() as writer:
        writer.add(names(600)[500:], photos[500:])
    assert repaired.photos == 593


@pytest.mark.parametrize(
    ("call", "number"), [("open", errno.EACCES), ("open", errno.EMFILE), ("pread", errno.EIO)]
)
def test_a_segment_that_cannot_be_read_is_neither_dropped_nor_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    filled(tmp_path)
    before = contents(tmp_path)
    plain = getattr(os, call)

    def refuse(file: Any, *arguments: Any) -> Any:
        if call == "pread" or str(file).endswith(".mcs"):
            raise OSError(number, os.strerror(number), str(file))
        return plain(file, *arguments)

    for use in (PhotoIndex.repair, PhotoIndex.rebuild, PhotoIndex.open):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(PhotoIndexError, match=f"not be read: .*{os.strerror(number)}"):
                use(tmp_path)
        assert contents(tmp_path) == before
    assert PhotoIndex.repair(tmp_path) == 0


def test_a_record_that_cannot_be_read_is_not_called_damage(tmp_path: Path) -> None:
    class Unreadable(Oracle):
        def rescore(self, *_: Any) -> int | None:
            return 0

    with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs could not be read"):
        search_by(Unreadable(), filled(tmp_path).segments)


def test_a_segment_of_another_index_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "a")
    with create(tmp_path / "b").writer() as writer:
        writer.add(names(50), photos_and_queries(50, 1, seed=1)[0])
    (tmp_path / "b/segment-00000002.mcs").replace(tmp_path / "a/segment-00000002.mcs")
    with pytest.raises(PhotoIndexError, match="not the segment"):
        PhotoIndex.open(tmp_path / "a")


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "segment-00000002.mcs").unlink()
    with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs.*gone"):
        PhotoIndex.open(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../segment-00000002.mcs", "/etc/passwd", "a/segment-00000002.mcs", "", "manifest.json"],
)
def test_a_manifest_that_names_a_file_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "index")
    document = json.loads((tmp_path / "index/manifest.json").read_text())
    (tmp_path / "index/segment-00000002.mcs").rename(tmp_path / "segment-00000002.mcs")
    document["segments"][0]["file"] = name
    rewrite_manifest(tmp_path / "index", document)
    with pytest.raises(PhotoIndexError, match="is not the name of a segment"):
        PhotoIndex.open(tmp_path / "index")


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def refused(directory: Path, index: PhotoIndex, message: str) -> None:
    """Nobody reads it, and nobody writes or deletes a byte of it; `index` was opened before."""
    before = contents(directory)
    for use in (
        lambda: PhotoIndex.open(directory),
        lambda: PhotoIndex.rebuild(directory),
        lambda: index.writer().__enter__(),
        index.compact,
        index.verify,
    ):
        with pytest.raises(PhotoIndexError, match=message):
            use()
        assert contents(directory) == before


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            "mcad-index/2",
            r"'mcad-index/2', of a newer .* reads 'mcad-index/1'[\s\S]*Update mcad-mo",
        ),
        ("something-else/1", r"'something-else/1'; this version reads 'mcad-index/1'[\s\S]*again"),
        (
            "mcad-embed/1",
            r"'mcad-embed/1'; [\s\S]* are shards: make an index of them\.$",
        ),
        (None, r"names no schema; this version reads 'mcad-index/1'[\s\S]*index the photos again"),
    ],
)
def test_an_index_of_another_schema_is_refused_and_left_as_it_is(
    tmp_path: Path, schema: str | None, message: str
) -> None:
    index = filled(tmp_path)
    (tmp_path / "segment-00000009.mcs").write_bytes(b"which a writer of that schema may need")
    rewrite_manifest(tmp_path, {"schema": schema})
    refused(tmp_path, index, message)


@pytest.mark.parametrize(
    ("magic", "message"),
    [
        (b"MCADSEG2", r"b'MCADSEG2', of a newer .* reads b'MCADSEG1'[\s\S]*Update mcad-mobile"),
        (b"MCADSEGX", r"b'MCADSEGX', not with b'MCADSEG1'[\s\S]*damaged parts"),
    ],
)
def test_a_segment_of_another_format_is_refused_and_left_as_it_is(
    tmp_path: Path, magic: bytes, message: str
) -> None:
    index = filled(tmp_path)
    file = tmp_path / "segment-00000002.mcs"
    file.write_bytes(magic + file.read_bytes()[8:])
    refused(tmp_path, index, message)


@pytest.mark.parametrize("schema", ["mcad-index/2", "something-else/1"])
def test_no_index_of_another_schema_is_locked_to_be_rebuilt(tmp_path: Path, schema: str) -> None:
    filled(tmp_path)
    (tmp_path / "lock").unlink()
    rewrite_manifest(tmp_path, {"schema": schema})
    with pytest.raises(PhotoIndexError):
        PhotoIndex.rebuild(tmp_path)
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 100},
        {"segments": None},
        {"segments": [{"file": "segment-00000002.mcs"}]},
        {"generation": "many"},
        {"generation": float("inf")},
        {"generation": float("nan")},
        {"dim": 1e400},
        {"segments": [{"file": "segment-00000002.mcs", "photos": float("-inf")}]},
        {"student": None, "dim": []},
        {"filled_by": None},
    ],
)
def test_a_manifest_with_fields_of_another_kind_is_damaged(
    tmp_path: Path, change: dict[str, object]
) -> None:
    filled(tmp_path)
    rewrite_manifest(tmp_path, change)
    with pytest.raises(PhotoIndexError, match="damaged"):
        PhotoIndex.open(tmp_path)


def test_a_manifest_of_brackets_in_brackets_is_damaged(tmp_path: Path) -> None:
    filled(tmp_path)
    for text in ("[" * 200_000, '{"schema": ' * 100_000):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(PhotoIndexError, match="damaged"):
            PhotoIndex.open(tmp_path)


@pytest.mark.parametrize(
    "deleted",
    [
        *(None, "12", {}, {"1": 2}, 7, [1.5], ["3"], [[1], [2]], [[1], 2], [None], [2**63]),
        *([2**80], [1, 2**80], [1, float("nan")], [1, None], [1, float("inf")]),
    ],
)
def test_tombstones_that_are_no_row_numbers_are_damage(tmp_path: Path, deleted: object) -> None:
    filled(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    document["segments"][0]["deleted"] = deleted
    rewrite_manifest(tmp_path, document)
    with pytest.raises(PhotoIndexError, match="damaged"):
        PhotoIndex.open(tmp_path)


def test_tombstones_outside_a_segment_are_damage(tmp_path: Path) -> None:
    filled(tmp_path)
    document = json.loads((tmp_path / "manifest.json").read_text())
    for deleted in ([50], [-1], [-1, 3], [3, 50], [2**62], [3, 3], [4, 2], [1, 4, 3, 5]):
        document["segments"][0]["deleted"] = deleted
        rewrite_manifest(tmp_path, document)
        with pytest.raises(PhotoIndexError, match="ascend"):
            PhotoIndex.open(tmp_path)


def test_any_changed_byte_of_the_manifest_is_noticed(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "manifest.json"
    good = file.read_bytes()
    for offset in range(len(good)):
        file.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        with pytest.raises(PhotoIndexError):
            PhotoIndex.open(tmp_path)


def test_a_tuning_of_less_than_a_sixteenth_of_the_photos_is_refused(tmp_path: Path) -> None:
    """Writers measure them anew at eight times as many."""

    def holding(photos: int) -> tuple[Any, ...]:
        segment = SimpleNamespace(
            bit_weights=[0, 1], centroids=[], axis_photos=500, file=tmp_path / "a.mcs"
        )
        return (SimpleNamespace(photos=photos, prescan=None, cells=None, segment=segment),)

    check_tuning(tmp_path, holding(8000))
    with pytest.raises(PhotoIndexError, match=r"8001 photos.*500"):
        check_tuning(tmp_path, holding(8001))


@pytest.mark.parametrize(
    ("part", "at", "value", "message"),
    [
        ("starts", 0, 1, "do not hold its 2000 photos"),
        ("starts", 3, 2**31, "do not hold its 2000 photos"),
        ("rows", 5, 2000, "row 2000's"),
        ("rows", 5, None, "no place"),
        ("rows", None, None, "not in the order of paths"),
    ],
    ids=["first", "falling", "no such row", "twice the same", "order"],
)
def test_cells_that_hold_no_photos_are_found(
    tmp_path: Path, part: str, at: int | None, value: int | None, message: str
) -> None:
    """Also where checksums say that this is what was written."""
    photos, queries = photos_and_queries(2000, 1)
    with create(tmp_path, limits=cells_from(1000)).writer() as writer:
        writer.add(names(2000), photos, None, np.arange(2000, dtype=np.int32))
    (file,) = tmp_path.glob("*.mcs")
    raw = bytearray(file.read_bytes())
    entry = 40 + 24 * PARTS.index(part)
    offset, length = struct.unpack_from("<QQ", raw, entry)
    numbers = np.frombuffer(raw, "<u4", length // 4, offset).copy()
    if at is None:
        # Within a cell: the largest has two for certain.
        starts = PhotoIndex.open(tmp_path).segments[0].segment.starts.astype(int)
        first = starts[np.diff(starts).argmax()]
        numbers[[first, first + 1]] = numbers[[first + 1, first]]
    else:
        numbers[at] = numbers[at + 1] if value is None else value
    raw[offset : offset + length] = numbers.tobytes()
    struct.pack_into("<I", raw, entry + 16, zlib.crc32(raw[offset : offset + length]))
    raw[4092:4096] = struct.pack("<I", zlib.crc32(raw[:4092]))
    file.write_bytes(raw)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["segments"][0]["header_crc32"] = zlib.crc32(raw[:4092])
    rewrite_manifest(tmp_path, manifest)
    with pytest.raises(PhotoIndexError, match=message):
        PhotoIndex.open(tmp_path).verify()
    if value == 2000:
        with pytest.raises(PhotoIndexError, match=message):
            PhotoIndex.open(tmp_path).search(queries[0], 2000, exact=True)
        for compiled in levels():
            with searching_by(compiled), pytest.raises(PhotoIndexError, match="belongs to no row"):
                rows = RowFilter(before=2**20)
                PhotoIndex.open(tmp_path).search(queries[0], 2000, rows=rows)


def test_a_manifest_that_says_otherwise_than_its_segment_is_damaged(tmp_path: Path) -> None:
    golden = ROOT / "tests" / "golden/index"
    shutil.copytree(golden, tmp_path / "index")
    manifest = json.loads((golden / "manifest.json").read_text())
    manifest["segments"][0]["cells"] = None
    rewrite_manifest(tmp_path / "index", manifest)
    with pytest.raises(PhotoIndexError, match=r"it has cells.*manifest"):
        PhotoIndex.open(tmp_path / "index")
    candidates = manifest["segments"][0]["candidates"]
    manifest["segments"][1]["cells"] = manifest["segments"][0]["cells"] = candidates
    rewrite_manifest(tmp_path / "index", manifest)
    with pytest.raises(PhotoIndexError, match=r"it has no cells.*manifest"):
        PhotoIndex.open(tmp_path / "index")
    whole = json.loads((golden / "manifest.json").read_text())
    for bits in (64, 128):  # of 64 bits that are scanned none are left for a scan after it
        prescan = {"bits": bits, "candidates": candidates}
        whole["segments"][0]["prescan"] = prescan
        rewrite_manifest(tmp_path / "index", whole)
        with pytest.raises(PhotoIndexError, match=f"the {bits} bits that its prescan needs"):
            PhotoIndex.open(tmp_path / "index")


def test_parts_of_more_bytes_than_are_read_at_once_have_one_checksum(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(2500, 1, dim=512)
    index = create(tmp_path, 512)
    with index.writer() as writer:
        writer.add(names(2500), photos)
    (live,) = index.segments
    records = live.segment.parts["records"]
    assert records.length > segments.CHUNK
    content = bytearray(live.segment.file.read_bytes())
    part = content[records.offset : records.offset + records.length]
    assert zlib.crc32(part) == records.crc32
    index.verify()
    content[records.offset + records.length - 1] ^= 1
    live.segment.file.write_bytes(content)
    with PhotoIndex.open(tmp_path) as damaged, pytest.raises(PhotoIndexError):
        damaged.verify()
