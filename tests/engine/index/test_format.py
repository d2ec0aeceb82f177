"""The bytes on disk: docs/index-format.md is true, and enough to write another reader from."""

from __future__ import annotations

import json
import math
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.codes import decode, encode, rotate, split_query, unrotate
from mcad_mobile.engine.index.paths import path_to_bytes
from mcad_mobile.engine.index.segment_writer import Batch, write_segment
from mcad_mobile.engine.index.segments import NO_TIME, open_segment
from tests.golden import make_index
from tests.support.index_embeddings import kernels, names, photos_and_queries, stamps_of
from tests.support.kernel_oracle import scores as scores_by
from tests.support.paths import ROOT

EXAMPLE = ROOT / "tests/golden/index-example.mcs"
GOLDEN = ROOT / "tests" / "golden/index"

AXIS = np.array([0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)
PHOTOS = np.array(
    [[0.75, -0.5, 0.25, -0.25, 0.25, 0, 0, 0], [0.5, 0.5, 0.5, -0.5, 0, 0, 0, 0]], np.float32
)
NO_BIT_WEIGHTS = np.empty((0, 8), np.float32)
QUERY = np.array([0.5, -0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)


def rotated_as_documented(vector: list[float]) -> list[float]:
    """H S2 H S1 v with plain Python."""
    dim, state, signs = len(vector), 1, []
    for _ in range(2 * dim):
        state = (state * 1664525 + 1013904223) % 2**32
        signs.append(-1 if state >= 2**31 else 1)
    for flips in (signs[:dim], signs[dim:]):
        flipped = [v * s for v, s in zip(vector, flips, strict=True)]
        vector = [
            sum(
                v * (math.cos(2 * math.pi * j * k / dim) + math.sin(2 * math.pi * j * k / dim))
                for j, v in enumerate(flipped)
            )
            / math.sqrt(dim)
            for k in range(dim)
        ]
    return vector


def as_documented(raw: bytes, query: list[float]) -> dict[bytes, tuple[float, tuple[int, int]]]:
    """Score every photo of a segment with plain Python, from the page and nothing else: path ->
    (score, stamps). `query` is rotated."""
    magic, dim, parts, photos = struct.unpack_from("<8sIIQ", raw, 0)
    assert (magic, parts) == (b"MCADSEG1", 11)
    assert struct.unpack_from("<I", raw, 4092)[0] == zlib.crc32(raw[:4092])
    data = []
    for part in range(parts):
        offset, length, crc, zero = struct.unpack_from("<QQII", raw, 40 + 24 * part)
        assert offset % 4096 == zero == 0
        data.append(raw[offset : offset + length])
        assert zlib.crc32(data[-1]) == crc
    axis = struct.unpack(f"<{dim}f", data[0])
    scanned, cells = struct.unpack_from("<II", raw, 32)
    places = list(range(photos))
    if cells:
        bounds = struct.unpack(f"<{cells + 1}I", data[3])
        for place, row in enumerate(struct.unpack(f"<{photos}I", data[4])):
            places[row] = place
        assert (bounds[0], bounds[-1]) == (0, photos)
        assert len(data[2]) == 2 * cells * dim
        assert sorted(places) == list(range(photos))
    else:
        assert data[2:5] == [b"", b"", b""]
    del data[2:5]
    size = dim + (dim - scanned) // 8 + 4
    assert len(data[3]) == photos * size
    starts = struct.unpack(f"<{-(-photos // 16)}Q", data[6])

    a = sum(q * m for q, m in zip(query, axis, strict=True))
    r = [q - a * m for q, m in zip(query, axis, strict=True)]
    found: dict[bytes, tuple[float, tuple[int, int]]] = {}
    offset, path = 0, b""
    for row in range(photos):
        if row % 16 == 0:
            assert offset == starts[row // 16]
            assert data[7][offset] == 0
        shared, length = struct.unpack_from("<BH", data[7], offset)
        before, path = path, path[:shared] + data[7][offset + 3 : offset + 3 + length]
        assert path > before
        offset += 3 + length
        place = places[row]
        record = data[3][place * size : (place + 1) * size]
        code = (
            b"".join(data[2][8 * (word * photos + place) :][:8] for word in range(scanned // 64))
            + record[dim:-4]
        )
        along, scale = struct.unpack("<hH", record[-4:])
        dot = 0.0
        for i in range(dim):
            w = 2 * record[i] + 1
            dot += r[i] * (w if code[i // 8] >> i % 8 & 1 else -w)
        score = a * along / 32767 + scale * 2.0**-24 * dot
        first, second = struct.unpack_from("<II", data[5], 8 * row)
        found[path] = (score, (first, second))
    assert offset == len(data[7])
    return found


def write_example(file: Path) -> None:
    stamps = np.array([[1, 2], [0xDEADBEEF, 0]], np.uint32)
    paths = [path_to_bytes(path) for path in ("Müll/a.jpg", "Müll/b.jpg")]
    batch = Batch(encode(PHOTOS, AXIS), stamps, np.array([28_596_960, NO_TIME], np.int32), paths)
    write_segment(
        file, axis=AXIS, bit_weights=NO_BIT_WEIGHTS, axis_photos=2, photos=2, batches=[batch]
    )


def test_the_worked_example_of_the_page_is_what_we_write(tmp_path: Path) -> None:
    write_example(tmp_path / "example.mcs")
    assert (tmp_path / "example.mcs").read_bytes() == EXAMPLE.read_bytes()


def test_the_worked_example_of_the_page_scores_as_the_page_says() -> None:
    encoded = encode(PHOTOS, AXIS)
    query = split_query(QUERY, AXIS)
    assert query.projection_step == pytest.approx(0.5 / 32767)
    for kernel in kernels():
        found = scores_by(kernel, query, encoded)
        assert np.allclose(found, [0.624453, 0.000252], atol=1e-6)
    found = as_documented(EXAMPLE.read_bytes(), QUERY.tolist())
    assert [*found] == ["Müll/a.jpg".encode(), "Müll/b.jpg".encode()]
    assert [stamps for _, stamps in found.values()] == [(1, 2), (0xDEADBEEF, 0)]
    assert [s for s, _ in found.values()] == pytest.approx([0.624453, 0.000252], abs=1e-6)


def test_the_rotation_is_that_of_the_page_and_can_be_undone() -> None:
    unit_vector = np.eye(8, dtype=np.float32)[0]
    shown = [0, 0.25, -0.5, 0.603553, 0.5, 0.25, 0, -0.103553]
    assert rotate(unit_vector).tolist() == pytest.approx(shown, abs=1e-6)
    for dim in (8, 40, 256):
        rows = photos_and_queries(3, 1, dim=dim)[0]
        turned = rotate(rows)
        assert turned.dtype == np.float32
        for row, expected in zip(turned, rows.tolist(), strict=True):
            assert row.tolist() == pytest.approx(rotated_as_documented(expected), abs=1e-5)
        assert np.allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)
        assert np.allclose(unrotate(turned), rows, atol=1e-5)


def test_the_golden_index_holds_what_is_written_beside_it(tmp_path: Path) -> None:
    directory = shutil.copytree(GOLDEN, tmp_path / "index")
    expected = json.loads((directory / "expected.json").read_text())
    index = PhotoIndex.open(directory)
    index.verify()
    assert [len(live.segment.centroids) for live in index.segments] == expected["cells"]
    assert index.photos == expected["photos"] == len(expected["paths_hex"])
    assert [path_to_bytes(path).hex() for path in index.paths()] == expected["paths_hex"]
    stamps = {path_to_bytes(path).hex(): [*stamp] for path, stamp in stamps_of(index).items()}
    assert stamps == expected["stamps"]
    assert rotate(np.float32(expected["rotation"]["of"])).tolist() == pytest.approx(
        expected["rotation"]["is"], abs=1e-5
    )
    embeddings = {path: np.array(row) for path, row in expected["embeddings"].items()}
    for query in expected["queries"]:
        vector = np.float32(query["embedding"])
        hits = index.search(vector, k=len(query["scores"]), exact=True)
        found = {path_to_bytes(p).hex(): s for p, s in zip(hits.paths, hits.scores, strict=True)}
        assert found == pytest.approx(
            dict(zip(query["paths_hex"], query["scores"], strict=True)), abs=2e-5
        )
        # And the file beside it is itself true: scores are the products of what was put in.
        whole = index.search(vector, k=index.photos, exact=True)
        scores = dict(zip(map(path_to_bytes, whole.paths), whole.scores.tolist(), strict=True))
        true = {path: float(row @ vector) for path, row in embeddings.items()}
        assert {path: scores[bytes.fromhex(path)] for path in true} == pytest.approx(true, abs=5e-3)
        hits = index.search(vector, k=5)
        assert [path_to_bytes(path).hex() for path in hits.paths] == query["found_hex"]


def test_the_golden_index_is_written_again_byte_for_byte(tmp_path: Path) -> None:
    make_index.main(tmp_path / "index")
    written = {file.name: file.read_bytes() for file in (tmp_path / "index").iterdir()}
    assert written == {file.name: file.read_bytes() for file in GOLDEN.iterdir()}


@pytest.mark.parametrize("dim", [40, 64, 136])
def test_a_reader_written_from_the_page_gives_our_scores(tmp_path: Path, dim: int) -> None:
    photos, queries = photos_and_queries(300, 1, dim=dim)
    index = PhotoIndex.create(tmp_path, dim=dim, student_sha256="ab" * 32, student="tiny")
    with index.writer() as writer:
        writer.add(names(300), photos, np.arange(600, dtype=np.uint32).reshape(300, 2))
        writer.delete(["photo/000003.jpg"])
    with index.writer() as writer:
        writer.delete(["photo/000007.jpg"])

    raw = (tmp_path / "manifest.json").read_bytes()
    assert raw[:11] == b'{"crc32": "'
    assert f"{zlib.crc32(raw[:11] + b'0' * 8 + raw[19:]):08x}" == raw[11:19].decode()
    (entry,) = json.loads(raw)["segments"]
    # Deleted before the commit it was added in: never written. After it: a tombstone.
    assert (entry["photos"], len(entry["deleted"])) == (299, 1)

    hits = index.search(queries[0], k=300, exact=True)
    segment = (tmp_path / entry["file"]).read_bytes()
    assert struct.unpack_from("<I", segment, 4092)[0] == entry["header_crc32"]
    found = as_documented(segment, rotated_as_documented(queries[0].tolist()))
    assert found.pop(b"photo/000007.jpg")
    assert dict(zip(hits.paths, hits.scores.tolist(), strict=True)) == pytest.approx(
        {path.decode(): score for path, (score, _) in found.items()}, abs=1e-5
    )
    assert found[b"photo/000100.jpg"][1] == (200, 201)
    assert stamps_of(index)["photo/000100.jpg"] == (200, 201)


def test_a_reader_written_from_the_page_reads_cells() -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    entries = json.loads((GOLDEN / "manifest.json").read_text())["segments"]
    query = expected["queries"][0]
    turned = rotated_as_documented(query["embedding"])
    found = {}
    for entry in entries:
        scores = as_documented((GOLDEN / entry["file"]).read_bytes(), turned)
        live = [path for row, path in enumerate(scores) if row not in entry["deleted"]]
        found |= {path.hex(): scores[path][0] for path in live}
    assert sorted(found) == sorted(expected["paths_hex"])
    best = sorted(found, key=found.__getitem__, reverse=True)[: len(query["scores"])]
    assert [found[path] for path in best] == pytest.approx(query["scores"], abs=2e-5)
    assert {path: found[path] for path in query["paths_hex"]} == pytest.approx(
        dict(zip(query["paths_hex"], query["scores"], strict=True)), abs=2e-5
    )


def test_decoding_gives_the_photo_back_to_about_half_a_step() -> None:
    photos, _ = photos_and_queries(1000, 1, dim=256)
    axis = photos.mean(axis=0)
    axis /= np.linalg.norm(axis)
    encoded = encode(photos, axis)
    rest = photos - (photos @ axis)[:, None] * axis
    half_step = np.abs(rest).max(axis=1, keepdims=True) / 512
    assert (np.abs(decode(encoded, axis) - photos) <= half_step * 1.5).all()


def test_what_a_scan_reads_is_mapped_and_not_copied(tmp_path: Path) -> None:
    write_example(tmp_path / "example.mcs")
    segment = open_segment(tmp_path / "example.mcs")
    for array in (segment.bit_weights, segment.columns, segment.times):
        assert not array.flags.owndata
        assert not array.flags.writeable


@pytest.mark.parametrize("scan_bits", [0, 64, 128])
def test_rows_come_out_as_they_went_in_whether_adjacent_or_apart(
    tmp_path: Path, scan_bits: int
) -> None:
    photos, _ = photos_and_queries(200, 1, dim=128)
    axis = np.zeros(128, np.float32)
    written = encode(photos, axis)
    file = tmp_path / "example.mcs"
    stamps = np.zeros((200, 2), np.uint32)
    taken = np.arange(200, dtype=np.int32)
    batch = Batch(written, stamps, taken, [path_to_bytes(path) for path in names(200)])
    bit_weights = np.ones((scan_bits, 128), np.float32)
    write_segment(
        file, axis=axis, bit_weights=bit_weights, axis_photos=0, photos=200, batches=[batch]
    )
    segment = open_segment(file)
    assert segment.times.tolist() == taken.tolist()
    for rows in (np.array([7]), np.arange(50, 90), np.array([0, 3, 4, 199])):
        read = segment.records_of(rows)
        assert np.array_equal(read, written[rows])
        assert [segment.paths.at(int(row)).decode() for row in rows] == [
            names(200)[row] for row in rows
        ]
