"""What an index refuses: damaged bytes, foreign files, manifests that point elsewhere."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, RowFilter, TuningLimits
from mcad_mobile.engine.index.faults import fault
from mcad_mobile.engine.words.photo_words import Line, PhotoWords
from mcad_mobile.errors import PhotoIndexError, Remedy
from tests.support import disk_faults
from tests.support.damaged_index import plant_number, rewrite_manifest, rewrite_part
from tests.support.index_embeddings import (
    cells_from,
    create,
    filled,
    names,
    photos_and_queries,
)
from tests.support.index_oracle import read_index
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
    with pytest.raises(PhotoIndexError, match=r"is damaged: it.*(axis has|bit weight)"):
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


# Uses an index while another program has cut off a file of it at a byte.
CUT_OFF = """
import os, sys
from pathlib import Path
import numpy as np
from mcad_mobile.engine.index import PhotoIndex, RowFilter
from mcad_mobile.errors import PhotoIndexError
directory = Path(sys.argv[1])
index = PhotoIndex.open(directory)
query, place = np.eye(64, dtype=np.float32)[0], RowFilter(place=("lisbon",))
index.search(query)
(file,) = directory.glob(sys.argv[2])
os.truncate(file, int(sys.argv[3]))
first = "photo/000001.jpg"
uses = {
    "search": lambda: index.search(query),
    "exact": lambda: index.search(query, exact=True),
    "time": lambda: index.count(RowFilter(after=5)),
    "place": lambda: index.search(query, rows=place),
    "video": lambda: index.count(RowFilter(kind="video")),
    "words": lambda: index.search_words("lisbon", 5),
    "words of": lambda: index.words(first),
    "unread": lambda: [*index.unread()],
    "dates": index.dates,
    "embedding": lambda: index.embedding(first),
    "cosines": lambda: index.cosines(query, [first]),
    "duplicates": index.near_duplicates,
    "photos": lambda: index.membership().find([first]),
    "verify": index.verify,
    "compact": index.compact,
}
for name, use in uses.items():
    try:
        use()
        print(name, "worked")
    except PhotoIndexError as error:
        print(name, error.message.split()[3])
"""


def worded(directory: Path) -> PhotoIndex:
    """400 photos with words and times."""
    index = create(directory)
    with index.writer() as writer:
        writer.add(names(400), photos_and_queries(400, 1)[0], None, np.arange(400, dtype=np.int32))
        text = PhotoWords((Line("to the beach"),), ("Lisbon",), read=True)
        writer.set_words(dict.fromkeys(names(400)[::2], text))
    return index


@pytest.mark.parametrize(
    ("files", "length"),
    [
        *(("*.mcs", length) for length in (0, 4096, 5000, 40_000, -1)),
        *(("*.mcw", length) for length in (0, 50, -1)),
    ],
)
def test_a_file_cut_off_while_it_is_open_ends_no_process(
    tmp_path: Path, files: str, length: int
) -> None:
    worded(tmp_path)
    (file,) = tmp_path.glob(files)
    length = length % file.stat().st_size
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(tmp_path), files, str(length)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    uses = re.findall('^    "(.+?)":', CUT_OFF, re.MULTILINE)
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
    large, small = (segment.file for segment in read_index(tmp_path))
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


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_a_segment_that_cannot_be_opened_is_neither_dropped_nor_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    filled(tmp_path)
    before = contents(tmp_path)
    plain = os.open

    def refuse(file: Any, *arguments: Any) -> Any:
        if str(file).endswith(".mcs"):
            raise OSError(number, os.strerror(number), str(file))
        return plain(file, *arguments)

    for use in (PhotoIndex.repair, PhotoIndex.rebuild, PhotoIndex.open):
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(PhotoIndexError, match=f"not be read: .*{os.strerror(number)}"):
                use(tmp_path)
        assert contents(tmp_path) == before
    assert PhotoIndex.repair(tmp_path) == 0


# Uses an index of which the disk does not give a read of a segment.
UNREADABLE = """
import errno, sys
from pathlib import Path
import numpy as np
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.errors import PhotoIndexError
from tests.support.disk_faults import fault
directory, query = Path(sys.argv[1]), np.eye(64, dtype=np.float32)[0]
index = PhotoIndex.open(directory)
for use, nth in (
    *((PhotoIndex.open, nth) for nth in (1,)),
    *((PhotoIndex.repair, nth) for nth in (1, 2, 9)),
    *((PhotoIndex.rebuild, nth) for nth in (1, 4)),
    (lambda _: index.search(query, exact=True), 1),
    (lambda _: index.paths(), 1),
):
    fault("pread", nth, errno.EIO, ".mcs")
    try:
        use(directory)
    except PhotoIndexError as error:
        print(error)
    except OSError as error:
        print("It is no error of ours:", error)
"""


def test_a_segment_that_cannot_be_read_is_neither_dropped_nor_called_damaged(
    tmp_path: Path,
) -> None:
    filled(tmp_path)
    before = contents(tmp_path)
    done = disk_faults.run(UNREADABLE, tmp_path)
    assert done.returncode == 0, done.stderr
    said = f"The index file {tmp_path}/segment-00000002.mcs could not be read."
    messages = [line for line in done.stdout.splitlines() if not line.startswith("  ")]
    assert messages == [said] * 8
    assert contents(tmp_path) == before
    assert PhotoIndex.repair(tmp_path) == 0


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
    index, photos = create(tmp_path, limits=TuningLimits(axis_growth=1000)), np.eye(64)[:1]
    with index.writer() as writer:
        writer.add(names(256), photos_and_queries(256, 1)[0])
    for added, is_fit in ((16 * 256 + 15, True), (16 * 256 + 16, False)):
        rows = np.repeat(photos, added - 256, axis=0).astype(np.float32)
        try:
            with index.writer() as writer:
                writer.add(names(added - 256, "more"), rows)
            assert is_fit
        except PhotoIndexError as error:
            assert not is_fit
            assert re.search(r"4112 photos.*256", str(error))


@pytest.mark.parametrize(
    ("part", "at", "value", "message"),
    [
        ("starts", 0, 1, "do not hold its 2000 photos"),
        ("starts", 3, 2**31, "do not hold its 2000 photos"),
        ("rows", 5, 2000, "belongs to no row"),
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
    (segment,) = read_index(tmp_path)

    def change(data: bytearray) -> bytes:
        numbers = np.frombuffer(data, "<u4").copy()
        if at is None:
            # Within a cell: the largest has two for certain.
            first = int(segment.starts[np.diff(segment.starts.astype(int)).argmax()])
            numbers[[first, first + 1]] = numbers[[first + 1, first]]
        else:
            numbers[at] = numbers[at + 1] if value is None else value
        return numbers.tobytes()

    rewrite_part(tmp_path, part, change)
    with pytest.raises(PhotoIndexError, match=message):
        PhotoIndex.open(tmp_path).verify()
    if value == 2000:
        for rows in (RowFilter(), RowFilter(before=2**20)):
            with pytest.raises(PhotoIndexError, match=message):
                PhotoIndex.open(tmp_path).search(queries[0], 2000, rows=rows, exact=True)


def test_paths_that_do_not_ascend_are_an_error_and_no_endless_list(tmp_path: Path) -> None:
    with create(tmp_path).writer() as writer:
        writer.add([f"x{number}" for number in range(1, 6)], photos_and_queries(5, 1)[0])

    def change(data: bytearray) -> None:
        assert data.endswith(b"5")
        data[-1:] = b"0"

    rewrite_part(tmp_path, "paths", change)
    index = PhotoIndex.open(tmp_path)
    uses = (index.paths, index.dates, index.verify, lambda: [*index.membership().missing("x")])
    for use in uses:
        with pytest.raises(PhotoIndexError, match="path of row 4 is not in order"):
            use()


def test_a_record_of_which_a_cosine_is_far_above_1_is_damaged(tmp_path: Path) -> None:
    photos = photos_and_queries(100, 1)[0]
    with create(tmp_path).writer() as writer:
        writer.add(names(100), photos)

    def change(data: bytearray) -> None:
        size = len(data) // 100
        data[31 * size - 2 : 31 * size] = b"\xff\xff"  # the scale of row 30

    rewrite_part(tmp_path, "records", change)
    index = PhotoIndex.open(tmp_path)
    index.verify()
    for query, cosine in ((photos[30], r"\d"), (-photos[30], "-")):
        for exact in (False, True):
            with pytest.raises(PhotoIndexError, match=rf"its row 30 has a cosine of {cosine}"):
                index.search(query, k=100, exact=exact)


def test_a_manifest_that_says_otherwise_than_its_segment_is_damaged(tmp_path: Path) -> None:
    golden = ROOT / "tests" / "golden/index"
    shutil.copytree(golden, tmp_path / "index")
    manifest = json.loads((golden / "manifest.json").read_text())
    manifest["segments"][0]["cells"] = None
    rewrite_manifest(tmp_path / "index", manifest)
    with pytest.raises(PhotoIndexError, match="over whether it has cells"):
        PhotoIndex.open(tmp_path / "index")
    candidates = manifest["segments"][0]["candidates"]
    manifest["segments"][1]["cells"] = manifest["segments"][0]["cells"] = candidates
    rewrite_manifest(tmp_path / "index", manifest)
    with pytest.raises(PhotoIndexError, match="over whether it has cells"):
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
    (segment,) = read_index(tmp_path)
    offset, length = segment.spans["records"]
    assert length > 1 << 20
    index.verify()
    content = bytearray(segment.raw)
    content[offset + length - 1] ^= 1
    segment.file.write_bytes(content)
    with PhotoIndex.open(tmp_path) as damaged, pytest.raises(PhotoIndexError, match="records is"):
        damaged.verify()


# The codes of mcad_index.h from MCAD_MAGIC on, for the values 7, 8 and 9 and the number 1.5: what
# the message says.
DAMAGE = [
    "starts with b'\\x07",
    "ends at byte 7, inside its header",
    "header has CRC-32 00000007",
    "7 dimensions, 8 parts, 9 photos",
    "7 of 8 bits to scan",
    "7 cells",
    "its times are 8 bytes, not 9",
    "its times are at byte 8 of 9",
    "has 7 bytes, not 8",
    "ends at byte 7: it was cut off",
    "not the segment that the manifest names",
    "the 7 bits that its prescan needs",
    "differ over whether it has cells",
    "its 7 cells do not hold its 8 photos",
    "axis has length 1.5",
    "bit weight of 1.5",
    "block 7 of its paths is at bytes 8 to 9",
    "block 7 of its paths has a path that can't be",
    "path of row 7 is not in order",
    "belongs to no row",
    "place 7 is not in the order of paths",
    "no place",
    "row 7 has a cosine of 1.500",
    "bytes other than zero before its times",
    "CRC-32 of its times is 00000008, not 00000009",
    "not of its segment",
    "has 7 bytes, not 8",
    "its checksum is another one",
    "its dictionary cannot be read",
    "texts of a photo cannot be read",
]


def codes() -> list[str]:
    """The names of the codes in mcad_index.h, in their order from 0 on."""
    header = (ROOT / "mcad_mobile/engine/native/mcad_index.h").read_text()
    listed = header[header.index("    MCAD_DONE,") :].split("};")[0]
    return re.findall(r"^    (MCAD_\w+),", listed, re.MULTILINE)


def worded_fault(name: str, number: int = 0, values: tuple[int, int, int] = (7, 8, 9)) -> Any:
    directory = Path("/index")
    files = [directory / "a.mcs", None, directory / "b.mcs", directory / "b.mcw"]
    return fault(directory, files, codes().index(name), number, values, 1.5)


def test_every_code_of_damage_is_worded_and_names_the_file_and_what_to_do() -> None:
    damage = codes()[codes().index("MCAD_MAGIC") :]
    assert len(damage) == len(DAMAGE)
    for name, words in zip(damage, DAMAGE, strict=True):
        error = worded_fault(name, 3)
        assert isinstance(error, PhotoIndexError)
        assert error.message.startswith("The index file /index/b.mcw is damaged: ")
        assert words in error.message, name
        assert error.remedy == Remedy.REPAIR_INDEX


@pytest.mark.parametrize(
    ("name", "number", "values", "kind", "words"),
    [
        ("MCAD_NO_MEMORY", 0, (0, 0, 0), MemoryError, "no memory"),
        ("MCAD_STOPPED", 0, (0, 0, 0), KeyboardInterrupt, ""),
        ("MCAD_NOT_READ", 2, (errno.EIO, 0, 0), PhotoIndexError, "/index/b.mcs could not be read"),
        ("MCAD_NOT_READ", 2**31 - 1, (errno.EIO, 0, 0), OSError, "Input/output error: '/index'"),
        ("MCAD_NOT_WRITTEN", 2**31 - 1, (errno.ENOSPC, 0, 0), OSError, "No space left"),
        ("MCAD_ORDER", 0, (3, 0, 0), PhotoIndexError, "an empty path"),
        ("MCAD_ORDER", 0, (3, 70_000, 0), PhotoIndexError, "a path of 70000 bytes"),
        (
            *("MCAD_NEWER", 0, (int.from_bytes(b"MCADSEG2", "little"), 8, 0), PhotoIndexError),
            "/index/a.mcs starts with b'MCADSEG2', of a newer",
        ),
        ("MCAD_UNTUNED", 0, (600, 20, 0), PhotoIndexError, "/index holds 600 photos, .* for 20"),
        ("MCAD_LENGTH", 0, (0, 1, 0), ValueError, "refused"),
        ("MCAD_PART_CRC", 1, (7, 8, 9), ValueError, "refused"),  # of a file that there is not
    ],
)
def test_every_other_code_becomes_the_error_that_callers_expect(
    name: str, number: int, values: tuple[int, int, int], kind: type[BaseException], words: str
) -> None:
    error = worded_fault(name, number, values)
    assert type(error) is kind
    assert re.search(words, str(error))
