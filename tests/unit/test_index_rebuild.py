"""Indexes of the format before, and settings that don't fit: found at opening, said, mended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from index_embeddings import create, names, photos_and_queries
from test_index_damage import rewrite_manifest

from mcad_mobile.errors import PhotoIndexError
from mcad_mobile.index import PhotoIndex
from mcad_mobile.index.paths import path_to_bytes

BEFORE = Path(__file__).parents[1] / "golden/index_2"


def test_an_index_of_the_format_before_is_converted_with_all_its_scores(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(BEFORE, tmp_path / "index"))
    with pytest.raises(PhotoIndexError, match=r"format before[\s\S]*index --rebuild"):
        PhotoIndex.open(directory)
    index = PhotoIndex.rebuild(directory)
    expected = json.loads((BEFORE / "expected.json").read_text())
    assert [path_to_bytes(path).hex() for path in index.paths()] == expected["paths_hex"]
    stamps = {path_to_bytes(path).hex(): [*stamp] for path, stamp in index.stamps().items()}
    assert stamps == expected["stamps"]
    for query in expected["queries"]:
        hits = index.search(np.float32(query["embedding"]), k=index.photos, exact=True)
        found = {path_to_bytes(p).hex(): s for p, s in zip(hits.paths, hits.scores, strict=True)}
        # Seven digits are written; no photo is rounded a second time.
        assert found == pytest.approx(
            dict(zip(query["paths_hex"], query["scores"], strict=True)), abs=3e-7
        )
    index.verify()
    assert sorted(file.name for file in directory.glob("*.mcs")) == ["segment-00000004.mcs"]


def test_a_damaged_index_of_the_format_before_is_not_converted(tmp_path: Path) -> None:
    directory = Path(shutil.copytree(BEFORE, tmp_path / "index"))
    segment = directory / "segment-00000002.mcs"
    good = segment.read_bytes()
    manifest = (directory / "manifest.json").read_bytes()
    # A byte of the header, of the codes, of the magnitudes and of the last path.
    for offset in (9, 0x2003, 0x5001, len(good) - 1):
        segment.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs is damaged"):
            PhotoIndex.rebuild(directory)
        assert (directory / "manifest.json").read_bytes() == manifest
    segment.unlink()
    with pytest.raises(PhotoIndexError, match=r"segment-00000002\.mcs is damaged"):
        PhotoIndex.rebuild(directory)


def test_settings_that_are_missing_are_said_and_measured(tmp_path: Path) -> None:
    photos, queries = photos_and_queries(3000, 5)
    with create(tmp_path).writer() as writer:
        writer.add(names(3000), photos)
    before = PhotoIndex.open(tmp_path).search(queries[0]).paths
    entry = json.loads((tmp_path / "manifest.json").read_text())["segments"][0]
    entry.pop("reach")
    rewrite_manifest(tmp_path, {"segments": [entry]})
    with pytest.raises(PhotoIndexError, match=r"how far a search[\s\S]*index --rebuild"):
        PhotoIndex.open(tmp_path)
    assert PhotoIndex.rebuild(tmp_path).search(queries[0]).paths == before


@pytest.mark.parametrize(
    "reach", [{"factor": -1.0}, {"exponent": 1.5}, {"growth": "x"}, {"factor": 1e99}]
)
def test_settings_out_of_range_are_damage(tmp_path: Path, reach: dict[str, object]) -> None:
    with create(tmp_path).writer() as writer:
        writer.add(names(300), photos_and_queries(300, 1)[0])
    entry = json.loads((tmp_path / "manifest.json").read_text())["segments"][0]
    entry["reach"] |= reach
    rewrite_manifest(tmp_path, {"segments": [entry]})
    with pytest.raises(PhotoIndexError, match=rf"reach\.{next(iter(reach))}"):
        PhotoIndex.open(tmp_path)


def test_settings_of_a_far_smaller_index_are_said_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another writer might leave them: ours measures again at eightfold."""
    monkeypatch.setattr("mcad_mobile.index.merge._AXIS_GROWTH", 1000)
    photos, queries = photos_and_queries(6000, 20)
    index = create(tmp_path)
    with index.writer() as writer:
        writer.add(names(300, "a"), photos[:300])
    with (
        pytest.raises(PhotoIndexError, match=r"6000 photos[\s\S]*one of 300[\s\S]*--rebuild"),
        index.writer() as writer,
    ):
        writer.add(names(5700, "b"), photos[300:])
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
    (live,) = rebuilt._commit[1]
    from mcad_mobile.index.rotation import rotate

    assert float(live.segment.axis @ rotate(mean / np.linalg.norm(mean))) > 0.999
    assert live.segment.axis_photos == rebuilt.photos == 600


def test_a_lost_segment_is_named_when_an_index_is_rebuilt(tmp_path: Path) -> None:
    photos, _ = photos_and_queries(20, 1)
    with create(tmp_path).writer() as writer:
        writer.add(names(20), photos)
    (segment,) = tmp_path.glob("*.mcs")
    segment.unlink()
    with pytest.raises(PhotoIndexError, match=f"{segment.name} is damaged: .*names it"):
        PhotoIndex.rebuild(tmp_path)
