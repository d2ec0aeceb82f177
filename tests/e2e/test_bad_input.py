"""Bad input gets one clear message, exit code 1 or 2, and loses nothing."""

from __future__ import annotations

import json
import shutil

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.index import PhotoIndex
from tests.support.exported import mcad


@pytest.mark.slow
def test_a_foreign_student(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    words = ("export", "--target", "cpu", "--student", tmp_path, "--out", tmp_path / "b")
    assert "foreign" in mcad(*words, code=1)


def test_an_empty_photo_folder(cpu, tmp_path):
    assert "No photos in" in mcad("index", tmp_path, "--bundle", cpu.directory, code=1)
    assert not cpu.directory.with_name("cpu.index").exists()


def test_a_bundle_with_a_wrong_checksum(cpu, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(cpu.directory, copy)
    weights = copy / "text_onnx_int8.onnx.data"
    data = bytearray(weights.read_bytes())
    data[100] ^= 255
    weights.write_bytes(data)
    message = mcad("search", "a dog", "--bundle", copy, code=1)
    assert "text_onnx_int8.onnx.data is damaged" in message


@pytest.mark.parametrize("differs", ["model", "width"])
def test_an_index_built_by_another_student_is_refused_and_kept(cpu, tmp_path, differs):
    known = json.loads((cpu.directory / "bundle.json").read_text())
    width = 128 if differs == "width" else known["dim"]
    sha256 = "0" * 64 if differs == "model" else known["student"]["sha256"]
    index = tmp_path / "index"
    PhotoIndex.create(index, dim=width, student="other", student_sha256=sha256)
    before = {path: path.read_bytes() for path in index.iterdir() if path.is_file()}
    for verb in (("index", packaged_photos()[0].parent), ("search", "a dog")):
        message = mcad(*verb, "--bundle", cpu.directory, "--index", index, code=1)
        assert "other" in message and str(width) in message
    assert {path: path.read_bytes() for path in index.iterdir() if path.is_file()} == before


def test_an_export_that_fails_leaves_the_bundle_that_was_there(cpu, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(cpu.directory, bundle)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no")
    arguments = ("--target", "cpu", "--out", bundle, "--calibration", tmp_path / "photos")
    assert "can be decoded" in mcad("export", *arguments, code=1)
    assert (bundle / "bundle.json").read_bytes() == (cpu.directory / "bundle.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "photos"]
