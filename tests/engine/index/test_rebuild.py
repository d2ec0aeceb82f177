"""Indexes that are written anew, and tuning that don't fit: found at opening, said, mended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mcad_mobile.engine.index import PhotoIndex, TuningLimits
from mcad_mobile.errors import PhotoIndexError, Remedy
from tests.support.damaged_index import rewrite_manifest
from tests.support.index_embeddings import create, names, photos_and_queries
from tests.support.index_oracle import read_index, rotate


@pytest.mark.parametrize(
    "candidates", [{"factor": -1.0}, {"exponent": 1.5}, {"growth": "x"}, {"factor": 1e99}]
)
def test_a_tuning_out_of_range_is_damage(tmp_path: Path, candidates: dict[str, object]) -> None:
    with create(tmp_path).writer() as writer:
        writer.add(names(300), photos_and_queries(300, 1)[0])
    entry = json.loads((tmp_path / "manifest.json").read_text())["segments"][0]
    entry["candidates"] |= candidates
    rewrite_manifest(tmp_path, {"segments": [entry]})
    with pytest.raises(PhotoIndexError, match=rf"candidates\.{next(iter(candidates))}"):
        PhotoIndex.open(tmp_path)


@pytest.mark.parametrize("field", ["candidates", "prescan", "cells"])
def test_a_missing_tuning_is_damage(tmp_path: Path, field: str) -> None:
    with create(tmp_path).writer() as writer:
        writer.add(names(300), photos_and_queries(300, 1)[0])
    entry = json.loads((tmp_path / "manifest.json").read_text())["segments"][0]
    entry.pop(field)
    rewrite_manifest(tmp_path, {"segments": [entry]})
    for use in (PhotoIndex.open, PhotoIndex.rebuild):
        with pytest.raises(PhotoIndexError, match=rf"missing required field `{field}`"):
            use(tmp_path)


def test_the_tuning_of_a_far_smaller_index_is_reported_and_mended(
    tmp_path: Path,
) -> None:
    """As another writer might leave them: ours tunes again at eightfold."""
    photos, queries = photos_and_queries(6000, 20)
    index = create(tmp_path, limits=TuningLimits(axis_growth=1000))
    with index.writer() as writer:
        writer.add(names(300, "a"), photos[:300])
    with (
        pytest.raises(PhotoIndexError, match=r"6000 photos[\s\S]*for 300") as raised,
        index.writer() as writer,
    ):
        writer.add(names(5700, "b"), photos[300:])
    assert raised.value.remedy == Remedy.TUNE_INDEX
    mended = PhotoIndex.rebuild(tmp_path)
    assert mended.photos == 6000
    same = [
        len(set(mended.search(q).paths) & set(mended.search(q, exact=True).paths)) for q in queries
    ]
    assert np.mean(same) >= 9.9


def test_a_rebuilt_index_is_coded_around_the_photos_it_holds_now(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(900, 1)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(300, "a"), photos[:300])
    with index.writer() as writer:
        writer.add(names(600, "b"), -photos[300:])
        writer.delete(names(300, "a"))
    rebuilt = PhotoIndex.rebuild(tmp_path)
    mean = -photos[300:].mean(axis=0)
    (segment,) = read_index(tmp_path)
    assert float(segment.axis @ rotate(mean / np.linalg.norm(mean))) > 0.999
    assert segment.axis_photos == rebuilt.photos == 600


def test_an_index_of_few_photos_is_rebuilt_as_it_was_written(tmp_path: Path) -> None:
    """A mean of few says little of those that come later."""
    with create(tmp_path).writer() as writer:
        writer.add(names(20), photos_and_queries(20, 1)[0])
    (before,) = (file.read_bytes() for file in tmp_path.glob("*.mcs"))
    PhotoIndex.rebuild(tmp_path)
    assert [file.read_bytes() for file in tmp_path.glob("*.mcs")] == [before]


def test_a_lost_segment_is_named_when_an_index_is_rebuilt(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(20, 1)
    with create(tmp_path).writer() as writer:
        writer.add(names(20), photos)
    (segment,) = tmp_path.glob("*.mcs")
    segment.unlink()
    with pytest.raises(PhotoIndexError, match=f"{segment.name} is damaged: .*names it"):
        PhotoIndex.rebuild(tmp_path)


@pytest.mark.parametrize("left", ["segment", "manifest"])
def test_what_a_killed_writer_left_is_not_in_the_way(tmp_path: Path, left: str) -> None:
    """A rebuild that was killed, or a commit on a full disk."""
    with create(tmp_path).writer() as writer:
        writer.add(names(20), photos_and_queries(20, 1)[0])
    name = "segment-00000003.mcs" if left == "segment" else "manifest.json.tmp"
    (tmp_path / name).write_bytes(b"half")
    for generation in (3, 4):
        assert PhotoIndex.rebuild(tmp_path).generation == generation
    assert len([*tmp_path.iterdir()]) == 3  # manifest, lock and segment
