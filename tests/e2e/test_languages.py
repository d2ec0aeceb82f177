"""The multilingual text tower, by the command line: it searches what the English one indexed."""

from __future__ import annotations

import shutil

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.exported import mcad_json

# What each query asks for, of the packaged photos.
EXPECTED = {
    "Eine Katze mit grünen Augen": "chelsea.png",
    "una taza de café": "coffee.png",
    "ракета": "rocket.jpg",
    "オートバイ": "motorcycle_left.png",
    "زهرة برتقالية كبيرة": "flower.jpg",
}


@pytest.mark.slow
def test_an_index_of_the_english_student_is_searched_in_other_languages(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in packaged_photos():
        shutil.copy(path, photos / path.name)
    english, many = tmp_path / "english", tmp_path / "many"
    mcad_json("export", "-t", "cpu", "--out", english)
    made = mcad_json("export", "--text", "multilingual", "-t", "cpu", "--out", many)
    assert made["student"] == "mcad-m"
    index = tmp_path / "index"
    mcad_json("index", photos, "--bundle", english, "--index", index)
    for query, expected in EXPECTED.items():
        found = mcad_json("search", query, "--bundle", many, "--index", index)["results"]
        assert expected in [result["path"].rsplit("/")[-1] for result in found[:3]], query
