"""`mcad-mobile search`: what would be ignored is refused, and weights are read or refused."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcad_mobile.cli.command import app
from mcad_mobile.data.packaged_photos import packaged_photos
from mcad_mobile.engine.bundle import Bundle
from mcad_mobile.engine.engine import SearchEngine, create_index
from mcad_mobile.engine.index import PhotoIndex
from mcad_mobile.engine.sync import prune
from mcad_mobile.errors import PhotoError, QueryError
from tests.support.paths import ROOT
from tests.support.tiny_bundle import make_tiny_bundle, two_text_towers


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With an index of four photos beside it."""
    folder = tmp_path_factory.mktemp("search")
    bundle = make_tiny_bundle(folder / "bundle")
    index = create_index(bundle, folder / "bundle.index")
    SearchEngine(bundle).index_photos(index, packaged_photos()[:4])
    return bundle


def search(bundle: Bundle, *arguments: str) -> Any:
    done = CliRunner().invoke(app, ["search", *arguments, "-b", str(bundle.directory), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(bundle: Bundle, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["search", *arguments, "-b", str(bundle.directory)])
    assert done.exit_code == 2, done.output
    return " ".join(done.output.replace("│", " ").split())


def test_a_bundle_without_an_index_searches_one_beside_it_of_the_same_image_tower(
    bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copytree(bundle.directory, tmp_path / "other_language")
    other = Bundle.load(tmp_path / "other_language")
    PhotoIndex.create(tmp_path / "a.index", dim=64, student="stranger", student_sha256="0" * 64)
    shutil.copytree(f"{bundle.directory}.index", tmp_path / "b.index")

    done = CliRunner().invoke(app, ["search", "a dog", "-b", str(other.directory)])
    assert done.exit_code == 0, done.output
    assert f"the index is {tmp_path / 'b.index'}, of the same image tower" in done.stderr

    create_index(other, tmp_path / "other_language.index")
    assert search(other, "a dog")["results"] == []  # its own comes first


def test_a_language_other_than_english_is_searched_in_by_the_multilingual_text_tower(
    tmp_path: Path,
) -> None:
    both = two_text_towers(tmp_path / "both")
    index = create_index(both, tmp_path / "both.index")
    SearchEngine(both).index_photos(index, packaged_photos()[:4])
    scores = {}
    for language in ("en", "de"):
        found = SearchEngine(both.for_language(language)).search(index, "a dog")
        scores[language] = [pytest.approx(result.score, abs=1e-3) for result in found.results]
        results = search(both, "a dog", "--language", language)["results"]
        assert [result["score"] for result in results] == scores[language]
    results = search(both, "a dog")["results"]
    assert [result["score"] for result in results] == scores["en"] != scores["de"]
    for options, hint in (((), "; try --language)"), (("--language", "ja"), "猫)")):
        query = ("search", "猫", "-b", str(both.directory), *options)
        assert hint in CliRunner().invoke(app, query).output


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (("a dog", "--plus", "snow=.5"), "+1 'a dog' +0.5 'snow'"),
        (("a dog", "--plus", "snow=2."), "+1 'a dog' +2 'snow'"),
        (("a dog", "--plus", "E=mc2=1"), "+1 'a dog' +1 'E=mc2'"),
        (("a dog", "--minus", "a ball=0.5"), "+1 'a dog' -0.5 'a ball'"),
        (("a = b",), "a = b"),  # the query has no weight
    ],
)
def test_a_weight_stands_behind_the_last_equals_sign(
    bundle: Bundle, arguments: tuple[str, ...], query: str
) -> None:
    assert search(bundle, *arguments)["query"] == query


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--minus", "ball=abc"), "--minus 'ball=abc': 'abc' is not a weight, as in 'ball=0.5'"),
        (("--minus", "ball="), "'' is not a weight"),
        (("--minus", "ball=-1"), "a weight is more than 0 (the opposite is --plus)"),
        (("--plus", "ball=0"), "a weight is more than 0 (the opposite is --minus)"),
        (("--plus", "ball=nan"), "a weight is more than 0"),
        (("--plus", "=3"), "--plus '=3' has a weight but no words"),
        (("--like", "a.jpg=-2"), "a weight is more than 0 (the opposite is --unlike)"),
    ],
)
def test_what_is_no_weight_is_not_searched_for(
    bundle: Bundle, options: tuple[str, str], message: str
) -> None:
    assert message in refused(bundle, "a dog", *options)


def test_photos_below_the_least_score_are_left_out(bundle: Bundle) -> None:
    scores = [result["score"] for result in search(bundle, "a dog")["results"]]
    found = search(bundle, "a dog", "--min-score", str(scores[1]))["results"]
    assert [result["score"] for result in found] == scores[:2]


def test_a_least_score_of_0_is_named_where_it_leaves_no_photo(
    bundle: Bundle, tmp_path: Path
) -> None:
    index = create_index(bundle, tmp_path / "index")
    with index.writer() as writer:
        writer.add(["a.jpg"], -SearchEngine(bundle).embed_text("a dog")[None])
    at = ("-b", str(bundle.directory), "--index", str(tmp_path / "index"), "--min-score", "0")
    assert "below --min-score" in CliRunner().invoke(app, ["search", "a dog", *at]).output


def test_photos_may_have_equals_signs_in_their_names(bundle: Bundle, tmp_path: Path) -> None:
    photo = tmp_path / "x=2.png"
    shutil.copy(packaged_photos()[0], photo)
    assert search(bundle, "--like", str(photo))["query"] == str(photo)
    assert search(bundle, "--like", f"{photo}=0.5")["query"] == f"+0.5 {str(photo)!r}"
    unlike = search(bundle, "a dog", "--unlike", f"{photo}=2", "--unlike", str(photo))
    assert unlike["query"] == f"+1 'a dog' -2 {str(photo)!r} -1 {str(photo)!r}"


@pytest.fixture
def gallery(tmp_path: Path) -> tuple[Bundle, Path]:
    """Four photos in two folders, of May 2023 and May 2024."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    for number, photo in enumerate(packaged_photos()[:4]):
        folder = tmp_path / "photos" / ("sea" if number % 2 else "city")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / f"{number}.jpg")
        day = datetime(2023 + number // 2, 5, 10 + number).timestamp()
        os.utime(folder / f"{number}.jpg", (day, day))
    index = create_index(bundle, tmp_path / "bundle.index")
    SearchEngine(bundle).index_folder(index, tmp_path / "photos")
    return bundle, tmp_path / "photos"


def found(bundle: Bundle, *arguments: str) -> list[str]:
    results = search(bundle, "a dog", *arguments)["results"]
    return sorted(Path(result["path"]).name for result in results)


def test_only_photos_of_a_folder_and_of_a_time_are_found(
    gallery: tuple[Bundle, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, photos = gallery
    monkeypatch.chdir(photos)
    monkeypatch.setenv("HOME", str(photos))
    for folder in ("sea", "~/sea", "city/../sea"):
        assert found(bundle, "--in", folder) == ["1.jpg", "3.jpg"]
    assert found(bundle, "--in", str(photos / "sea")) == ["1.jpg", "3.jpg"]
    assert found(bundle, "--in", str(photos / "sea"), "--in", str(photos)) == [
        f"{number}.jpg" for number in range(4)
    ]
    assert found(bundle, "--after", "2024-05-01") == ["2.jpg", "3.jpg"]
    assert found(bundle, "--before", "2023-05-11") == ["0.jpg"]
    assert found(bundle, "--after", "2023-05-11", "--before", "2024-05-13") == ["1.jpg", "2.jpg"]
    assert found(bundle, "--in", str(photos / "city"), "--after", "2024-01-01") == ["2.jpg"]
    Path("loop").symlink_to("loop")
    for folder in ("hills", "loop", "~nosuchuser/sea"):
        assert found(bundle, "--in", folder) == []
    done = CliRunner().invoke(
        app, ["search", "a dog", "-b", str(bundle.directory), "--in", str(photos / "hills")]
    )
    assert f"the index has no photo in {photos / 'hills'}" in done.output
    assert f"It has photos in {photos / 'city'} (2), {photos / 'sea'} (2)." in done.output
    assert "No photo of the index passes --in" in done.output
    done = CliRunner().invoke(
        app, ["search", "a dog", "-b", str(bundle.directory), "--in", str(photos / "sea")]
    )
    assert "has no photo" not in done.output


@pytest.fixture
def burst(tmp_path: Path) -> tuple[Bundle, Path]:
    """Four photos; of the first four copies, each with another pixel changed."""
    bundle = make_tiny_bundle(tmp_path / "bundle")
    photos = tmp_path / "photos"
    for folder in ("one", "two"):
        (photos / folder).mkdir(parents=True)
    for number, photo in enumerate(packaged_photos()[:4]):
        shutil.copy(photo, photos / "one" / f"{number}{photo.suffix}")
    with Image.open(packaged_photos()[0]) as photo:
        for number in range(4):
            photo.putpixel((number, 0), 0 if photo.mode == "L" else (0, 0, 0))
            photo.save(photos / ("one", "two")[number % 2] / f"copy-{number}.png")
    index = create_index(bundle, tmp_path / "bundle.index")
    SearchEngine(bundle).index_folder(index, photos)
    return bundle, photos


def test_near_duplicates_are_one_result_with_the_number_of_copies(
    burst: tuple[Bundle, Path],
) -> None:
    bundle, _ = burst
    alike = {f"copy-{number}.png" for number in range(4)} | {f"0{packaged_photos()[0].suffix}"}
    apart = search(bundle, "a dog", "-k", "9")["results"]
    assert len(apart) == 8 and not any("copies" in result for result in apart)
    for k in (2, 4, 9):  # which is widened until there are so many stacks
        stacks = search(bundle, "a dog", "-k", str(k), "--stack")["results"]
        assert len(stacks) == min(k, 4)
        leaders = [stack["path"] for stack in stacks]
        assert leaders == [r["path"] for r in apart if r["path"] in leaders]
    (stack,) = [stack for stack in stacks if "copies" in stack]
    assert {Path(path).name for path in (stack["path"], *stack["copies"])} == alike
    assert len(stack["copies"]) == 4
    words = ["search", "a dog", "-b", str(bundle.directory)]
    lines = CliRunner().invoke(app, words).stdout.splitlines()
    assert len(lines) == 4
    assert [line for line in lines if line.endswith("  (+4 near duplicates)")] == [
        f"{stack['score']:.3f}  {stack['path']}  (+4 near duplicates)"
    ]
    assert len(CliRunner().invoke(app, [*words, "--no-stack"]).stdout.splitlines()) == 8


def test_duplicates_of_a_folder_are_printed_and_shown_on_a_page(
    burst: tuple[Bundle, Path],
) -> None:
    bundle, photos = burst
    words = ["search", "--duplicates", "0.97", "-b", str(bundle.directory)]
    narrow = [*words, "--in", str(photos / "two")]
    two = [str(photos / "two" / f"copy-{number}.png") for number in (1, 3)]
    assert CliRunner().invoke(app, narrow).stdout.splitlines() == [
        *two,
        "",
        "1 group, 2 of 2 photos",
    ]
    document = json.loads(CliRunner().invoke(app, [*narrow, "--json"]).stdout)
    assert document == {"photos": 2, "least": 0.97, "groups": [two]}
    assert CliRunner().invoke(app, [*words, "--show"]).stdout.endswith("1 group, 5 of 8 photos\n")
    page = bundle.directory.with_name("bundle.search.html").read_text("utf-8")
    assert "5 photos" in page and page.count("<img ") == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--after", "May"), "2024-05-01"),
        (("--after", "2024-05-02", "--before", "2024-05-02"), "for one day, the day after it"),
    ],
)
def test_days_that_are_none_or_the_wrong_way_round_are_an_error(
    gallery: tuple[Bundle, Path], arguments: tuple[str, ...], message: str
) -> None:
    done = CliRunner().invoke(app, ["search", "a dog", "-b", str(gallery[0].directory), *arguments])
    assert done.exit_code == 1 or isinstance(done.exception, QueryError)
    assert message in f"{done.output} {done.exception}"


def test_photos_whose_files_are_gone_are_marked_with_a_way_to_drop_them(
    gallery: tuple[Bundle, Path],
) -> None:
    bundle, photos = gallery
    (photos / "sea" / "3.jpg").unlink()
    results = search(bundle, "a dog")["results"]
    assert [Path(r["path"]).name for r in results if r["gone"]] == ["3.jpg"]
    lines = CliRunner().invoke(app, ["search", "a dog", "-b", str(bundle.directory)]).output
    (marked,) = [line for line in lines.splitlines() if "(gone)" in line]
    assert "3.jpg" in marked
    assert "--prune" in lines


def test_photos_at_addresses_are_searched_for_by_them_and_never_gone(
    bundle: Bundle, tmp_path: Path
) -> None:
    addresses = ["s3://bucket/2024/a.jpg", "s3://bucket/2025/a=b.jpg", "./list/c.jpg"]
    local = str(packaged_photos()[0])
    index = create_index(bundle, tmp_path / "index")
    with index.writer() as writer:
        writer.add([local, *addresses], np.eye(4, index.dim, dtype=np.float32))
    at = ("--index", str(tmp_path / "index"))
    for address in addresses:
        results = search(bundle, "--like", address, *at)["results"]
        assert {result["path"] for result in results} == {local, *addresses} - {address}
        assert not any(result["gone"] for result in results)
    results = search(bundle, "a dog", "--in", "s3://bucket/2024", *at)["results"]
    assert [result["path"] for result in results] == addresses[:1]
    missing = ["search", "--like", "s3://bucket/no.jpg", "-b", str(bundle.directory), *at]
    done = CliRunner().invoke(app, missing)
    assert isinstance(done.exception, PhotoError)
    assert "holds no photo s3://bucket/no.jpg" in done.exception.message
    assert (prune(index), index.photos) == (0, 4)


def test_an_index_is_written_anew_without_its_photos(tmp_path: Path) -> None:
    bundle = make_tiny_bundle(tmp_path / "bundle")
    shutil.copytree(ROOT / "tests" / "golden/index", tmp_path / "bundle.index")
    command = ["-b", str(bundle.directory)]
    done = CliRunner().invoke(app, ["index", "--rebuild", *command, "--json"])
    assert json.loads(done.stdout)["photos"] == 277
    done = CliRunner().invoke(app, ["index", str(tmp_path), "--rebuild", *command])
    assert done.exit_code == 2
