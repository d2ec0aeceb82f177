"""Videos and motion photos in shards: the rows that an index of their folder has."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcad_mobile.embed.make_shards import Options, embed
from mcad_mobile.embed.phone_index import Shards, index_shards
from mcad_mobile.embed.source import Source
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.sync import sync_folder
from tests.support.index_embeddings import rows_in
from tests.support.videos import make_video

RED, BLUE, GREEN = (220, 20, 20), (20, 20, 220), (20, 180, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    folder.mkdir()
    clip = make_video(folder / "clip.mp4", [RED, BLUE])
    Image.new("RGB", (64, 48), RED).save(folder / "live.jpg")
    data = (folder / "live.jpg").read_bytes() + clip.read_bytes()
    (folder / "live.jpg").write_bytes(data)
    Image.new("RGB", (64, 48), GREEN).save(folder / "photo.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def made(bundle, source, out):
    done = embed(Source(str(source)), bundle, str(out), Options(workers=1))
    return done, Shards(str(out))


@pytest.mark.usefixtures("tasks")
def test_shards_have_the_rows_of_an_index(bundle, folder, tmp_path):
    engine = SearchEngine(bundle)
    index = create_index(bundle, tmp_path / "index")
    sync_folder(engine, index, folder)
    done, shards = made(bundle, folder, tmp_path / "out")
    (left,) = done.left_out
    assert left.key == str(folder / "broken.mp4")
    rows = rows_in(index)
    assert [row.rpartition("/")[2] for row in rows] == [
        "clip.mp4#t=0.000",
        "clip.mp4#t=2.000",
        "live.jpg",
        "live.jpg#t=2.000",
        "photo.png",
    ]
    assert sorted(shards.count_rows()) == rows
    from_shards = create_index(bundle, tmp_path / "from")
    assert index_shards(shards, from_shards).added == 5
    assert rows_in(from_shards) == rows
    paths = index.paths()
    assert np.allclose(from_shards.embeddings(paths), index.embeddings(paths), atol=0.02)
    assert index_shards(shards, from_shards).unchanged == 5
    assert sync_folder(engine, from_shards, folder).changed == 0  # the same stamps
    only = create_index(bundle, tmp_path / "only")
    result = index_shards(shards, only, {str(folder / "clip.mp4"), "other.mp4"})
    assert (result.added, [skip.path for skip in result.skipped]) == (2, ["other.mp4"])


def test_a_video_is_embedded_again_when_it_has_changed(bundle, folder, tmp_path, tasks):
    _, shards = made(bundle, folder, tmp_path / "out")
    index = create_index(bundle, tmp_path / "index")
    index_shards(shards, index)
    count = len(tasks)
    done, _ = made(bundle, folder, tmp_path / "out")
    assert (len(tasks), done.embedded) == (count, 0)
    make_video(folder / "clip.mp4", [GREEN])
    _, shards = made(bundle, folder, tmp_path / "out")
    assert [Path(key).name for key in tasks[-1].keys] == ["clip.mp4"]
    index_shards(shards, index)
    index_shards(shards, anew := create_index(bundle, tmp_path / "anew"))
    for made_from in (index, anew):
        rows = rows_in(made_from)
        assert f"{folder}/clip.mp4#t=0.000" in rows
        assert f"{folder}/clip.mp4#t=2.000" not in rows


@pytest.mark.usefixtures("tasks")
def test_videos_of_an_archive_are_embedded(bundle, folder, tmp_path):
    with tarfile.open(tmp_path / "films.tar", "w") as tar:
        tar.add(folder / "clip.mp4", "clip.mp4")
        tar.add(folder / "live.jpg", "live.jpg")
    _, shards = made(bundle, tmp_path / "films.tar", tmp_path / "out")
    names = sorted(Path(row).name for row in shards.count_rows())
    assert names == ["clip.mp4#t=0.000", "clip.mp4#t=2.000", "live.jpg", "live.jpg#t=2.000"]
