"""Captioned datasets: what is broken is named before anything starts."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from mcad_mobile.data import packaged_photos
from mcad_mobile.data.captions import has_captions, load_captions
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


@pytest.mark.parametrize("other", ["dataset_y.json", "captions.csv"])
def test_two_datasets_in_one_folder_are_an_error_that_names_both(tmp_path, other):
    write(tmp_path, [])
    (tmp_path / other).write_text("{}")
    with pytest.raises(DataError, match=rf"dataset_x\.json, {re.escape(other)}: only one is read"):
        load_captions(tmp_path, "train")


def test_a_folder_without_captions_is_an_error_that_tells_the_layouts(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"no captioned photos.*\n.*captions\.csv"):
        load_captions(tmp_path, "train")


def photos_of(folder, split):
    return [(photo.path, photo.captions) for photo in load_captions(folder, split)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", 'photo,caption,split\na.jpg,"a dog, running",train\nb.jpg,cat,test\n'),
        (
            "captions.tsv",
            "Caption\tfilepath\tsplit\na dog, running\ta.jpg\ttrain\ncat\tb.jpg\ttest",
        ),
        (
            "captions.txt",
            '\ufeffsplit,image,n,text\r\ntrain,a.jpg,1,"a dog, running"\r\ntest,b.jpg,2,cat\r\n',
        ),
    ],
)
def test_a_table_names_its_columns(tmp_path, name, text):
    (tmp_path / name).write_text(text, "utf-8", newline="")
    for photo in ("a.jpg", "b.jpg"):
        (tmp_path / photo).touch()
    assert photos_of(tmp_path, "train") == [(tmp_path / "a.jpg", ("a dog, running",))]
    assert photos_of(tmp_path, "test") == [(tmp_path / "b.jpg", ("cat",))]


def test_a_blank_split_is_test(tmp_path):
    (tmp_path / "captions.csv").write_text("photo,caption,split\na.jpg,one, \nb.jpg,two,val\n")
    for photo in ("a.jpg", "b.jpg"):
        (tmp_path / photo).touch()
    assert photos_of(tmp_path, "test") == [(tmp_path / "a.jpg", ("one",))]


@pytest.mark.parametrize(("dataset", "split"), [("coco", "train"), ("flickr8k", "restval")])
def test_only_cocos_other_validation_photos_are_for_training(dataset, split, tmp_path):
    write(tmp_path, [record("a.jpg", "one", split="restval")])
    (tmp_path / "images" / "a.jpg").touch()
    file = tmp_path / "dataset_x.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "dataset": dataset}))
    assert [photo.split for photo in load_captions(tmp_path, None)] == [split]


def test_a_caption_may_contain_a_tab(tmp_path):
    (tmp_path / "captions.csv").write_text("photo,caption\na.jpg,a dog\tand a cat\n")
    (tmp_path / "a.jpg").touch()
    assert photos_of(tmp_path, "test") == [(tmp_path / "a.jpg", ("a dog\tand a cat",))]


def test_rows_of_one_photo_are_its_captions_and_without_splits_all_is_test(tmp_path):
    text = "image,caption\na.jpg,one\nb.jpg,two\na.jpg,three\n"
    (tmp_path / "captions.txt").write_text(text)
    (tmp_path / "images").mkdir()
    for photo in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / photo).touch()
    images = tmp_path / "images"
    expected = [(images / "a.jpg", ("one", "three")), (images / "b.jpg", ("two",))]
    assert photos_of(tmp_path, "test") == expected == photos_of(tmp_path, None)
    with pytest.raises(DataError, match=r"'train'.*\n.*Its splits are: test"):
        load_captions(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,one\n", "has no photo among its columns: a.jpg, one"),
        ("photo,words\na.jpg,one\n", "has no caption among"),
        ("photo,image,caption\na.jpg,b.jpg,one\n", "has photo and image among"),
        ("photo,caption\na.jpg,a dog, running\n", "Line 2 .* does not have 2 columns"),
        ("photo,caption\na.jpg\n", "Line 2 .* does not have 2 columns"),
        ('photo,caption\na.jpg,"open\n', "after line 1: unexpected end"),
        ("", "has no photo"),
    ],
)
def test_a_table_that_is_not_one_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "captions.csv").write_text(text)
    with pytest.raises(DataError, match=f"(?s){message}"):
        load_captions(tmp_path, "test")


def test_spaces_around_the_cells_of_a_table_do_not_count(tmp_path):
    (tmp_path / "captions.csv").write_text("photo, caption , split\na.jpg , a dog , val \n")
    (tmp_path / "a.jpg").touch()
    assert photos_of(tmp_path, "val") == [(tmp_path / "a.jpg", ("a dog",))]


def test_how_many_photos_are_missing_or_lack_captions_is_told(tmp_path):
    images = [record(f"{name}.jpg", "one") for name in "abcd"]
    write(tmp_path, images)
    (tmp_path / "images" / "a.jpg").touch()
    with pytest.raises(DataError, match=r"^3 photos of .* not there, the first: .*b\.jpg"):
        load_captions(tmp_path, "train")
    for name in "bcd":
        (tmp_path / "images" / f"{name}.jpg").touch()
    write(tmp_path, [images[0], record("b.jpg"), record("c.jpg", ""), images[3]])
    with pytest.raises(DataError, match=r"^2 photos of .* or none, first: b\.jpg"):
        load_captions(tmp_path, "train")


@pytest.mark.parametrize("name", ["dataset_x.json", "captions.csv", "a.txt"])
def test_captions_that_are_no_text_are_named(tmp_path, name):
    (tmp_path / "a.jpg").touch()
    (tmp_path / name).write_bytes(b"photo,caption\na.jpg,caf\xe9\n")
    assert has_captions(tmp_path)
    with pytest.raises(DataError, match=rf"{re.escape(name)} cannot be read.*\n.*UTF-8"):
        load_captions(tmp_path, "test")


def test_packages_that_are_absent_or_ship_no_photos_are_passed_over(monkeypatch, tmp_path):
    folder = tmp_path / "mpl-data" / "sample_data"
    folder.mkdir(parents=True)
    (folder / "grace_hopper.jpg").touch()
    specs = {"matplotlib": tmp_path, "sklearn": tmp_path}
    monkeypatch.setattr(
        packaged_photos.importlib.util,
        "find_spec",
        lambda name: (
            SimpleNamespace(submodule_search_locations=[specs[name]]) if name in specs else None
        ),
    )
    assert packaged_photos.packaged_photos() == [folder / "grace_hopper.jpg"]


def test_a_text_file_beside_a_photo_is_its_captions(tmp_path):
    for name in ("sea.jpg", "deep/dog.PNG", "alone.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sea.txt").write_text("the sea\nwaves \n\n")
    (tmp_path / "deep" / "dog.txt").write_text("a dog")
    expected = [
        (tmp_path / "deep/dog.PNG", ("a dog",)),
        (tmp_path / "sea.jpg", ("the sea", "waves")),
    ]
    assert photos_of(tmp_path, "test") == expected


def test_folders_called_train_val_and_test_are_splits(tmp_path):
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        for name in ("b", "a"):
            (tmp_path / split / f"{name}.jpg").touch()
            (tmp_path / split / f"{name}.txt").write_text(split)
    for split in ("train", "val", "test"):
        expected = [(tmp_path / split / name, (split,)) for name in ("a.jpg", "b.jpg")]
        assert photos_of(tmp_path, split) == expected


def test_a_folder_that_is_not_there_is_not_said_to_be_empty(tmp_path):
    with pytest.raises(DataError, match=r"^No folder at .*nothere\.\n"):
        load_captions(tmp_path / "nothere", "train")
