"""The bytes on disk: docs/index-format.md is true, and tests/support/index_oracle.py, which is
written from it, reads what we write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.filters import path_to_bytes
from tests.golden import make_index
from tests.support import kernels
from tests.support.codes_oracle import encode
from tests.support.index_embeddings import create, names, photos_and_queries, stamps_of
from tests.support.index_oracle import Segment, read_index, rotate, search
from tests.support.kernels import LEVELS
from tests.support.paths import ROOT

EXAMPLE = ROOT / "tests/golden/index-example.mcs"
GOLDEN = ROOT / "tests" / "golden/index"

AXIS = np.array([0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)
PHOTOS = np.array(
    [[0.75, -0.5, 0.25, -0.25, 0.25, 0, 0, 0], [0.5, 0.5, 0.5, -0.5, 0, 0, 0, 0]], np.float32
)
QUERY = np.array([0.5, -0.5, 0.5, 0.5, 0, 0, 0, 0], np.float32)


def test_the_worked_example_of_the_page_is_as_the_page_says() -> None:
    example = Segment(EXAMPLE)
    assert (example.axis.tolist(), example.axis_photos) == (AXIS.tolist(), 2)
    for records in (encode(PHOTOS, AXIS), *(kernels.encode(PHOTOS, AXIS, None, n) for n in LEVELS)):
        assert np.array_equal(example.records, records)
    assert example.records[:, :8].tolist() == [
        [255, 209, 69, 116, 93, 0, 0, 0],
        [85, 85, 85, 255, 0, 0, 0, 0],
    ]
    assert example.paths == ["Müll/a.jpg".encode(), "Müll/b.jpg".encode()]
    assert example.stamps.tolist() == [[1, 2], [0xDEADBEEF, 0]]
    assert example.times.tolist() == [28_596_960, -(2**31)]
    assert example.cosines(QUERY).tolist() == pytest.approx([0.624453, 0.000252], abs=1e-6)


def test_the_rotation_is_that_of_the_page_to_the_last_bits_and_can_be_undone() -> None:
    unit_vector = np.eye(8, dtype=np.float32)[0]
    shown = [0, 0.25, -0.5, 0.603553, 0.5, 0.25, 0, -0.103553]
    for by in (rotate, kernels.rotate):
        assert by(unit_vector).tolist() == pytest.approx(shown, abs=1e-6)
    for dim in (8, 40, 96, 256, 768):
        rows = photos_and_queries(50, 1, dim=dim)[0]
        turned = kernels.rotate(rows)
        assert np.mean(turned == rotate(rows)) > 0.9999
        assert np.allclose(turned, rotate(rows), atol=1e-6)
        assert np.allclose(turned @ turned.T, rows @ rows.T, atol=1e-5)
        assert np.allclose(kernels.rotate(turned, back=True), rows, atol=1e-5)


def test_the_golden_index_holds_what_is_written_beside_it(tmp_path: Path) -> None:
    directory = shutil.copytree(GOLDEN, tmp_path / "index")
    expected = json.loads((directory / "expected.json").read_text())
    index = PhotoIndex.open(directory)
    index.verify()
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
def test_a_reader_written_from_the_page_finds_what_we_find(tmp_path: Path, dim: int) -> None:
    photos, (query,) = photos_and_queries(300, 1, dim=dim)
    index = create(tmp_path, dim)
    with index.writer() as writer:
        writer.add(names(300), photos, np.arange(600, dtype=np.uint32).reshape(300, 2))
        writer.delete(["photo/000003.jpg"])
    with index.writer() as writer:
        writer.delete(["photo/000007.jpg"])
    (segment,) = read_index(tmp_path)
    # Deleted before the commit it was added in: never written. After it: a tombstone.
    assert (segment.photos, segment.entry["deleted"]) == (299, [6])
    hits = index.search(query, k=300, exact=True)
    paths, scores = search([segment], rotate(query), 300)
    assert hits.paths == [path.decode() for path in paths]
    assert hits.scores.tolist() == pytest.approx(scores, abs=1e-6)
    row = segment.paths.index(b"photo/000100.jpg")
    assert tuple(segment.stamps[row]) == stamps_of(index)["photo/000100.jpg"] == (200, 201)


def test_a_reader_written_from_the_page_reads_cells() -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    segments = read_index(GOLDEN)
    assert [len(segment.centroids) for segment in segments] == expected["cells"]
    live = [p.hex() for s in segments for p, kept in zip(s.paths, s.is_live, strict=True) if kept]
    assert sorted(live) == sorted(expected["paths_hex"])
    for query in expected["queries"]:
        rotated = rotate(np.array(query["embedding"], np.float32))
        paths, scores = search(segments, rotated, len(query["scores"]))
        assert [path.hex() for path in paths] == query["paths_hex"]
        assert scores == pytest.approx(query["scores"], abs=2e-5)
