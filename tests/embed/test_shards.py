"""Shards: what is in them, that they are made once, and a phone's index out of them."""

from __future__ import annotations

import json
import shutil
import zlib

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

from mcad_mobile.engine.bundle import Bundle, StudentFacts
from mcad_mobile.engine.engine import SearchEngine
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.photos.folder import stat_stamp
from tests.support.embedding_runs import run, run_json, same, vectors
from tests.support.index_embeddings import stamps_of
from tests.support.index_oracle import read_index
from tests.support.tiny_bundle import make_tiny_bundle


def files(index):
    return {path.name: path.read_bytes() for path in index.iterdir()}


def held(directory):
    """What an index holds of each photo, but when it was taken, which no shard knows."""
    with PhotoIndex.open(directory) as index:
        (segment,) = read_index(directory)
        axis, numbers = segment.axis.tolist(), segment.records.tolist()
        return axis, index.paths(), stamps_of(index), numbers


def test_shards_are_plain_parquet_with_every_photo_as_the_engine_embeds_it(bundle, photos, shards):
    table = parquet.read_table(shards / "shards")  # by pyarrow alone
    assert [field.name for field in table.schema] == [
        "key",
        "embedding",
        "stat_stamp",
        "content_stamp",
    ]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[64]"
    engine = SearchEngine(bundle)
    rows = {row["key"]: row for row in table.to_pylist()}
    assert rows.keys() == {str(path) for path in photos.iterdir()}
    for path in photos.iterdir():
        row = rows[str(path)]
        assert np.array_equal(np.float32(row["embedding"]), engine.embed_photo(path))
        stamps = (stat_stamp(path.stat()), zlib.crc32(path.read_bytes()))
        assert (row["stat_stamp"], row["content_stamp"]) == stamps


def test_the_manifest_says_who_embedded_how_many_and_into_which_files(bundle, shards):
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["student_sha256"] == bundle.student.image_sha256
    assert (manifest["photos"], manifest["left_out"], manifest["dim"]) == (8, 0, 64)
    there = {path.name: path.stat().st_size for path in (shards / "shards").iterdir()}
    assert {shard["file"]: shard["bytes"] for shard in manifest["shards"]} == there
    assert len(there) == 3
    assert {path.name for path in shards.iterdir()} == {"shards", "manifest.json", ".lock"}


@pytest.mark.slow
def test_two_processes_make_the_same_vectors_as_one(tmp_path, bundle, photos, shards):
    out = tmp_path / "out"
    arguments = ("--bundle", bundle.directory, "--out", out, "--workers", 2, "--shard", 2)
    document = run_json("embed", photos, *arguments)
    assert (document["photos"], document["embedded"], document["workers"]) == (8, 8, 2)
    assert document["skipped"] == []
    assert same(vectors(out), vectors(shards))


def test_a_second_run_embeds_what_is_new_or_changed_and_nothing_else(
    tmp_path, bundle, photos, shards
):
    folder, out = tmp_path / "photos", tmp_path / "shards"
    shutil.copytree(photos, folder)
    arguments = ("--bundle", bundle.directory, "--out", out, "--workers", 1)
    assert run_json("embed", folder, *arguments)["embedded"] == 8
    first = {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    Image.new("RGB", (40, 30), "red").save(folder / "new.png")
    changed = sorted(folder.iterdir())[0]
    Image.new("RGB", (40, 30), "blue").save(changed)
    document = run_json("embed", folder, *arguments)
    assert (document["embedded"], document["files"]) == (2, 2)
    now = {path.name: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert first.items() < now.items()
    # Of a photo that was embedded twice, the last embedding counts.
    run("index", "--from", out, "--bundle", bundle.directory, "--index", tmp_path / "index")
    run("index", folder, "--bundle", bundle.directory, "--index", tmp_path / "other")
    assert held(tmp_path / "index") == held(tmp_path / "other")
    assert run_json("embed", folder, *arguments)["embedded"] == 0
    assert "--no-resume" in run("embed", folder, *arguments, "--no-resume", code=1).stderr


def test_an_index_from_shards_holds_what_that_of_the_folder_does(tmp_path, bundle, photos, shards):
    options = ("--bundle", bundle.directory, "--index")
    document = run_json("index", "--from", shards, *options, tmp_path / "from")
    assert (document["added"], document["photos"]) == (8, 8)
    run_json("index", photos, *options, tmp_path / "of")
    assert held(tmp_path / "from") == held(tmp_path / "of")
    again = run_json("index", "--from", shards, *options, tmp_path / "from")
    assert (again["added"], again["unchanged"]) == (0, 8)
    # The folder is known by its stamps: nothing of it is embedded again.
    assert run_json("index", photos, *options, tmp_path / "from")["unchanged"] == 8
    with PhotoIndex.open(tmp_path / "from") as whole, PhotoIndex.open(tmp_path / "of") as other:
        assert whole.dates() == other.dates()


def test_a_selection_of_keys_makes_an_index_of_these_photos_alone(tmp_path, bundle, photos, shards):
    chosen = sorted(str(path) for path in photos.iterdir())[2:5]
    keys = tmp_path / "keys.txt"
    keys.write_text("\n".join([*chosen, "no such photo"]) + "\n")
    options = ("--bundle", bundle.directory, "--index", tmp_path / "index")
    document = run_json("index", "--from", shards, "--select", keys, *options)
    assert document["skipped"] == [{"path": "no such photo", "why": "No shard has it."}]
    with PhotoIndex.open(tmp_path / "index") as index:
        assert index.paths() == chosen


def other_student(folder, *, sha256, seed):
    made = make_tiny_bundle(folder, seed=seed)
    from msgspec.structs import replace

    other = replace(made, student=StudentFacts("other", sha256, sha256, "random weights"))
    other.save()
    return Bundle.load(folder)


def test_another_students_shards_are_refused_by_name(tmp_path, photos, shards):
    other = other_student(tmp_path / "other", sha256="1" * 64, seed=9)
    before = files(shards / "shards")
    refused = run("embed", photos, "--bundle", other.directory, "--out", shards, code=1).stderr
    assert "student tiny" in refused and "this bundle's is other" in refused
    index = ("--bundle", other.directory, "--index", tmp_path / "index")
    assert "student tiny" in run("index", "--from", shards, *index, code=1).stderr
    assert not (tmp_path / "index").exists()
    assert files(shards / "shards") == before


def test_another_export_of_the_student_is_another_job(tmp_path, photos, shards):
    other = make_tiny_bundle(tmp_path / "other", seed=9)  # the same name, other weights
    refused = run("embed", photos, "--bundle", other.directory, "--out", shards, code=1).stderr
    assert "another export" in refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embed", "photos", "--bundle", "b"), "--out"),
        (("embed", "--bundle", "b", "--out", "shards"), "source"),
        (("embed", "photos", "--out", "shards"), "--bundle"),
        (("index", "photos", "--bundle", "b", "--select", "k"), "--select cannot be used"),
        (("index", "--bundle", "b"), "--from"),
        (
            ("index", "photos", "--from", "s", "--bundle", "b"),
            "PHOTOS cannot be used with --from SHARDS",
        ),
    ],
)
def test_wrong_usage_says_what_is_missing(arguments, message, tmp_path):
    # Not in the checkout, whose build/ may hold a bundle.
    assert message in run(*arguments, code=2, cwd=tmp_path).stderr
