"""The bytes on disk: docs/index-format.md is true, and enough to write another reader from."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from index_embeddings import names, photos_and_queries

from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.codes import Encoded, decode, encode, estimate, quantize_query, score
from mcad_mobile.index.format import Batch, open_segment, path_to_bytes, write_segment

DOC = Path(__file__).parents[2] / "docs/index-format.md"

AXIS = np.array([0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)
PHOTOS = np.array(
    [[0.75, -0.5, 0.25, -0.25, 0.25, 0, 0, 0], [0.5, 0.5, 0.5, -0.5, 0, 0, 0, 0]], np.float32
)
QUERY = np.array([0.5, -0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)


def documented_bytes() -> bytes:
    """Put the hex dump of the page together; lines that it leaves out are zeros."""
    text = DOC.read_text()
    size = re.search(r"The file has (\d+) bytes", text)
    dump = re.search(r"```hex\n(.*?)```", text, re.DOTALL)
    assert size and dump
    raw = bytearray(int(size[1]))
    for line in dump[1].splitlines():
        offset, *values = line.split()
        data = bytes.fromhex("".join(values))
        raw[int(offset, 16) : int(offset, 16) + len(data)] = data
    return bytes(raw)


def as_documented(raw: bytes, query: list[float]) -> dict[str, float]:
    """Score every photo of a segment with plain Python, from the page and nothing else."""
    magic, dim, parts, photos = struct.unpack_from("<8sIIQ", raw, 0)
    assert (magic, parts) == (b"MCADSEG1", 10)
    assert struct.unpack_from("<I", raw, 4092)[0] == zlib.crc32(raw[:4092])
    data = []
    for part in range(parts):
        offset, length, crc, zero = struct.unpack_from("<QQII", raw, 32 + 24 * part)
        assert offset % 4096 == zero == 0
        data.append(raw[offset : offset + length])
        assert zlib.crc32(data[-1]) == crc
    axis = struct.unpack(f"<{dim}f", data[0])
    along, scales = (struct.unpack(f"<{photos}f", data[part]) for part in (2, 4))
    ids = struct.unpack(f"<{photos}Q", data[6])
    id_rows = struct.unpack(f"<{photos}I", data[7])
    ends = struct.unpack(f"<{photos + 1}Q", data[8])
    assert list(ids) == sorted(ids)

    a = sum(q * m for q, m in zip(query, axis, strict=True))
    r = [q - a * m for q, m in zip(query, axis, strict=True)]
    scores = {}
    for row in range(photos):
        path = data[9][ends[row] : ends[row + 1]]
        id = int.from_bytes(hashlib.sha256(path).digest()[:8], "little")
        assert id_rows[ids.index(id)] == row
        dot = 0.0
        for i in range(dim):
            w = 2 * data[5][row * dim + i] + 1
            bit = data[1][row * dim // 8 + i // 8] >> i % 8 & 1
            dot += r[i] * (w if bit else -w)
        scores[path.decode()] = a * along[row] + scales[row] * dot
    return scores


def test_the_worked_example_of_the_page_is_what_we_write(tmp_path: Path) -> None:
    file = tmp_path / "example.mcs"
    batch = Batch(encode(PHOTOS, AXIS), [path_to_bytes(p) for p in ("a.jpg", "ü/b.jpg")])
    write_segment(file, axis=AXIS, axis_photos=2, photos=2, batches=[batch])
    assert file.read_bytes() == documented_bytes()


def test_the_worked_example_of_the_page_scores_as_the_page_says() -> None:
    encoded = encode(PHOTOS, AXIS)
    quantized = quantize_query(QUERY, AXIS)
    assert (int(quantized.signs[0]), *(int(p[0]) for p in quantized.planes)) == (0x0D, 0x0F, 0x02)
    assert (float(quantized.gain), quantized.total) == (0.25, 6)
    estimates = np.empty(2, np.float32)
    estimate(quantized, encoded.codes, encoded.along, encoded.factors, estimates)
    assert estimates.tolist() == [0.5546875, 0.0]
    assert np.allclose(score(QUERY, AXIS, encoded), [0.624803, 0.000004], atol=1e-6)
    assert as_documented(documented_bytes(), QUERY.tolist()) == pytest.approx(
        {"a.jpg": 0.624803, "ü/b.jpg": 0.000004}, abs=1e-6
    )


def test_a_reader_written_from_the_page_gives_our_scores(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(300, 1, dim=40)
    index = PhotoIndex.create(tmp_path, dim=40, student_sha256="ab" * 32, student="tiny")
    with index.writer() as writer:
        writer.add(names(300), photos)
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
    scores = as_documented(segment, queries[0].tolist())
    assert scores.pop("photo/000007.jpg") < 1
    assert dict(zip(hits.paths, hits.scores.tolist(), strict=True)) == pytest.approx(
        scores, abs=1e-5
    )


@pytest.mark.parametrize("dim", [8, 40, 96, 256])
def test_estimates_follow_the_formula_of_the_page(dim: int) -> None:
    photos, queries = photos_and_queries(5000, 1, dim=dim)
    axis = photos.mean(axis=0)
    axis /= np.linalg.norm(axis)
    encoded = encode(photos, axis)
    estimates = np.empty(5000, np.float32)
    quantized = quantize_query(queries[0], axis)
    estimate(quantized, encoded.codes, encoded.along, encoded.factors, estimates)

    a = queries[0] @ axis
    r = queries[0] - a * axis
    best = None
    for fraction in (0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
        u = np.minimum(3, np.rint(np.abs(r) / (np.abs(r).max() / 3 * fraction)))
        quality = (u @ np.abs(r)) ** 2 / (u @ u)
        if best is None or quality > best[0]:
            best = (quality, u, (u @ np.abs(r)) / (u @ u))
    assert best is not None
    _, u, gain = best
    disagree = (np.unpackbits(encoded.codes, axis=1, bitorder="little") > 0) != (r > 0)
    d = disagree @ u
    expected = a * encoded.along + gain * encoded.factors * (u.sum() - 2 * d)
    assert np.allclose(estimates, expected, atol=1e-5)
    assert np.corrcoef(estimates, photos @ queries[0])[0, 1] > 0.8


def test_decoding_gives_the_photo_back_to_about_half_a_step() -> None:
    photos, _ = photos_and_queries(1000, 1, dim=256)
    axis = photos.mean(axis=0)
    axis /= np.linalg.norm(axis)
    encoded = encode(photos, axis)
    rest = photos - (photos @ axis)[:, None] * axis
    half_step = np.abs(rest).max(axis=1, keepdims=True) / 512
    assert (np.abs(decode(encoded, axis) - photos) <= half_step * 1.5).all()


def test_a_query_along_the_axis_ranks_by_that_alone() -> None:
    encoded = encode(PHOTOS, AXIS)
    estimates = np.empty(2, np.float32)
    quantized = quantize_query(AXIS, AXIS)
    estimate(quantized, encoded.codes, encoded.along, encoded.factors, estimates)
    assert estimates.tolist() == encoded.along.tolist() == [0.125, 0.5]


def test_what_a_scan_reads_is_mapped_and_not_copied(tmp_path: Path) -> None:
    file = tmp_path / "example.mcs"
    batch = Batch(encode(PHOTOS, AXIS), [b"a", b"b"])
    write_segment(file, axis=AXIS, axis_photos=2, photos=2, batches=[batch])
    segment = open_segment(file)
    for array in (segment.codes, segment.along, segment.factors, segment.scales):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_rows_come_out_as_they_went_in_whether_adjacent_or_apart(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(200, 1)
    axis = np.zeros(64, np.float32)
    written = encode(photos, axis)
    file = tmp_path / "example.mcs"
    batch = Batch(written, [path_to_bytes(path) for path in names(200)])
    write_segment(file, axis=axis, axis_photos=0, photos=200, batches=[batch])
    segment = open_segment(file)
    for rows in (np.array([7]), np.arange(50, 90), np.array([0, 3, 4, 199])):
        read = segment.encoded_rows(rows)
        for field in Encoded.__dataclass_fields__:
            assert np.array_equal(getattr(read, field), getattr(written, field)[rows])
        assert [segment.path_at(int(row)).decode() for row in rows] == [
            names(200)[row] for row in rows
        ]
