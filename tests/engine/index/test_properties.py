"""Any changes in any order: the index equals a plain dictionary, and damage is never more than an
error."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.index.paths import PathPacker, PathTable
from tests.engine.index.index_model import (
    DIM,
    Change,
    Model,
    applied,
    apply,
    assert_equal,
    embedding,
)
from tests.support.paths import ROOT

pytestmark = pytest.mark.long


# Few names, so that changes meet: one of them another's prefix, one not UTF-8.
PATHS = ("a", "a/b.jpg", "a/bc.jpg", "ä.jpg", "\udcff.jpg", "z" * 300 + "1", "z" * 300 + "2", "\n")
CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(["add", "add", "delete", "move", "rotate", "chain", "compact"]),
        st.lists(st.sampled_from(PATHS), min_size=1, max_size=6).map(tuple),
        st.integers(0, 5),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_any_changes_in_any_order_equal_a_dictionary(changes: list[Change]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "index"
        index = PhotoIndex.create(directory, dim=DIM, student_sha256="ab" * 32, student="tiny")
        model: Model = {}
        for change in changes:
            apply(index, change)
            model = applied(model, change)
        assert_equal(index, model)
        reopened = PhotoIndex.open(directory)
        assert_equal(reopened, model)
        query = embedding("query", 0)
        hits = reopened.search(query, k=100)
        assert sorted(hits.paths) == sorted(model)
        compacted = PhotoIndex.open(directory)
        compacted.compact()
        assert_equal(compacted, model)
        again = compacted.search(query, k=100)
        # Photos with the same embedding may change places.
        assert np.allclose(again.scores, hits.scores, atol=1e-6)
        scores = dict(zip(hits.paths, hits.scores, strict=True))
        assert dict(zip(again.paths, again.scores, strict=True)) == pytest.approx(scores, abs=1e-6)


@given(st.sets(st.binary(min_size=1, max_size=40).map(lambda b: b"shared/" * (len(b) % 60) + b)))
def test_any_paths_come_out_of_a_table_as_they_went_in(paths: set[bytes]) -> None:
    ordered = sorted(paths)
    packer = PathPacker()
    half = len(ordered) // 2
    data = packer.pack(ordered[:half]) + packer.pack(ordered[half:])
    starts = np.array(packer.starts, "<u8").tobytes()
    table = PathTable(
        count=len(ordered),
        size=len(data),
        read=lambda offset, length: data[offset : offset + length],
        read_starts=lambda offset, length: starts[offset : offset + length],
        damaged=lambda detail: AssertionError(detail),  # type: ignore[arg-type, return-value]
    )
    assert [table.at(row) for row in range(len(ordered))] == ordered
    assert [*table.slice(0, len(ordered))] == ordered
    asked = ordered[::3] + [path + b"x" for path in ordered[::5]] + [b"", b"\xff" * 50]
    expected = [(i, ordered.index(path)) for i, path in enumerate(asked) if path in paths]
    assert table.find(asked) == expected if ordered else True
    folder = [path for path in ordered if path.startswith(b"shared/")]
    if ordered:
        assert [ordered[row] for row in table.below(b"shared/")] == folder


def test_no_change_of_bytes_makes_a_reader_crash_hang_or_read_outside(tmp_path: Path) -> None:
    golden = ROOT / "tests" / "golden/index"
    mutations = ROOT / "tests/engine/index/mutations.py"
    done = subprocess.run(
        [sys.executable, str(mutations), str(golden), str(tmp_path / "work"), "1", "1200"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    opened, used, scans = map(int, done.stdout.split())
    # Enough mutants get past the header for the parts behind it to be what is tested.
    assert opened > 200
    assert used > opened
    assert scans > opened / 2
