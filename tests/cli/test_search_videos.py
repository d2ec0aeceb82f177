"""Videos at the command line: where in the video, and a picture of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.videos import make_video


def run(*arguments):
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def place(tmp_path, folder):
    make_video(folder / "clip.mp4", [(220, 20, 20)], seconds=3)
    make_video(folder / "long.mp4", [(220, 20, 20), (20, 20, 220)], seconds=62)
    make_tiny_bundle(tmp_path / "bundle")
    run("index", folder, "-b", tmp_path / "bundle")
    return ("-b", tmp_path / "bundle")


def test_a_moment_is_named_as_players_show_it(place, folder, tmp_path):
    Image.new("RGB", (64, 48), (20, 20, 220)).save(tmp_path / "blue.png")
    lines = run("search", "--like", tmp_path / "blue.png", "--kind", "video", *place)
    assert re.search(r"long\.mp4 at 1:0\d", lines)
    document = json.loads(run("search", "--like", tmp_path / "blue.png", *place, "--json"))
    by_name = {result["path"].rpartition("/")[2]: result for result in document["results"]}
    assert 62_000 <= by_name["long.mp4"]["at_ms"] < 124_000
    assert by_name["long.mp4"]["moments"][0] == by_name["long.mp4"]["at_ms"]
    photos = [name for name in by_name if not name.endswith(".mp4")]
    assert photos
    assert not any({"at_ms", "moments"} & by_name[name].keys() for name in photos)


def test_photos_and_videos_are_counted_as_files(place, folder):
    document = json.loads(run("index", folder, *place, "--json"))
    assert (document["photos"], document["videos"], document["unchanged"]) == (6, 2, 8)
    assert "6 photos, 2 videos, 0 new" in run("index", folder, *place)
    (folder / "long.mp4").unlink()
    pruned = json.loads(run("index", "--prune", *place, "--json"))
    assert pruned == {"index": pruned["index"], "photos": 6, "videos": 1, "removed": 1}


def test_duplicates_of_one_kind_are_grouped(place, folder):
    names = ("photo-copy.png", "clip-copy.mp4")
    shutil.copy(next(folder.glob("*.png")), folder / names[0])
    shutil.copy(folder / "clip.mp4", folder / names[1])
    run("index", folder, *place)
    for kind, suffix in (("photo", ".png"), ("video", ".mp4")):
        found = json.loads(run("search", "--duplicates", 0.97, "--kind", kind, *place, "--json"))
        paths = [path for group in found["groups"] for path in group]
        assert paths
        assert all(path.endswith(suffix) for path in paths)


def test_the_page_shows_the_moment(place, folder, tmp_path):
    Image.new("RGB", (64, 48), (20, 20, 220)).save(tmp_path / "blue.png")
    run("search", "--like", tmp_path / "blue.png", "--kind", "video", "--show", *place)
    page = (tmp_path / "bundle.search.html").read_text("utf-8")
    found = re.search(r'alt="long.mp4 at [^"]+" src="data:image/jpeg;base64,([^"]+)"', page)
    assert found
    red, _, blue = Image.open(io.BytesIO(base64.b64decode(found[1]))).getpixel((10, 10))
    assert blue > 150 > red
