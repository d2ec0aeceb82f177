"""Photos that lie near each other lie side by side: a search looks into some cells alone."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.android.engine.test_index import JavaIndex, cosine, names, unit
from tests.support.probe import EngineError

DIM, PHOTOS, K = 64, 6000, 10
NAMES = names(PHOTOS)
PARTS = [
    "axis",
    "bit_weights",
    "centroids",
    "starts",
    "rows",
    "columns",
    "records",
    "times",
    "stamps",
]
PARTS += ["path_blocks", "paths"]  # as they lie
# Cells of an index far smaller than those that have them.
SMALL = {"dim": DIM, "cells_from": 1000}


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Vectors of length 1 around eighty centres."""
    generator = np.random.default_rng(seed)
    centres = unit(80, DIM, seed=77)
    rows = centres[generator.integers(0, 80, count)] + generator.normal(size=(count, DIM)) * 0.05
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Written:
    """A segment with cells, read by the format's page alone."""

    path: Path

    def __post_init__(self) -> None:
        self.data = bytearray(self.path.read_bytes())
        assert self.data[:8] == b"MCADSEG1"
        self.dim, parts, self.photos = struct.unpack_from("<IIQ", self.data, 8)
        assert parts == len(PARTS)
        self.scanned, self.cells = struct.unpack_from("<II", self.data, 32)

    def _at(self, part: str) -> int:
        return 40 + 24 * PARTS.index(part)

    def part(self, part: str, kind: str) -> np.ndarray:
        """Writable: `save` keeps what is changed."""
        offset, length = struct.unpack_from("<QQ", self.data, self._at(part))
        return np.frombuffer(self.data, kind, length // np.dtype(kind).itemsize, offset)

    def save(self) -> None:
        """With checksums that say it is whole, the manifest's too."""
        for part in PARTS:
            crc = zlib.crc32(self.part(part, "u1").tobytes())
            struct.pack_into("<I", self.data, self._at(part) + 16, crc)
        header = zlib.crc32(self.data[:4092])
        struct.pack_into("<I", self.data, 4092, header)
        self.path.write_bytes(self.data)
        file = self.path.with_name("manifest.json")
        manifest = json.loads(file.read_text())
        for entry in manifest["segments"]:
            if entry["file"] == self.path.name:
                entry["header_crc32"] = header
        manifest["crc32"] = "0" * 8
        text = json.dumps(manifest) + "\n"
        file.write_text(text.replace("0" * 8, f"{zlib.crc32(text.encode()):08x}", 1))


def manifest(java: JavaIndex) -> dict:
    return json.loads((java.directory / "manifest.json").read_text())


def segment(java: JavaIndex) -> Written:
    return Written(java.directory / manifest(java)["segments"][0]["file"])


def recall(found: list[dict], expected: list[dict]) -> float:
    pairs = zip(found, expected, strict=True)
    return float(np.mean([len({*a["paths"]} & {*b["paths"]}) / len(b["paths"]) for a, b in pairs]))


@pytest.fixture
def java(probe, tmp_path) -> JavaIndex:
    return JavaIndex(probe, tmp_path / "index", tmp_path)


@pytest.fixture(scope="module", params=["java"])
def whole(request, probe, tmp_path_factory) -> JavaIndex:
    """Written once, with cells; no test changes it."""
    folder = tmp_path_factory.mktemp("cells")
    java = JavaIndex(probe, folder / "index", folder)
    java.change(NAMES, clustered(PHOTOS), **SMALL)
    return java


@pytest.fixture
def damaged(java) -> Written:
    java.change(NAMES[:2000], clustered(2000), **SMALL)
    return segment(java)


def test_some_cells_hold_what_exact_search_finds(whole):
    queries = clustered(100, seed=1)
    exact = whole.search(queries, k=K, exact=True)
    assert recall(whole.search(queries, k=K), exact) >= 0.99
    assert segment(whole).cells >= 16


def test_changes_survive_merging_against_a_plain_dictionary(java):
    photos = clustered(PHOTOS)
    model = dict(zip(NAMES[:4000], photos[:4000], strict=True))
    java.change(NAMES[:4000], photos[:4000], **SMALL)
    first = segment(java).part("centroids", "<i2").tobytes()
    # A small one without cells; one that all are merged into; deletes; a moved photo of a cell.
    java.change(NAMES[4000:4100], photos[4000:4100], **SMALL)
    assert [entry["cells"] is None for entry in manifest(java)["segments"]] == [False, True]
    java.change(NAMES[4100:], photos[4100:], delete=NAMES[:90], **SMALL)
    java.change(delete=NAMES[3000:3100], restamp=NAMES[2000:2001], **SMALL)
    model |= dict(zip(NAMES[4000:], photos[4000:], strict=True))
    for path in (*NAMES[:90], *NAMES[3000:3100]):
        del model[path]
    assert segment(java).part("centroids", "<i2").tobytes() == first
    assert segment(java).photos == PHOTOS - 90
    _, embeddings, stamps = java.read(verify=True)
    assert embeddings.keys() == model.keys()
    assert all(cosine(embeddings[path], row) > 0.9999 for path, row in model.items())
    assert stamps[NAMES[2000]] == [5, 6]
    queries = clustered(100, seed=2)
    exact = java.search(queries, k=K, exact=True)
    paths, rows = [*model], np.array([*model.values()])
    true = [{"paths": [paths[at] for at in np.argsort(-rows @ query)[:K]]} for query in queries]
    assert recall(exact, true) >= 0.98
    assert recall(java.search(queries, k=K), exact) >= 0.99


def test_every_damaged_part_is_found(java, damaged):
    data = bytes(damaged.data)
    places = [int(damaged.part(part, "u1").ctypes.data) for part in PARTS]
    start = int(np.frombuffer(damaged.data, "u1").ctypes.data)
    for at in (9, 32, 36, *(place - start for place in places)):
        broken = bytearray(data)
        broken[at] ^= 1
        damaged.path.write_bytes(broken)
        with pytest.raises(EngineError, match=r"is damaged|another CRC-32"):
            java.read(verify=True)


def test_cells_that_are_not_one_behind_the_other_are_refused(java, damaged):
    damaged.part("starts", "<u4")[3] = 2001
    damaged.save()
    with pytest.raises(EngineError, match="don't start one behind the other"):
        java.search(clustered(1), k=K)


@pytest.mark.parametrize("change", ["twice", "order"])
def test_rows_of_cells_are_each_there_once_and_in_order(java, damaged, change):
    rows = damaged.part("rows", "<u4")
    at = int(np.argmax(np.diff(damaged.part("starts", "<u4").astype(int)) > 2))
    first = int(damaged.part("starts", "<u4")[at])
    if change == "twice":
        rows[first] = rows[-1]
    else:
        rows[first : first + 2] = rows[first : first + 2][::-1].copy()
    damaged.save()
    java.search(clustered(1), k=K)
    with pytest.raises(EngineError, match="don't hold each photo once and in order"):
        java.read(verify=True)


def test_a_path_that_stands_twice_is_damage(java, damaged):
    paths = damaged.part("paths", "u1")
    at = paths.tobytes().index(b"1.jpg")  # behind what it shares with the path before it
    paths[at] = ord("0")
    damaged.save()
    with pytest.raises(EngineError, match="its path of row 1 is out of order"):
        java.read(verify=True)


def test_a_search_that_meets_a_row_that_is_not_there_says_so(java, damaged):
    damaged.part("rows", "<u4")[:] += 2000
    damaged.save()
    with pytest.raises(EngineError, match=r"is damaged: place \d+ of its cells names row [23]\d+,"):
        java.search(clustered(1), k=K)


def test_a_manifest_that_knows_nothing_of_cells_is_refused(java, damaged):
    file = java.directory / "manifest.json"
    document = manifest(java)
    document["segments"][0]["cells"] = None
    file.write_text(json.dumps(document) + "\n")
    damaged.save()
    with pytest.raises(EngineError, match="differ over whether it has cells"):
        java.read()
