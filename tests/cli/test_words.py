"""`index` and `search` of a bundle that reads text: words in photos, names and places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from mcad_mobile.bench.measurement import Workload
from mcad_mobile.bench.measurement import bench as run_bench
from mcad_mobile.bench.report import markdown
from mcad_mobile.cli.command import app
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.errors import BundleError, Remedy
from tests.engine.reading.fake_reader import line, photo
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_reader import LISBON, with_reader


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return with_reader(make_tiny_bundle(tmp_path_factory.mktemp("words") / "bundle"))


@pytest.fixture(scope="module")
def indexed(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path, Any]:
    """Return the bundle, a folder of three photos, and what `index` printed about it."""
    folder = tmp_path_factory.mktemp("words") / "Umbrella holiday"
    folder.mkdir()
    photo(600, 400, (100, 100, line("abcdefg"))).save(folder / "text.png")
    photo(600, 400).save(folder / "plain.png")
    gps, degrees = Image.Exif(), [(abs(value), 0.0, 0.0) for value in LISBON]
    gps[0x8825] = {1: "N", 2: degrees[0], 3: "W", 4: degrees[1]}
    photo(600, 400).save(folder / "there.jpg", exif=gps)
    return bundle, folder, run("index", bundle, str(folder))


def run(command: str, bundle: Bundle, *arguments: str) -> Any:
    done = CliRunner().invoke(app, [command, *arguments, "-b", str(bundle.directory), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def names(found: Any) -> list[str]:
    return [Path(result["path"]).name for result in found["results"]]


def test_photos_are_read_once_after_they_were_embedded(indexed: Any) -> None:
    bundle, folder, first = indexed
    assert first["added"] == 3
    assert first["texts"] == {"photos": 3, "with_text": 1, "skipped": []}
    assert run("index", bundle, str(folder))["texts"]["photos"] == 0


def test_a_result_says_which_words_of_the_photo_were_asked_for(indexed: Any) -> None:
    bundle, *_ = indexed
    first, *others = run("search", bundle, "abcdefg")["results"]
    (match,) = first.pop("matched")
    box = match.pop("box")
    assert Path(first["path"]).name == "text.png" and len(box) == 8
    assert match == {"source": "text", "words": ["abcdefg"], "line": "abcdefg"}
    assert len(others) == 2 and not any("matched" in other for other in others)
    done = CliRunner().invoke(app, ["search", "abcdefg", "-b", str(bundle.directory)])
    assert "text: abcdefg" in done.output


def test_names_and_places_are_words(indexed: Any) -> None:
    bundle, *_ = indexed
    assert names(run("search", bundle, "lisboa", "--by", "words")) == ["there.jpg"]
    assert len(names(run("search", bundle, "umbrella", "--by", "words"))) == 3
    assert names(run("search", bundle, "plain", "--by", "words")) == ["plain.png"]
    assert names(run("search", bundle, "a dog", "--place", "portugal")) == ["there.jpg"]
    assert names(run("search", bundle, "a dog", "--place", "Madrid")) == []


def test_names_and_places_are_found_before_text_is_read(indexed: Any, tmp_path: Path) -> None:
    bundle, folder, _ = indexed
    engine, index = SearchEngine(bundle), create_index(bundle, tmp_path / "index")
    engine.index_folder(index, folder)
    for query in ("lisboa", "there"):
        (result,) = engine.search(index, query, by="words").results
        assert Path(result.path).name == "there.jpg"
    assert engine.search(index, "abcdefg", by="words").results == []
    assert engine.read_texts(index).with_text == 1
    assert len(engine.search(index, "abcdefg", by="words").results) == 1


def test_by_content_is_a_search_without_words(indexed: Any) -> None:
    bundle, *_ = indexed
    found = run("search", bundle, "abcdefg", "--by", "content")
    assert not any("matched" in result for result in found["results"])
    assert "words" not in found["ms"]


def test_bench_measures_reading(bundle: Bundle, tmp_path: Path) -> None:
    asked = Workload(synthetic=300, searches=1, photo_size=(160, 120), decoded_photos=2)
    assert "reading" not in run_bench(bundle, asked)
    document = run_bench(
        bundle,
        Workload(
            synthetic=300, searches=1, photo_size=(160, 120), decoded_photos=2, read_text=True
        ),
    )
    assert document["reading"]["photos"] == 3 and document["reading"]["photos_an_hour"] > 0
    assert document["memory_mib"]["reading"]["peak_pss"] > 0
    assert "photos an hour" in markdown(document)
    with pytest.raises(BundleError) as raised:
        run_bench(make_tiny_bundle(tmp_path / "plain"), Workload(read_text=True))
    assert raised.value.remedy is Remedy.EXPORT_WITH_READER
