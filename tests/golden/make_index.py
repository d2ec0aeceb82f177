"""Writes tests/golden/index/: an index of two segments, one with cells and one without, and in
expected.json what a reader must find in it.

python -m tests.golden.make_index [DIRECTORY]

For readers and writers in other languages. Run it again only with a new version of the format.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from random import Random

import numpy as np

from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from mcad_mobile.engine.index.filters import path_to_bytes
from tests.support.index_embeddings import F32, names
from tests.support.index_oracle import read_index
from tests.support.kernels import rotate

HERE = Path(__file__).parent
DIM, CAMERA, QUERIES = 64, 300, 3
ODD = [
    "Ferien/Müllers Café.jpg",
    "写真/犬.png",
    "🐕/\n.jpg",
    "latin1-\udce9.jpg",
    "a b/" + "long" * 80 + "/1.jpg",
    "a b/" + "long" * 80 + "/2.jpg",
    "content://media/external/images/media/1000000017",
]


def main(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    photos, queries = embeddings(CAMERA + len(ODD) + 1, 1), embeddings(QUERIES, 2)
    camera = names(CAMERA, "DCIM/Camera")
    # Cells of fewer photos than usual keep the files small.
    limits = TuningLimits(cells_from=CAMERA, cells_gain=0.0, photos_per_cell=15)
    index = PhotoIndex.create(
        directory, dim=DIM, student_sha256="ab" * 32, student="golden", limits=limits
    )
    with index.writer() as writer:
        stamps = np.arange(2 * CAMERA, dtype=np.uint32).reshape(-1, 2) * 7
        minutes = np.arange(CAMERA, dtype=np.int32) * 1000 + 28_000_000
        writer.add(camera, photos[:CAMERA], stamps, minutes)
        writer.record_filler("onnx int8 by CPU")
    with index.writer() as writer:
        writer.add(ODD, photos[CAMERA:-1])
        writer.add([camera[10]], photos[-1:])
        writer.delete(camera[100:130])
        writer.move([(camera[200], "Moved/ä.jpg", (4294967295, 1))])
    (directory / "lock").unlink()
    held = dict(zip(camera, photos, strict=False)) | dict(zip(ODD, photos[CAMERA:], strict=False))
    held[camera[10]] = photos[-1]
    held["Moved/ä.jpg"] = held.pop(camera[200])
    checked = [*camera[:100:10], "Moved/ä.jpg", *ODD]
    expected = {
        "photos": index.photos,
        "cells": [20, 0],
        "paths_hex": [path_to_bytes(path).hex() for path in index.paths()],
        "stamps": _stamps(directory),
        "embeddings": {path_to_bytes(path).hex(): _digits(held[path]) for path in checked},
        "rotation": {"of": _digits(queries[0]), "is": _digits(rotate(queries[0]))},
        "queries": [_expected(index, query) for query in queries],
        "score_tolerance": 2e-5,
    }
    (directory / "expected.json").write_text(json.dumps(expected) + "\n")


def embeddings(count: int, seed: int) -> F32:
    """Return embeddings [count, DIM] float32 in clusters beside a cone, of sums of small whole
    numbers: the same on every processor and with every numpy."""
    centres, drawn = Random(0), Random(seed)

    def numbers(source: Random, most: int) -> list[int]:
        return [int(source.random() * (2 * most + 1)) - most for _ in range(DIM)]

    cone = numbers(centres, 60)
    clusters = [numbers(centres, 30) for _ in range(24)]
    rows = np.empty((count, DIM), np.float32)
    for row in rows:
        cluster = clusters[int(drawn.random() * len(clusters))]
        terms = zip(cone, cluster, numbers(drawn, 12), strict=True)
        values = [sum(term) for term in terms]
        length = math.sqrt(sum(value * value for value in values))
        row[:] = [value / length for value in values]
    return rows


def _stamps(directory: Path) -> dict[str, list[int]]:
    return {
        path.hex(): stamp
        for segment in read_index(directory)
        for path, stamp, is_live in zip(
            segment.paths, segment.stamps.tolist(), segment.is_live, strict=True
        )
        if is_live
    }


def _expected(index: PhotoIndex, query: F32) -> dict[str, object]:
    exact, found = index.search(query, k=40, exact=True), index.search(query, k=5)
    return {
        "embedding": [float(value) for value in query],
        "paths_hex": [path_to_bytes(path).hex() for path in exact.paths],
        "scores": _digits(exact.scores),
        "found_hex": [path_to_bytes(path).hex() for path in found.paths],
    }


def _digits(values: F32) -> list[float]:
    return [round(float(value), 7) for value in values]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "index")
