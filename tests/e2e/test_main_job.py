"""The main job by the command line: export, index, search, bench, eval on real photos."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mcad_mobile.data.packaged_photos import packaged_photos
from tests.support.exported import mcad, mcad_json
from tests.support.paths import ROOT
from tests.support.variants import first_of

RESULTS = ROOT / "benchmarks" / "results"
RECALL = json.loads((RESULTS / "recall.json").read_text("utf-8"))

# What a person would expect to come first among the packaged photos.
EXPECTED = {
    "a man taking a photo with a camera": "camera.png",
    "a parked motorcycle": "motorcycle_left.png",
    "a cat with green eyes": "chelsea.png",
    "a large orange flower": "flower.jpg",
    "a temple by the water": "china.jpg",
    "a cup of coffee": "coffee.png",
    "a rocket": "rocket.jpg",
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for path in packaged_photos():
        shutil.copy(path, folder / path.name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photo")
    return folder


@pytest.fixture(scope="module")
def indexed(snapdragon, photos):
    """The bundle's folder and what `index --json` said."""
    return snapdragon.directory, mcad_json("index", photos, "--bundle", snapdragon.directory)


def test_photos_are_indexed_and_the_broken_one_is_listed(indexed, photos):
    _, document = indexed
    assert document["added"] == document["photos"] == len(packaged_photos())
    assert [skipped["path"].rsplit("/")[-1] for skipped in document["skipped"]] == ["broken.jpg"]
    axis = 256 * 4  # once a segment, which weighs something among so few photos
    paths = [str(photo) for photo in photos.iterdir() if photo.name != "broken.jpg"]
    most = 300 + (axis + sum(map(len, paths))) / len(paths)
    assert document["bytes_per_photo"] <= most
    assert document["photos_per_s"] > 0


def test_the_photo_that_a_person_would_expect_comes_first(indexed):
    bundle, _ = indexed
    for query, expected in EXPECTED.items():
        document = mcad_json("search", query, "--bundle", bundle, "-k", "3")
        assert document["query"] == query
        assert len(document["results"]) == 3
        assert document["results"][0]["path"].endswith(expected), query


def test_exact_search_agrees_and_both_print_for_people(indexed):
    bundle, _ = indexed
    plain = mcad("search", "a parked motorcycle", "--bundle", bundle, "-k", "5")
    exact = mcad("search", "a parked motorcycle", "--bundle", bundle, "-k", "5", "--exact")
    assert plain == exact
    assert len(plain.splitlines()) == 5


def test_indexing_again_adds_nothing_and_drops_photos_that_are_gone(snapdragon, tmp_path, photos):
    folder, index = tmp_path / "photos", tmp_path / "index"
    shutil.copytree(photos, folder)
    arguments = (folder, "--bundle", snapdragon.directory, "--index", index)
    first = mcad_json("index", *arguments)
    again = mcad_json("index", *arguments)
    assert (again["added"], again["unchanged"]) == (0, first["added"])
    (folder / "moon.png").unlink()
    synced = mcad_json("index", *arguments)
    assert (synced["removed"], synced["photos"]) == (1, first["photos"] - 1)
    shutil.move(folder, folder.with_name("elsewhere"))
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(packaged_photos()[0], other)
    kept = mcad_json("index", other, *arguments[1:])
    assert (kept["removed"], kept["photos"]) == (0, first["photos"])
    pruned = mcad_json("index", other, *arguments[1:], "--prune")
    assert (pruned["removed"], pruned["photos"]) == (first["photos"] - 1, 1)


def test_queries_of_several_parts_and_duplicates(indexed, photos):
    bundle, document = indexed
    cat = photos / "chelsea.png"
    like = mcad_json("search", "--like", cat, "--bundle", bundle, "-k", "20")
    assert len(like["results"]) == document["photos"] - 1
    assert str(cat) not in [result["path"] for result in like["results"]]
    mixed = mcad_json("search", "a cat", "--minus", "green eyes=0.5", "--bundle", bundle)
    assert len(mixed["results"]) == 10
    groups = mcad_json("search", "--duplicates", "0.97", "--bundle", bundle)
    assert groups["photos"] == document["photos"]


def test_the_simulated_npu_finds_the_same_photo(indexed):
    bundle, _ = indexed
    simulated = mcad_json("search", "a parked motorcycle", "--bundle", bundle, "--runtime", "qnn")
    assert simulated["results"][0]["path"].endswith("motorcycle_left.png")
    assert simulated["simulated"] is True


def test_bench_judges_memory_and_latency_and_writes_a_page(cpu, tmp_path):
    report = tmp_path / "report.html"
    given = ("--synthetic", "5000", "--report", report)
    document = mcad_json("bench", "--bundle", cpu.directory, *given)
    assert document["schema"] == "mcad-bench/1"
    assert document["index"]["photos"] == 5000
    for stage in ("tokenize", "text", "scan", "rescore", "total", "image"):
        latency = document["latency_ms"][stage]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    memory, search = document["targets"]["memory"], document["targets"]["search"]
    assert memory["pass"] == (memory["measured_mib"] <= memory["limit_mib"] == 100)
    assert search["pass"] == (search["measured_ms"] <= search["limit_ms"] == 8)
    HTMLParser().feed(report.read_text("utf-8"))


@pytest.mark.slow
def test_bench_refuses_to_time_a_simulated_chip(indexed):
    bundle, _ = indexed
    message = mcad("bench", "--bundle", bundle, "--synthetic", "100", "--runtime", "qnn", code=1)
    assert "simulated" in message


def assert_recall(found: Any, stored: Any, points: float) -> None:
    """Each recall is near the stored one, and their mean within `points`. One photo in 200 is half
    a point of a photo's recalls."""
    for way in ("text_to_image", "image_to_text"):
        assert found[way] == pytest.approx(stored[way], abs=4 * points), way
    assert found["mean_recall"] == pytest.approx(stored["mean_recall"], abs=points)


@pytest.fixture(scope="module")
def part(flickr8k, tmp_path_factory) -> Path:
    """The photos of Flickr8k's test split that benchmarks/recall.py stores the recall of."""
    folder = tmp_path_factory.mktemp("part")
    source = next(flickr8k.glob("dataset_*.json"))
    records = json.loads(source.read_text("utf-8"))["images"]
    chosen = [record for record in records if record["split"] == "test"]
    chosen = chosen[: RECALL["float"]["photos"]]
    (folder / "dataset_part.json").write_text(json.dumps({"images": chosen}))
    (folder / "images").symlink_to(flickr8k / "images")
    return folder


@pytest.mark.parametrize("bundle_name", first_of(["cpu", "float"]))
def test_recall_on_a_part_of_the_test_split_is_what_is_stored(request, part, bundle_name):
    assert_recall(evaluated(request, part, bundle_name), RECALL[bundle_name], 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("bundle_name", ["float", "cpu", "dimensity"])
def test_recall_on_the_test_split_is_what_is_stored(request, flickr8k, bundle_name):
    found, stored = evaluated(request, flickr8k, bundle_name), RECALL["whole"]
    if bundle_name == "dimensity":  # not stored: within what its 8 bits may cost
        assert_recall(found, stored["float"], 0.5)
    else:
        assert_recall(found, stored[bundle_name], 0.2)


def evaluated(request: pytest.FixtureRequest, data: Path, bundle_name: str) -> Any:
    """What `eval --json` says of the float student, or of an exported bundle by its own runtime."""
    if bundle_name == "float":
        return mcad_json("eval", "--data", data)
    runtime = {"cpu": "onnx", "dimensity": "litert"}[bundle_name]
    bundle = request.getfixturevalue(bundle_name).directory
    return mcad_json("eval", "--data", data, "--bundle", bundle, "--runtime", runtime)
