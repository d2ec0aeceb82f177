"""Run by an interpreter on any processor: builds an index of given embeddings, searches it and
another one, decodes photos, and prints the results as JSON. Floats are written as their bits."""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from mcad_mobile.engine.native import load_kernel
from mcad_mobile.engine.photos.preprocess import Preprocess
from mcad_mobile.engine.query import compose

_HALF = (0.5, 0.5, 0.5)


def probe(given: Path, out: Path) -> dict[str, Any]:
    """`given` holds photos.npy, queries.npy, a folder photos, and maybe another run's index."""
    photos, queries = np.load(given / "photos.npy"), np.load(given / "queries.npy")
    names = [f"{i:06d}.jpg" for i in range(len(photos))]
    shutil.rmtree(out, ignore_errors=True)
    index = PhotoIndex.create(out, dim=photos.shape[1], student_sha256="ab" * 32, student="probe")
    # Three commits: without an axis, computing one, and keeping it.
    for start, stop in ((0, 100), (100, len(photos) - 50), (len(photos) - 50, len(photos))):
        with index.writer() as writer:
            writer.add(names[start:stop], photos[start:stop])
            writer.delete(names[start : start + 3])
    other = given / "index"
    typical_photos = photos[:50]
    return {
        "files": {file.name: zlib.crc32(file.read_bytes()) for file in sorted(out.iterdir())},
        "found": [_found(other if other.exists() else out, query) for query in queries],
        "embedding": _bits(index.embedding(names[50])),
        "duplicates": index.near_duplicates(0.9),
        "composed": [
            _bits(compose(list(pair), [1, -0.5], typical_photos)) for pair in _pairs(photos)
        ],
        "photos": {photo.name: _pixels(photo) for photo in sorted((given / "photos").iterdir())},
    }


def _found(directory: Path, query: np.ndarray[Any, Any]) -> list[Any]:
    index = PhotoIndex.open(directory)
    every = [index.search(query), index.search(query, exact=True)]
    for level in range(load_kernel().level + 1):
        every.append(PhotoIndex.open(directory, TuningLimits(level=level)).search(query))
    assert all(hits.paths == every[0].paths for hits in every[2:])
    every = [*every[:2], every[-1]]  # processors have other levels
    return [[hits.paths, _bits(hits.scores)] for hits in every]


def _pairs(photos: Any) -> Any:
    return zip(photos[:40], photos[40:80], strict=True)


def _pixels(photo: Path) -> list[int]:
    squash = Preprocess(224, "squash", "bilinear", _HALF, _HALF)
    shortest = Preprocess(224, "shortest", "bicubic", _HALF, (0.229, 0.224, 0.225))
    return [zlib.crc32(preprocess(photo).tobytes()) for preprocess in (squash, shortest)]


def _bits(values: Any) -> str:
    return bytes(np.asarray(values, "<f4").tobytes()).hex()


if __name__ == "__main__":
    print(json.dumps(probe(Path(sys.argv[1]), Path(sys.argv[2]))))
