"""A published architecture of random weights, small, through every verb: as ours goes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import TOWERS, Bundle
from tests.support.exported import mcad, mcad_json
from tests.support.tiny_students import write_hf, write_open_clip

pytestmark = pytest.mark.slow
RUNTIMES = {"snapdragon-8-elite": "qnn", "dimensity-9400": "litert", "cpu": "onnx"}


@pytest.fixture(scope="module", params=["vit", "siglip"])
def exported(request, tmp_path_factory):
    """The folder of three bundles of one of open_clip's, one of transformers', and what was said
    of them by the id of their target."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "vit":
        spec = f"open_clip:local-dir:{write_open_clip(folder / 'student')}"
    else:
        spec = f"hf:{write_hf(folder / 'student', request.param)}"
    targets = [word for target in ("SM8750", "dimensity", "cpu") for word in ("-t", target)]
    documents = mcad_json("export", "--student", spec, *targets, "--out", folder / "bundles")
    return folder / "bundles", {document["target"]: document for document in documents}


@pytest.fixture
def phone_bundle(exported):
    return exported[0] / "snapdragon-8-elite"


def test_every_node_of_both_towers_is_on_the_npu(exported):
    folder, documents = exported
    assert set(documents) == set(RUNTIMES)
    for target, document in documents.items():
        bundle = Bundle.load(folder / target)
        for name in TOWERS:
            tower = document["towers"][name]
            assert tower == bundle.tower(name).rungs[0].facts()
            assert tower["runtime"] == RUNTIMES[target]
            assert tower["cosine_mean"] > 0.99
            if target != "cpu":
                assert tower["npu_nodes"] == tower["total_nodes"] > 20


def test_it_indexes_searches_and_is_measured(phone_bundle, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for path in packaged_photos()[:4]:
        (photos / path.name).symlink_to(path)
    where = ("--bundle", phone_bundle, "--index", tmp_path / "index")
    assert mcad_json("index", photos, *where)["added"] == 4
    found = mcad_json("search", "a dog", *where)
    assert {Path(result["path"]).name for result in found["results"]} == {
        path.name for path in photos.iterdir()
    }
    measured = mcad_json("bench", "--bundle", phone_bundle, "--synthetic", 1000)
    # The NPU's rung is not timed here: the next one is.
    assert [rung["status"] for rung in measured["ladder"]["text"]] == ["skip", "pass"]
    assert measured["latency_ms"]["text"]["p50"] > 0
    (tmp_path / "measured.json").write_text(json.dumps(measured))
    assert "onnx int8" in mcad("report", tmp_path / "measured.json")


def test_its_towers_table_and_tokenizer_travel_in_the_app(phone_bundle, onnxruntime_aar, tmp_path):
    options = ("--onnxruntime-aar", onnxruntime_aar, "--out", tmp_path / "demo.apk")
    options += ("--accept-licence", "unknown")  # of random weights
    document = mcad_json("app", "--bundle", phone_bundle, *options)
    assert document["rungs"] == {name: ["onnx int8"] for name in TOWERS}
    assert set(document["left_out"]) == {f"{name} qnn w8a16" for name in TOWERS}
    bundle, inside = Bundle.load(phone_bundle), zipfile.ZipFile(tmp_path / "demo.apk")
    packed = [file for name in TOWERS for file in bundle.tower(name).rungs[1].files]
    for record in (*packed, bundle.token_table.file, bundle.tokenizer_file):
        (name,) = [name for name in inside.namelist() if name.endswith(record.path)]
        assert inside.read(name) == bundle.path(record).read_bytes()
