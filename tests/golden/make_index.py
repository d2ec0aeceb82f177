"""Writes tests/golden/index/, an index of two segments, tests/golden/index_4/, one whose larger
segment has cells, and in each expected.json, what is in it.

python tests/golden/make_index.py

For readers in other languages. Run it again only with a new format version.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "unit"))

from index_embeddings import cells_from, names, photos_and_queries  # noqa: E402

from mcad_mobile.index import PhotoIndex  # noqa: E402
from mcad_mobile.index.paths import path_to_bytes  # noqa: E402
from mcad_mobile.index.rotation import rotate  # noqa: E402

DIM = 64
ODD = [
    "Ferien/Müllers Café.jpg",
    "写真/犬.png",
    "🐕/\n.jpg",
    "latin1-\udce9.jpg",
    "a b/" + "long" * 80 + "/1.jpg",
    "a b/" + "long" * 80 + "/2.jpg",
    "content://media/external/images/media/1000000017",
]


def main() -> None:
    write(HERE / "index")
    with cells_from(1000):
        write(HERE / "index_4", more=1000)


def write(directory: Path, more: int = 0) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    photos, queries = photos_and_queries(400 + more, 3, dim=DIM)
    sha = "ab" * 32
    index = PhotoIndex.create(directory, dim=DIM, student_sha256=sha, student="golden")
    camera = names(300, "DCIM/Camera")
    stamps = np.arange(600, dtype=np.uint32).reshape(300, 2) * 7
    with index.writer() as writer:
        writer.add(camera, photos[:300], stamps)
        writer.add(names(more, "Pictures"), photos[400:])
    with index.writer() as writer:
        writer.add(ODD, photos[300 : 300 + len(ODD)])
        writer.add([camera[10]], photos[399:400])
        writer.delete(camera[100:130])
        writer.move([(camera[200], "Moved/ä.jpg", (4294967295, 1))])
    (directory / "lock").unlink()
    held = dict(zip(camera, photos[:300], strict=True))
    held |= dict(zip(ODD, photos[300:], strict=False)) | {camera[10]: photos[399]}
    for path in camera[100:130]:
        del held[path]
    held["Moved/ä.jpg"] = held.pop(camera[200])
    expected = {
        "photos": index.photos,
        "paths_hex": [path_to_bytes(path).hex() for path in index.paths()],
        "stamps": {path_to_bytes(path).hex(): stamp for path, stamp in index.stamps().items()},
        "embeddings": {path_to_bytes(p).hex(): _digits(row) for p, row in sorted(held.items())},
        "rotation": {"of": _digits(queries[0]), "is": _digits(rotate(queries[0]))},
        "queries": [_expected(index, query) for query in queries],
        "score_tolerance": 2e-5,
    }
    (directory / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


def _expected(index: PhotoIndex, query: np.ndarray) -> dict[str, object]:
    hits = index.search(query, k=min(index.photos, 400), exact=True)
    return {
        "embedding": _digits(query),
        "paths_hex": [path_to_bytes(path).hex() for path in hits.paths],
        "scores": _digits(hits.scores),
    }


def _digits(values: np.ndarray) -> list[float]:
    return [round(float(value), 7) for value in values]


if __name__ == "__main__":
    main()
