"""A search of an index of which nothing is in memory reads little beside what it needs."""

from __future__ import annotations

import json
import mmap
import resource
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cold import PAGE, drop, pages_in_memory
from mcad_mobile.engine.arrays import F32
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.native import TuningLimits
from tests.support import disk_faults, kernels
from tests.support.damaged_index import rewrite_manifest
from tests.support.index_oracle import Segment, read_index

PHOTOS, DIM, K = 20_000, 128, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cold") / "index"
    limits = TuningLimits(cells_from=300, cells_gain=0.0, photos_per_cell=15)
    index = PhotoIndex.create(
        folder, dim=DIM, student="cold", student_sha256="0" * 64, limits=limits
    )
    with index.writer() as writer:
        writer.add([f"DCIM/{number:05d}.jpg" for number in range(PHOTOS)], vectors(PHOTOS))
    index.close()  # what is mapped stays in memory
    (entry,) = json.loads((folder / "manifest.json").read_text())["segments"]
    few = {"factor": 0.0, "exponent": 0.0, "growth": 0.0}  # twice as many as are asked for
    rewrite_manifest(folder, {"segments": [entry | {"candidates": few, "cells": few}]})
    (segment,) = folder.glob("*.mcs")
    drop(segment)
    if pages_in_memory(segment):
        pytest.skip(f"{segment} lies in memory, not on a disk")
    return folder


def vectors(count: int) -> F32:
    rows = np.random.default_rng(0).standard_normal((count, DIM)).astype(np.float32) + 0.5
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.long
def test_a_cold_search_reads_columns_and_few_records(folder: Path) -> None:
    (segment,) = folder.glob("*.mcs")
    with PhotoIndex.open(folder) as index:
        warm = index.search(vectors(1)[0], K)
    (oracle,) = read_index(folder)
    lengths = {part: length for part, (_, length) in oracle.spans.items()}
    drop(segment)
    index = PhotoIndex.open(folder)
    cold = index.search(vectors(1)[0], K)
    assert (cold.paths, cold.scores.tolist()) == (warm.paths, warm.scores.tolist())
    read_whole = ("axis", "bit_weights", "centroids", "starts", "columns")
    pages = sum(lengths[part] // PAGE + 1 for part in read_whole)
    # A candidate and a path may lie on two pages each; a path's row and block are looked up.
    assert pages_in_memory(segment) <= 1 + pages + 2 * 2 * K + 4 * K


def bounds_of(segment: Segment, part: str) -> tuple[int, int]:
    offset, length = segment.spans[part]
    return offset, offset + length


# Searches an index and logs what it reads.
LOGGED = """
import sys
from pathlib import Path
from mcad_mobile.engine.index import PhotoIndex
from tests.engine.index.test_cold import K, vectors
from tests.support.disk_faults import log

index, query = PhotoIndex.open(sys.argv[1]), vectors(1)[0]
log(Path(sys.argv[2]))
assert len(index.search(query, K).paths) == K
"""


def test_all_results_are_asked_for_before_the_first_path_is_read(
    folder: Path, tmp_path: Path
) -> None:
    """So that a disk answers at once what else would wait for one after the other."""
    (segment,) = read_index(folder)
    done = disk_faults.run(LOGGED, folder, tmp_path / "log")
    assert done.returncode == 0, done.stderr
    asked: list[range] = []
    late: list[int] = []
    for line in (tmp_path / "log").read_text().splitlines():
        call, start, size = line.split()[:3]
        span = range(int(start), int(start) + int(size))
        if call == "prefetch":
            asked.append(span)
        elif call == "pread" and span.start not in range(*bounds_of(segment, "records")):
            late += [span.start] * (not any(span[0] in a and span[-1] in a for a in asked))
    assert late == []
    for part, least in (("rows", K), ("path_blocks", 2), ("paths", 2)):
        bounds = range(*bounds_of(segment, part))
        assert sum(span.start in bounds for span in asked) >= least


@pytest.mark.parametrize("read_already", [False, True])
def test_a_cold_scan_asks_for_its_pages_before_it_needs_them(
    tmp_path: Path, read_already: bool
) -> None:
    """Pages that a scan waits for, one after the other, are the process's major faults."""
    photos = 600_000  # a column has more pages than one call of mincore tells about
    file = tmp_path / "column"
    np.random.default_rng(0).integers(0, 2**63, photos, np.uint64).tofile(file)
    drop(file)
    if pages_in_memory(file):
        pytest.skip(f"{file} lies in memory, not on a disk")
    column = np.memmap(file, np.uint64, "r", shape=(1, photos))
    column.base.madvise(mmap.MADV_RANDOM)  # type: ignore[union-attr]
    spans = [range(700, 9_000), range(200_000, 207_000), range(500_000, 560_000)]
    if read_already:
        column[0, 199_000:202_000].sum()
    query = np.array([[0], [2**64 - 1], [0]], np.uint64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    kernels.nearest(column, query, spans, 10)
    waited = resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before
    assert waited <= 4
    assert pages_in_memory(file) <= sum(len(span) * 8 // PAGE + 2 for span in spans)
