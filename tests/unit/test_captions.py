"""Captioned datasets: what is broken is named before anything starts."""

from __future__ import annotations

import json

import pytest

from mcad_mobile.data.captions import load_captions
from mcad_mobile.errors import DataError


def write(folder, images, name="dataset_x.json"):
    (folder / "images").mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({"images": images}))


def record(filename, *captions, split="train"):
    return {
        "filename": filename,
        "split": split,
        "sentences": [{"raw": caption} for caption in captions],
    }


def test_photos_of_the_split_come_with_their_captions(tmp_path):
    write(tmp_path, [record("a.jpg", "one ", "two"), record("b.jpg", "three", split="test")])
    (tmp_path / "images" / "a.jpg").touch()
    (photo,) = load_captions(tmp_path, "train")
    assert photo.path == tmp_path / "images" / "a.jpg"
    assert photo.captions == ("one", "two")


def test_flickr8k_has_its_official_splits(flickr8k):
    assert [len(load_captions(flickr8k, split)) for split in ("train", "val", "test")] == [
        6000,
        1000,
        1000,
    ]


def test_a_missing_photo_is_named(tmp_path):
    write(tmp_path, [record("gone.jpg", "one")])
    with pytest.raises(DataError, match=r"gone\.jpg"):
        load_captions(tmp_path, "train")


@pytest.mark.parametrize("captions", [(), ("fine", "  ")])
def test_a_photo_with_an_empty_caption_or_none_is_named(tmp_path, captions):
    write(tmp_path, [record("a.jpg", *captions)])
    (tmp_path / "images" / "a.jpg").touch()
    with pytest.raises(DataError, match=r"a\.jpg"):
        load_captions(tmp_path, "train")


def test_an_unknown_split_is_an_error_that_lists_those_that_are_there(tmp_path):
    write(tmp_path, [record("a.jpg", "one")])
    with pytest.raises(DataError, match=r"'tset'.*\n.*train"):
        load_captions(tmp_path, "tset")


@pytest.mark.parametrize("text", ["{", "[]", '{"images": [{"split": "train"}]}'])
def test_broken_json_is_named(tmp_path, text):
    (tmp_path / "dataset_x.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset_x\.json"):
        load_captions(tmp_path, "train")


@pytest.mark.parametrize("names", [[], ["dataset_x.json", "dataset_y.json"]])
def test_a_folder_without_exactly_one_dataset_is_an_error(tmp_path, names):
    for name in names:
        write(tmp_path, [], name)
    with pytest.raises(DataError, match=f"holds {len(names)} files"):
        load_captions(tmp_path, "train")


def test_a_folder_that_is_not_there_is_not_said_to_be_empty(tmp_path):
    with pytest.raises(DataError, match=r"^No folder at .*nothere\.\n"):
        load_captions(tmp_path / "nothere", "train")
