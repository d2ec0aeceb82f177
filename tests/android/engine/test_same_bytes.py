"""The same embeddings, committed by Python and by Java, give the same bytes, on every machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex
from tests.android.engine.test_index import SHA, JavaIndex, names
from tests.support.index_oracle import read_index

DIM = 256


def embeddings(spectrum: str, count: int, seed: int = 1) -> np.ndarray:
    """Return vectors [count, DIM] of length 1 with the same bits everywhere: all sums are of
    integers."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    noise = random.integers(-1000, 1001, (count, DIM)).astype(np.float64)
    if spectrum == "even":
        rows = noise
    elif spectrum == "steep":  # as the default student's: a cone, and few directions that matter
        scales = 4000 // np.arange(1, DIM // 4 + 1)
        directions = fixed.integers(-9, 10, (DIM // 4, DIM)) * scales[:, None]
        cone = fixed.integers(-60_000, 60_001, DIM)
        rows = random.integers(-9, 10, (count, DIM // 4)) @ directions.astype(np.float64)
        rows += noise * 10 + cone
    else:
        centres = fixed.integers(-1000, 1001, (80, DIM)) * 8
        rows = centres[random.integers(0, 80, count)] + noise
    return (rows / np.sqrt(np.square(rows).sum(axis=1, keepdims=True))).astype(np.float32)


def files(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def digest(written: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(written[name] for name in sorted(written))).hexdigest()[:16]


class Pair:
    """An index of Python and one of Java, to which the same is done."""

    def __init__(self, probe, folder: Path) -> None:
        self.java = JavaIndex(probe, folder / "java", folder)
        self.directory = folder / "python"
        self.index = PhotoIndex.create(self.directory, dim=DIM, student="tiny", student_sha256=SHA)

    def change(self, paths=(), rows=None, *, delete=(), restamp=()) -> dict[str, bytes]:
        """Commit changes to both; return the files, which are the same."""
        self.java.change(paths, rows, delete=delete, restamp=restamp, dim=DIM)
        with self.index.writer() as writer:
            if rows is not None:
                stamps = np.stack([np.arange(len(rows)), np.full(len(rows), 7)], axis=1)
                writer.add(list(paths), rows, stamps.astype(np.uint32))
            writer.delete(list(delete))
            writer.move([(path, path, (5, 6)) for path in restamp])
        written = files(self.directory)
        assert files(self.java.directory) == written
        return written


DIGESTS = {
    ("even", 1000): "53c455289d6cc9b5",
    ("steep", 1000): "05d1a5f4eadc82ed",
    ("clustered", 1000): "106a3be08e25ee67",
    ("even", 70_000): "acf27ea317fab31e",
    ("steep", 70_000): "4307c09c1e9c43b0",
    ("clustered", 70_000): "5049bac8a16f7d42",
}


@pytest.mark.parametrize(
    ("spectrum", "count"),
    [
        *((spectrum, 1000) for spectrum in ("even", "steep", "clustered")),
        *(
            pytest.param(spectrum, 70_000, marks=pytest.mark.slow)
            for spectrum in ("even", "steep", "clustered")
        ),
    ],
)
def test_a_commit_has_the_bytes_of_the_other_language_and_of_every_machine(
    probe, tmp_path, spectrum, count
):
    pair = Pair(probe, tmp_path)
    written = pair.change(names(count), embeddings(spectrum, count))
    (segment,) = read_index(pair.directory)
    # From 65,536 photos on, and where they save time.
    assert (len(segment.starts) > 0) == (count > 65_536 and spectrum == "steep")
    assert digest(written) == DIGESTS[spectrum, count]


def test_later_commits_have_the_same_bytes(probe, tmp_path):
    """Segments side by side, merged, with deleted and moved rows, and a new axis."""
    pair, rows = Pair(probe, tmp_path), embeddings("steep", 5000)
    paths, layouts = names(5000), []
    steps = [
        {"add": (0, 200)},  # without an axis
        {"add": (200, 600)},
        {"add": (600, 700), "restamp": paths[:3]},
        {"add": (700, 720), "delete": paths[10:30]},
        {"delete": paths[200:300]},
        {"add": (720, 1500), "restamp": [paths[650], *paths[310:320]]},
        {"add": (1500, 5000), "delete": paths[0:10:2]},
        {"restamp": paths[4000:4001]},
    ]
    for step in steps:
        start, stop = step.pop("add", (0, 0))
        pair.change(paths[start:stop], rows[start:stop] if stop else None, **step)
        layouts.append([(s.photos, s.axis_photos) for s in read_index(pair.directory)])
    assert max(map(len, layouts)) > 1
    assert len({axis for layout in layouts for _, axis in layout}) == 3
